import { type DefinitionManifest, type EntryOf, type RunEvent, type ToolManifest, timeOf } from '@muster/protocol'
import { dateOf } from '../output.ts'

/** What a journal has that none can have of which the runtime wrote every entry. */
interface Odd {
  code: 'decision' | 'effect-without-allow' | 'effect-without-intent' | 'once-repeated' | 'budget' | 'time'
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
 * its tool is declared to have, then one outcome; nothing new while it is paused; nothing taken over but from another run;
 * and no time before that of the entries before it.
 */
export class StepConduct {
  readonly #declared: Declared
  readonly #steps = new Map<string, { open: boolean; over: boolean }>()
  #created: EntryOf<'run.created'> | undefined
  #app = ''
  #latest = 0
  /** What it takes over stands before this. */
  #hasCopied = false
  #halted: { how: string; at: number } | undefined
  #tokens = 0

  constructor(declared: Declared) {
    this.#declared = declared
  }

  take({ entry }: Pick<RunEvent, 'entry'>): Odd[] {
    const found = 'copied' in entry && entry.copied !== undefined ? this.#copy(entry.type) : this.#pass(entry)
    switch (entry.type) {
      case 'run.created':
        this.#created = entry
        return [...found, ...this.#create(entry)]
      case 'run.activated':
        this.#app = entry.app
        return found
      case 'run.copied':
        this.#hasCopied = true
        return found
      case 'run.paused':
        this.#halted ??= { how: 'paused', at: entry.at }
        return found
      case 'run.resumed':
        if (this.#halted?.how === 'paused') this.#halted = undefined
        return found
      case 'run.cancel_requested':
        this.#halted = { how: 'to be cancelled', at: entry.at }
        return found
      case 'run.checkpoint':
        this.#steps.clear()
        return found
      case 'step.intent':
        return [...found, ...this.#intend(entry)]
      case 'step.ended':
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
  #copy(type: string): Odd[] {
    if (this.#created?.origin && !this.#hasCopied) return []
    return [
      { code: 'effect-without-intent', message: `${type} is said to be of another run, and it took over none there` },
    ]
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
    this.#steps.set(step, { open: true, over: false })
    return found
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

  #finish({ usage }: EntryOf<'run.ended'>): Odd[] {
    const tokens = usage.inputTokens + usage.outputTokens
    // A run that began from another has what that had used, too.
    if (this.#created?.origin || tokens === this.#tokens) return []
    return [
      { code: 'budget', message: `the run says that it used ${tokens} tokens, and its steps used ${this.#tokens}` },
    ]
  }
}
