import type { BreakerLimits } from './rule.ts'

export type BreakerState = 'closed' | 'open' | 'probing'

/** Passes a target over once it has failed often in a short time; after a pause one call at a time tries whether it is back. */
export class Breaker {
  readonly #limits: BreakerLimits
  readonly #now: () => number
  /** When it failed, at most as often as opens it. */
  #failures: number[] = []
  #openUntil: number | undefined
  #isProbing = false

  constructor(limits: BreakerLimits, now: () => number) {
    this.#limits = limits
    this.#now = now
  }

  get state(): BreakerState {
    if (this.#openUntil === undefined) return 'closed'
    return this.#isProbing ? 'probing' : 'open'
  }

  /** Whether a call may be made now, and as what. Each is to be followed by `succeeded`, `failed`, `left`, or `begun` and the first or second of these. */
  admit(): 'call' | 'probe' | undefined {
    if (this.#openUntil === undefined) return 'call'
    if (this.#isProbing || this.#now() < this.#openUntil) return undefined
    this.#isProbing = true
    return 'probe'
  }

  /** How long it is passed over at least, ms. */
  get waitMs(): number {
    return Math.max((this.#openUntil ?? 0) - this.#now(), 0)
  }

  /** An answer has begun, of which nobody knows yet whether it comes to its end. */
  begun(as: 'call' | 'probe'): void {
    if (as === 'call') return
    this.#openUntil = undefined
    this.#isProbing = false
  }

  succeeded(): void {
    this.#failures = []
    this.#openUntil = undefined
    this.#isProbing = false
  }

  failed(as: 'call' | 'probe'): void {
    const { failures, withinMs, pauseMs } = this.#limits
    const now = this.#now()
    this.#failures = [...this.#failures, now].filter((at) => now - at < withinMs).slice(-failures)
    this.left(as)
    if (as === 'probe' || this.#failures.length >= failures) this.#openUntil = now + pauseMs
  }

  /** Nobody knows how the call would have ended. */
  left(as: 'call' | 'probe'): void {
    if (as === 'probe') this.#isProbing = false
  }
}
