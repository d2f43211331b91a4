/** The worker process: its app, policies, models and memory from configuration. */
export { runWorker } from './run-worker.ts'
