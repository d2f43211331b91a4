import { checkBudget, tightest } from '@muster/governance'
import { CHILDREN_MAX, DEPTH_MAX, type EntryOf, type Limits, MusterError } from '@muster/protocol'
import type { ActiveRun } from '../run/active-run.ts'
import type { StepState } from '../step/step.ts'
import type { Accounts } from './spending.ts'

type Shares = NonNullable<EntryOf<'run.created'>['shares']>

const NO_SHARES: Shares = []

/** What a run may use by its own limits, and what of that is set aside for calls or left to the runs that it begins. */
export class RunFunds {
  readonly #run: ActiveRun
  /** For calls that are under way. */
  readonly held = new Held()
  /** What it draws on with others, as known last. */
  drawsOn: { accounts: Accounts | undefined; version: string | null; until: number } | undefined
  /** Child runs that it has started. */
  children = 0
  #shares: Shares | undefined
  /** Steps that wait until others give back what they have set aside. */
  readonly #waiting = new Set<StepState>()

  constructor(run: ActiveRun) {
    this.#run = run
  }

  /** Runs whose money and tokens its steps use: those above it, and itself once others do so too. */
  get shares(): Shares {
    const { created, limits, id } = this.#run
    const above = created.shares ?? NO_SHARES
    const { usd, tokens } = limits
    if (this.children === 0 || (usd === undefined && tokens === undefined)) return above
    this.#shares ??= [
      ...above,
      { run: id, ...(usd === undefined ? {} : { usd }), ...(tokens === undefined ? {} : { tokens }) },
    ]
    return this.#shares
  }

  /**
   * One child run more, which gets what is left of the run's money, tokens, time and depth.
   *
   * @throws MusterError `child.too_many` or `child.too_deep`
   */
  limitsOfChild(of: Limits): Limits {
    const { limits, totals, startedAt, services } = this.#run
    const { usd, tokens, wallTimeMs, children = CHILDREN_MAX, depth = DEPTH_MAX } = limits
    if (depth < 1) throw new MusterError('child.too_deep', 'a run on this level may start no child run')
    if (this.children >= children)
      throw new MusterError('child.too_many', `the run has started its ${children} child runs`)
    this.children++
    this.drawsOn = undefined
    const { costUsd, inputTokens, outputTokens } = totals
    return tightest(of, {
      depth: depth - 1,
      ...(tokens === undefined ? {} : { tokens: Math.max(tokens - inputTokens - outputTokens, 1) }),
      ...(usd === undefined ? {} : { usd: Math.max(usd - costUsd, 1e-6) }),
      ...(wallTimeMs === undefined ? {} : { wallTimeMs: Math.max(wallTimeMs - (services.clock() - startedAt), 1) }),
    })
  }

  /** @throws MusterError `budget.exceeded` or `run.deadline` */
  check(reserveUsd: number): void {
    const { totals, startedAt, limits, services } = this.#run
    const { costUsd, inputTokens, outputTokens, steps } = totals
    const spent = { usd: costUsd, tokens: inputTokens + outputTokens, steps, startedAt }
    checkBudget(limits, spent, services.clock(), reserveUsd)
  }

  /** Whether there is enough for one call more, when those under way use all that was set aside for them. */
  covers(reserveUsd: number): boolean {
    const { costUsd, inputTokens, outputTokens } = this.#run.totals
    const { usd, tokens } = this.#run.limits
    if (usd !== undefined && costUsd + this.held.usd + reserveUsd > usd) return false
    return tokens === undefined || inputTokens + outputTokens + this.held.tokens < tokens
  }

  /** The step is begun again when one that is under way has used less than was set aside for it. */
  await(step: StepState): void {
    this.#waiting.add(step)
  }

  /** A call has ended, for which so much was set aside. */
  release(usd: number, tokens: number): void {
    this.held.add(usd, tokens, -1)
    if (this.#waiting.size === 0) return
    const steps = [...this.#waiting]
    this.#waiting.clear()
    // Later, since whoever gives back is in the middle of something.
    setImmediate(() => {
      for (const step of steps) if (!step.outcome) this.#run.begin(step)
    })
  }
}

/** What a run's calls that are under way have set aside of its own limits. */
class Held {
  usd = 0
  tokens = 0
  calls = 0

  add(usd: number, tokens: number, calls: 1 | -1): void {
    this.usd += calls * usd
    this.tokens += calls * tokens
    this.calls += calls
    // What was added and taken off in another order leaves crumbs.
    if (this.calls === 0) this.usd = 0
  }
}
