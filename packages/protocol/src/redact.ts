import { z } from 'zod'

/** Name of what is found: that of a detector, such as `email`, or a user's own. */
export const kindName = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,31}$/, 'lower-case letters, digits and "-", at most 32, beginning with a letter')

/** `mask`: gone for good. `token`: can be restored for a tool that reveals the kind. `keep`: not looked for. */
const redactAction = z.enum(['mask', 'token', 'keep'])
export type RedactAction = z.infer<typeof redactAction>

/** What is taken out of everything that is stored, or sent to a model. */
export const redactRules = z.strictObject({
  /** By kind; `mask` for those not named. */
  kinds: z.record(kindName, redactAction).default({}),
  /** Users' own, as RE2 reads them: linear time, so neither look-around nor back-references. */
  patterns: z
    .array(z.strictObject({ kind: kindName, pattern: z.string().min(1).max(1000) }))
    .max(50)
    .default([]),
  /** Where telephone numbers are from that have no `+`: ISO 3166-1 alpha-2. */
  countries: z
    .array(z.string().regex(/^[A-Z]{2}$/, 'a country as two capital letters'))
    .max(10)
    .default([]),
})
export type RedactRules = z.infer<typeof redactRules>

/** How often each kind was found: never what. */
export const redactCounts = z.record(kindName, z.number().int().positive())
export type RedactCounts = z.infer<typeof redactCounts>

/** Counts of both. */
export function joinCounts(a: RedactCounts | undefined, b: RedactCounts | undefined): RedactCounts | undefined {
  if (!a || !b) return a ?? b
  const joined = { ...a }
  for (const [kind, count] of Object.entries(b)) joined[kind] = (joined[kind] ?? 0) + count
  return joined
}
