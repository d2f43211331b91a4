import { z } from 'zod'

const rate = z.number().positive().max(1e9)
const places = {
  /** Steps at once. */
  concurrency: z.number().int().positive().max(1_000_000).optional(),
  requestsPerMinute: rate.optional(),
  /** How much may come at once after a pause, as the time in which it is earned; 10,000 ms unless given. */
  burstMs: z.number().positive().max(3_600_000).optional(),
}
const withoutTokens = z.strictObject(places)
const withTokens = z.strictObject({ ...places, tokensPerMinute: rate.optional() })

/**
 * Limits by what they hold for, over all workers together: `tenant:<name>`, `agent:<name>`, `plan:<name>` (steps of its
 * runs), `user:<name>`, `team:<name>`, `key:<id>` (model calls of runs that they began, in each tenant on its own),
 * `tool:<name>` or `model:<route>`. `*` instead of a name is for every other one of its class, each on its own.
 */
export const limitsByName = z.record(z.string().max(256), withTokens).superRefine((limits, context) => {
  for (const [name, value] of Object.entries(limits)) {
    const [, kind] = /^(tenant|agent|plan|user|team|key|tool|model):./.exec(name) ?? []
    if (kind === undefined)
      context.addIssue({
        code: 'custom',
        path: [name],
        message: 'a name is tenant:, agent:, plan:, user:, team:, key:, tool: or model: and then which one, or *',
      })
    else if (kind === 'tool' && !withoutTokens.safeParse(value).success)
      context.addIssue({ code: 'custom', path: [name, 'tokensPerMinute'], message: 'a tool uses no tokens' })
  }
})
export type LimitsByName = Readonly<z.infer<typeof limitsByName>>

/** Limits that a tenant may have set while everything runs: of each of its keys one. */
export const LIMITS_MAX = 10_000

/** How many model calls at once and per minute, as an operator sets it while everything runs. */
export const limit = withTokens.refine(
  ({ concurrency, requestsPerMinute, tokensPerMinute }) =>
    concurrency !== undefined || requestsPerMinute !== undefined || tokensPerMinute !== undefined,
  'give concurrency, requestsPerMinute or tokensPerMinute',
)
export type Limit = z.infer<typeof limit>

/** Of what: the steps of the tenant's runs, or the model calls of runs that a key, a user or a team has begun. */
export const limitName = z
  .string()
  .max(256)
  .regex(/^(tenant|(key|user|team):.+)$/s, 'is "tenant", or key:, user: or team: and a name, or * for every other one')

/** A limit that was set: by whom and when (ms since the epoch). */
export const setLimit = z.object({ name: z.string(), limit, by: z.string(), at: z.number() })
export type SetLimit = z.infer<typeof setLimit>
