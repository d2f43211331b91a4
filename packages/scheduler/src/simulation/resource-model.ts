import type { Limits } from '../resources.ts'
import type { Resource } from '../scheduler.ts'
import { check } from './event.ts'

/** Rounding of the sums of many costs. */
const EPSILON_MS = 1e-5

/** Bounds of a bucket's theoretical arrival time. */
class Bucket {
  /** Cost of one, ms; 0 without a limit. `slowest`: the highest since takes and starts last agreed. */
  each = 0
  slowest = 0
  atLeast = 0
  atMost = 0
  /** No take leaves the bucket later than this. */
  cap = Number.NEGATIVE_INFINITY

  get isLimited(): boolean {
    return this.each > 0
  }

  /** With `now`, a higher rate adds nothing to what the bucket holds. The bursts are before and after. */
  setRate(perMinute: number | undefined, now: number | undefined, burstBefore: number, burst: number): void {
    const before = this.each
    this.each = perMinute === undefined ? 0 : 60_000 / perMinute
    if (perMinute !== 0) this.slowest = Math.max(this.slowest, this.each)
    const isLower = before <= this.each
    if (now === undefined || before === 0) return
    if (isLower && (burst <= burstBefore || this.each === Number.POSITIVE_INFINITY)) return
    const full = Math.max(burst, this.each)
    const moved = (tat: number) => {
      const missing = Math.max(tat - now, 0)
      const held = before < Number.POSITIVE_INFINITY ? (Math.max(burstBefore, before) - missing) / before : 0
      const fullAt = now + full - held * this.each
      return isLower ? Math.max(tat, fullAt) : fullAt
    }
    this.atLeast = moved(this.atLeast)
    this.atMost = moved(this.atMost)
    this.cap = moved(this.cap)
  }

  mayHaveTaken(count: number, now: number): void {
    if (this.slowest > 0) this.atMost = Math.max(this.atMost, now) + count * this.slowest
  }

  took(count: number, since: number, now: number, burst: number): void {
    if (!this.isLimited) return
    this.atLeast = Math.max(this.atLeast, since) + count * this.each
    this.cap = Math.max(this.cap, now + Math.max(burst, count * this.each))
  }

  /** When `count` may go at the latest. */
  mayGoAt(count: number, burst: number): number {
    if (!this.isLimited) return Number.NEGATIVE_INFINITY
    const cost = count * this.each
    return cost >= burst ? this.atMost : this.atMost + cost - burst
  }
}

/**
 * What the simulator knows of a resource from starts and ends. A step that was granted takes before it
 * starts; the takes of such steps lie somewhere after `since`, the first poll since no step was granted.
 * So the model has bounds, which are equal as long as no granted step has to wait.
 */
export class ResourceModel {
  readonly id: Resource
  limits: Limits = {}
  inUse = 0
  closedUntil = Number.NEGATIVE_INFINITY
  /** The largest step that ever needed it: it may be the one at the head. */
  tokensMax = 0
  readonly #requests = new Bucket()
  readonly #tokens = new Bucket()
  /** It was changed while steps may have been granted: of their starts nothing can be said. */
  #isUnsure = false

  constructor(id: Resource, limits: Limits) {
    this.id = id
    this.setLimits(limits, undefined, false)
  }

  /** A rate of 0 is no place. */
  get #places(): number {
    const { concurrency = Number.POSITIVE_INFINITY, requestsPerMinute, tokensPerMinute } = this.limits
    return requestsPerMinute === 0 || tokensPerMinute === 0 ? 0 : concurrency
  }

  get #burst(): number {
    return this.limits.burstMs ?? 10_000
  }

  setLimits(limits: Limits, now: number | undefined, maybeGranted: boolean): void {
    const before = this.#burst
    this.limits = limits
    this.#requests.setRate(limits.requestsPerMinute, now, before, this.#burst)
    this.#tokens.setRate(limits.tokensPerMinute, now, before, this.#burst)
    this.changed(maybeGranted)
  }

  correct(tokens: number, polled: number, maybeGranted: boolean): void {
    const bucket = this.#tokens
    if (maybeGranted && tokens > 0) bucket.atMost = Math.max(bucket.atMost, polled)
    const cost = bucket.each < Number.POSITIVE_INFINITY ? tokens * bucket.each : 0
    bucket.atMost += cost
    bucket.atLeast += cost
    bucket.cap += cost
    this.changed(maybeGranted)
  }

  close(until: number, maybeGranted: boolean): void {
    this.closedUntil = Math.max(this.closedUntil, until)
    this.changed(maybeGranted)
  }

  /** What is true of it, or who needs it, is different from now on. */
  changed(maybeGranted: boolean): void {
    if (maybeGranted) this.#isUnsure = true
    else this.noneGranted()
  }

  noneGranted(): void {
    this.#isUnsure = false
    for (const bucket of [this.#requests, this.#tokens])
      bucket.slowest = bucket.each < Number.POSITIVE_INFINITY ? bucket.each : 0
  }

  started(tokens: number, since: number, now: number): void {
    if (!this.#isUnsure) {
      const places = this.#places
      check(this.inUse < places, `resource ${this.id} is used by ${this.inUse + 1} of at most ${places}`)
      check(
        this.closedUntil <= now,
        `a step starts at ${now} with resource ${this.id} closed until ${this.closedUntil}`,
      )
    }
    this.inUse += 1
    this.mayHaveTaken(tokens, now)
    // What is left out keeps the lower bound below the truth.
    if (this.#isUnsure) return
    this.#requests.took(1, since, now, this.#burst)
    this.#tokens.took(tokens, since, now, this.#burst)
    for (const { isLimited, atLeast, cap } of [this.#requests, this.#tokens]) {
      check(
        !isLimited || atLeast <= cap + EPSILON_MS,
        `resource ${this.id} is used faster than ${JSON.stringify(this.limits)}`,
      )
    }
  }

  /** A step took from it, or one that ended before its start may have. */
  mayHaveTaken(tokens: number, now: number): void {
    this.#requests.mayHaveTaken(1, now)
    this.#tokens.mayHaveTaken(tokens, now)
  }

  /** When any step that needs it could go, as far as this resource goes; Infinity while its places are taken. */
  get openAt(): number {
    if (this.inUse >= this.#places) return Number.POSITIVE_INFINITY
    return Math.max(
      this.closedUntil,
      this.#requests.mayGoAt(1, this.#burst),
      this.#tokens.mayGoAt(this.tokensMax, this.#burst),
    )
  }
}
