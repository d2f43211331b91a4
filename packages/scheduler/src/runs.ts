import { grown, handleOf, NONE, nextGeneration, slotOf } from './steps.ts'

export const RUN_STRIDE = 11
/** Its queue in the main lane. */
export const QUEUE = 0
export const NEWEST = 1
/** Steps that have not ended. */
export const LIVE = 2
/** Steps in its list, ended ones too. */
export const IN_LIST = 3
/** Ended steps since its list was last cleaned. */
export const ENDED = 4
/** Steps added since it was last ranked. */
export const FRESH = 5
/** Its list of resources. */
export const RUN_NEEDS = 6
/** Its list of those that its calls need besides. */
export const RUN_CALLS = 7
const RUN_GENERATION = 8
/** Whether it is open. */
const IS_OPEN = 9
/** The next free slot. */
const RUN_NEXT = 10

/** The runs that are open, in an array that grows in place; slots are used again. */
export class Runs {
  words = new Int32Array(16 * RUN_STRIDE)
  #count = 0
  #free = NONE

  get bytes(): number {
    return this.words.byteLength
  }

  open(queue: number, needs: number, calls: number): number {
    let run = this.#free
    if (run !== NONE) {
      this.#free = this.words[run * RUN_STRIDE + RUN_NEXT]
    } else {
      run = this.#count++
      if (run * RUN_STRIDE === this.words.length) this.words = grown(this.words)
    }
    const at = run * RUN_STRIDE
    const generation = this.words[at + RUN_GENERATION]
    this.words.fill(0, at, at + RUN_GENERATION)
    this.words[at + QUEUE] = queue
    this.words[at + NEWEST] = NONE
    this.words[at + RUN_NEEDS] = needs
    this.words[at + RUN_CALLS] = calls
    this.words[at + IS_OPEN] = 1
    return handleOf(run, generation)
  }

  /** The slot of an open run, or `NONE`. */
  find(handle: number): number {
    const run = slotOf(handle)
    if (run >= this.#count) return NONE
    const at = run * RUN_STRIDE
    return this.words[at + IS_OPEN] === 1 && handleOf(run, this.words[at + RUN_GENERATION]) === handle ? run : NONE
  }

  close(run: number): void {
    const at = run * RUN_STRIDE
    this.words[at + IS_OPEN] = 0
    this.words[at + RUN_GENERATION] = nextGeneration(this.words[at + RUN_GENERATION])
    this.words[at + RUN_NEXT] = this.#free
    this.#free = run
  }
}
