import { budgetsOf, type PeriodBudget } from '@muster/governance'
import type { Amounts, Controls, Spend, SpendAccount, SpendAnswer } from '@muster/journal'
import { type BudgetAmounts, type BudgetsByName, budgetNames, MusterError, type Usage } from '@muster/protocol'
import type { Logger } from 'pino'
import type { ActiveRun } from '../run/active-run.ts'
import type { StepState } from '../step/step.ts'
import type { Used } from './afford.ts'
import { type Advance, CallPurse } from './call-purse.ts'
import { Purse } from './purse.ts'

/**
 * Budgets that hold over all workers: of tenants, agents and plans for a day or a month, and of runs together with the
 * runs that they have begun. What a model call may cost is set aside before it and settled after; steps and their time
 * are taken from a purse, so that they cost no round trip, and so are calls where there are many.
 */

/** How long a call's reservation outlives the call's own time limit, ms. */
const GRACE_MS = 60_000
/** The first and the longest pause before it is asked again whether others have given back what they had set aside, ms. */
const PAUSE_MS = { first: 50, longest: 1000 }
const DAY_S = 86_400
const KEPT_S = { day: 40 * DAY_S, month: 400 * DAY_S }
const AMOUNTS = ['money', 'tokens', 'steps', 'time', 'runs'] as const
/** Lists of accounts that are kept before all are made anew. */
const LISTS_MAX = 10_000

/** The accounts that a run's steps draw on. */
export interface Accounts {
  all: readonly (SpendAccount & { about: string })[]
  limitsCalls: boolean
  /** Where money is limited, prices must be known. */
  limitsUsd: boolean
  purse: Purse | undefined
  calls: CallPurse | undefined
}

/** What a step has set aside. */
export interface Funds {
  /** Of the run's own limits. */
  usd: number
  tokens: number
  accounts: Accounts | undefined
  /** It has taken a step from the purse. */
  fromPurse: boolean
  /** A reservation in all accounts, or what of another was taken. */
  reservation: string | Advance | undefined
}

interface SpendingOptions {
  spend: Spend
  controls: Controls
  budgets: BudgetsByName
  clock: () => number
  log: Logger
}

export class Spending {
  readonly #options: SpendingOptions
  readonly #isConfigured: boolean
  #lists = new Map<string, { accounts: Accounts | undefined; until: number }>()
  #version: string | null = null

  constructor(options: SpendingOptions) {
    this.#options = options
    this.#isConfigured = Object.keys(options.budgets).length > 0
  }

  /** What the run's steps draw on now; undefined where nothing but its own limits holds. */
  accountsOf(run: ActiveRun): Accounts | undefined {
    const { controls } = this.#options
    const { funds } = run
    const { shares, drawsOn } = funds
    const set = controls.budgets(run.tenant)
    if (!this.#isConfigured && !set && shares.length === 0) return undefined
    const now = this.#options.clock()
    if (drawsOn && drawsOn.version === controls.version && now < drawsOn.until) return drawsOn.accounts
    const { accounts, until } = this.#list(run, now)
    funds.drawsOn = { accounts, until, version: controls.version }
    return accounts
  }

  /** Shared by all runs that draw on the same. */
  #list({ tenant, funds, created }: ActiveRun, now: number): { accounts: Accounts | undefined; until: number } {
    const { controls } = this.#options
    const { shares } = funds
    if (this.#version !== controls.version || this.#lists.size >= LISTS_MAX) {
      this.#version = controls.version
      this.#lists = new Map()
    }
    const names = ['tenant', ...budgetNames(created)]
    const key = JSON.stringify([tenant, names, ...shares.map(({ run }) => run)])
    const known = this.#lists.get(key)
    if (known && now < known.until) return known
    const budgets = budgetsOf(this.#options.budgets, controls.budgets(tenant), tenant, names, now)
    const all = [
      ...budgets.map((budget) => budgetAccount(tenant, budget)),
      ...shares.map(({ run: id, ...limits }) => ({
        ...accountOf(tenant, id, limits),
        about: `the budget of run ${id}`,
      })),
    ]
    const accounts = all.length === 0 ? undefined : this.#open(all)
    const until = Math.min(...budgets.map(({ endsAt }) => endsAt))
    const list = { accounts, until }
    this.#lists.set(key, list)
    return list
  }

  #open(all: Accounts['all']): Accounts {
    const limits = (amount: number) => all.some((account) => (account.limits[amount] ?? -1) >= 0)
    const isLimiting = limits(2) || limits(3)
    const purse = isLimiting ? new Purse(this.#options.spend, all, this.#options) : undefined
    const limitsCalls = limits(0) || limits(1)
    const calls = limitsCalls ? new CallPurse(all, this.#options) : undefined
    return { all, limitsUsd: limits(0), limitsCalls, purse, calls }
  }

  /** The run has children that use its money and tokens too: what it has used itself counts. */
  async share(run: ActiveRun): Promise<void> {
    const { usd, tokens } = run.limits
    const { costUsd, inputTokens, outputTokens } = run.totals
    const account = accountOf(run.tenant, run.id, { usd, tokens })
    await this.#options.spend.atLeast([account], [nano(costUsd), inputTokens + outputTokens, 0, 0, 0])
  }

  /**
   * Sets aside what a step may use. True where that is done at once; otherwise `then` is called when it is, or with why
   * it cannot be.
   */
  take(run: ActiveRun, step: StepState, funds: Funds, then: (refused?: MusterError) => void): boolean {
    const { accounts } = funds
    if (!accounts) return true
    const isCall = step.spec.operation.reserveUsd !== undefined && accounts.limitsCalls
    if (accounts.purse && !funds.fromPurse) {
      const isTaken = accounts.purse.take((refused) => {
        if (refused) then(refusal(accounts, refused))
        else {
          funds.fromPurse = true
          if (!isCall || this.#draw(step, funds)) then()
          else this.#reserve(run, step, funds, accounts, then)
        }
      })
      if (!isTaken) return false
      funds.fromPurse = true
    }
    if (!isCall || this.#draw(step, funds)) return true
    this.#reserve(run, step, funds, accounts, then)
    return false
  }

  /** From what is set aside already. */
  #draw(step: StepState, funds: Funds): boolean {
    const need = { usd: nano(funds.usd), tokens: funds.tokens }
    funds.reservation = funds.accounts?.calls?.take(need, this.#until(step))
    return funds.reservation !== undefined
  }

  #until({ spec }: StepState): number {
    return this.#options.clock() + (spec.timeoutMs ?? spec.operation.timeoutMs) + GRACE_MS
  }

  #reserve(
    run: ActiveRun,
    step: StepState,
    funds: Funds,
    accounts: Accounts,
    then: (refused?: MusterError) => void,
    pauseMs = PAUSE_MS.first,
  ): void {
    const { spend, log } = this.#options
    const id = `${run.id}/${step.spec.id}/${step.attempt}/${run.epoch}`
    const until = this.#until(step)
    const ask: Amounts = [nano(funds.usd), funds.tokens, 0, 0, 0]
    // Money is never overspent; tokens, of which more are guessed than used, by no more than one call.
    const need: Amounts = [nano(funds.usd), 1, 0, 0, 0]
    const again = () => {
      const timer = setTimeout(() => {
        if (run.over || step.outcome) return
        this.#reserve(run, step, funds, accounts, then, Math.min(2 * pauseMs, PAUSE_MS.longest))
      }, pauseMs)
      timer.unref()
    }
    spend.reserve(accounts.all, { id, until, ask, need }).then(
      (answer) => {
        if ('granted' in answer) {
          funds.reservation = id
          then()
        } else if (answer.refused.final) then(refusal(accounts, answer, funds))
        else again()
      },
      (error) => {
        log.warn({ run: run.id, step: step.spec.id, err: error }, 'budget not asked; it is tried again')
        again()
      },
    )
  }

  /** The step is over, or does not begin: so much was used. `isCut`: nobody knows what else, so what was set aside counts at least. */
  settle(funds: Funds, used: Used, isCut = false): void {
    const { accounts, reservation, fromPurse, usd, tokens } = funds
    if (!accounts) return
    // What is still on its way is settled when it is there.
    funds.fromPurse = false
    funds.reservation = undefined
    if (fromPurse) accounts.purse?.spend(used)
    if (reservation === undefined) return
    const { spend, log } = this.#options
    const taken = { usd: nano(usd), tokens }
    const told = { usd: nano(used.costUsd), tokens: tokensOf(used.usage) }
    const spent = isCut ? { usd: Math.max(taken.usd, told.usd), tokens: Math.max(taken.tokens, told.tokens) } : told
    if (typeof reservation !== 'string') {
      accounts.calls?.give(reservation, taken, spent)
      return
    }
    spend
      .settle(accounts.all, reservation, [spent.usd, spent.tokens, 0, 0, 0])
      .catch((error) => log.warn({ reservation, err: error }, 'budget not settled; what was set aside counts'))
  }

  /** Gives back what purses hold. */
  async close(): Promise<void> {
    const all = [...this.#lists.values()].map(({ accounts }) => accounts)
    await Promise.all(all.flatMap((accounts) => [accounts?.purse?.close(), accounts?.calls?.close()]))
  }
}

/** Where what was used of a budget is counted, by all workers and servers. */
export function budgetAccount(
  tenant: string,
  { name, period, date, endsAt, limits }: PeriodBudget,
): SpendAccount & { about: string } {
  const of = name === 'tenant' ? `tenant ${tenant}` : name
  return {
    tenant,
    name: `${name}:${date}`,
    limits: amountsOf(limits),
    keptS: KEPT_S[period],
    about: `the ${period}'s budget of ${of} (until ${new Date(endsAt).toISOString()})`,
  }
}

/** The account of a run and of all that are begun below it. */
function accountOf(tenant: string, run: string, limits: Pick<BudgetAmounts, 'usd' | 'tokens'>): SpendAccount {
  return { tenant, name: `run:${run}`, limits: amountsOf(limits), keptS: KEPT_S.day }
}

function amountsOf({ usd, tokens, steps, wallTimeMs, runs }: BudgetAmounts): Amounts {
  return [usd === undefined ? -1 : nano(usd), tokens ?? -1, steps ?? -1, wallTimeMs ?? -1, runs ?? -1]
}

/** Billionths of a dollar, rounded up, so that what costs something counts. */
function nano(usd: number): number {
  return Math.ceil(usd * 1e9 - 1e-6)
}

function tokensOf(usage: Usage | undefined): number {
  return usage ? usage.inputTokens + usage.outputTokens : 0
}

function refusal(
  { all }: Accounts,
  { refused: { account, amount, spent } }: Extract<SpendAnswer, { refused: unknown }>,
  asked?: Pick<Funds, 'usd'>,
): MusterError {
  const about = all.find(({ name }) => name === account.name)?.about ?? account.name
  const limit = account.limits[amount] ?? 0
  const used = amount === 0 ? `$${(spent / 1e9).toFixed(4)} of $${limit / 1e9}` : `${spent} of ${limit}`
  const may = amount === 0 && asked ? `, and the step may cost $${asked.usd.toFixed(4)}` : ''
  return new MusterError('budget.exceeded', `${about}: ${used} ${AMOUNTS[amount]} used${may}`)
}
