import type { Json } from '@muster/protocol'
import { type CedarRecord, Datetime, Decimal, fail, type Long, long, type Value } from './cedar/value.ts'
import type { Term } from './history-term.ts'
import type { HistoryTerms } from './history-terms.ts'
import { Ledger, type LedgerState } from './ledger.ts'
import { keyOfRequest, projected, type StepEvent, scaledAt } from './step-event.ts'
import { type Bucket, type Fact, plus } from './tally.ts'

/** Values of terms as they are recorded: by these, what was decided can be decided again. */
export type HistoryValues = Readonly<Record<string, Json>>

/** When, and on which step of a run, is decided. */
export interface HistoryQuestion {
  /** What the run has done; nothing where it is absent. */
  past?: History
  /** The step that is decided on; what it did itself is not its past. */
  step: string
  /** Milliseconds since the Unix epoch. */
  now: number
  /** The run's session, where it has one. */
  session?: string | undefined
  /** Values that it was decided by before, and is again. */
  recorded?: HistoryValues | undefined
  /** What is not in `recorded` is not known: a policy that looks at it fails to evaluate. */
  unrecorded?: true
}

/** What a run's past is gone on from after a checkpoint. */
export interface HistoryState extends LedgerState {
  /** Of the terms that it is of. */
  key: string
  /** Where nothing else has it. */
  session?: LedgerState | undefined
}

/**
 * What a run, and its session, have done, as far as the terms of its policies ask. Fed with what is journaled, in its
 * order, so that it is the same again when it is fed from the journal.
 */
export class History {
  readonly terms: HistoryTerms
  readonly #run: Ledger
  readonly #session: Ledger
  readonly #view: CedarRecord
  #question: (Omit<HistoryQuestion, 'past'> & { input: Json | undefined }) | undefined
  #values: Map<string, Value> | undefined

  constructor(terms: HistoryTerms, state?: HistoryState) {
    this.terms = terms
    this.#run = new Ledger(terms, 'run')
    this.#session = new Ledger(terms, 'session')
    this.#view = this.#makeView()
    if (state) this.#run.restore(state)
    if (state?.session) this.#session.restore(state.session)
  }

  /** The next that is journaled. `isTold`: the session is known to have it. */
  add(event: StepEvent, isTold = false): void {
    this.#run.add(event)
    if (!isTold && this.terms.ofSession) this.#session.add(event)
  }

  /** What the session has done: of other runs, and of this one. */
  addOfSession(event: StepEvent): void {
    this.#session.add(event)
  }

  /** What was added last of a step has not happened. */
  retract(step: string): void {
    this.#run.retract(step)
    this.#session.retract(step)
  }

  /** An event as other runs of the session need it, with no more of its input and output; undefined where they do not. */
  forSession(event: StepEvent): StepEvent | undefined {
    const fields = this.terms.of(event.kind, event.target)?.fields
    return fields && !event.copied ? projected(event, fields) : undefined
  }

  /** At a checkpoint: no step is open. `isTold`: the session has its part. */
  state(isTold: boolean): HistoryState {
    const session = isTold ? undefined : this.#session.state()
    return { key: this.terms.key, ...this.#run.state(), session }
  }

  /** The terms as an attribute of the context; each is worked out when a policy reads it. Until the next question. */
  ask(question: Omit<HistoryQuestion, 'past'> & { input: Json | undefined }): CedarRecord {
    this.#question = question
    this.#values = undefined
    return this.#view
  }

  /** What of it was read since it was asked for. */
  used(): Record<string, Json> | undefined {
    if (!this.#values) return undefined
    const used: Record<string, Json> = {}
    for (const [name, value] of this.#values) used[name] = toRecorded(value)
    return used
  }

  #makeView(): CedarRecord {
    const view: CedarRecord = {}
    const define = (name: string, read: () => Value) =>
      Object.defineProperty(view, name, { enumerable: true, get: () => this.#once(name, read) })
    define('now', () => new Datetime(this.#question?.now ?? 0))
    define('session', () => this.#question?.session ?? '')
    for (const [i, term] of this.terms.all.entries()) define(term.name, () => this.#read(i, term))
    return view
  }

  #once(name: string, read: () => Value): Value {
    this.#values ??= new Map()
    const known = this.#values.get(name)
    if (known !== undefined) return known
    const recorded = this.#question?.recorded?.[name]
    if (recorded === undefined && this.#question?.unrecorded) fail(`history.${name} was not recorded`)
    const value = recorded === undefined ? read() : fromRecorded(recorded, this.terms.all, name)
    this.#values.set(name, value)
    return value
  }

  #read(i: number, term: Term): Value {
    const { operator, event, plus: more, scope } = term
    const { now = 0, input = null, step = '' } = this.#question ?? {}
    const ledger = scope === 'run' ? this.#run : this.#session
    const key = keyOfRequest(input, event)
    if (operator === 'previous') return ledger.previous(i) === key
    const bucket = ledger.bucket(i, key, now) ?? NONE
    // What the step did itself is not its past.
    const own = ledger.own(i, bucket, step)
    switch (operator) {
      case 'count':
        return bucket.count - own.length
      case 'formerly':
        return bucket.count > own.length
      case 'sum':
        return sumOf(bucket, own, more ? scaledAt(input, more) : 0, term)
      case 'approvers':
        return [...(bucket.people?.keys() ?? [])]
      case 'last':
        return new Datetime(bucket.last)
    }
  }
}

const NONE: Readonly<Bucket> = { key: '', count: 0, sum: 0, unknown: 0, last: 0, people: undefined }
const SCALE = 10_000n

function sumOf(
  bucket: Pick<Bucket, 'sum' | 'unknown'>,
  own: readonly Fact[],
  more: number | undefined,
  { name, isInteger }: Term,
): Value {
  let { sum, unknown } = bucket
  if (more === undefined) unknown++
  else sum = plus(sum, more)
  for (const { amount } of own) {
    if (amount === undefined) unknown--
    else sum = plus(sum, -amount)
  }
  const exact = unknown > 0 ? undefined : long(isInteger ? BigInt(sum) / SCALE : BigInt(sum))
  if (exact === undefined) fail(`history.${name} cannot be represented in Cedar`)
  return isInteger ? exact : new Decimal(exact)
}

function toRecorded(value: Value): Json {
  if (value instanceof Decimal || value instanceof Datetime) return value.written()[1]
  if (typeof value === 'bigint') return String(value)
  if (Array.isArray(value)) return value as string[] // of people
  return value as number | boolean | string // of count, formerly and previous, and the session
}

function fromRecorded(recorded: Json, terms: readonly Term[], name: string): Value {
  const { operator, isInteger } = terms.find((term) => term.name === name) ?? {}
  if (isInteger) return long(BigInt(Number.isInteger(recorded) ? Number(recorded) : String(recorded))) ?? 0
  if (operator === 'last' || name === 'now') return new Datetime(Date.parse(String(recorded)))
  if (operator === 'sum') return new Decimal(scaled(String(recorded)))
  return recorded as number | boolean | string | string[] // what `toRecorded` gave
}

function scaled(text: string): Long {
  return long(BigInt(text.replace('.', ''))) ?? fail(`${text} cannot be represented in Cedar`)
}
