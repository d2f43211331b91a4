import type { Limits } from '../resources.ts'
import type { Lane } from './step.ts'

/** A limit that steps share: a number of places, two token buckets (GCRA), and a time until which it is closed. */
export class ReferenceResource {
  readonly lane: Lane
  limits: Limits
  inUse = 0
  closedUntil = Number.NEGATIVE_INFINITY
  /** When a bucket is full again, ms. */
  requestsTat = 0
  tokensTat = 0
  /** When its lane is looked at again because of time alone. */
  wake: { at: number; order: number } | undefined

  constructor(limits: Limits, lane: Lane) {
    this.limits = limits
    this.lane = lane
  }

  /** What keeps a step from starting: its places, a time to come, or nothing (-Infinity). */
  blockedUntil(tokens: number, now: number): number {
    if (this.inUse >= (this.limits.concurrency ?? Number.POSITIVE_INFINITY)) return Number.POSITIVE_INFINITY
    const times = [this.closedUntil, ...this.#buckets(tokens).map(({ tat, cost }) => this.#mayGoAt(tat, cost))]
    const late = times.filter((time) => !(time <= now))
    return late.length === 0 ? Number.NEGATIVE_INFINITY : Math.max(...late)
  }

  take(tokens: number, now: number): void {
    this.inUse += 1
    for (const { tat, cost, set } of this.#buckets(tokens)) set(Math.max(tat, now) + cost)
  }

  correct(tokens: number): void {
    const { tokensPerMinute } = this.limits
    if (tokensPerMinute !== undefined) this.tokensTat += tokens * (60_000 / tokensPerMinute)
  }

  #buckets(tokens: number): { tat: number; cost: number; set(tat: number): void }[] {
    const { requestsPerMinute, tokensPerMinute } = this.limits
    const buckets = []
    if (requestsPerMinute !== undefined) {
      buckets.push({
        tat: this.requestsTat,
        cost: 60_000 / requestsPerMinute,
        set: (tat: number) => {
          this.requestsTat = tat
        },
      })
    }
    if (tokensPerMinute !== undefined) {
      buckets.push({
        tat: this.tokensTat,
        cost: tokens * (60_000 / tokensPerMinute),
        set: (tat: number) => {
          this.tokensTat = tat
        },
      })
    }
    return buckets
  }

  /** What costs more than the bucket holds goes when it is full. */
  #mayGoAt(tat: number, cost: number): number {
    const burst = this.limits.burstMs ?? 10_000
    return cost >= burst ? tat : tat + cost - burst
  }
}
