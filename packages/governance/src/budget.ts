import { type Limits, MusterError } from '@muster/protocol'

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
