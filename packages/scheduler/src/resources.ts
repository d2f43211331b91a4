import { grownFloats, handleOf, NONE, nextGeneration, slotOf } from './steps.ts'
import { Timers } from './timers.ts'

/** What a resource lets through. What is not named is not limited. */
export interface Limits {
  /** Steps that use it at once. */
  concurrency?: number
  /** 0 lets nothing through, as for tokens. */
  requestsPerMinute?: number
  tokensPerMinute?: number
  /** How much may come at once after a pause, as the time in which it is earned, ms. Default 10,000. */
  burstMs?: number
}

const MINUTE = 60_000

const MAX = 0
const IN_USE = 1
/** Milliseconds that one request costs; 0 for no limit. */
const REQUEST = 2
/** When the bucket of requests is full again. */
const REQUEST_TAT = 3
const TOKEN = 4
const TOKEN_TAT = 5
const BURST = 6
const CLOSED_UNTIL = 7
/** The time at which it is looked at again; Infinity for none. */
const WAKE = 8
/** The next on the open list; 0 for the last, `OFF` when not on it. */
const NEXT_OPEN = 9
/** Tells the timer for that time from earlier ones, which may have been for the same time. */
const WAKE_GENERATION = 10
/** Lists that it is on; `DROPPED` where its place is free for another. */
const LISTS = 11
const STRIDE = 12
const OFF = -1
const DROPPED = -1

/**
 * What steps share: places, and buckets of requests and tokens per minute. A bucket is one number, the time when it
 * is full again (generic cell rate algorithm, ITU-T I.371), so it needs no filling.
 */
export class Resources {
  #words = new Float64Array(8 * STRIDE)
  #count = 1
  /** Places of those that were dropped. */
  readonly #free: number[] = []
  /** Lists of resources: uses, length, ids. Named by where the length stands; the first is empty and stays. */
  readonly #lists = [0]
  readonly #listIds = new Map<string, number>([['', 0]])
  /** Lists that nobody uses any more, by length. */
  readonly #freeLists: number[][] = []
  #firstOpen = 0
  #lastOpen = 0
  readonly wakes = new Timers((wake) => {
    const resource = slotOf(wake)
    return handleOf(resource, this.#words[resource * STRIDE + WAKE_GENERATION]) === wake
  })

  get bytes(): number {
    return this.#words.byteLength + this.wakes.bytes + 8 * this.#lists.length
  }

  add(limits: Limits): number {
    const resource = this.#free.pop() ?? this.#count++
    const at = resource * STRIDE
    if (at === this.#words.length) this.#words = grownFloats(this.#words)
    // Timers of one that was here before are told apart by the generation.
    this.#words.fill(0, at, at + WAKE_GENERATION)
    this.#words[at + WAKE] = Number.POSITIVE_INFINITY
    this.#words[at + NEXT_OPEN] = OFF
    this.#words[at + LISTS] = 0
    this.setLimits(resource, limits)
    return resource
  }

  /** Frees the place of one that is on no list, which none uses; false where it is still needed. */
  drop(resource: number): boolean {
    const words = this.#words
    const at = resource * STRIDE
    if (words[at + LISTS] > 0 || words[at + IN_USE] > 0 || words[at + NEXT_OPEN] !== OFF) return false
    words[at + LISTS] = DROPPED
    words[at + WAKE_GENERATION] = nextGeneration(words[at + WAKE_GENERATION])
    this.#free.push(resource)
    return true
  }

  has(resource: number): boolean {
    if (!Number.isInteger(resource) || resource <= 0 || resource >= this.#count) return false
    return this.#words[resource * STRIDE + LISTS] !== DROPPED
  }

  setLimits(resource: number, limits: Limits, now?: number): void {
    const { concurrency, requestsPerMinute, tokensPerMinute, burstMs = 10_000 } = limits
    const at = resource * STRIDE
    const before = this.#words[at + BURST]
    const closed = requestsPerMinute === 0 || tokensPerMinute === 0
    this.#words[at + MAX] = closed ? 0 : (concurrency ?? Number.POSITIVE_INFINITY)
    this.#words[at + BURST] = burstMs
    this.#setRate(at + REQUEST, requestsPerMinute, before, now)
    this.#setRate(at + TOKEN, tokensPerMinute, before, now)
  }

  /** `at` is where a bucket's cost stands, with its time behind. */
  #setRate(at: number, perMinute: number | undefined, burstBefore: number, now: number | undefined): void {
    const words = this.#words
    const before = words[at]
    const cost = perMinute === undefined ? 0 : MINUTE / perMinute
    words[at] = cost
    if (now === undefined || before === 0) return
    const burst = words[at - (at % STRIDE) + BURST]
    if (cost >= before && (burst <= burstBefore || cost === Number.POSITIVE_INFINITY)) return
    // What it held, in requests or tokens, it holds now; the time says how much is missing from full.
    const full = Math.max(burstBefore, before)
    const held = before === Number.POSITIVE_INFINITY ? 0 : (full - Math.max(words[at + 1] - now, 0)) / before
    const fullAt = now + Math.max(burst, cost) - held * cost
    words[at + 1] = cost < before ? fullAt : Math.max(words[at + 1], fullAt)
  }

  fullAt(resource: number): number {
    const at = resource * STRIDE
    return Math.max(this.#words[at + REQUEST_TAT], this.#words[at + TOKEN_TAT])
  }

  inUse(resource: number): number {
    return this.#words[resource * STRIDE + IN_USE]
  }

  /** A list of resources as one number; the same for the same list. It stays until all who asked for it have left it. */
  list(resources: readonly number[]): number {
    const unique = resources.length < 2 ? resources : [...new Set(resources)]
    const key = unique.join()
    const lists = this.#lists
    const known = this.#listIds.get(key)
    if (known !== undefined) {
      if (known !== 0) lists[known - 1]++
      return known
    }
    for (const resource of unique) if (!this.has(resource)) throw new RangeError(`there is no resource ${resource}`)
    const free = this.#freeLists[unique.length]?.pop()
    const list = free ?? lists.length + 1
    if (free === undefined) lists.push(0, 0, ...unique)
    lists[list - 1] = 1
    lists[list] = unique.length
    for (const [i, resource] of unique.entries()) {
      lists[list + 1 + i] = resource
      this.#words[resource * STRIDE + LISTS]++
    }
    this.#listIds.set(key, list)
    return list
  }

  /** One of those who asked for a list needs it no more. */
  leave(list: number): void {
    const lists = this.#lists
    if (list === 0 || --lists[list - 1] > 0) return
    const ids = lists.slice(list + 1, list + 1 + lists[list])
    this.#listIds.delete(ids.join())
    for (const resource of ids) this.#words[resource * STRIDE + LISTS]--
    this.#freeLists[ids.length] ??= []
    this.#freeLists[ids.length].push(list)
  }

  /** Writes the resources of a list to `out`, behind the first `count`, those that are not there, and gives their number. */
  gather(list: number, out: number[], count = 0): number {
    const lists = this.#lists
    const first = count
    const last = list + lists[list]
    for (let i = list + 1; i <= last; i++) {
      const resource = lists[i]
      let known = false
      for (let j = 0; j < first; j++) known ||= out[j] === resource
      if (!known) out[count++] = resource
    }
    return count
  }

  /** From when on a step of so many tokens may use it: `Infinity` when all places are taken. */
  opensAt(resource: number, tokens: number): number {
    const words = this.#words
    const at = resource * STRIDE
    if (words[at + IN_USE] >= words[at + MAX]) return Number.POSITIVE_INFINITY
    let opens = words[at + CLOSED_UNTIL]
    const request = words[at + REQUEST]
    if (request !== 0) opens = Math.max(opens, opening(words[at + REQUEST_TAT], request, words[at + BURST]))
    const token = words[at + TOKEN]
    if (token !== 0) opens = Math.max(opens, opening(words[at + TOKEN_TAT], token * tokens, words[at + BURST]))
    return opens
  }

  take(resource: number, tokens: number, now: number): void {
    const words = this.#words
    const at = resource * STRIDE
    words[at + IN_USE]++
    const request = words[at + REQUEST]
    if (request !== 0) words[at + REQUEST_TAT] = Math.max(words[at + REQUEST_TAT], now) + request
    const token = words[at + TOKEN]
    if (token !== 0) words[at + TOKEN_TAT] = Math.max(words[at + TOKEN_TAT], now) + token * tokens
  }

  /** Takes a place for what runs already, whatever there is. */
  hold(resource: number): void {
    this.#words[resource * STRIDE + IN_USE]++
  }

  /** Gives a place back. Requests and tokens come back with time alone. */
  release(resource: number): void {
    this.#words[resource * STRIDE + IN_USE]--
  }

  correct(resource: number, tokens: number): void {
    const at = resource * STRIDE
    const token = this.#words[at + TOKEN]
    if (token !== Number.POSITIVE_INFINITY) this.#words[at + TOKEN_TAT] += token * tokens
  }

  close(resource: number, until: number): void {
    const at = resource * STRIDE + CLOSED_UNTIL
    this.#words[at] = Math.max(this.#words[at], until)
  }

  /** Looks at it again at a time; an earlier one that is set already stays. */
  wakeAt(resource: number, time: number): void {
    const at = resource * STRIDE + WAKE
    if (this.#words[at] <= time) return
    this.#words[at] = time
    const generation = nextGeneration(this.#words[resource * STRIDE + WAKE_GENERATION])
    this.#words[resource * STRIDE + WAKE_GENERATION] = generation
    this.wakes.add(time, handleOf(resource, generation))
  }

  /** The clock has gone back by so much: what was to come at a time comes so much earlier. */
  goBack(ms: number, then: (resource: number) => void): void {
    const words = this.#words
    for (let resource = 1; resource < this.#count; resource++) {
      if (!this.has(resource)) continue
      const at = resource * STRIDE
      words[at + REQUEST_TAT] -= ms
      words[at + TOKEN_TAT] -= ms
      words[at + CLOSED_UNTIL] -= ms
      words[at + WAKE] = Number.POSITIVE_INFINITY
      words[at + WAKE_GENERATION] = nextGeneration(words[at + WAKE_GENERATION])
      then(resource)
    }
  }

  /** A resource whose time to be looked at has come, or `NONE`. */
  takeDue(now: number): number {
    const wake = this.wakes.takeDue(now)
    if (wake === NONE) return NONE
    const resource = slotOf(wake)
    this.#words[resource * STRIDE + WAKE] = Number.POSITIVE_INFINITY
    return resource
  }

  /** First of those that may have something to give; 0 for none. */
  get firstOpen(): number {
    return this.#firstOpen
  }

  /** Puts it at the end of those that may have something to give, once. */
  open(resource: number): void {
    const words = this.#words
    const at = resource * STRIDE + NEXT_OPEN
    if (words[at] !== OFF) return
    words[at] = 0
    if (this.#firstOpen === 0) this.#firstOpen = resource
    else words[this.#lastOpen * STRIDE + NEXT_OPEN] = resource
    this.#lastOpen = resource
  }

  shiftOpen(): void {
    const at = this.#firstOpen * STRIDE + NEXT_OPEN
    this.#firstOpen = this.#words[at]
    this.#words[at] = OFF
  }
}

/** When so much may be taken from a bucket; what is more than it holds, when it is full. */
function opening(tat: number, cost: number, burst: number): number {
  return cost >= burst ? tat : tat + cost - burst
}
