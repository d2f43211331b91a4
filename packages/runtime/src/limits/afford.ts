import type { Json, Usage } from '@muster/protocol'
import type { ActiveRun } from '../run/active-run.ts'
import type { StepState } from '../step/step.ts'
import type { Funds } from './spending.ts'

/**
 * Sets aside what a step may use, of its run's own limits and of what the run draws on with others. False where that is
 * not done at once: the step is begun again when it is.
 *
 * @throws MusterError `budget.exceeded`, `run.deadline`, or `model.no_price` where money is limited
 */
export function afford(run: ActiveRun, step: StepState, input: Json): boolean {
  if (step.refused) {
    const { refused } = step
    step.refused = undefined
    throw refused
  }
  if (step.funds) return true
  const { limits } = run
  const { reserveUsd, reserveTokens } = step.spec.operation
  const accounts = run.services.spending.accountsOf(run)
  const usd = limits.usd === undefined && !accounts?.limitsUsd ? 0 : (reserveUsd?.(input) ?? 0)
  run.funds.check(usd)
  const isCounted = accounts !== undefined || limits.usd !== undefined || limits.tokens !== undefined
  if (!isCounted || (accounts === undefined && !reserveUsd)) return true
  // What is under way may turn out to use less than was set aside for it.
  if (reserveUsd && run.funds.held.calls > 0 && !run.funds.covers(usd)) {
    run.funds.await(step)
    return false
  }
  const tokens = reserveTokens?.(input) ?? 0
  const funds: Funds = { usd, tokens, accounts, fromPurse: false, reservation: undefined }
  step.funds = funds
  if (reserveUsd) run.funds.held.add(usd, tokens, 1)
  return run.services.spending.take(run, step, funds, (refused) => {
    if (step.funds !== funds || run.over || step.outcome) {
      // Who ended it may have settled what was not there yet.
      if (step.funds === funds) settleFunds(run, step, NOTHING)
      else run.services.spending.settle(funds, NOTHING)
      return
    }
    run.services.telemetry.waited('budget', run.services.clock() - step.beganAt)
    if (refused) settleFunds(run, step, NOTHING)
    step.refused = refused
    run.begin(step)
  })
}

/** What a step has used. `ms`: that it took itself. */
export interface Used {
  steps: 0 | 1
  ms: number
  costUsd: number
  usage: Usage | undefined
}

/** Of a step that did not begin. */
export const NOTHING: Used = { steps: 0, ms: 0, costUsd: 0, usage: undefined }

function untilNow({ spec, call }: StepState): Used {
  // What a tool has used elsewhere was paid there.
  const { usage, costUsd = 0 } = (spec.operation.kind === 'model' ? call?.used : undefined) ?? {}
  return { steps: 1, ms: 0, costUsd, usage }
}

/** The step has used so much of what was set aside. `all`: it was cut off, and nobody knows what else it has used. */
export function settleFunds(run: ActiveRun, step: StepState, used: Used | 'all'): void {
  const { funds } = step
  if (!funds) return
  step.funds = undefined
  if (used === 'all') run.services.spending.settle(funds, untilNow(step), true)
  else run.services.spending.settle(funds, used)
  if (!step.spec.operation.reserveUsd) return
  run.funds.release(funds.usd, funds.tokens)
}
