/** The worker process: its app, policies, models and memory from configuration. */
export {
  checkpointsOn,
  folderLedgers,
  newLedgerKey,
  openKmsKey,
  originOf,
  readLedgerKeys,
  type Shelf,
} from '@muster/runtime'
export { ToolLock } from '@muster/tools'
export { loadApp } from './load-app.ts'
export { readShelves } from './read-ledger.ts'
export { readPolicies, readToolLock, toolLockPath } from './read-policies.ts'
export { runWorker } from './run-worker.ts'
