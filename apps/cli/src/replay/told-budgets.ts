import { budgetsOf } from '@muster/governance'
import { type AuditRecord, type BudgetAmounts, type BudgetsByName, budgetsByName, type PERIODS } from '@muster/protocol'

type Period = (typeof PERIODS)[number]

interface Worker {
  tenant: string
  /** Undefined where it has not said which: of an earlier version, or with more than a record has. */
  budgets: BudgetsByName | undefined
  /** From when it said so until it was seen last, ms since the epoch. */
  from: number
  until: number
}

/** What a deployment allows by one name in one kind of period, at any time. */
export interface Allowed {
  /** By what a worker said of itself; undefined where it has not. */
  of(worker: string): { limits: BudgetAmounts | undefined } | undefined
  /**
   * The most runs that may have been allowed then, by servers, which say nothing and have the budgets that workers have:
   * of those that were there then, and that said so last before and first after. Undefined where it cannot be told.
   *
   * @param now what is allowed where nobody has said so after
   */
  runsAt(at: number, now: number): number | undefined
  /** Whether there ever was a quota of runs. */
  hasRuns: boolean
}

/** What the deployment allowed, by the workers that told of it in the record book: it is the same for as long as one lives. */
export class ToldBudgets {
  readonly #workers = new Map<string, Worker>()

  /** A record `policy.used`. */
  record({ by, at, tenant, about }: AuditRecord): void {
    const { data: budgets } = budgetsByName.safeParse(about.budgets)
    const { from, until } = this.#workers.get(by.key) ?? { from: at, until: at }
    this.#workers.set(by.key, { tenant, budgets, from: Math.min(from, at), until: Math.max(until, at) })
  }

  /** A worker did something then. */
  saw(worker: string, at: number): void {
    const known = this.#workers.get(worker)
    if (known && at > known.until) known.until = at
  }

  get isAny(): boolean {
    return [...this.#workers.values()].some(({ budgets = {} }) => Object.keys(budgets).length > 0)
  }

  /** Whether any has a budget by this name. */
  isNamed(name: string): boolean {
    return [...this.#workers.values()].some(
      ({ budgets = {}, tenant }) => budgetsOf(budgets, undefined, tenant, [name], 0).length > 0,
    )
  }

  allowed(name: string, period: Period): Allowed {
    const limits = new Map<string, { limits: BudgetAmounts | undefined }>()
    const quotas: { from: number; until: number; runs: number | undefined }[] = []
    for (const [worker, { budgets, tenant, from, until }] of this.#workers) {
      const all = budgetsOf(budgets ?? {}, undefined, tenant, [name], 0)
      const own = all.find((one) => one.period === period)?.limits
      if (budgets) limits.set(worker, { limits: own })
      quotas.push({ from, until, runs: budgets && (own?.runs ?? Number.POSITIVE_INFINITY) })
    }
    quotas.sort((a, b) => a.from - b.from)
    return {
      of: (worker) => limits.get(worker),
      runsAt(at, now) {
        const next = quotas.find(({ from }) => from > at)
        const before = quotas.filter(({ from }) => from <= at)
        const last = before.at(-1)
        if (!last) return undefined
        return mostOf([...before.filter(({ until }) => until >= at), last, next ?? { runs: now }])
      },
      hasRuns: quotas.some(({ runs = Number.POSITIVE_INFINITY }) => Number.isFinite(runs)),
    }
  }
}

function mostOf(quotas: readonly { runs: number | undefined }[]): number | undefined {
  let most: number | undefined
  for (const { runs } of quotas) {
    if (runs === undefined) return undefined
    most = Math.max(most ?? 0, runs)
  }
  return most
}
