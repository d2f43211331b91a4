/** Journals of runs on Redis: create, append under an epoch, read, follow, and the queue of activations. */
export { type ActivationOptions, Activations } from './activations.ts'
export { EndedRuns } from './ended-runs.ts'
export { Journal, type JournalOptions, type Message, type RunRecord } from './journal.ts'
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
