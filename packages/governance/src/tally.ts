import type { Json } from '@muster/protocol'
import type { Long } from './cedar/value.ts'

/** One event in a tally. */
export interface Fact {
  readonly bucket: Bucket
  readonly at: number
  /** In 1/10,000; undefined where it is no number that Cedar has. */
  readonly amount: number | undefined
  readonly people: readonly string[]
  /** It counts no more. */
  gone: boolean
}

/** What there is to know of the events of one key together. */
export interface Bucket {
  readonly key: string
  count: number
  sum: Long
  /** Events whose amount is not known. */
  unknown: number
  /** When the last of them was, ms since the epoch. */
  last: number
  /** Who has approved how many of them. */
  people: Map<string, number> | undefined
}

const AMORTISED = 1024

/**
 * Counts events by key, all or those of a time window: O(1) for each event and each look, however many there are, since
 * an event enters once and leaves once. Times never go back.
 */
export class Tally {
  readonly #withinMs: number | undefined
  readonly #buckets = new Map<string, Bucket>()
  /** With a window: what may leave it, in the order of time, from `#head` on. */
  #recent: Fact[] = []
  #head = 0

  constructor(withinMs: number | undefined) {
    this.#withinMs = withinMs
  }

  add(key: string, at: number, amount: number | undefined, people: readonly string[]): Fact {
    this.#expire(at)
    let bucket = this.#buckets.get(key)
    if (!bucket) {
      bucket = { key, count: 0, sum: 0, unknown: 0, last: at, people: undefined }
      this.#buckets.set(key, bucket)
    }
    const fact: Fact = { bucket, at, amount, people, gone: false }
    bucket.count++
    bucket.last = at
    if (amount === undefined) bucket.unknown++
    else bucket.sum = plus(bucket.sum, amount)
    for (const person of people) {
      bucket.people ??= new Map()
      bucket.people.set(person, (bucket.people.get(person) ?? 0) + 1)
    }
    if (this.#withinMs !== undefined) this.#recent.push(fact)
    return fact
  }

  remove(fact: Fact): void {
    if (!isCounted(fact)) return
    fact.gone = true
    const { bucket, amount, people } = fact
    if (--bucket.count === 0) {
      this.#buckets.delete(bucket.key)
      return
    }
    if (amount === undefined) bucket.unknown--
    else bucket.sum = plus(bucket.sum, -amount)
    for (const person of people) {
      const left = (bucket.people?.get(person) ?? 0) - 1
      if (left > 0) bucket.people?.set(person, left)
      else bucket.people?.delete(person)
    }
  }

  /** Forgets what was of that key, or all. */
  reset(key: string | undefined): void {
    for (const bucket of key === undefined ? [...this.#buckets.values()] : [this.#buckets.get(key)]) {
      if (!bucket) continue
      this.#buckets.delete(bucket.key)
      // What still points there finds nothing that counts.
      bucket.count = 0
    }
  }

  /** What is known of a key at that time; undefined where there is nothing. */
  at(key: string, now: number): Bucket | undefined {
    this.#expire(now)
    return this.#buckets.get(key)
  }

  #expire(now: number): void {
    if (this.#withinMs === undefined) return
    const from = now - this.#withinMs
    for (let fact = this.#recent[this.#head]; fact && fact.at < from; fact = this.#recent[this.#head]) {
      this.#head++
      this.remove(fact)
    }
    if (this.#head < AMORTISED || this.#head * 2 < this.#recent.length) return
    this.#recent = this.#recent.slice(this.#head)
    this.#head = 0
  }

  state(): Json {
    if (this.#withinMs !== undefined) {
      const facts = this.#recent.slice(this.#head).filter(isCounted)
      return facts.map(({ bucket, at, amount, people }) => [bucket.key, at, amount ?? null, [...people]])
    }
    return [...this.#buckets.values()].map(({ key, count, sum, unknown, last, people }) => [
      key,
      [count, String(sum), unknown, last, [...(people ?? [])]],
    ])
  }

  restore(state: Json): void {
    if (this.#withinMs !== undefined) {
      // What `state` gave.
      for (const [key, at, amount, people] of state as [string, number, number | null, string[]][])
        this.add(key, at, amount ?? undefined, people)
      return
    }
    type Saved = [number, string, number, number, [string, number][]]
    for (const [key, [count, sum, unknown, last, people]] of state as unknown as [string, Saved][])
      this.#buckets.set(key, {
        ...{ key, count, sum: plus(0, BigInt(sum)), unknown, last },
        people: people.length > 0 ? new Map(people) : undefined,
      })
  }
}

/** Whether it is in its bucket still, which may have been given up. */
export function isCounted({ gone, bucket }: Fact): boolean {
  return !gone && bucket.count > 0
}

/** Exact, however large. */
export function plus(a: Long, b: Long): Long {
  if (typeof a === 'number' && typeof b === 'number') {
    const sum = a + b
    if (Number.isSafeInteger(sum)) return sum
  }
  const sum = BigInt(a) + BigInt(b)
  const number = Number(sum)
  return Number.isSafeInteger(number) ? number : sum
}
