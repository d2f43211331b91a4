import {
  BUDGET_AMOUNTS,
  type Budget,
  type BudgetAmounts,
  type BudgetsByName,
  type Limits,
  MusterError,
  PERIODS,
} from '@muster/protocol'

/** What a run has used so far. */
export interface Spent {
  usd: number
  tokens: number
  steps: number
  startedAt: number
}

/**
 * Checks a run's limits before a step starts.
 *
 * @param reserveUsd the most that the step may cost, so that the limit holds before it is known
 * @throws MusterError `budget.exceeded` or `run.deadline`
 */
export function checkBudget(limits: Limits, spent: Spent, now: number, reserveUsd = 0): void {
  if (limits.steps !== undefined && spent.steps >= limits.steps) {
    throw new MusterError('budget.exceeded', `the run has taken its ${limits.steps} steps`)
  }
  if (limits.usd !== undefined && spent.usd + reserveUsd > limits.usd) {
    throw new MusterError(
      'budget.exceeded',
      `the run has cost $${spent.usd.toFixed(4)} and the step may cost $${reserveUsd.toFixed(4)}, of $${limits.usd}`,
    )
  }
  if (limits.tokens !== undefined && spent.tokens >= limits.tokens) {
    throw new MusterError('budget.exceeded', `the run has used ${spent.tokens} of ${limits.tokens} tokens`)
  }
  if (limits.wallTimeMs !== undefined && now - spent.startedAt > limits.wallTimeMs) {
    throw new MusterError('run.deadline', `the run has taken longer than ${limits.wallTimeMs} ms`)
  }
}

/** The stricter of two limits, each by each. */
export function tightest(a: Limits, b: Limits): Limits {
  const limits: Limits = { ...a }
  for (const key of ['usd', 'steps', 'tokens', 'wallTimeMs', 'children', 'depth'] as const) {
    const value = b[key]
    if (value !== undefined) limits[key] = Math.min(limits[key] ?? value, value)
  }
  return limits
}

/** A budget of a tenant, or of one of its agents or plans, in the period that now is. */
export interface PeriodBudget {
  /** `tenant`, or `agent:` or `plan:` and a name. */
  name: string
  period: (typeof PERIODS)[number]
  /** The period's date in UTC: `2026-11-28` or `2026-11`. */
  date: string
  /** When the next begins, ms since the epoch. */
  endsAt: number
  limits: BudgetAmounts
}

/**
 * The budgets of a tenant that hold for what bears these names: what the deployment configures, what was set for the
 * tenant, and of both the tighter.
 */
export function budgetsOf(
  configured: BudgetsByName,
  set: ReadonlyMap<string, Budget> | undefined,
  tenant: string,
  names: readonly string[],
  now: number,
): PeriodBudget[] {
  return names.flatMap((name) => {
    const key = name === 'tenant' ? `tenant:${tenant}` : name
    const others = `${key.slice(0, key.indexOf(':'))}:*`
    const ours = Object.hasOwn(configured, key) ? configured[key] : configured[others]
    const own = set?.get(name)
    return PERIODS.flatMap((period) => {
      const limits = tightestAmounts(ours?.[period], own?.[period])
      return limits ? [{ name, period, ...periodOf(period, now), limits }] : []
    })
  })
}

function tightestAmounts(a: BudgetAmounts | undefined, b: BudgetAmounts | undefined): BudgetAmounts | undefined {
  if (!a || !b) return a ?? b
  const both: BudgetAmounts = { ...a }
  for (const amount of BUDGET_AMOUNTS) {
    const value = b[amount]
    if (value !== undefined) both[amount] = Math.min(both[amount] ?? value, value)
  }
  return both
}

interface Period {
  date: string
  startsAt: number
  endsAt: number
}

/** As it was last: it is asked for with every step, and changes once a day. */
const last: { [Name in PeriodBudget['period']]?: Period } = {}

function periodOf(period: PeriodBudget['period'], now: number): Omit<Period, 'startsAt'> {
  let found = last[period]
  if (!found || now < found.startsAt || now >= found.endsAt) {
    found = periodAt(period, now)
    last[period] = found
  }
  const { date, endsAt } = found
  return { date, endsAt }
}

function periodAt(period: PeriodBudget['period'], now: number): Period {
  const date = new Date(now).toISOString()
  const [year = 0, month = 0, day = 0] = date.slice(0, 10).split('-').map(Number)
  return period === 'day'
    ? { date: date.slice(0, 10), startsAt: Date.UTC(year, month - 1, day), endsAt: Date.UTC(year, month - 1, day + 1) }
    : { date: date.slice(0, 7), startsAt: Date.UTC(year, month - 1), endsAt: Date.UTC(year, month, 1) }
}
