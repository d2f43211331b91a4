/** The worker process: its app, policies, models and memory from configuration. */
export { checkpointsOn, folderLedgers, type Shelf } from '@muster/runtime'
export { openMemoryOf } from './open-memory.ts'
export { type Patience, patience } from './patience.ts'
export { readShelves } from './read-ledger.ts'
export { readModels } from './read-models.ts'
export { readRedaction } from './read-redaction.ts'
export { runWorker } from './run-worker.ts'
export { startTelemetry } from './start-telemetry.ts'
