import { z } from 'zod'

/** What the recorder saw happen outside. */
export const effect = z.object({
  kind: z.enum(['read', 'write', 'once']),
  key: z.string(),
  /** When it came, ms since the epoch. */
  at: z.number(),
  /** Process that did it. */
  pid: z.number(),
  /** Whether the journal in Redis had an intent for this key when it came; unknown while Redis was away. */
  intent: z.enum(['yes', 'no', 'unknown']),
})
export type Effect = z.infer<typeof effect>

/** What a tool sends to have its effect. */
export const request = effect.pick({ kind: true, key: true, pid: true }).extend({ token: z.number().int() })
