/** The worker process: its app, policies, models and memory from configuration. */
export {
  checkpointsOn,
  folderLedgers,
  newContentKey,
  newLedgerKey,
  openKmsKey,
  originOf,
  readContentKeys,
  readLedgerKeys,
  type Shelf,
} from '@muster/runtime'
export { ToolLock } from '@muster/tools'
export { loadApp } from './load-app.ts'
export { openMemoryOf } from './open-memory.ts'
export { readShelves } from './read-ledger.ts'
export { readModels } from './read-models.ts'
export { readPolicies, readToolLock, toolLockPath } from './read-policies.ts'
export { runWorker } from './run-worker.ts'
export { startTelemetry } from './start-telemetry.ts'
