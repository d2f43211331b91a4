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

  /** @param now as in `Scheduler.setLimits` */
  setLimits(limits: Limits, now: number | undefined): void {
    const old = this.limits
    this.limits = limits
    if (now === undefined) return
    const raised = (perMinute: number | undefined, before: number | undefined, tat: number): number => {
      const [cost, costBefore] = [costOf(perMinute), costOf(before)]
      const isLower = cost >= costBefore
      if (before === undefined || (isLower && (perMinute === 0 || burstOf(limits) <= burstOf(old)))) return tat
      // What it held stays; the rest of what it can hold is missing.
      const held = before === 0 ? 0 : (Math.max(burstOf(old), costBefore) - Math.max(tat - now, 0)) / costBefore
      const fullAt = now + Math.max(burstOf(limits), cost) - held * cost
      return isLower ? Math.max(tat, fullAt) : fullAt
    }
    this.requestsTat = raised(limits.requestsPerMinute, old.requestsPerMinute, this.requestsTat)
    this.tokensTat = raised(limits.tokensPerMinute, old.tokensPerMinute, this.tokensTat)
  }

  /** What keeps a step from starting: its places, a time to come, or nothing (-Infinity). */
  blockedUntil(tokens: number, now: number): number {
    const { concurrency = Number.POSITIVE_INFINITY, requestsPerMinute, tokensPerMinute } = this.limits
    if (this.inUse >= concurrency || requestsPerMinute === 0 || tokensPerMinute === 0) return Number.POSITIVE_INFINITY
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
    if (tokensPerMinute) this.tokensTat += tokens * costOf(tokensPerMinute)
  }

  #buckets(tokens: number): { tat: number; cost: number; set(tat: number): void }[] {
    const { requestsPerMinute, tokensPerMinute } = this.limits
    const buckets = []
    if (requestsPerMinute !== undefined) {
      buckets.push({
        tat: this.requestsTat,
        cost: costOf(requestsPerMinute),
        set: (tat: number) => {
          this.requestsTat = tat
        },
      })
    }
    if (tokensPerMinute !== undefined) {
      buckets.push({
        tat: this.tokensTat,
        cost: tokens * costOf(tokensPerMinute),
        set: (tat: number) => {
          this.tokensTat = tat
        },
      })
    }
    return buckets
  }

  /** What costs more than the bucket holds goes when it is full. */
  #mayGoAt(tat: number, cost: number): number {
    const burst = burstOf(this.limits)
    return cost >= burst ? tat : tat + cost - burst
  }
}

/** Milliseconds in which one is earned. */
function costOf(perMinute: number | undefined): number {
  return perMinute === undefined ? 0 : 60_000 / perMinute
}

function burstOf({ burstMs = 10_000 }: Limits): number {
  return burstMs
}
