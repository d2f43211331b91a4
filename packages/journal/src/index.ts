/** Journals of runs on Redis: create, append under an epoch, read, follow, and the queue of activations. */
export type { ActivationOptions } from './activations.ts'
export { Controls } from './controls.ts'
export { CostBooks, type MakingBooks } from './cost-books.ts'
export { type CostAmounts, NO_COSTS } from './cost-count.ts'
export type { Created, CreateOptions } from './creation.ts'
export type { Durability } from './durability.ts'
export type { NewRun } from './first-entry.ts'
export { type Head, Heads, type TakenHeads } from './heads.ts'
export { type Hold, newHold } from './hold.ts'
export { Holder } from './holder.ts'
export { Intake } from './intake.ts'
export { Journal, type JournalOptions } from './journal.ts'
export { KeyNews } from './key-news.ts'
export { Live, type LiveDelta } from './live.ts'
export { MailBell } from './mail-bell.ts'
export { CONTENT_INLINE_MAX, OFFLOADED, type Offload } from './offload.ts'
export { Outbox } from './outbox.ts'
export type { Message, Snapshot } from './partition.ts'
export type { ReplicationOptions } from './replication.ts'
export { type RunCost, RunCosts } from './run-costs.ts'
export type { RunRecord } from './run-record.ts'
export { Schedules, type StoredSchedule } from './schedules.ts'
export { leaseSlices, releaseSlices, type Slice, type SliceRequest } from './slices.ts'
export { type Amounts, Spend, type SpendAccount, type SpendAnswer } from './spend.ts'
export { type Attempted, type WebhookJob, WebhookQueue } from './webhook-queue.ts'
export { type StoredWebhook, Webhooks } from './webhooks.ts'
export { ANNOUNCE_MS } from './workers.ts'
export {
  type LostReason,
  lostError,
  type ParentNotice,
  RunWriter,
  Writer,
} from './writer.ts'
