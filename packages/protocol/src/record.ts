import { z } from 'zod'
import { json } from './definition.ts'
import { actor } from './entry.ts'

/** What a leaf of the ledger names in place of a run, where it is of the tenant's record book. */
export const RECORD_BOOK = 'records'

/** What a record can be about. */
export const recordAction = z.enum([
  'api_key.changed',
  'api_key.created',
  'api_key.revoked',
  'api_key.rotated',
  'budget.removed',
  'budget.set',
  'content.read',
  'costs.rebuilt',
  'erasure.done',
  'erasure.requested',
  'hold.lifted',
  'hold.placed',
  'key.created',
  'key.destroyed',
  'key.used',
  'limit.removed',
  'limit.set',
  'policy.used',
  'retention.changed',
  'retention.expired',
  'stop.lifted',
  'stop.set',
  'webhook.removed',
  'webhook.set',
])
export type RecordAction = z.infer<typeof recordAction>

/** What somebody did besides runs, or Muster itself (then `by` is a worker, and a service), before it has a place. */
const newRecord = z.strictObject({
  at: z.number().int().describe('ms since the epoch'),
  by: actor,
  action: recordAction,
  about: z.record(z.string(), json).describe('what it was done to: names, hashes and counts, no content'),
})
export type NewRecord = z.infer<typeof newRecord>

/** An entry of a tenant's record book, which is chained as a run's journal is. */
export const auditRecord = newRecord.extend({
  v: z.literal(1),
  seq: z.number().int().positive(),
  tenant: z.string(),
})
export type AuditRecord = z.infer<typeof auditRecord>

/** Which records; all that is given must hold. */
export const recordFilter = z.strictObject({
  action: recordAction.optional(),
  user: z.string().min(1).max(128).optional().describe('who did it'),
  run: z.string().max(64).optional().describe('that are about this run'),
  since: z.coerce.number().int().min(0).optional().describe('ms since the epoch'),
  until: z.coerce.number().int().min(0).optional().describe('before this time, ms since the epoch'),
})
export type RecordFilter = z.infer<typeof recordFilter>

export const recordPage = z.object({
  records: z.array(auditRecord),
  cursor: z.number().int().optional().describe('of the next page'),
})
export type RecordPage = z.infer<typeof recordPage>
