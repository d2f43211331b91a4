import { randomUUID } from 'node:crypto'
import type { History, StepEvent } from '@muster/governance'
import type { Deeds, Pasts } from '@muster/memory'
import { type Json, type MusterError, toMusterError } from '@muster/protocol'
import type { Logger } from 'pino'

/** Events that one append may have. */
const BATCH = 250
/** How long the store is left alone that does not answer: at first, and at most, ms. */
const PAUSE_MS = 50
const PAUSE_MS_MAX = 2000

interface Unsent {
  event: StepEvent
  reserved?: Reserved | undefined
}

/** Whoever waits until the session knows of a step that is about to begin. */
export interface Reserved {
  /** Not told where others did something meanwhile that the decision did not know of. */
  told: (isTold: boolean) => void
  failed: (error: MusterError) => void
}

/**
 * A run's part in what its session does. Each append says after how many others it comes: where the session has more by
 * then, the run learns of them first. So of two runs that reserve side by side the second knows of the first.
 */
export class SessionPast {
  readonly #history: History
  readonly #log: Logger
  readonly #read: (version: number) => ReturnType<Pasts['read']>
  readonly #append: (version: number, id: string, batch: readonly Unsent[]) => Promise<boolean>
  readonly #run: string
  #version = 0
  /** How often the session has each thing that this run did, and how often it was told of it here. */
  readonly #known = new Map<string, number>()
  readonly #told = new Map<string, number>()
  readonly #unsent: Unsent[] = []
  #sending: Promise<void> | undefined
  #stopped = false

  constructor(
    history: History,
    pasts: Pasts,
    log: Logger,
    of: {
      tenant: string
      session: string
      run: string
      subject?: string | undefined
    },
  ) {
    this.#history = history
    this.#log = log
    this.#run = of.run
    this.#read = (version) => pasts.read(of.tenant, of.session, version)
    this.#append = (version, id, batch) => {
      const events = batch.map(({ event }) => event) as unknown as Json[] // plain JSON by construction
      return pasts.append(of.tenant, of.session, version, id, { run: of.run, events }, of.subject)
    }
  }

  /** Learns what the session has done so far. */
  async open(): Promise<void> {
    const { version, deeds } = await this.#read(0)
    for (const { run, events } of deeds) {
      if (run === this.#run) for (const event of eventsOf(events)) count(this.#known, keyOf(event))
    }
    this.#learn(version, deeds)
  }

  /** Whether the session has what this run does now: it was told before the run was taken up again. */
  has(event: StepEvent): boolean {
    const key = keyOf(event)
    return count(this.#told, key) <= (this.#known.get(key) ?? 0)
  }

  /** Tells of what happened, or of a step that waits until it may begin. */
  tell(event: StepEvent, reserved?: Reserved): void {
    this.#unsent.push({ event, reserved })
    this.#sending ??= this.#send()
  }

  /** Until the session has all; undefined where it does. */
  get rest(): Promise<void> | undefined {
    return this.#sending
  }

  /** The run is another's. */
  stop(): void {
    this.#stopped = true
  }

  async #send(): Promise<void> {
    while (this.#unsent.length > 0 && !this.#stopped) {
      const batch = this.#unsent.slice(0, BATCH)
      const answer = await this.#sendBatch(batch)
      if (answer === undefined) return
      if (answer === 'behind') this.#reconsider()
      else {
        this.#unsent.splice(0, batch.length)
        for (const { reserved } of batch) {
          if (answer === 'told') reserved?.told(true)
          else reserved?.failed(answer)
        }
      }
    }
    // Here and not when the promise is heard: what is told between the two would wait for ever.
    this.#sending = undefined
  }

  /** The same again until it is known whether the session has it; undefined where the run is another's meanwhile. */
  async #sendBatch(batch: readonly Unsent[]): Promise<'told' | 'behind' | MusterError | undefined> {
    const id = randomUUID()
    let pauseMs = PAUSE_MS
    while (!this.#stopped) {
      try {
        if (await this.#append(this.#version, id, batch)) {
          this.#version++
          return 'told'
        }
        const { version, deeds } = await this.#read(this.#version)
        this.#learn(version, deeds)
        return 'behind'
      } catch (error) {
        const failure = toMusterError(error)
        this.#log.warn({ run: this.#run, err: error }, 'what the run does is not told to its session')
        if (failure.code === 'memory.too_large') return failure
        await new Promise((resolve) => setTimeout(resolve, pauseMs))
        pauseMs = Math.min(pauseMs * 2, PAUSE_MS_MAX)
      }
    }
    return undefined
  }

  /** What is about to begin was decided without what others did meanwhile: it is decided on again. */
  #reconsider(): void {
    const reservations = this.#unsent.filter(({ reserved }) => reserved)
    const rest = this.#unsent.filter(({ reserved }) => !reserved)
    this.#unsent.splice(0, this.#unsent.length, ...rest)
    for (const { event } of reservations) {
      this.#history.retract(event.step)
      count(this.#told, keyOf(event), -1)
    }
    for (const { reserved } of reservations) reserved?.told(false)
  }

  #learn(version: number, deeds: readonly Deeds[]): void {
    this.#version = version
    for (const { run, events } of deeds) {
      // Of two runs, steps may have one name.
      for (const event of eventsOf(events))
        this.#history.addOfSession(run === this.#run ? event : { ...event, step: `${run}/${event.step}` })
    }
  }
}

function eventsOf(events: Deeds['events']): StepEvent[] {
  return events as unknown as StepEvent[] // what `append` was given
}

function keyOf({ what, step }: StepEvent): string {
  return `${what} ${step}`
}

function count(of: Map<string, number>, key: string, by = 1): number {
  const next = (of.get(key) ?? 0) + by
  of.set(key, next)
  return next
}
