import type { Kinds } from './kinds.ts'
import { ENDED, FRESH, IN_LIST, LIVE, NEWEST, RUN_CALLS, RUN_NEEDS, RUN_STRIDE, Runs } from './runs.ts'
import {
  BLOCKED,
  EDGES,
  FIRST,
  GENERATION,
  GONE,
  KIND,
  LISTED,
  Line,
  NEEDS,
  NONE,
  nextGeneration,
  OLDER,
  OPEN,
  QUEUED,
  RANK,
  READY,
  RUN,
  SECOND,
  SETTLED_JOIN,
  SLACK,
  STATES,
  STRIDE,
  Steps,
  TOKENS,
  UNRANKED,
} from './steps.ts'

/**
 * Which ends of the steps before it let a step start: all good ones, any good one, so many good ones, or all ends,
 * good or not.
 */
export type Join = 'all' | 'any' | 'settled' | number

/** Marks in `FRESH` that a run is among those to be ranked. */
const DIRTY = 2 ** 30
/** A step's handle that no step has. */
const NO_STEP = -1

/** The steps of all runs and what comes after what. Says which have become ready; not when they start. */
export class Graph {
  readonly steps = new Steps()
  readonly runs = new Runs()
  readonly #kinds: Kinds
  /** Steps that `end` made ready. */
  readonly ready = new Line(this.steps)
  /** Steps that were ready when they were added. */
  readonly fresh = new Line(this.steps)
  /** Runs whose steps got dependents since they were ranked. */
  readonly #unranked: number[] = []
  /** Steps that were dropped and whose dependents are to be told. */
  readonly #dropped: number[] = []
  readonly #after: number[] = []

  constructor(kinds: Kinds) {
    this.#kinds = kinds
  }

  get bytes(): number {
    return this.steps.bytes + this.runs.bytes
  }

  /** Adds a step and gives its handle. Throws before anything has changed. */
  add(run: number, after: readonly number[], kind: number, join: Join, tokens: number): number {
    const slot = this.runs.find(run)
    if (slot === NONE) return NO_STEP
    const steps = this.steps
    let open = 0
    for (let i = 0; i < after.length; i++) {
      const on = steps.find(after[i])
      if (on === NONE) continue
      if (steps.words[on * STRIDE + RUN] !== slot)
        throw new RangeError('a step can only come after steps of its own run')
      this.#after[open++] = on
    }
    const step = steps.take()
    const at = step * STRIDE
    const words = steps.words
    const runs = this.runs.words
    const runAt = slot * RUN_STRIDE
    words[at + OPEN] = open
    words[at + RUN] = slot
    words[at + OLDER] = runs[runAt + NEWEST]
    words[at + KIND] = kind
    words[at + TOKENS] = tokens
    steps.floats[at + RANK] = this.#kinds.ms(kind)
    runs[runAt + NEWEST] = step
    runs[runAt + LIVE]++
    runs[runAt + IN_LIST]++
    runs[runAt + FRESH]++
    let flags = LISTED | UNRANKED
    if (this.#needsAny(runAt, kind)) flags |= NEEDS
    let slack = 0
    if (join === 'settled') flags |= SETTLED_JOIN
    else if (join !== 'all') slack = slackOf(join, after.length)
    for (let i = 0; i < open; i++) steps.addEdge(this.#after[i], step)
    if (open > 0 && (runs[runAt + FRESH] & DIRTY) === 0) {
      runs[runAt + FRESH] |= DIRTY
      this.#unranked.push(run)
    }
    if (open > slack) {
      words[at] = BLOCKED | flags
      words[at + SLACK] = slack
    } else {
      words[at] = READY | QUEUED | flags
      this.fresh.push(step)
    }
    return steps.handle(step)
  }

  #needsAny(runAt: number, kind: number): boolean {
    const runs = this.runs.words
    const ofRun = runs[runAt + RUN_NEEDS] !== 0 || (runs[runAt + RUN_CALLS] !== 0 && this.#kinds.isCall(kind))
    return ofRun || this.#kinds.needs(kind) !== 0
  }

  /** A run's lists of resources are others: its steps are marked anew. */
  needsChanged(run: number): void {
    const { words } = this.steps
    const runAt = run * RUN_STRIDE
    for (let step = this.runs.words[runAt + NEWEST]; step !== NONE; step = words[step * STRIDE + OLDER]) {
      const at = step * STRIDE
      if ((words[at] & STATES) === GONE) continue
      words[at] = this.#needsAny(runAt, words[at + KIND]) ? words[at] | NEEDS : words[at] & ~NEEDS
    }
  }

  /**
   * A step is over, and so are those after it that can start no more: `dropped` gets their handles. Those that can start
   * now are in `ready`.
   */
  end(step: number, ok: boolean, dropped: number[] | undefined): void {
    const { words } = this.steps
    this.leave(step)
    if (words[step * STRIDE + FIRST] !== NONE) {
      this.#tellAll(step, ok, dropped)
      const queue = this.#dropped
      for (let i = 0; i < queue.length; i++) this.#tellAll(queue[i], false, dropped)
      if (queue.length > 0) queue.length = 0
    }
    const runAt = words[step * STRIDE + RUN] * RUN_STRIDE
    const runs = this.runs.words
    if (runs[runAt + ENDED] > (runs[runAt + IN_LIST] >> 1) + 2) this.#clean(runAt)
  }

  /** Its state becomes `GONE`; it stays in its queue, its run's list and its edges. */
  leave(step: number): void {
    const { words } = this.steps
    const at = step * STRIDE
    words[at] = (words[at] & ~STATES) | GONE
    words[at + GENERATION] = nextGeneration(words[at + GENERATION])
    const runs = this.runs.words
    const runAt = words[at + RUN] * RUN_STRIDE
    runs[runAt + LIVE]--
    runs[runAt + ENDED]++
  }

  /** Forgets a run and all of its steps, which `leave` was called for. Edges stay within a run, so none outlives it. */
  close(run: number): void {
    const { words } = this.steps
    for (let step = this.runs.words[run * RUN_STRIDE + NEWEST]; step !== NONE; ) {
      const at = step * STRIDE
      this.steps.forgetEdges(step)
      words[at + OPEN] = 0
      words[at] &= ~LISTED
      const older = words[at + OLDER]
      this.steps.release(step)
      step = older
    }
    this.runs.close(run)
  }

  /** Brings the ranks up to date, where steps have got dependents. */
  rank(): void {
    if (this.#unranked.length === 0) return
    for (const handle of this.#unranked) {
      const run = this.runs.find(handle)
      if (run !== NONE) this.#rankRun(run * RUN_STRIDE)
    }
    this.#unranked.length = 0
  }

  #tellAll(step: number, ok: boolean, dropped: number[] | undefined): void {
    const { words, edges } = this.steps
    const at = step * STRIDE
    if (words[at + FIRST] === NONE) return
    let last = NONE
    for (let edge = words[at + EDGES]; edge !== NONE; edge = edges[edge + 1]) {
      this.#tell(edges[edge], ok, dropped)
      last = edge
    }
    if (last !== NONE) this.steps.freeEdges(step, last)
    if (words[at + SECOND] !== NONE) this.#tell(words[at + SECOND], ok, dropped)
    this.#tell(words[at + FIRST], ok, dropped)
  }

  #tell(step: number, ok: boolean, dropped: number[] | undefined): void {
    const { words } = this.steps
    const at = step * STRIDE
    const open = --words[at + OPEN]
    const flags = words[at]
    const state = flags & STATES
    if (state !== BLOCKED) {
      if (state === GONE) this.steps.release(step)
      return
    }
    if (!ok && (flags & SETTLED_JOIN) === 0) {
      if (words[at + SLACK] === 0) {
        dropped?.push(this.steps.handle(step))
        this.leave(step)
        this.#dropped.push(step)
        return
      }
      words[at + SLACK]--
    } else if (open === words[at + SLACK]) {
      words[at] = flags ^ BLOCKED ^ READY
      this.ready.push(step)
    }
  }

  /** Takes ended steps out of a run's list: no more work than what ended since the last time, twice. */
  #clean(runAt: number): void {
    const { words } = this.steps
    const runs = this.runs.words
    let kept = 0
    let newer = NONE
    for (let step = runs[runAt + NEWEST]; step !== NONE; ) {
      const at = step * STRIDE
      const older = words[at + OLDER]
      if ((words[at] & STATES) !== GONE || words[at + OPEN] > 0) {
        newer = step
        kept++
      } else {
        if (newer === NONE) runs[runAt + NEWEST] = older
        else words[newer * STRIDE + OLDER] = older
        words[at] &= ~LISTED
        this.steps.release(step)
      }
      step = older
    }
    runs[runAt + IN_LIST] = kept
    runs[runAt + ENDED] = 0
  }

  /** Newest first is against the edges. All steps when the graph has grown by half, else only the new ones. */
  #rankRun(runAt: number): void {
    const runs = this.runs.words
    const { words, floats } = this.steps
    const all = (runs[runAt + FRESH] & ~DIRTY) * 2 >= runs[runAt + LIVE]
    runs[runAt + FRESH] = 0
    for (let step = runs[runAt + NEWEST]; step !== NONE; ) {
      const at = step * STRIDE
      const flags = words[at]
      if (!all && (flags & UNRANKED) === 0) break
      words[at] = flags & ~UNRANKED
      if ((flags & STATES) !== GONE) floats[at + RANK] = this.#kinds.ms(words[at + KIND]) + this.#longestAfter(at)
      step = words[at + OLDER]
    }
  }

  #longestAfter(at: number): number {
    const { words, floats, edges } = this.steps
    const first = words[at + FIRST] * STRIDE
    if (first < 0) return 0
    let longest = (words[first] & STATES) === BLOCKED ? floats[first + RANK] : 0
    const second = words[at + SECOND] * STRIDE
    if (second < 0) return longest
    if ((words[second] & STATES) === BLOCKED) longest = Math.max(longest, floats[second + RANK])
    for (let edge = words[at + EDGES]; edge !== NONE; edge = edges[edge + 1]) {
      const to = edges[edge] * STRIDE
      if ((words[to] & STATES) === BLOCKED) longest = Math.max(longest, floats[to + RANK])
    }
    return longest
  }
}

/** How many of so many dependencies need not end well. */
function slackOf(join: 'any' | number, dependencies: number): number {
  const wanted = join === 'any' ? 1 : Math.floor(join)
  return dependencies - Math.min(Math.max(wanted, 0), dependencies)
}
