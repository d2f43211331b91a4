/** Times with what they are for, the earliest first, and of equal ones the first that was added. */
export class Due<T> {
  readonly #heap: { at: number; order: number; of: T }[] = []
  readonly #isOver: (of: T) => boolean
  #added = 0

  /** What `isOver` is true of is left out. */
  constructor(isOver: (of: T) => boolean) {
    this.#isOver = isOver
  }

  add(at: number, of: T): void {
    const heap = this.#heap
    let i = heap.push({ at, order: this.#added++, of }) - 1
    for (let up = (i - 1) >> 1; i > 0 && this.#before(i, up); i = up, up = (i - 1) >> 1) this.#swap(i, up)
  }

  /** The earliest time; Infinity when there is none. */
  get next(): number {
    while (this.#heap.length > 0 && this.#isOver(this.#heap[0].of)) this.#take()
    return this.#heap[0]?.at ?? Number.POSITIVE_INFINITY
  }

  /** Takes what is due. */
  take(now: number): T[] {
    const due: T[] = []
    while (this.next <= now) due.push(this.#take())
    return due
  }

  #take(): T {
    const heap = this.#heap
    const last = heap.length - 1
    this.#swap(0, last)
    const [{ of }] = heap.splice(last)
    for (let i = 0; ; ) {
      let first = i
      for (const down of [2 * i + 1, 2 * i + 2]) if (down < last && this.#before(down, first)) first = down
      if (first === i) return of
      this.#swap(i, first)
      i = first
    }
  }

  #before(a: number, b: number): boolean {
    const [left, right] = [this.#heap[a], this.#heap[b]]
    return left.at < right.at || (left.at === right.at && left.order < right.order)
  }

  #swap(a: number, b: number): void {
    const heap = this.#heap
    ;[heap[a], heap[b]] = [heap[b], heap[a]]
  }
}
