import { z } from 'zod'

/** What costs are told by. */
export const COSTS_BY = ['model', 'provider', 'agent', 'user', 'team', 'key'] as const
export type CostsBy = (typeof COSTS_BY)[number]

const counts = {
  calls: z.number(),
  inputTokens: z.number(),
  outputTokens: z.number(),
  cachedTokens: z.number(),
}
const amounts = { usd: z.number(), ...counts }

/** What model calls cost, of a day or month (UTC), the dearest first. */
export const costs = z.object({
  by: z.enum(COSTS_BY),
  period: z.enum(['day', 'month']),
  /** `2026-11-28` or `2026-11`. */
  date: z.string(),
  costs: z.array(z.object({ name: z.string(), ...amounts })),
  total: z.object(amounts),
  days: z
    .array(z.object({ date: z.string(), ...amounts }))
    .describe('each day of it, in order: one, or those of a month'),
})
export type Costs = z.infer<typeof costs>

/** What a run's calls of one day (`2026-11-28`, UTC) have cost that have all names in common. All amounts are integers. */
export const costLine = z.object({
  day: z.string(),
  names: z.object({
    model: z.string(),
    provider: z.string(),
    agent: z.string(),
    user: z.string(),
    /** Archived before teams, or keys, were told of it is not known: it counts as nobody's. */
    team: z.string().default(''),
    /** The id of the key that the run was begun with. */
    key: z.string().default(''),
  }),
  /** Billionths of a US dollar. */
  nanoUsd: z.number(),
  ...counts,
})
export type CostLine = z.infer<typeof costLine>

/** How far a tenant's costs are that are being made anew from the journals of its runs. */
export const costsRebuild = z.object({
  id: z.string(),
  done: z.boolean().describe('the costs told from here on are those made anew; ask again until then'),
  runs: z.number().describe('archived runs that were looked at'),
})
export type CostsRebuild = z.infer<typeof costsRebuild>

/** For so many days costs are known. */
const DAYS_MAX = 1100
const DAY_MS = 86_400_000

/** Amounts that are promised to a provider until a day, this included (UTC); of one tenant where that is named. */
export const commitments = z.record(
  z.string().min(1).max(200),
  z
    .strictObject({
      provider: z.string().min(1).max(256),
      usd: z.number().positive().max(1e12),
      from: z.iso.date(),
      until: z.iso.date(),
      tenant: z.string().min(1).max(256).optional(),
    })
    .superRefine(({ from, until }, context) => {
      const days = (Date.parse(until) - Date.parse(from)) / DAY_MS + 1
      const message =
        days < 1 ? 'is before `from`' : days > DAYS_MAX ? `is more than ${DAYS_MAX} days after \`from\`` : undefined
      if (message !== undefined) context.addIssue({ code: 'custom', path: ['until'], message })
    }),
)
export type Commitments = Readonly<z.infer<typeof commitments>>

/** How far a commitment is drawn down. */
export const commitmentState = z.object({
  name: z.string(),
  provider: z.string(),
  usd: z.number(),
  from: z.string(),
  until: z.string(),
  spentUsd: z.number(),
  /** Below 0 where more was used than is committed. */
  leftUsd: z.number(),
  /** Mean of the last 28 days, or of those since it began. */
  usdPerDay: z.number(),
  /** What will have been used at its end, if it goes on so. */
  forecastUsd: z.number(),
  /** The day on which it is used up, if it goes on so; absent where that is after its end. */
  usedUpOn: z.string().optional(),
})
export type CommitmentState = z.infer<typeof commitmentState>
