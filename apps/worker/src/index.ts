/** The worker process: its app, policies, models and memory from configuration. */
export { folderLedgers, newLedgerKey, originOf, readLedgerKeys } from '@muster/runtime'
export { ToolLock } from '@muster/tools'
export { loadApp } from './load-app.ts'
export { readPolicies, readToolLock, toolLockPath } from './read-policies.ts'
export { runWorker } from './run-worker.ts'
