import { hash } from 'node:crypto'
import { contentJson, genesis, link } from '@muster/audit'
import type { HistoryState, HistoryValues, StepEvent } from '@muster/governance'
import { type Hold, type Journal, OFFLOADED, type Snapshot } from '@muster/journal'
import {
  type Actor,
  ENTRY_VERSION,
  type Entry,
  type EntryOf,
  type Json,
  type Label,
  MusterError,
  type StoredEntry,
} from '@muster/protocol'
import { type CalledBack, Outcome, type Signal, type Verdict, type Waiting } from '../step/step.ts'
import type { Totals } from './active-run.ts'
import { isUnsure } from './past.ts'
import { editedShown } from './shown.ts'

/** What the journal tells of one step. */
export interface RecordedStep {
  kind: string
  target: string
  attempt: number
  inDoubt: boolean
  /** By what of the past its last intent was decided. */
  decidedBy: HistoryValues | undefined
  /** When its last attempt began, ms since the epoch. */
  beganAt: number
  /** When its first attempt began, ms since the epoch. */
  firstAt: number
  /** JSON text of the input as it was recorded, where it was kept. */
  inputText: string | undefined
  ended: Outcome | undefined
  waiting: Waiting | undefined
  verdicts: Verdict[]
  /** JSON text of the input that an approver has put in place of its own. */
  edited: string | undefined
  calledBack: CalledBack | undefined
}

/** What a plan goes on from: the state that it gave, how often each name was used, and the labels of what it had seen. */
export interface Checkpoint {
  state: Json
  names: [name: string, count: number][]
  labels: readonly Label[]
}

/** What else a checkpoint's content tells, so that nothing before it need be read. */
export interface Summary {
  totals: Totals
  /** Child runs that it has started. */
  children: number
  patches: string[]
  signals: [name: string, signals: Signal[]][]
  startedAt: number | undefined
  parkedMs: number
  paused: boolean
  /** What its policies know of what it has done. */
  past?: HistoryState
}

/** What happened to a step, for policies that ask what happened before; the rest of it is in the step. */
export type RecordedEvent = Pick<StepEvent, 'what' | 'step' | 'at' | 'status' | 'retry' | 'unsure' | 'copied'>

/** What a run's journal tells: enough to build its graph anew. */
export interface Recorded {
  input: Json
  plan: Json | undefined
  /** The conversation that the run goes on with, where it was handed one. */
  history: readonly Json[] | undefined
  /** Salt of digests of requests that are not kept. */
  salt: string
  steps: Map<string, RecordedStep>
  /** Names of steps in the order in which they ended: outcomes are given to the driver in this order. */
  order: string[]
  /** Signals that no step has taken yet, by name, in the order in which they came. */
  signals: Map<string, Signal[]>
  /** What its plan goes on from, where it has made a checkpoint. */
  checkpoint: Checkpoint | undefined
  /** Patches that the run's code has passed. */
  patches: Set<string>
  /** All that it takes over from another run is here. */
  copied: boolean
  /** Child runs that it had started before its last checkpoint. */
  children: number | undefined
  paused: boolean
  /** Stops that held it back and were not lifted; undefined where none ever did. */
  stops: Set<string> | undefined
  /** Somebody asked to end it, after so many outcomes. */
  cancelled: { by: Actor; after: number } | undefined
  startedAt: number | undefined
  /** Milliseconds that the run was parked, and since when it is. */
  parkedMs: number
  parkedAt: number | undefined
  totals: Totals
  /** What it had done before its last checkpoint, and what happened since; undefined where no policy asks. */
  past: HistoryState | undefined
  events: RecordedEvent[] | undefined
}

/**
 * Reads a run's journal, checking the chain on the way: a worker never continues what was altered. With `from`, the
 * entries are the first one and those from there on: what lies between is left to who verifies all. `events`: what
 * happened to steps is wanted one by one.
 *
 * @throws MusterError `journal.corrupt` naming the entry
 */
export async function readRecorded(
  run: string,
  entries: AsyncIterable<StoredEntry>,
  head: string,
  from?: Snapshot,
  events = false,
): Promise<Recorded> {
  const reader = new Reader(run, from, events)
  for await (const stored of entries) reader.add(stored)
  return reader.end(head)
}

/** The same of entries that are at hand, with all their content: without a promise for each. */
export function readRecordedNow(run: string, entries: readonly StoredEntry[], head: string, events = false): Recorded {
  const reader = new Reader(run, undefined, events)
  for (const stored of entries) reader.add(stored)
  return reader.end(head)
}

/** Of a run that is created by who holds it, and knows what it is about. */
export function justCreated({ digest }: NonNullable<Hold['first']>, events = false): Recorded {
  return { ...nothing(), salt: digest, ...(events ? { events: [] } : {}) }
}

function nothing(): Recorded {
  return {
    input: null,
    plan: undefined,
    history: undefined,
    salt: '',
    steps: new Map(),
    order: [],
    signals: new Map(),
    checkpoint: undefined,
    children: undefined,
    patches: new Set(),
    copied: false,
    paused: false,
    stops: undefined,
    cancelled: undefined,
    startedAt: undefined,
    parkedMs: 0,
    parkedAt: undefined,
    totals: { steps: 0, costUsd: 0, inputTokens: 0, outputTokens: 0, cachedTokens: 0 },
    past: undefined,
    events: undefined,
  }
}

/** A run's first entry, and those from its last checkpoint on. */
export async function* readFrom(
  journal: Journal,
  run: string,
  from: Snapshot | undefined,
): AsyncGenerator<StoredEntry> {
  if (from) {
    for await (const first of journal.read(run)) {
      yield first
      break
    }
  }
  yield* journal.read(run, from ? from.seq - 1 : 0)
}

class Reader {
  readonly #run: string
  readonly #recorded = nothing()
  readonly #from: Snapshot | undefined
  #previous: string
  #seq = 0

  constructor(run: string, from: Snapshot | undefined, events: boolean) {
    this.#run = run
    if (events) this.#recorded.events = []
    this.#from = from
    this.#previous = genesis(run)
  }

  add(stored: StoredEntry): void {
    if (this.#seq === 1 && stored.seq === this.#from?.seq) {
      this.#seq = stored.seq - 1
      this.#previous = this.#from.previous
    }
    const seq = ++this.#seq
    if (stored.seq !== seq || link(this.#previous, stored.bytes) !== stored.hash)
      throw new MusterError('journal.corrupt', `entry ${seq} of run ${this.#run} does not match the chain`)
    this.#previous = stored.hash
    record(this.#recorded, parse(stored.bytes, this.#run), stored.content)
  }

  end(head: string): Recorded {
    if (this.#previous !== head)
      throw new MusterError('journal.corrupt', `the journal of run ${this.#run} ends before its head`)
    return this.#recorded
  }
}

/**
 * Entries of earlier versions are read as those of today. What a later version wrote is left
 * to workers that know it: they may run beside this one while Muster is upgraded.
 */
function parse(bytes: string, run: string): Entry {
  // What the journal wrote: its hash has been checked.
  const entry = JSON.parse(bytes) as Entry
  if ((entry.v as number) > ENTRY_VERSION)
    throw new MusterError(
      'journal.newer',
      `run ${run} has entries of version ${entry.v}; this worker knows ${ENTRY_VERSION}`,
    )
  return entry
}

/** Adds what an entry tells. */
export function record(to: Recorded, entry: Entry, salted: string | undefined): void {
  const text = salted === undefined || salted === OFFLOADED ? undefined : contentJson(salted)
  switch (entry.type) {
    case 'run.created': {
      const content = text === undefined ? {} : JSON.parse(text)
      to.input = content.input ?? null
      to.plan = content.plan
      to.history = content.history
      to.salt = hash('sha256', salted ?? '', 'hex')
      break
    }
    case 'run.activated':
      to.startedAt ??= entry.at
      if (to.parkedAt !== undefined) to.parkedMs += entry.at - to.parkedAt
      to.parkedAt = undefined
      break
    case 'run.parked':
      to.parkedAt = entry.at
      break
    case 'step.intent': {
      const step = stepOf(to, entry)
      step.attempt = entry.attempt
      step.inDoubt = true
      step.decidedBy = entry.decision.history
      to.events?.push({ what: 'begun', step: entry.step, at: entry.at })
      step.beganAt = entry.at
      step.firstAt ||= entry.at
      step.inputText = text
      step.waiting = undefined
      break
    }
    case 'step.waiting': {
      const step = stepOf(to, entry)
      step.attempt = entry.attempt
      step.beganAt ||= entry.at
      step.firstAt ||= entry.at
      step.waiting = {
        for: entry.for,
        role: entry.role,
        rule: entry.rule,
        escalated: false,
        child: entry.child,
        shown: entry.content,
        shownText: text,
        since: entry.at,
        until: entry.until,
      }
      if (entry.for === 'approval') step.inputText = undefined
      break
    }
    case 'approval.given': {
      const step = to.steps.get(entry.step)
      if (!step) break
      const { waiting } = step
      const shown = waiting?.shownText
      const input: Json | undefined = entry.edited && text !== undefined ? JSON.parse(text).input : undefined
      if (input !== undefined) step.edited = JSON.stringify(input)
      step.verdicts.push({
        role: entry.role,
        by: entry.by.user,
        hands: entry.by.hands,
        verdict: entry.verdict,
        shownText: input === undefined || shown === undefined ? shown : editedShown(shown, input),
        doubt: waiting?.for === 'doubt',
      })
      if (!entry.more) step.waiting = undefined
      break
    }
    case 'approval.escalated': {
      const waiting = to.steps.get(entry.step)?.waiting
      if (waiting) waiting.escalated = true
      break
    }
    case 'signal.received': {
      const signals = to.signals.get(entry.name)
      const signal = { seq: entry.seq, text: text ?? 'null', labels: entry.labels }
      if (signals) signals.push(signal)
      else to.signals.set(entry.name, [signal])
      break
    }
    case 'callback.received': {
      const step = to.steps.get(entry.step)
      if (step) step.calledBack = entry.error ? { error: entry.error } : { text: text ?? 'null' }
      break
    }
    case 'run.checkpoint': {
      const { state, names, summary }: Omit<Checkpoint, 'labels'> & { summary: Summary } = JSON.parse(text ?? '{}')
      const { patches, signals, ...rest } = summary
      Object.assign(to, rest)
      to.checkpoint = { state, names, labels: entry.labels }
      to.patches = new Set(patches)
      to.signals = new Map(signals)
      to.steps.clear()
      to.order.length = 0
      if (to.events) to.events.length = 0
      break
    }
    case 'run.copied':
      to.copied = true
      break
    case 'run.paused':
      to.paused = true
      break
    case 'run.resumed':
      to.paused = false
      break
    case 'run.stopped':
      to.stops = (to.stops ?? new Set()).add(entry.stop)
      break
    case 'run.lifted':
      to.stops?.delete(entry.stop)
      break
    case 'run.cancel_requested':
      to.cancelled = { by: entry.by, after: to.order.length }
      break
    case 'plan.patched':
      to.patches.add(entry.patch)
      break
    case 'step.ended': {
      const step = stepOf(to, entry)
      step.attempt = entry.attempt
      step.inDoubt = false
      step.waiting = undefined
      step.firstAt ||= entry.at - entry.durationMs
      if (entry.status !== 'skipped') to.events?.push(endedEvent(entry, entry.status))
      const signal = entry.signal === undefined ? undefined : takeSignal(to, entry.target, entry.signal)
      const output = text ?? (entry.content === undefined ? signal?.text : undefined)
      to.totals.costUsd += entry.costUsd ?? 0
      to.totals.inputTokens += entry.usage?.inputTokens ?? 0
      to.totals.outputTokens += entry.usage?.outputTokens ?? 0
      to.totals.cachedTokens += entry.usage?.cachedTokens ?? 0
      if (entry.retry) break
      step.ended = new Outcome(
        entry.status,
        output === undefined || entry.status !== 'ok' ? 'null' : output,
        entry.labels,
        entry.error,
      )
      if (entry.status !== 'skipped') to.totals.steps++
      to.order.push(entry.step)
      break
    }
    default:
  }
}

function endedEvent(
  { step, at, retry, error, copied }: EntryOf<'step.ended'>,
  status: NonNullable<StepEvent['status']>,
): RecordedEvent {
  const event: RecordedEvent = { what: 'ended', step, at, status }
  if (retry) event.retry = true
  if (isUnsure(error)) event.unsure = true
  if (copied !== undefined) event.copied = true
  return event
}

function takeSignal(to: Recorded, name: string, seq: number): Signal | undefined {
  const signals = to.signals.get(name) ?? []
  // Nearly always the first.
  const at = signals.findIndex((signal) => signal.seq === seq)
  return at >= 0 ? signals.splice(at, 1)[0] : undefined
}

function stepOf(to: Recorded, entry: { step: string; kind: string; target: string }): RecordedStep {
  let step = to.steps.get(entry.step)
  if (!step) {
    step = {
      kind: entry.kind,
      target: entry.target,
      attempt: 0,
      inDoubt: false,
      decidedBy: undefined,
      beganAt: 0,
      firstAt: 0,
      inputText: undefined,
      ended: undefined,
      waiting: undefined,
      verdicts: [],
      edited: undefined,
      calledBack: undefined,
    }
    to.steps.set(entry.step, step)
  }
  return step
}
