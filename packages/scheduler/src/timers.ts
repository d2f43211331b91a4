/** A binary min-heap of (time, handle) in two typed arrays: O(log n) to add and to take, no object per timer. */
export class Timers {
  #times = new Float64Array(64)
  #handles = new Float64Array(64)
  #size = 0

  get size(): number {
    return this.#size
  }

  /** Time of the earliest timer; Infinity when there is none. */
  get next(): number {
    return this.#size === 0 ? Number.POSITIVE_INFINITY : this.#times[0]
  }

  add(time: number, handle: number): void {
    if (this.#size === this.#times.length) {
      this.#times = grow(this.#times)
      this.#handles = grow(this.#handles)
    }
    let i = this.#size++
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (this.#times[parent] <= time) break
      this.#times[i] = this.#times[parent]
      this.#handles[i] = this.#handles[parent]
      i = parent
    }
    this.#times[i] = time
    this.#handles[i] = handle
  }

  /** Takes the earliest timer and gives its handle; call only when `next` is due. */
  take(): number {
    const top = this.#handles[0]
    const last = --this.#size
    const time = this.#times[last]
    const handle = this.#handles[last]
    let i = 0
    for (;;) {
      let child = 2 * i + 1
      if (child >= last) break
      if (child + 1 < last && this.#times[child + 1] < this.#times[child]) child++
      if (this.#times[child] >= time) break
      this.#times[i] = this.#times[child]
      this.#handles[i] = this.#handles[child]
      i = child
    }
    this.#times[i] = time
    this.#handles[i] = handle
    return top
  }
}

function grow(array: Float64Array<ArrayBuffer>): Float64Array<ArrayBuffer> {
  const larger = new Float64Array(array.length * 2)
  larger.set(array)
  return larger
}
