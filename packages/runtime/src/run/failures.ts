import { type StepError, toMusterError } from '@muster/protocol'

/** The pause after the first failure, and the longest, ms. */
const PAUSE_MS = { first: 1000, longest: 30_000 }
/** So long after its pause a run is still told of: it may wait for a place, ms. */
const LATE_MS = 15_000
/** Runs that are told of, and that are remembered. */
const TOLD_MAX = 100
const KNOWN_MAX = 10_000

interface Failure {
  count: number
  pauseMs: number
  until: number
  error: StepError
}

/** Runs whose activation failed here: each is left alone for longer the more often it has, and it is known why. */
export class Failures {
  readonly #clock: () => number
  readonly #random: () => number
  readonly #runs = new Map<string, Failure>()

  constructor(clock: () => number, random: () => number) {
    this.#clock = clock
    this.#random = random
  }

  /** A run could not be gone on with; gives how often that was, and for how long it is left alone, ms. */
  note(run: string, error: unknown): { count: number; pauseMs: number } {
    const count = (this.#runs.get(run)?.count ?? 0) + 1
    const most = Math.min(PAUSE_MS.first * 2 ** Math.min(count, 16), PAUSE_MS.longest)
    // Half of it by chance, so that what failed together does not come again together.
    const pauseMs = Math.round((most / 2) * (1 + this.#random()))
    const { code, message } = toMusterError(error)
    const until = this.#clock() + pauseMs
    this.#runs.delete(run)
    this.#runs.set(run, { count, pauseMs, until, error: { code, message } })
    if (this.#runs.size > KNOWN_MAX) for (const [oldest] of this.#runs.entries().take(1)) this.#runs.delete(oldest)
    return { count, pauseMs }
  }

  /** It is gone on with. */
  clear(run: string): void {
    this.#runs.delete(run)
  }

  /** How long a run is left alone that has just failed, ms. */
  pauseMs(run: string): number {
    return this.#runs.get(run)?.pauseMs ?? PAUSE_MS.first
  }

  /** Those that are left alone, and why; not all where there are many. Others may have gone on with one meanwhile. */
  told(): { run: string; error: StepError }[] {
    const now = this.#clock()
    for (const [run, { until }] of this.#runs) if (until + LATE_MS < now) this.#runs.delete(run)
    return [...this.#runs.entries().take(TOLD_MAX)].map(([run, { error, count, pauseMs }]) => {
      const often = count === 1 ? 'once' : `${count} times`
      const message = `it could not be gone on with, ${often} by now: ${error.message}. It is tried again within ${Math.ceil(pauseMs / 1000)} s`
      return { run, error: { code: error.code, message } }
    })
  }
}
