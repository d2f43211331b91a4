import type { Target } from '../target.ts'

/** How much the last call counts. */
const WEIGHT = 0.3
/** What was measured longer ago tells nothing of now, ms. */
const FRESH_MS = 300_000
/** A failure counts as so long, ms, or as long as it took. */
export const FAILED_MS = 10_000

/**
 * How long targets take until they begin to answer, as an exponentially weighted mean (ms). Streams begin earlier than
 * whole answers do, so each counts by itself.
 */
export class Pace {
  readonly #means = { stream: new Map<Target, Mean>(), whole: new Map<Target, Mean>() }
  readonly #now: () => number

  constructor(now: () => number) {
    this.#now = now
  }

  took(target: Target, kind: 'stream' | 'whole', ms: number): void {
    const before = this.of(target, kind)
    this.#means[kind].set(target, { ms: before === undefined ? ms : before + WEIGHT * (ms - before), at: this.#now() })
  }

  /** Undefined where nothing was measured lately. */
  of(target: Target, kind: 'stream' | 'whole'): number | undefined {
    const mean = this.#means[kind].get(target)
    return mean && this.#now() - mean.at < FRESH_MS ? mean.ms : undefined
  }
}

interface Mean {
  ms: number
  at: number
}
