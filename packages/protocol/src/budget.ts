import { z } from 'zod'
import type { Actor, EntryOf } from './entry.ts'

/** What can be used up. Money in US dollars, tokens of models in and out, steps, time that steps take (ms), runs begun. */
export const budgetAmounts = z.strictObject({
  usd: z.number().positive().max(1e6).optional(),
  tokens: z.number().int().positive().max(1e15).optional(),
  steps: z.number().int().positive().max(1e15).optional(),
  wallTimeMs: z.number().int().positive().max(1e15).optional(),
  runs: z.number().int().positive().max(1e15).optional(),
})
export type BudgetAmounts = z.infer<typeof budgetAmounts>
export const BUDGET_AMOUNTS = ['usd', 'tokens', 'steps', 'wallTimeMs', 'runs'] as const

/** How much may be used in a day and in a calendar month, both of UTC. */
export const budget = z
  .strictObject({ day: budgetAmounts.optional(), month: budgetAmounts.optional() })
  .refine(({ day, month }) => day !== undefined || month !== undefined, 'give a day or a month')
export type Budget = z.infer<typeof budget>
export const PERIODS = ['day', 'month'] as const

/**
 * Of what in a tenant a budget or a stop is: the tenant itself, or the agent, plan, tool or model of that name; a budget
 * also of all runs that a key, a user or a team has begun.
 */
export const budgetName = z
  .string()
  .max(256)
  .regex(/^(tenant|(agent|plan|key|user|team):.+)$/s, 'is "tenant", or agent:, plan:, key:, user: or team: and a name')
export const stopName = z
  .string()
  .max(256)
  .regex(/^(tenant|(agent|plan|tool|model):.+)$/s, 'is "tenant", or agent:, plan:, tool: or model: and a name')

/**
 * Budgets of a deployment: `tenant:`, `agent:`, `plan:`, `key:`, `user:` or `team:` and a name, `*` for every other one.
 * Those but of tenants hold for each tenant by itself.
 */
export const budgetsByName = z.record(
  z
    .string()
    .max(256)
    .regex(
      /^(tenant|agent|plan|key|user|team):.+$/s,
      'a name is tenant:, agent:, plan:, key:, user: or team: and then which one, or *',
    ),
  budget,
)
export type BudgetsByName = Readonly<z.infer<typeof budgetsByName>>

/** What budgets a run's steps are under, besides its tenant's. */
export function budgetNames({ definition, by }: Pick<EntryOf<'run.created'>, 'definition' | 'by'>): string[] {
  return [`${definition.kind}:${definition.name}`, ...callerNames(by)]
}

/** Under which names who asks has budgets and limits, besides its tenant's. */
export function callerNames({ key, user, team }: Pick<Actor, 'key' | 'user' | 'team'>): string[] {
  return [`key:${key}`, `user:${user}`, ...(team === undefined ? [] : [`team:${team}`])]
}

/** A budget as it stands. */
export const budgetState = z.object({
  name: z.string(),
  period: z.enum(PERIODS),
  limits: budgetAmounts,
  /** Used, and set aside for what is under way. */
  spent: z.record(z.string(), z.number()),
  held: z.record(z.string(), z.number()),
  /** When it begins anew, ms since the epoch. */
  endsAt: z.number(),
})
export type BudgetState = z.infer<typeof budgetState>

/** Something that is stopped: by whom, when (ms since the epoch) and why. */
export const stop = z.object({ name: z.string(), by: z.string(), at: z.number(), reason: z.string().optional() })
export type Stop = z.infer<typeof stop>
