import { grownFloats } from './steps.ts'

// One timer is three numbers.
const TIME = 0
const ORDER = 1
const WHAT = 2
const STRIDE = 3

/**
 * A binary min-heap of (time, order of adding, what) in one typed array: O(log n) to add and to take, no object per
 * timer. What is no longer wanted stays in it until it is due or until the heap has doubled.
 */
export class Timers {
  #heap = new Float64Array(64 * STRIDE)
  #size = 0
  #added = 0
  /** The size at which it is looked through for what is not wanted. */
  #full = 64
  readonly #alive: (what: number) => boolean

  /** `alive` says whether a timer is still wanted. */
  constructor(alive: (what: number) => boolean) {
    this.#alive = alive
  }

  get bytes(): number {
    return this.#heap.byteLength
  }

  get size(): number {
    return this.#size
  }

  /** Time of the earliest timer that is wanted; Infinity when there is none. */
  get next(): number {
    while (this.#size > 0) {
      if (this.#alive(this.#heap[WHAT])) return this.#heap[TIME]
      this.#removeTop()
    }
    return Number.POSITIVE_INFINITY
  }

  add(time: number, what: number): void {
    if (this.#size >= this.#full) this.#compact()
    if (this.#size * STRIDE === this.#heap.length) this.#heap = grownFloats(this.#heap)
    this.#up(this.#size++, time, this.#added++, what)
  }

  /** Each comes so much earlier. */
  goBack(ms: number): void {
    for (let i = 0; i < this.#size; i++) this.#heap[i * STRIDE + TIME] -= ms
  }

  /** The earliest timer that is wanted and due, taken out; -1 when there is none. */
  takeDue(now: number): number {
    const heap = this.#heap
    while (this.#size > 0 && heap[TIME] <= now) {
      const what = heap[WHAT]
      const wanted = this.#alive(what)
      this.#removeTop()
      if (wanted) return what
    }
    return -1
  }

  #removeTop(): void {
    const last = --this.#size * STRIDE
    const heap = this.#heap
    this.#down(0, heap[last + TIME], heap[last + ORDER], heap[last + WHAT])
  }

  #compact(): void {
    const heap = this.#heap
    let kept = 0
    for (let i = 0; i < this.#size; i++) {
      const at = i * STRIDE
      if (!this.#alive(heap[at + WHAT])) continue
      heap.copyWithin(kept++ * STRIDE, at, at + STRIDE)
    }
    this.#size = kept
    this.#full = 2 * kept + 64
    for (let i = (kept >> 1) - 1; i >= 0; i--) {
      const at = i * STRIDE
      this.#down(i, heap[at + TIME], heap[at + ORDER], heap[at + WHAT])
    }
  }

  #up(from: number, time: number, order: number, what: number): void {
    const heap = this.#heap
    let i = from
    while (i > 0) {
      const parent = (i - 1) >> 1
      // A new timer has the highest order, so it stays below those of its time.
      if (heap[parent * STRIDE + TIME] <= time) break
      heap.copyWithin(i * STRIDE, parent * STRIDE, parent * STRIDE + STRIDE)
      i = parent
    }
    this.#set(i, time, order, what)
  }

  #down(from: number, time: number, order: number, what: number): void {
    const heap = this.#heap
    let i = from
    for (;;) {
      let child = 2 * i + 1
      if (child >= this.#size) break
      if (child + 1 < this.#size && this.#before(child + 1, heap[child * STRIDE + TIME], heap[child * STRIDE + ORDER]))
        child++
      if (!this.#before(child, time, order)) break
      heap.copyWithin(i * STRIDE, child * STRIDE, child * STRIDE + STRIDE)
      i = child
    }
    this.#set(i, time, order, what)
  }

  #before(i: number, time: number, order: number): boolean {
    const at = this.#heap[i * STRIDE + TIME]
    return at < time || (at === time && this.#heap[i * STRIDE + ORDER] < order)
  }

  #set(i: number, time: number, order: number, what: number): void {
    this.#heap[i * STRIDE + TIME] = time
    this.#heap[i * STRIDE + ORDER] = order
    this.#heap[i * STRIDE + WHAT] = what
  }
}
