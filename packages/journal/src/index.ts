/** Journals of runs on Redis: create, append under an epoch, read, follow, and the queue of activations. */
export { type ActivationOptions, Activations } from './activations.ts'
export type { Created, CreateOptions } from './creation.ts'
export type { Durability } from './durability.ts'
export { EndedRuns } from './ended-runs.ts'
export type { NewRun } from './first-entry.ts'
export { type Hold, Journal, type JournalOptions, type Message } from './journal.ts'
export type { ReplicationOptions } from './replication.ts'
export type { RunRecord } from './run-record.ts'
export {
  CONTENT_INLINE_MAX,
  type LostReason,
  lostError,
  OFFLOADED,
  type Offload,
  type ParentNotice,
  RunWriter,
  Writer,
} from './writer.ts'
