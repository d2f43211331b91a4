import {
  auditRecord,
  BUDGET_AMOUNTS,
  type Budget,
  type BudgetAmounts,
  budget,
  budgetAmounts,
  budgetName,
  budgetNames,
  type EntryOf,
  PERIODS,
  type RunEvent,
} from '@muster/protocol'
import { z } from 'zod'
import { jsonOf } from '../audit/export-files.ts'
import { type Allowed, ToldBudgets } from './told-budgets.ts'

type Amount = (typeof BUDGET_AMOUNTS)[number]
type Period = (typeof PERIODS)[number]
type Used = Record<Amount, number>

const NOTHING: Used = { usd: 0, tokens: 0, steps: 0, wallTimeMs: 0, runs: 0 }

/** So late workers may learn of another budget, or differ in their clocks, ms. */
const LATE_MS = 5000
/** Times beyond are none that a run can have had. */
const TIME_MAX = 8e15
/** What adding up in another order may differ by, in US dollars. */
const CRUMB_USD = 1e-6
/** After so long every worker has told of the time that its steps took, ms. */
const TOLD_MS = 20_000
/** What a worker may set aside at once of the time that is left. */
const PURSE = 1 / 16
/** Periods or workers that are named of many. */
const SHOWN_MAX = 5
const ASKED: ReadonlySet<string> = new Set(['tool', 'model', 'code', 'agent', 'memory'])

/** What the manifest of an export says of budgets. */
const manifestSchema = z.object({
  exportedAt: z.iso.datetime(),
  scope: z.object({ kind: z.string() }),
  missing: z.array(z.string()),
  budgets: z.array(z.object({ name: budgetName, period: z.enum(PERIODS), limits: budgetAmounts })).optional(),
})
type Manifest = z.infer<typeof manifestSchema>

interface Step extends Used {
  run: string
  seq: number
  begun: number
  ended: number
  worker: string
  /** What budgets its run is under, but the tenant's: of its agent or plan, and of who began it. */
  names: readonly string[]
}

/** From a time on, what an operator allowed: nothing is limited where there is no budget. */
interface Change {
  at: number
  budget: Budget | undefined
}

export interface BudgetFinding {
  run?: string
  seq?: number
  message: string
  /** It cannot be told. */
  unknown?: true
}

/**
 * Whether the runs of a tenant together stayed within the budgets of the tenant, its agents and its plans. What is worked
 * out is the least that can have been spent, and what is held against it the most that can have been allowed.
 */
export class TenantBudgets {
  readonly #manifest: Manifest | undefined
  readonly #changes = new Map<string, Change[]>()
  readonly #told = new ToldBudgets()
  readonly #steps: Step[] = []
  readonly #open = new Map<string, number>()
  /** Steps whose time is not what their outcome says: they have waited. */
  readonly #waited = new Set<string>()
  #run: { id: string; names: readonly string[]; worker: string } = { id: '', names: [], worker: '' }
  #records = 0

  constructor(manifest: unknown) {
    this.#manifest = manifestSchema.safeParse(manifest).data
  }

  /** A record of the tenant's record book, in its order. */
  record(bytes: string): void {
    const record = auditRecord.safeParse(jsonOf(bytes)).data
    if (record?.action === 'policy.used') this.#told.record(record)
    if (record?.action !== 'budget.set' && record?.action !== 'budget.removed') return
    const name = budgetName.safeParse(record.about.name).data
    const set = record.action === 'budget.set' ? budget.safeParse(record.about.budget).data : undefined
    if (name === undefined || (record.action === 'budget.set' && !set)) return
    this.#records++
    const changes = this.#changes.get(name) ?? []
    changes.push({ at: record.at, budget: set })
    this.#changes.set(name, changes)
  }

  /** An entry of a run's journal; the runs come one after the other. */
  take(run: string, { entry }: RunEvent): void {
    if (this.#run.id !== run) {
      this.#run = { id: run, names: [], worker: '' }
      this.#open.clear()
      this.#waited.clear()
    }
    if (entry.type === 'run.created') {
      this.#run.names = budgetNames(entry)
      // The quota is of runs that somebody begins, not of what schedules and other runs do.
      if (!entry.parent && !entry.schedule) this.#add(entry, entry.at, { ...NOTHING, runs: 1 })
    } else if (entry.type === 'run.activated') this.#run.worker = entry.worker
    else if (entry.type === 'step.intent' && !isUndo(entry.step)) {
      this.#open.set(entry.step, entry.at)
      this.#add(entry, entry.at, { ...NOTHING, steps: 1 })
    } else if (entry.type === 'step.waiting') this.#waited.add(entry.step)
    else if (entry.type === 'step.ended' && entry.copied === undefined && !isUndo(entry.step)) this.#end(entry)
  }

  #end(entry: EntryOf<'step.ended'>): void {
    const { step, kind, at, durationMs, status, usage, costUsd = 0 } = entry
    const intended = this.#open.get(step)
    this.#open.delete(step)
    // What is pure has no intent, and takes a step too.
    const steps = intended === undefined && status === 'ok' && ASKED.has(kind) ? 1 : 0
    // What a child run cost is in its own journal.
    const isCall = kind === 'model'
    const tokens = isCall ? (usage?.inputTokens ?? 0) + (usage?.outputTokens ?? 0) : 0
    const isTimed = status === 'ok' && ASKED.has(kind) && kind !== 'agent' && !this.#waited.has(step)
    const used = { ...NOTHING, usd: isCall ? costUsd : 0, tokens, steps, wallTimeMs: isTimed ? durationMs : 0 }
    if (BUDGET_AMOUNTS.some((amount) => used[amount] > 0)) this.#add(entry, intended ?? at - durationMs, used)
  }

  #add({ seq, at }: { seq: number; at: number }, begun: number, used: Used): void {
    const { id, names, worker } = this.#run
    if (Math.abs(begun) > TIME_MAX) return
    this.#told.saw(worker, at)
    this.#steps.push({ run: id, seq, begun, ended: at, worker, names, ...used })
  }

  findings(): BudgetFinding[] {
    const manifest = this.#manifest
    const inForce = manifest?.budgets ?? []
    if (inForce.length === 0 && this.#records === 0 && !this.#told.isAny)
      return manifest?.budgets ? [] : unknown('budgets of the tenant: the manifest does not say which were in force')
    if (manifest?.scope.kind !== 'tenant')
      return unknown('budgets of the tenant: only an export of the whole tenant has all that was spent')
    const found: BudgetFinding[] = []
    if (!manifest.budgets) found.push(...unknown('budgets of the deployment: the manifest does not say them'))
    if (manifest.missing.length > 0)
      found.push(...unknown(`budgets of the tenant: ${manifest.missing.length} runs that spent of them are missing`))
    this.#steps.sort((a, b) => a.ended - b.ended)
    const byName = new Map<string, Step[]>()
    for (const step of this.#steps)
      for (const name of ['tenant', ...step.names]) {
        const steps = byName.get(name)
        if (steps) steps.push(step)
        else byName.set(name, [step])
      }
    const names = new Set([...inForce.map(({ name }) => name), ...this.#changes.keys()])
    for (const name of byName.keys()) if (this.#told.isNamed(name)) names.add(name)
    for (const name of [...names].sort()) {
      const steps = byName.get(name) ?? []
      for (const period of PERIODS) found.push(...this.#check(name, period, steps, manifest))
    }
    return found
  }

  #check(name: string, period: Period, steps: readonly Step[], manifest: Manifest): BudgetFinding[] {
    const now = Date.parse(manifest.exportedAt)
    const stated = manifest.budgets?.find((one) => one.name === name && one.period === period)?.limits
    const allowed = this.#told.allowed(name, period)
    const limits = new Limits({ period, changes: this.#changes.get(name) ?? [], allowed, stated, now })
    const found: BudgetFinding[] = []
    const windows = Map.groupBy(steps, ({ begun }) => windowOf(period, begun))
    for (const [window, within] of windows) {
      // Near the border nobody can tell to which side a step was counted.
      const sure = within.filter(({ begun }) =>
        [begun - LATE_MS, begun + LATE_MS].every((at) => windowOf(period, at) === window),
      )
      for (const amount of BUDGET_AMOUNTS)
        found.push(...overspent({ name, period, window, amount, steps: sure, limits }))
    }
    const earlier = [...windows].filter(([window]) => window < windowOf(period, now))
    return [...found, ...limits.notRecorded(`the ${period}'s budget of ${name}`, earlier)]
  }
}

interface LimitsOptions {
  period: Period
  changes: readonly Change[]
  allowed: Allowed
  stated: BudgetAmounts | undefined
  now: number
}

/** What was allowed in a kind of period, at any time. */
class Limits {
  readonly #period: Period
  readonly #changes: readonly Change[]
  readonly #stated: BudgetAmounts | undefined
  /** Since when what the manifest states is known to be in force. */
  readonly #since: number

  readonly #allowed: Allowed

  constructor({ period, changes, allowed, stated, now }: LimitsOptions) {
    this.#allowed = allowed
    this.#period = period
    this.#changes = changes
    this.#stated = stated
    this.#since = Math.max(Date.parse(windowOf(period, now)), changes.at(-1)?.at ?? 0)
  }

  /** Periods of which nobody knows all that the deployment allowed. */
  notRecorded(what: string, windows: readonly (readonly [string, readonly Step[]])[]): BudgetFinding[] {
    const stated = this.#stated ?? {}
    const isOpen = (amount: Amount) => stated[amount] !== undefined && stated[amount] !== this.#ofOperator(amount)
    const hasSpending = BUDGET_AMOUNTS.some((amount) => amount !== 'runs' && isOpen(amount))
    const hasRuns = this.#allowed.hasRuns || isOpen('runs')
    const untold = (steps: readonly Step[]) =>
      steps.filter(({ runs, worker }) => hasSpending && runs === 0 && !this.#allowed.of(worker))
    const uncounted = (steps: readonly Step[]) =>
      steps.some(({ runs, begun }) => hasRuns && runs > 0 && this.#runsAt(begun) === undefined)
    const spent = windows.filter(([, steps]) => untold(steps).length > 0)
    const begun = windows.filter(([, steps]) => uncounted(steps))
    const workers = new Set(spent.flatMap(([, steps]) => untold(steps).map(({ worker }) => worker)))
    const found: BudgetFinding[] = []
    if (spent.length > 0)
      found.push(...unknown(`${what} in ${listed(spent)}: no record says what it was for ${someOf([...workers])}`))
    if (begun.length > 0)
      found.push(
        ...unknown(
          `${what}, the runs begun in ${listed(begun)}: no record of then says how many the deployment allowed`,
        ),
      )
    return found
  }

  /** What an operator allowed last: where that is what is allowed now, it is known for other periods too. */
  #ofOperator(amount: Amount): number | undefined {
    return this.#changes.at(-1)?.budget?.[this.#period]?.[amount]
  }

  /** The most that may have been allowed to what began then; infinite where there may have been no limit. */
  most(amount: Amount, { begun: at, worker }: Step): number {
    const times = [at - LATE_MS, at, ...this.#changes.map((change) => change.at)]
    const near = times.filter((time) => time >= at - LATE_MS && time <= at + LATE_MS)
    return Math.max(...near.map((time) => this.#at(amount, time, worker)))
  }

  #at(amount: Amount, at: number, worker: string): number {
    const own = this.#changes.findLast((change) => change.at <= at)?.budget?.[this.#period]?.[amount]
    const stated = at >= this.#since ? this.#stated : undefined
    const told = this.#allowed.of(worker)
    const others = amount === 'runs' ? this.#runs(at, stated) : (told ? told.limits : stated)?.[amount]
    return Math.min(own ?? Number.POSITIVE_INFINITY, others ?? Number.POSITIVE_INFINITY)
  }

  #runs(at: number, stated: BudgetAmounts | undefined): number | undefined {
    const told = this.#runsAt(at)
    return stated ? Math.max(stated.runs ?? Number.POSITIVE_INFINITY, told ?? 0) : told
  }

  #runsAt(at: number): number | undefined {
    return this.#allowed.runsAt(at, this.#stated?.runs ?? Number.POSITIVE_INFINITY)
  }
}

/**
 * The first step with which more was spent than was allowed, and one call in flight of each worker. Only what was used while
 * there was a limit was counted by the workers, and so it is here.
 */
function overspent({
  name,
  period,
  window,
  amount,
  steps,
  limits,
}: {
  name: string
  period: Period
  window: string
  amount: Amount
  steps: readonly Step[]
  limits: Limits
}): BudgetFinding[] {
  const limited = steps
    .map((step) => ({ ...step, limit: limits.most(amount, step) }))
    .filter(({ limit }) => Number.isFinite(limit))
  const counted = limited.filter((step) => step[amount] > 0)
  const workers = new Set(counted.map(({ worker }) => worker)).size
  // Each run is asked for by itself; all else may be under way when the last of it is used.
  const inFlight = amount === 'runs' ? 0 : counted.reduce((most, step) => Math.max(most, step[amount]), 0) * workers
  const isTime = amount === 'wallTimeMs'
  // Time is known when a step has ended: what began long after that had to ask whether there is any left.
  const asking = isTime ? limited.filter(({ steps }) => steps > 0).sort((a, b) => a.begun - b.begun) : counted
  let sum = 0
  let next = 0
  for (const step of asking) {
    if (!isTime) sum += step[amount]
    else
      for (let one = counted[next]; one && one.ended + TOLD_MS <= step.begun; one = counted[++next])
        sum += one.wallTimeMs
    const setAside = isTime ? step.limit * PURSE * workers : 0
    if (sum <= step.limit + inFlight + setAside + CRUMB_USD) continue
    const [spent, of] = amount === 'usd' ? [`$${sum.toFixed(4)}`, `$${step.limit}`] : [sum, step.limit]
    const and = amount === 'runs' ? '' : `, with one call in flight for each of ${workers} workers allowed`
    const message = `the ${period}'s budget of ${name} (${window}): ${spent} of ${of} ${amount} spent${and}`
    return [{ run: step.run, seq: step.seq, message }]
  }
  return []
}

/** The day or month of UTC, as its date says. */
function windowOf(period: Period, at: number): string {
  return new Date(at).toISOString().slice(0, period === 'day' ? 10 : 7)
}

function isUndo(step: string): boolean {
  return step.startsWith('undo(')
}

function unknown(message: string): BudgetFinding[] {
  return [{ message, unknown: true }]
}

/** Some of what there is, and how much more. */
function someOf(all: readonly string[]): string {
  const more = all.length > SHOWN_MAX ? ` and ${all.length - SHOWN_MAX} more` : ''
  return `${all.slice(0, SHOWN_MAX).join(', ')}${more}`
}

function listed(windows: readonly (readonly [string, unknown])[]): string {
  return someOf(windows.map(([window]) => window).sort())
}
