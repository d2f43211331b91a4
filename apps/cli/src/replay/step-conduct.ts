import { type DefinitionManifest, type EntryOf, type RunEvent, type ToolManifest, timeOf } from '@muster/protocol'
import { dateOf } from '../output.ts'
import { stopNames } from './stop-conduct.ts'

/** What a journal has that none can have of which the runtime wrote every entry. */
interface Odd {
  code:
    | 'decision'
    | 'effect-without-allow'
    | 'effect-without-intent'
    | 'once-repeated'
    | 'budget'
    | 'time'
    | 'control'
    | 'copied'
  message: string
}

/** Of the app that a decision's policies were checked against. */
export interface Declared {
  /** Undefined also where the run was under way with another app than that. */
  tool(entry: EntryOf<'step.intent'>, app: string): ToolManifest | undefined
  definition(created: EntryOf<'run.created'>): DefinitionManifest | undefined
}

/** What was under way when a run was paused or cancelled may still write its intent, ms. */
const LATE_MS = 5000
/** Clocks of workers may differ by so much, ms. */
const SKEW_MS = 60_000
/** Between a run's id and its first entry: many that are begun at once are written one after the other, ms. */
const WRITTEN_MS = 600_000

/** What always has an intent: none of it is pure. */
const INTENDED: ReadonlySet<string> = new Set(['model', 'agent', 'memory'])

/**
 * Whether the entries of a run follow each other as the runtime writes them: an intent with its own key and the effect that
 * its tool is declared to have, then one outcome; nothing new while it is paused or stopped, and neither ended that never
 * began; nothing taken over but from another run; and no time before that of the entries before it.
 */
export class StepConduct {
  readonly #declared: Declared
  readonly #steps = new Map<string, { open: boolean; over: boolean }>()
  #created: EntryOf<'run.created'> | undefined
  #app = ''
  #latest = 0
  /** What it takes over stands before this. */
  #hasCopied = false
  #copies = 0
  #halted: { how: string; at: number } | undefined
  #isPaused = false
  #isCancelled = false
  /** By the names of stops: since when, and what began for all that, which may only have heard of its end first. */
  readonly #stops = new Map<string, { since: number; began: { step: string; at: number }[] }>()
  #tokens = 0
  /** Steps that have ended; of those that were called off not all are counted. */
  readonly #ended = { sure: 0, unsure: 0 }

  constructor(declared: Declared) {
    this.#declared = declared
  }

  take({ entry }: Pick<RunEvent, 'entry'>): Odd[] {
    const found = 'copied' in entry && entry.copied !== undefined ? this.#copy(entry) : this.#pass(entry)
    switch (entry.type) {
      case 'run.created':
        this.#created = entry
        return [...found, ...this.#create(entry)]
      case 'run.activated':
        this.#app = entry.app
        return found
      case 'run.copied':
        return [...found, ...this.#endCopies(entry)]
      case 'run.paused':
      case 'run.resumed':
        return [...found, ...this.#pause(entry)]
      case 'run.stopped':
        if (!this.#stops.has(entry.stop)) this.#stops.set(entry.stop, { since: entry.at, began: [] })
        return found
      case 'run.lifted':
        return [...found, ...this.#lift(entry)]
      case 'run.cancel_requested':
        this.#halted = { how: 'to be cancelled', at: entry.at }
        this.#isCancelled = true
        return found
      case 'run.checkpoint':
        this.#steps.clear()
        return found
      case 'step.intent':
        return [...found, ...this.#intend(entry)]
      case 'step.ended':
        this.#count(entry)
        return entry.copied === undefined ? [...found, ...this.#end(entry)] : found
      case 'run.ended':
        return [...found, ...this.#finish(entry)]
      default:
        return found
    }
  }

  #create(created: EntryOf<'run.created'>): Odd[] {
    const { run, at, parent, schedule, origin, limits } = created
    const found: Odd[] = []
    // A child run has the time of the one that began it.
    const named = timeOf(run)
    if (!parent && Math.abs(named - at) > WRITTEN_MS)
      found.push({ code: 'time', message: `it was created at ${dateOf(at)}, and its id says ${dateOf(named)}` })
    const definition = schedule || origin ? undefined : this.#declared.definition(created)
    for (const name of ['usd', 'steps', 'tokens', 'wallTimeMs'] as const) {
      const most = definition?.limits[name]
      if (most !== undefined && (limits[name] ?? Number.POSITIVE_INFINITY) > most)
        found.push({
          code: 'budget',
          message: `it was begun with ${limits[name] ?? 'no'} ${name}, and may have ${most}`,
        })
    }
    return found
  }

  /** Its time is that of another run. */
  #copy(entry: EntryOf<'step.ended' | 'signal.received' | 'plan.patched'>): Odd[] {
    const { type } = entry
    this.#copies++
    if (type === 'step.ended' && (entry.usage || entry.costUsd))
      return [
        { code: 'copied', message: `step ${entry.step} is of another run, and is said to have cost something here` },
      ]
    if (this.#created?.origin && !this.#hasCopied) return []
    return [
      { code: 'effect-without-intent', message: `${type} is said to be of another run, and it took over none there` },
    ]
  }

  #endCopies({ entries }: EntryOf<'run.copied'>): Odd[] {
    this.#hasCopied = true
    if (entries === this.#copies) return []
    return [{ code: 'copied', message: `it says that it took over ${entries} entries, and has ${this.#copies}` }]
  }

  #pause({ type, at }: EntryOf<'run.paused' | 'run.resumed'>): Odd[] {
    const isPause = type === 'run.paused'
    const isOdd = isPause === this.#isPaused
    this.#isPaused = isPause
    if (isPause) this.#halted ??= { how: 'paused', at }
    else if (this.#halted?.how === 'paused') this.#halted = undefined
    if (!isOdd) return []
    return [{ code: 'control', message: `it is said to be ${isPause ? 'paused' : 'resumed'}, and was before` }]
  }

  #lift({ stop, at }: EntryOf<'run.lifted'>): Odd[] {
    const stopped = this.#stops.get(stop)
    this.#stops.delete(stop)
    if (!stopped)
      return [{ code: 'control', message: `the stop of ${stop} is said to be lifted, and it waited for none` }]
    return whileStopped(stop, stopped.began, at - LATE_MS)
  }

  #pass({ at, type }: RunEvent['entry']): Odd[] {
    const late = this.#latest - at
    this.#latest = Math.max(this.#latest, at)
    if (late <= SKEW_MS) return []
    return [{ code: 'time', message: `${type} says ${dateOf(at)}, ${late} ms before what stands before it` }]
  }

  #intend(entry: EntryOf<'step.intent'>): Odd[] {
    const { step, at, effect, target, idempotencyKey } = entry
    const isUndo = step.startsWith('undo(')
    const found: Odd[] = []
    if (idempotencyKey !== `${this.#created?.run}/${step}`)
      found.push({
        code: 'once-repeated',
        message: `step ${step} began under the key ${idempotencyKey}, which is not its own: a repeat is not recognised`,
      })
    const tool = isUndo ? undefined : this.#declared.tool(entry, this.#app)
    if (tool && tool.effect !== effect)
      found.push({ code: 'decision', message: `step ${step} is said to be ${effect}, and ${target} is ${tool.effect}` })
    const { how, at: since = at } = this.#halted ?? {}
    // What may have happened is looked into even then.
    if (!isUndo && at > since + LATE_MS && !this.#steps.has(step))
      found.push({ code: 'effect-without-allow', message: `step ${step} began when the run was ${how}` })
    // What is under way is cut off, and then begins again as anything else.
    for (const name of this.#created && !isUndo ? stopNames(this.#created, entry) : []) {
      const stopped = this.#stops.get(name)
      if (stopped && at > stopped.since + LATE_MS) stopped.began.push({ step, at })
    }
    this.#steps.set(step, { open: true, over: false })
    return found
  }

  /** As the runtime does. */
  #count({ status, retry }: EntryOf<'step.ended'>): void {
    if (retry || status === 'skipped') return
    if (status === 'cancelled') this.#ended.unsure++
    else this.#ended.sure++
  }

  #end({ step, kind, status, retry, usage }: EntryOf<'step.ended'>): Odd[] {
    this.#tokens += (usage?.inputTokens ?? 0) + (usage?.outputTokens ?? 0)
    const before = this.#steps.get(step)
    const found: Odd[] = []
    if (before?.over)
      found.push({ code: 'once-repeated', message: `step ${step} ended a second time: its outcome was replaced` })
    else if (status === 'ok' && (before ? !before.open : INTENDED.has(kind)))
      found.push({
        code: 'effect-without-intent',
        message: `step ${step} succeeded without an intent ${before ? 'since it had failed' : `, as no ${kind} does`}`,
      })
    this.#steps.set(step, { open: false, over: !retry })
    return found
  }

  #finish({ usage, status, steps }: EntryOf<'run.ended'>): Odd[] {
    const found = [...this.#stops].flatMap(([stop, { began }]) => whileStopped(stop, began))
    if (this.#isCancelled && status === 'succeeded')
      found.push({ code: 'control', message: 'it succeeded, and was to be cancelled before' })
    const tokens = usage.inputTokens + usage.outputTokens
    if (tokens !== this.#tokens)
      found.push({
        code: 'budget',
        message: `the run says that it used ${tokens} tokens, and its steps used ${this.#tokens}`,
      })
    const { sure, unsure } = this.#ended
    if (steps < sure || steps > sure + unsure)
      found.push({ code: 'budget', message: `the run says that it took ${steps} steps, and it took ${sure}` })
    return found
  }
}

/** What began while it was stopped, but for what began so late that it was lifted by then. */
function whileStopped(stop: string, began: readonly { step: string; at: number }[], before = Number.POSITIVE_INFINITY) {
  return began
    .filter(({ at }) => at < before)
    .map(({ step }): Odd => ({ code: 'effect-without-allow', message: `step ${step} began when ${stop} was stopped` }))
}
