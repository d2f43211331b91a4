import { z } from 'zod'
import { REASON_MAX } from './approval.ts'
import { json } from './definition.ts'
import { run, waiting } from './run.ts'

/** Most answers of `POST /v1/approvals`. */
export const ANSWERS_MAX = 100

/** What a person says of a step that waits for one. */
export const answer = z.strictObject({
  step: z.string().max(512),
  verdict: z.enum(['approve', 'deny']),
  /** Digest of what was shown, so that nothing else is approved. */
  digest: z.string().regex(/^[0-9a-f]{64}$/),
  /** Why; some approvals need it. */
  reason: z.string().trim().min(1).max(REASON_MAX).optional(),
  /** Approves the call of a tool with this input instead: the policies decide on that anew, and so do other approvers. */
  input: json.optional(),
})
export type Answer = z.infer<typeof answer>

/** A question that waits for a person: of which run, which began when and by whom. */
export const question = run
  .pick({ kind: true, name: true, version: true, by: true, createdAt: true })
  .extend({ run: z.string(), ...waiting.shape })
export type Question = z.infer<typeof question>
