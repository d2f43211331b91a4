/** No slot: the end of a list, or nothing found. */
export const NONE = -1

/** Slots that exist; slot and generation share a handle of 52 bits, which a number holds exactly. */
const SLOTS = 2 ** 26
const MASK = SLOTS - 1

/** A slot of a run or step, with the generation that tells its users apart. */
export const handleOf = (slot: number, generation: number): number => generation * SLOTS + slot

/** The slot in a handle; two living steps never share one. */
export const slotOf = (handle: number): number => handle & MASK

export const nextGeneration = (generation: number): number => (generation + 1) & MASK

// A step is one row of words, less than a cache line: what touches a step at all has most of it at hand.
export const STRIDE = 12
/** State and flags. */
export const STATE = 0
export const GENERATION = 1
/** Dependencies that have not ended, whether the step still waits for them or not. */
export const OPEN = 2
export const RUN = 3
/** The step after this one in its queue or in the list of free slots. While it is blocked: `SLACK`. */
export const NEXT = 4
/** How many dependencies may still end badly or not at all; `OPEN` at this number makes the step ready. */
export const SLACK = 4
/** First of the edges that found no room in the row. */
export const EDGES = 5
/** The first two dependents. */
export const FIRST = 6
export const SECOND = 7
/** The step that was added to the run before this one. */
export const OLDER = 8
/** Float32: the longest way from the begin of this step to the end of the graph, ms. */
export const RANK = 9
export const KIND = 10
export const TOKENS = 11

const FREE = 0
/** Ended, but still in a queue, in its run's list or at the end of an edge. */
export const GONE = 1
export const BLOCKED = 2
export const READY = 3
/** Ready, and holds all resources that it needs. */
export const GRANTED = 4
export const RUNNING = 5
/** To be ready again at a time. */
export const DELAYED = 6
/** Waits for the outside. */
export const WAITING = 7
export const STATES = 7

// Flags beside the state.
/** Any end of a dependency counts, not only a good one. */
export const SETTLED_JOIN = 8
export const NEEDS = 16
export const QUEUED = 32
export const LISTED = 64
export const UNRANKED = 128

/** The steps and edges of all graphs, in arrays that grow in place; slots are used again. */
export class Steps {
  words = new Int32Array(64 * STRIDE)
  /** The same memory, for ranks. */
  floats = new Float32Array(this.words.buffer)
  /** Pairs of (to, next edge of the same step). */
  edges = new Int32Array(64 * 2)
  #count = 0
  #free = NONE
  #edgeCount = 0
  #freeEdge = NONE

  get bytes(): number {
    return this.words.byteLength + this.edges.byteLength
  }

  handle(step: number): number {
    return this.words[step * STRIDE + GENERATION] * SLOTS + step
  }

  /** The slot of a living step, or `NONE`. */
  find(handle: number): number {
    const step = handle & MASK
    if (step >= this.#count) return NONE
    const at = step * STRIDE
    const words = this.words
    return words[at + GENERATION] * SLOTS + step === handle && (words[at] & STATES) > GONE ? step : NONE
  }

  /** A slot for a new step; the caller writes every word but the generation and the edges. */
  take(): number {
    let step = this.#free
    if (step !== NONE) {
      this.#free = this.words[step * STRIDE + NEXT]
    } else {
      step = this.#count
      if (step === SLOTS) throw new RangeError(`more than ${SLOTS} steps at once`)
      this.#count++
      if (this.#count * STRIDE > this.words.length) {
        this.words = grown(this.words)
        this.floats = new Float32Array(this.words.buffer)
      }
    }
    const at = step * STRIDE
    this.words[at + EDGES] = NONE
    this.words[at + FIRST] = NONE
    this.words[at + SECOND] = NONE
    return step
  }

  /** Frees the slot of a step that is gone, unless something still points at it. */
  release(step: number): void {
    const at = step * STRIDE
    const words = this.words
    if (words[at] & (QUEUED | LISTED) || words[at + OPEN] > 0) return
    words[at] = FREE
    words[at + NEXT] = this.#free
    this.#free = step
  }

  addEdge(from: number, to: number): void {
    const words = this.words
    const at = from * STRIDE
    if (words[at + FIRST] === NONE) {
      words[at + FIRST] = to
      return
    }
    if (words[at + SECOND] === NONE) {
      words[at + SECOND] = to
      return
    }
    let edge = this.#freeEdge
    if (edge !== NONE) {
      this.#freeEdge = this.edges[edge + 1]
    } else {
      edge = this.#edgeCount * 2
      this.#edgeCount++
      if (edge === this.edges.length) this.edges = grown(this.edges)
    }
    this.edges[edge] = to
    this.edges[edge + 1] = words[at + EDGES]
    words[at + EDGES] = edge
  }

  /** Frees the edges of a step that found no room in its row, of which `last` is the last. */
  freeEdges(step: number, last: number): void {
    this.edges[last + 1] = this.#freeEdge
    this.#freeEdge = this.words[step * STRIDE + EDGES]
    this.words[step * STRIDE + EDGES] = NONE
  }

  /** The same, for one whose dependents need not be told. */
  forgetEdges(step: number): void {
    let last = NONE
    for (let edge = this.words[step * STRIDE + EDGES]; edge !== NONE; edge = this.edges[edge + 1]) last = edge
    if (last !== NONE) this.freeEdges(step, last)
  }
}

/** Steps in a row, linked by `NEXT`. */
export class Line {
  #first = NONE
  #last = NONE
  readonly #steps: Steps

  constructor(steps: Steps) {
    this.#steps = steps
  }

  get first(): number {
    return this.#first
  }

  push(step: number): void {
    const { words } = this.#steps
    words[step * STRIDE + NEXT] = NONE
    if (this.#first === NONE) this.#first = step
    else words[this.#last * STRIDE + NEXT] = step
    this.#last = step
  }

  /** Takes out the first; `NONE` when there is none. */
  shift(): number {
    const step = this.#first
    if (step !== NONE) this.#first = this.#steps.words[step * STRIDE + NEXT]
    return step
  }
}

export function grown(array: Int32Array<ArrayBuffer>): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(array.length * 2)
  larger.set(array)
  return larger
}

export function grownFloats(array: Float64Array<ArrayBuffer>): Float64Array<ArrayBuffer> {
  const larger = new Float64Array(array.length * 2)
  larger.set(array)
  return larger
}
