/** The worker's engine: where scheduler, journal, governance, models, tools and memory meet. */
export { archiveRun } from './archiver.ts'
export { CallbackTokens } from './callback-token.ts'
export { toEvents, withBlobs } from './content.ts'
export { INLINE } from './engine.ts'
export { RunReader, type StoredRun } from './run-reader.ts'
export { noTelemetry, openTelemetry, type Telemetry } from './telemetry.ts'
export { startWorker, type Worker, type WorkerOptions } from './worker.ts'
