import type { Json } from '@muster/protocol'
import { type CedarRecord, Datetime, Decimal, fail, type Long, long, type Value } from './cedar/value.ts'
import type { Comparison, EventStatus, Field, Pattern, Term } from './history-term.ts'
import { decimal } from './question.ts'
import { type Bucket, type Fact, isCounted, plus, Tally } from './tally.ts'

/** What happened to a step: it was allowed and begun, or it ended. */
export interface StepEvent {
  what: 'begun' | 'ended'
  /** Unique within the run. */
  step: string
  /** As in the journal; of agents the name without the version. */
  kind: string
  target: string
  /** Milliseconds since the Unix epoch. */
  at: number
  input: Json
  output?: Json
  /** How it ended. */
  status?: 'ok' | 'failed' | 'denied' | 'cancelled'
  /** It is tried again: it has not ended yet. */
  retry?: boolean
  /** Though it has not ended well, it may have happened. */
  unsure?: boolean
  /** Who has approved it. */
  people: readonly string[]
  /** Another run of its session has done it, and this one has taken it over. */
  copied?: boolean
}

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
}

/** What a run's past is gone on from after a checkpoint. */
export interface HistoryState {
  /** Of the terms that it is of. */
  key: string
  at: number
  tallies: Json
  previous: Json
  log: readonly StepEvent[]
}

interface Watch {
  term: number
  pattern: Pattern
  isSince: boolean
}

interface Watches {
  terms: Watch[]
  /** A term of its session is about it: kept as it was, with the fields that are needed. */
  fields: readonly Field[] | undefined
}

/** The terms of a policy set, and which steps they are about. */
export class HistoryTerms {
  readonly all: readonly Term[]
  /** Two sets that have the same go on with each other's past. */
  readonly key: string
  readonly ofSession: boolean
  readonly #byStep = new Map<string, Watches | undefined>()
  readonly #previous: boolean

  constructor(terms: readonly Term[]) {
    this.all = terms
    this.key = JSON.stringify(terms.map(({ text }) => text))
    this.ofSession = terms.some(({ scope }) => scope === 'session')
    this.#previous = terms.some(({ operator }) => operator === 'previous')
  }

  /** What is to be noted of such steps; undefined where nothing is. */
  of(kind: string, target: string): Watches | undefined {
    const key = `${kind} ${target}`
    if (!this.#byStep.has(key)) this.#byStep.set(key, this.#find(kind, target))
    return this.#byStep.get(key)
  }

  #find(kind: string, target: string): Watches | undefined {
    const terms: Watch[] = []
    const fields: Field[] = []
    let isKept = false
    for (const [i, term] of this.all.entries()) {
      const watched = [term.event, term.since].filter((one) => one?.kind === kind && isOf(one, target))
      for (const pattern of watched) if (pattern) terms.push({ term: i, pattern, isSince: pattern === term.since })
      const isNext = term.operator === 'previous' && isCall(kind)
      if (term.scope !== 'session' || (watched.length === 0 && !isNext)) continue
      isKept = true
      for (const pattern of watched) fields.push(...fieldsOf(pattern))
      if (term.amount && watched.length > 0) fields.push(term.amount)
    }
    if (terms.length === 0 && !(this.#previous && isCall(kind))) return undefined
    return { terms, fields: isKept ? fields : undefined }
  }
}

function isOf({ target }: Pattern, name: string): boolean {
  return target === '*' || target === name
}

/** What `previous` is about. */
function isCall(kind: string): boolean {
  return kind === 'tool' || kind === 'agent'
}

function fieldsOf(pattern: Pattern | undefined): Field[] {
  if (!pattern) return []
  return [...pattern.comparisons, ...pattern.correlations].map(({ field }) => field)
}

/** A step that has been begun and has not ended. */
interface Open {
  facts: { term: number; fact: Fact }[]
  /** An attempt is under way. */
  isUnderWay: boolean
  /** An attempt may have happened, whatever comes of the next. */
  isUnsure: boolean
}

const NONE: Readonly<Pick<Bucket, 'count' | 'sum' | 'unknown' | 'last' | 'people'>> = {
  ...{ count: 0, sum: 0, unknown: 0, last: 0, people: undefined },
}

/**
 * What a run, and its session, have done, as far as the terms of its policies ask. Fed with what is journaled, in its
 * order, so that it is the same again when it is fed from the journal.
 */
export class History {
  readonly terms: HistoryTerms
  readonly #tallies: readonly Tally[]
  /** Of each term: the key of the call that ended last, where it was one of them. */
  readonly #previous: (string | undefined)[]
  readonly #open = new Map<string, Open>()
  /** What the session's later runs are to know of this one. */
  readonly #log: StepEvent[] = []
  #at = 0
  readonly #view: CedarRecord
  #question: (Omit<HistoryQuestion, 'past'> & { input: Json | undefined }) | undefined
  #values: Map<string, Value> | undefined

  /** @param earlier what other runs of the session have done */
  constructor(terms: HistoryTerms, state?: HistoryState, earlier: readonly StepEvent[] = []) {
    this.terms = terms
    this.#tallies = terms.all.map(({ withinMs }) => new Tally(withinMs))
    this.#previous = terms.all.map(() => undefined)
    this.#view = this.#makeView()
    const log = state?.log ?? []
    for (const event of [...earlier, ...log].sort((a, b) => a.at - b.at)) this.#feed(event, 'session')
    this.#log.push(...log)
    if (state) this.#restore(state)
  }

  /** The next that is journaled. */
  add(event: StepEvent): void {
    const fields = this.terms.of(event.kind, event.target)?.fields
    this.#feed(event, event.copied ? 'run' : undefined)
    // Times that never go back, so that they can be sorted into those of other runs.
    if (fields && !event.copied) this.#log.push(projected({ ...event, at: this.#at }, fields))
  }

  /** What is kept for later runs of the session. */
  get log(): readonly StepEvent[] {
    return this.#log
  }

  state(): HistoryState {
    const isOwn = (_: unknown, i: number) => this.terms.all[i]?.scope === 'run'
    return {
      key: this.terms.key,
      at: this.#at,
      tallies: this.#tallies.filter(isOwn).map((tally) => tally.state()),
      previous: this.#previous.filter(isOwn).map((key) => key ?? null),
      log: this.#log,
    }
  }

  #restore({ at, tallies, previous }: HistoryState): void {
    let next = 0
    for (const [i, { scope }] of this.terms.all.entries()) {
      if (scope !== 'run') continue
      this.#tallies[i]?.restore((tallies as Json[])[next] ?? [])
      this.#previous[i] = (previous as (string | null)[])[next] ?? undefined
      next++
    }
    this.#at = Math.max(this.#at, at)
  }

  #feed(event: StepEvent, scope?: Term['scope']): void {
    const watches = this.terms.of(event.kind, event.target)
    if (!watches) return
    this.#at = Math.max(this.#at, event.at)
    const takes = (term: number) => scope === undefined || this.terms.all[term]?.scope === scope
    const watched = watches.terms.filter(({ term }) => takes(term))
    if (event.what === 'begun') {
      this.#begin(event, watched)
      return
    }
    const open = this.#open.get(event.step)
    if (event.retry) {
      if (!open) return
      open.isUnderWay = false
      open.isUnsure ||= event.unsure === true
      return
    }
    this.#open.delete(event.step)
    if (open && isUndone(event, open)) {
      for (const { term, fact } of open.facts)
        if (this.terms.all[term]?.event.status === 'taken') this.#tallies[term]?.remove(fact)
    }
    // What has no effect is not journaled before it has ended.
    const statuses: (EventStatus | 'cancelled' | undefined)[] =
      open || event.status !== 'ok' ? [event.status] : ['ok', 'begun', 'taken']
    for (const watch of watched) if (statuses.includes(watch.pattern.status)) this.#note(event, watch)
    for (const watch of watched) if (statuses.includes(watch.pattern.status)) this.#reset(event, watch)
    if (isCall(event.kind)) this.#follow(event, takes)
  }

  #begin(event: StepEvent, watched: readonly Watch[]): void {
    const before = this.#open.get(event.step)
    // However many attempts it takes, a step counts once, from the last on.
    for (const { term, fact } of before?.facts ?? []) this.#tallies[term]?.remove(fact)
    const open: Open = { facts: [], isUnderWay: true, isUnsure: before?.isUnderWay || before?.isUnsure || false }
    this.#open.set(event.step, open)
    for (const watch of watched) {
      const { status } = watch.pattern
      if (status !== 'begun' && status !== 'taken') continue
      const fact = this.#note(event, watch)
      if (fact) open.facts.push({ term: watch.term, fact })
    }
    for (const watch of watched) if (watch.pattern.status === 'begun') this.#reset(event, watch)
  }

  #note(event: StepEvent, { term, pattern, isSince }: Watch): Fact | undefined {
    const { amount: field, operator } = this.terms.all[term] ?? {}
    if (isSince || operator === 'previous' || !isMatch(event, pattern)) return undefined
    const amount = field ? amountOf(event, field) : 0
    return this.#tallies[term]?.add(keyOf(event, pattern), this.#at, amount, event.people)
  }

  #reset(event: StepEvent, { term, pattern, isSince }: Watch): void {
    if (!isSince || !isMatch(event, pattern)) return
    this.#tallies[term]?.reset(pattern.correlations.length > 0 ? keyOf(event, pattern) : undefined)
  }

  #follow(event: StepEvent, takes: (term: number) => boolean): void {
    for (const [i, { operator, event: pattern }] of this.terms.all.entries()) {
      if (operator !== 'previous' || !takes(i)) continue
      const isIt =
        pattern.kind === event.kind &&
        isOf(pattern, event.target) &&
        pattern.status === event.status &&
        isMatch(event, pattern)
      this.#previous[i] = isIt ? keyOf(event, pattern) : undefined
    }
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
    const value = recorded === undefined ? read() : fromRecorded(recorded, this.terms.all, name)
    this.#values.set(name, value)
    return value
  }

  #read(i: number, term: Term): Value {
    const { operator, event, plus: more } = term
    const { now = 0, input = null } = this.#question ?? {}
    const key = keyOfRequest(input, event)
    if (operator === 'previous') return this.#previous[i] === key
    const bucket = this.#tallies[i]?.at(key, Math.max(this.#at, now)) ?? NONE
    const own = this.#own(i, bucket)
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

  /** What of a bucket is the step's own that is decided on: an earlier attempt, or one that may have happened. */
  #own(term: number, bucket: object): readonly Fact[] {
    const open = this.#open.size > 0 ? this.#open.get(this.#question?.step ?? '') : undefined
    if (!open) return NOTHING
    return open.facts.flatMap(({ term: of, fact }) =>
      of === term && fact.bucket === bucket && isCounted(fact) ? fact : [],
    )
  }
}

const NOTHING: readonly Fact[] = []

/** A step that ended so has not happened, and did not before. */
function isUndone({ status, unsure }: StepEvent, { isUnderWay, isUnsure }: Open): boolean {
  if (isUnsure || unsure) return false
  // Denied while an attempt is under way: that was begun before, and may have happened.
  return status === 'failed' || (status === 'denied' && !isUnderWay)
}

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

const SCALE = 10_000n

function amountOf(event: StepEvent, field: Field): number | undefined {
  return scaledAt(field.from === 'input' ? event.input : (event.output ?? null), field)
}

/** In 1/10,000; undefined where it has no form in Cedar. What is absent adds nothing. */
function scaledAt(value: Json, { path }: Field): number | undefined {
  const found = inside(value, path)
  if (found == null) return 0
  const exact = typeof found === 'number' ? decimal(found) : undefined
  return exact && Number(exact.amount)
}

function isMatch(event: StepEvent, { comparisons }: Pattern): boolean {
  return comparisons.every((comparison) => holds(at(event, comparison.field), comparison))
}

function holds(found: Json | undefined, { operator, value }: Comparison): boolean {
  if (operator === '=') return found === value
  if (operator === '!=') return found !== value
  if (typeof found !== 'number' || typeof value !== 'number') return false
  if (operator === '<') return found < value
  if (operator === '<=') return found <= value
  return operator === '>' ? found > value : found >= value
}

/** Events of one key are what the same question is about. */
function keyOf(event: StepEvent, { correlations }: Pattern): string {
  if (correlations.length === 0) return ''
  return correlations.map(({ field }) => JSON.stringify(at(event, field) ?? null)).join()
}

function keyOfRequest(input: Json, { correlations }: Pattern): string {
  if (correlations.length === 0) return ''
  return correlations.map(({ path }) => JSON.stringify(inside(input, path) ?? null)).join()
}

function at(event: StepEvent, { from, path }: Field): Json | undefined {
  return inside(from === 'input' ? event.input : (event.output ?? null), path)
}

function inside(value: Json, path: readonly string[]): Json | undefined {
  let here: Json | undefined = value
  for (const name of path) {
    if (here === null || typeof here !== 'object' || Array.isArray(here) || !Object.hasOwn(here, name)) return undefined
    here = here[name]
  }
  return here
}

/** The event with no more of its input and output than is asked for. */
function projected(event: StepEvent, fields: readonly Field[]): StepEvent {
  const input: Record<string, Json> = {}
  const output: Record<string, Json> = {}
  for (const field of fields) {
    const value = at(event, field)
    if (value !== undefined) put(field.from === 'input' ? input : output, field.path, value)
  }
  return { ...event, input, output }
}

function put(into: Record<string, Json>, path: readonly string[], value: Json): void {
  const [name = '', ...rest] = path
  if (rest.length === 0) {
    into[name] = value
    return
  }
  const inner = Object.hasOwn(into, name) ? into[name] : {}
  into[name] = inner ?? {}
  put(into[name] as Record<string, Json>, rest, value) // a path leads through objects
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
