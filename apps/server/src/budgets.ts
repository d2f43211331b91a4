import { budgetsOf, type PeriodBudget } from '@muster/governance'
import { type Amounts, type Controls, type Journal, Spend } from '@muster/journal'
import {
  type Budget,
  type BudgetState,
  type BudgetsByName,
  budgetNames,
  type EntryOf,
  MusterError,
  newId,
} from '@muster/protocol'
import { budgetAccount } from '@muster/runtime'

/** A run that is not known to have been created after so long counts, ms. */
const HELD_MS = 60_000
const ONE_RUN: Amounts = [0, 0, 0, 0, 1]
const NO_RUN: Amounts = [0, 0, 0, 0, 0]

/** To be called where none was begun after all. */
export type GiveBack = () => Promise<void>

const nothingTaken: GiveBack = () => Promise.resolve()

type Begun = Pick<EntryOf<'run.created'>, 'tenant' | 'definition' | 'by'>

/** What tenants may still use, and whether they may begin a run. */
export class Budgets {
  readonly #journal: Journal
  readonly #controls: Controls
  readonly #configured: BudgetsByName
  /** Some configured budget counts runs. */
  readonly #countsRuns: boolean
  readonly #spend: Spend

  constructor(journal: Journal, controls: Controls, configured: BudgetsByName) {
    this.#journal = journal
    this.#controls = controls
    this.#configured = configured
    this.#countsRuns = countsRuns(Object.values(configured))
    this.#spend = new Spend(journal)
  }

  /**
   * Counts a run that is about to be created; what it gives is to be called where none was after all.
   *
   * @throws MusterError `quota.exceeded` with how long to wait
   */
  takeRun(run: Begun): GiveBack | Promise<GiveBack> {
    const isCounted = this.#countsRuns || countsRuns(this.#controls.budgets(run.tenant)?.values() ?? [])
    return isCounted ? this.#takeRun(run) : nothingTaken
  }

  async #takeRun(run: Begun): Promise<GiveBack> {
    const { tenant } = run
    const now = Date.now()
    const budgets = this.#of(tenant, ['tenant', ...budgetNames(run)], now)
    if (!budgets.some(({ limits }) => limits.runs !== undefined)) return nothingTaken
    const accounts = budgets.map((one) => budgetAccount(tenant, one))
    const id = newId()
    const ask = { id, until: now + HELD_MS, ask: ONE_RUN, need: ONE_RUN }
    const answer = await this.#spend.reserve(accounts, ask)
    if ('refused' in answer) {
      const { account, spent, held } = answer.refused
      const place = accounts.findIndex(({ name }) => name === account.name)
      throw new MusterError(
        'quota.exceeded',
        `${accounts[place]?.about ?? account.name}: ${spent + held} of ${account.limits[4]} runs begun`,
        { retryAfterMs: Math.max((budgets[place]?.endsAt ?? now) - now, 1000) },
      )
    }
    // It counts from here on; only where it turns out that there is none it does not.
    await this.#spend.settle(accounts, id, ONE_RUN)
    return async () => {
      const again = `${id}/back`
      await this.#spend.reserve(accounts, { id: again, until: now + HELD_MS, ask: NO_RUN, need: NO_RUN })
      await this.#spend.settle(accounts, again, [0, 0, 0, 0, -1])
    }
  }

  /** Of all that have a budget, unless names are given. */
  async states(tenant: string, names?: readonly string[]): Promise<BudgetState[]> {
    const budgets = this.#of(tenant, names ?? (await this.#names(tenant)), Date.now())
    return Promise.all(
      budgets.map(async (one) => {
        const { name, period, endsAt, limits } = one
        const { spent, held } = await this.#spend.read(budgetAccount(tenant, one))
        return { name, period, limits, endsAt, spent: shown(spent), held: shown(held) }
      }),
    )
  }

  async #names(tenant: string): Promise<string[]> {
    const { definitions } = await this.#journal.manifest()
    const set = this.#controls.budgets(tenant)?.keys() ?? []
    const ofWho = Object.keys(this.#configured).filter((name) => /^(key|user|team):/.test(name) && !name.endsWith(':*'))
    return [...new Set(['tenant', ...definitions.map(({ kind, name }) => `${kind}:${name}`), ...ofWho, ...set])].sort()
  }

  #of(tenant: string, names: readonly string[], now: number): PeriodBudget[] {
    return budgetsOf(this.#configured, this.#controls.budgets(tenant), tenant, names, now)
  }
}

function countsRuns(budgets: Iterable<Budget | undefined>): boolean {
  for (const budget of budgets) if (budget?.day?.runs !== undefined || budget?.month?.runs !== undefined) return true
  return false
}

function shown([nanoUsd, tokens, steps, wallTimeMs, runs]: Amounts): BudgetState['spent'] {
  return { usd: nanoUsd / 1e9, tokens, steps, wallTimeMs, runs }
}
