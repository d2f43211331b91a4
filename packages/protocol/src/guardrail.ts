import { z } from 'zod'

/** A guardrail of Amazon Bedrock that sees what models are sent and what they write. */
export const guardrailSetting = z.strictObject({
  id: z.string().min(1).max(2048),
  version: z.string().min(1).max(64),
  region: z.string().regex(/^[a-z0-9-]{1,32}$/, 'a region of AWS, such as eu-central-1'),
  endpoint: z.url({ protocol: /^https?$/ }).optional(),
})
export type GuardrailSetting = z.infer<typeof guardrailSetting>

/** How often a guardrail has found what, such as `pii.EMAIL`. */
export const guardrailCounts = z.record(z.string().max(128), z.number().int().positive())
export type GuardrailCounts = z.infer<typeof guardrailCounts>
