/** The worker process: its app, policies, models and memory from configuration. */
export { folderLedgers, newContentKey, newLedgerKey, originOf, readContentKeys, readLedgerKeys } from '@muster/runtime'
export { ToolLock } from '@muster/tools'
export { loadApp } from './load-app.ts'
export { openMemoryOf } from './open-memory.ts'
export { readPolicies, readToolLock, toolLockPath } from './read-policies.ts'
export { runWorker } from './run-worker.ts'
