/** A kind that nobody described lasts so long, ms, until its first step has ended. */
const UNKNOWN_MS = 1
const SHORTEST_MS = 1 / 16

/** What is known of steps of one tool or model: how long they last, and which resources they need. */
export class Kinds {
  #ms = new Float32Array(16)
  #needs = new Int32Array(16)
  #learned = new Uint8Array(16)
  #calls = new Uint8Array(16)
  #count = 0

  constructor() {
    this.add(UNKNOWN_MS, 0, false)
  }

  add(ms: number = UNKNOWN_MS, needs: number, isCall: boolean): number {
    const kind = this.#count++
    if (kind === this.#ms.length) {
      const ms = new Float32Array(kind * 2)
      ms.set(this.#ms)
      this.#ms = ms
      const needs = new Int32Array(kind * 2)
      needs.set(this.#needs)
      this.#needs = needs
      const learned = new Uint8Array(kind * 2)
      learned.set(this.#learned)
      this.#learned = learned
      const calls = new Uint8Array(kind * 2)
      calls.set(this.#calls)
      this.#calls = calls
    }
    this.#ms[kind] = Math.max(ms, SHORTEST_MS)
    this.#needs[kind] = needs
    this.#calls[kind] = isCall ? 1 : 0
    return kind
  }

  has(kind: number): boolean {
    return kind < this.#count && kind >= 0
  }

  /** Moving average of what `learn` was told, ms. */
  ms(kind: number): number {
    return this.#ms[kind]
  }

  needs(kind: number): number {
    return this.#needs[kind]
  }

  /** Whether they need what calls of their run need. */
  isCall(kind: number): boolean {
    return this.#calls[kind] === 1
  }

  learn(kind: number, ms: number): void {
    const before = this.#ms[kind]
    const change =
      this.#learned[kind] === 0 ? Math.fround(ms) : Math.fround(before + Math.fround(Math.fround(ms - before) / 8))
    this.#learned[kind] = 1
    this.#ms[kind] = Math.max(change, SHORTEST_MS)
  }
}
