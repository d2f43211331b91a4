import { setTimeout as sleep } from 'node:timers/promises'
import { MusterError } from '@muster/protocol'
import type { Muster } from '@muster/sdk'
import type { Random } from './random.ts'
import { SIGNAL, someWork, type Work } from './work.ts'

/** A run that the server has acknowledged, as its client knows it. */
export interface Accepted extends Work {
  id: string
  cancelled: boolean
}

/** Clients that start runs, answer what they ask, and cancel some; each tries again until it is told yes or no. */
export class Load {
  readonly accepted = new Map<string, Accepted>()
  /** What clients saw that must not be. */
  readonly violations: string[] = []
  readonly #muster: Muster
  readonly #random: Random
  readonly #work: (random: Random) => Work
  readonly #clients = new Set<Promise<void>>()
  #started = 0
  #over = false

  constructor(muster: Muster, random: Random, work: (random: Random) => Work = someWork) {
    this.#muster = muster
    this.#random = random
    this.#work = work
  }

  /** Starts a run every so many ms until it is told that it is over, at most `openMax` clients at once. */
  async run(over: AbortSignal, { everyMs, openMax }: { everyMs: number; openMax: number }): Promise<void> {
    while (!over.aborted) {
      if (this.#clients.size < openMax) this.start(this.#work(this.#random))
      await sleep(everyMs)
    }
  }

  /** Starts one more client. */
  start(work: Work): void {
    const number = this.#started++
    const fate = this.#random.next()
    const client = this.#client(work, `run-${number}`, fate)
      .catch((error) => {
        this.violations.push(`client ${number} of ${work.plan}: ${error instanceof Error ? error.message : error}`)
      })
      .then(() => {
        this.#clients.delete(client)
      })
    this.#clients.add(client)
  }

  /** Waits for the clients; those that have no answer by then, ms, count as violations. */
  async finish(withinMs: number): Promise<void> {
    const late = setTimeout(() => {
      this.#over = true
    }, withinMs)
    await Promise.all(this.#clients)
    clearTimeout(late)
  }

  async #client(work: Work, idempotencyKey: string, fate: number): Promise<void> {
    const start = () => this.#muster.runs.start(work.plan, work.input, { idempotencyKey })
    const { id } = await this.#insist(start)
    const accepted: Accepted = { ...work, id, cancelled: false }
    this.accepted.set(id, accepted)
    // A client that did not hear the first answer asks again, and must be told of the same run.
    if (fate < 0.1) {
      const again = await this.#insist(start)
      if (again.id !== id) this.violations.push(`key ${idempotencyKey} gave run ${id} and then run ${again.id}`)
    }
    if (fate > 0.94) {
      accepted.cancelled = true
      await this.#insist(() => this.#muster.runs.cancel(id), 'run.ended')
    } else if (work.needs === 'approval') await this.#approve(id)
    else if (work.needs === 'signal') {
      const key = { idempotencyKey: 'go' }
      await this.#insist(() => this.#muster.runs.signal(id, 'go', { n: SIGNAL }, key), 'run.ended')
    }
  }

  async #approve(id: string): Promise<void> {
    for (;;) {
      const { status, waiting } = await this.#insist(() => this.#muster.runs.get(id))
      if (status === 'succeeded' || status === 'failed' || status === 'cancelled') return
      const asked = waiting.find((one) => one.for === 'approval')
      if (asked) {
        const { step, digest = '' } = asked
        const approve = () => this.#muster.runs.approve(id, { step, verdict: 'approve', digest })
        await this.#insist(approve, 'run.ended', 'approval.not_found', 'approval.late')
        return
      }
      if (this.#over) throw new Error(`run ${id} asks for no approval and does not end`)
      await sleep(250)
    }
  }

  /** Asks until there is an answer; these codes are answers too, and give undefined only where nothing is wanted. */
  async #insist<T>(ask: () => Promise<T>, ...answers: string[]): Promise<T> {
    for (;;) {
      try {
        return await ask()
      } catch (error) {
        // The answers are those of questions that give nothing.
        if (error instanceof MusterError && answers.includes(error.code)) return undefined as T
        const passing = !(error instanceof MusterError) || error.status >= 500
        if (!passing || this.#over) throw error
      }
      await sleep(100)
    }
  }
}
