/**
 * What a scheduler costs that does nothing but count: dependencies that are open, in typed arrays, and a ring of ready
 * steps, first come first served. No runs, tenants, limits, ranks, timers, stale calls, and no end but a good one.
 */
export class BareScheduler {
  #open = new Int32Array(1024)
  #first = new Int32Array(1024)
  #edges = new Int32Array(2048)
  #ring = new Int32Array(1024)
  #steps = 0
  #edgeCount = 0
  #head = 0
  #tail = 0
  running = 0
  readonly #concurrency: number

  constructor(options: { concurrency: number }) {
    this.#concurrency = options.concurrency
  }

  get bytes(): number {
    return this.#open.byteLength + this.#first.byteLength + this.#edges.byteLength + this.#ring.byteLength
  }

  /** Forgets all steps. */
  clear(): void {
    this.#steps = 0
    this.#edgeCount = 0
    this.#head = 0
    this.#tail = 0
  }

  addStep(after: readonly number[]): number {
    const step = this.#steps++
    if (step === this.#open.length) {
      this.#open = grown(this.#open)
      this.#first = grown(this.#first)
      this.#ring = grown(this.#ring)
    }
    this.#open[step] = after.length
    this.#first[step] = -1
    for (let i = 0; i < after.length; i++) {
      const on = after[i]
      const edge = 2 * this.#edgeCount++
      if (edge === this.#edges.length) this.#edges = grown(this.#edges)
      this.#edges[edge] = step
      this.#edges[edge + 1] = this.#first[on]
      this.#first[on] = edge
    }
    if (after.length === 0) this.#ring[this.#tail++] = step
    return step
  }

  poll(out: number[]): number {
    const before = out.length
    while (this.running < this.#concurrency && this.#head < this.#tail) {
      out.push(this.#ring[this.#head++])
      this.running++
    }
    return out.length - before
  }

  settle(step: number): void {
    this.running--
    for (let edge = this.#first[step]; edge !== -1; edge = this.#edges[edge + 1]) {
      const to = this.#edges[edge]
      if (--this.#open[to] === 0) this.#ring[this.#tail++] = to
    }
  }
}

function grown(array: Int32Array<ArrayBuffer>): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(array.length * 2)
  larger.set(array)
  return larger
}
