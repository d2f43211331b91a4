import { Timers } from './timers.ts'

/** Names a step until it is settled. A slot number and its generation, so that a late use is noticed. */
export type StepHandle = number
/** Names a run until it is closed. */
export type RunHandle = number

const PRIORITIES = 3
/** 0 before 1 before 2. */
export type Priority = 0 | 1 | 2

/**
 * What became of a call that names a step: `stale` when the step has ended or never was, `refused`
 * when it is not in a state that allows the call.
 */
export type Settled = 'settled' | 'stale' | 'refused'

export interface SchedulerOptions {
  /** Steps that may be under way at once. */
  concurrency: number
}

/** A small number that no other living step has: where a caller may keep what belongs to the step. */
export function slotOf(step: StepHandle): number {
  return step % SLOTS_MAX
}

const FREE = 0
const BLOCKED = 1
const READY = 2
const RUNNING = 3
const WAITING = 4
const DELAYED = 5
/** Cancelled while in a queue: its slot is freed when the queue comes to it. */
const DROPPED = 6

const SLOTS_MAX = 2 ** 26
const NONE = -1

/**
 * Decides which step starts next. Pure: it is told what happened and when, and says what to start;
 * it does no I/O, reads no clock and makes no promise. The same calls give the same answers.
 *
 * Ready steps are taken by priority; within one priority tenants take turns by deficit round robin
 * (Shreedhar and Varghese 1995), each by its weight; within a tenant first come, first served.
 *
 * Steps lie in slots of typed arrays that are reused, dependencies in a linked pool of edges; a
 * transition costs the same however much waits.
 */
export class Scheduler {
  readonly #concurrency: number
  #running = 0

  // Steps, by slot.
  #state = new Uint8Array(64)
  #generation = new Uint32Array(64)
  #open = new Int32Array(64) // dependencies that have not ended
  #edges = new Int32Array(64) // first of the edges to its dependents
  #run = new Int32Array(64)
  #next = new Int32Array(64) // next in its ready queue, or in the free list
  #before = new Int32Array(64) // neighbours in the list of its run's steps
  #after = new Int32Array(64)
  #freeStep = NONE
  #steps = 0

  // Edges, by index.
  #edgeTo = new Int32Array(64)
  #edgeNext = new Int32Array(64)
  #freeEdge = NONE
  #edgeCount = 0

  // Runs, by slot.
  #runTenant = new Int32Array(64)
  #runPriority = new Uint8Array(64)
  #runFirst = new Int32Array(64)
  #runOpen = new Uint8Array(64)
  #runNext = new Int32Array(64)
  #freeRun = NONE
  #runs = 0

  // Tenants: queues by tenant * PRIORITIES + priority, and one ring of tenants with ready steps per priority.
  readonly #tenantIds = new Map<string, number>()
  #weight = new Float64Array(8)
  #deficit = new Float64Array(8 * PRIORITIES)
  #queueHead = new Int32Array(8 * PRIORITIES).fill(NONE)
  #queueTail = new Int32Array(8 * PRIORITIES)
  #ringNext = new Int32Array(8 * PRIORITIES)
  readonly #ringTail = new Int32Array(PRIORITIES).fill(NONE)

  readonly #timers = new Timers()

  constructor(options: SchedulerOptions) {
    this.#concurrency = options.concurrency
  }

  /** Steps under way. */
  get running(): number {
    return this.#running
  }

  /** When `poll` has something to do that only time brings; Infinity when nothing waits for time. */
  get nextTimer(): number {
    return this.#timers.next
  }

  /** Gives a tenant a share of the turns relative to others; 1 unless set. */
  setWeight(tenant: string, weight: number): void {
    // A new tenant may replace the array that it is written to, so it comes first.
    const index = this.#tenant(tenant)
    this.#weight[index] = Math.max(weight, 0.01)
  }

  openRun(tenant: string, priority: Priority = 1): RunHandle {
    let run = this.#freeRun
    if (run === NONE) {
      run = this.#runs++
      if (run === this.#runTenant.length) {
        this.#runTenant = grow(this.#runTenant)
        this.#runPriority = growBytes(this.#runPriority)
        this.#runFirst = grow(this.#runFirst)
        this.#runOpen = growBytes(this.#runOpen)
        this.#runNext = grow(this.#runNext)
      }
    } else {
      this.#freeRun = this.#runNext[run]
    }
    this.#runTenant[run] = this.#tenant(tenant)
    this.#runPriority[run] = priority
    this.#runFirst[run] = NONE
    this.#runOpen[run] = 1
    return run
  }

  /**
   * Adds a step that may start when all of `after` have ended. One that has ended already counts as
   * met. The graph has no cycle by construction: a step can only depend on steps before it.
   */
  addStep(run: RunHandle, after: readonly StepHandle[] = []): StepHandle {
    const step = this.#takeStepSlot()
    this.#run[step] = run
    this.#edges[step] = NONE
    const first = this.#runFirst[run]
    this.#before[step] = NONE
    this.#after[step] = first
    if (first !== NONE) this.#before[first] = step
    this.#runFirst[run] = step
    let open = 0
    for (const handle of after) {
      const on = this.#slot(handle)
      if (on === NONE) continue
      this.#addEdge(on, step)
      open++
    }
    this.#open[step] = open
    if (open === 0) this.#enqueue(step)
    else this.#state[step] = BLOCKED
    return this.#handle(step)
  }

  /** Appends to `out` the steps to start now, and counts them as running. O(what it gives). */
  poll(now: number, out: StepHandle[]): number {
    while (this.#timers.next <= now) {
      const step = this.#slot(this.#timers.take())
      if (step !== NONE && this.#state[step] === DELAYED) this.#enqueue(step)
    }
    let started = 0
    for (let priority = 0; priority < PRIORITIES; priority++) {
      while (this.#running < this.#concurrency) {
        const step = this.#dequeue(priority)
        if (step === NONE) break
        this.#state[step] = RUNNING
        this.#running++
        started++
        out.push(this.#handle(step))
      }
    }
    return started
  }

  /**
   * A step has ended for good: what depends on it may start. A step that still waits for others is
   * `refused`: it ends with its run or after them.
   */
  settle(handle: StepHandle): Settled {
    const step = this.#slot(handle)
    if (step === NONE) return 'stale'
    if (this.#state[step] === BLOCKED) return 'refused'
    for (let edge = this.#edges[step]; edge !== NONE; edge = this.#edgeNext[edge]) {
      const to = this.#edgeTo[edge]
      if (--this.#open[to] === 0) this.#enqueue(to)
    }
    this.#forget(step)
    return 'settled'
  }

  /** The attempt failed; the step is ready again at `at`. */
  retry(handle: StepHandle, at: number): Settled {
    const step = this.#slot(handle)
    if (step === NONE) return 'stale'
    if (this.#state[step] !== RUNNING) return 'refused'
    this.#running--
    this.#state[step] = DELAYED
    this.#timers.add(at, handle)
    return 'settled'
  }

  /** The step waits for the outside (an approval, a child run) and holds no place among the running. */
  wait(handle: StepHandle): Settled {
    const step = this.#slot(handle)
    if (step === NONE) return 'stale'
    if (this.#state[step] !== RUNNING) return 'refused'
    this.#running--
    this.#state[step] = WAITING
    return 'settled'
  }

  /** What the step waited for has come: it is ready again. */
  resume(handle: StepHandle): Settled {
    const step = this.#slot(handle)
    if (step === NONE) return 'stale'
    if (this.#state[step] !== WAITING) return 'refused'
    this.#enqueue(step)
    return 'settled'
  }

  /** Ends a run and forgets all of its steps; handles of them are stale from now on. */
  closeRun(run: RunHandle): void {
    if (this.#runOpen[run] === 0) return
    this.#runOpen[run] = 0
    // Edges stay within a run, so none outlives the steps at its ends.
    while (this.#runFirst[run] !== NONE) this.#forget(this.#runFirst[run])
    this.#runNext[run] = this.#freeRun
    this.#freeRun = run
  }

  #forget(step: number): void {
    if (this.#state[step] === RUNNING) this.#running--
    for (let edge = this.#edges[step]; edge !== NONE; ) {
      const next = this.#edgeNext[edge]
      this.#edgeNext[edge] = this.#freeEdge
      this.#freeEdge = edge
      edge = next
    }
    this.#edges[step] = NONE
    this.#leaveRun(step)
    if (this.#state[step] === READY) this.#state[step] = DROPPED
    else this.#releaseStep(step)
  }

  #leaveRun(step: number): void {
    const before = this.#before[step]
    const after = this.#after[step]
    if (before === NONE) this.#runFirst[this.#run[step]] = after
    else this.#after[before] = after
    if (after !== NONE) this.#before[after] = before
  }

  #enqueue(step: number): void {
    this.#state[step] = READY
    const run = this.#run[step]
    const priority = this.#runPriority[run]
    const queue = this.#runTenant[run] * PRIORITIES + priority
    this.#next[step] = NONE
    if (this.#queueHead[queue] !== NONE) {
      this.#next[this.#queueTail[queue]] = step
    } else {
      this.#queueHead[queue] = step
      this.#deficit[queue] = 0
      // The tenant joins the ring at its end.
      const tail = this.#ringTail[priority]
      if (tail === NONE) this.#ringNext[queue] = queue
      else {
        this.#ringNext[queue] = this.#ringNext[tail]
        this.#ringNext[tail] = queue
      }
      this.#ringTail[priority] = queue
    }
    this.#queueTail[queue] = step
  }

  #dequeue(priority: number): number {
    for (;;) {
      const tail = this.#ringTail[priority]
      if (tail === NONE) return NONE
      const queue = this.#ringNext[tail]
      const step = this.#queueHead[queue]
      if (this.#state[step] === DROPPED) {
        this.#popQueue(queue, priority, tail)
        this.#releaseStep(step)
        continue
      }
      if (this.#deficit[queue] < 1) {
        this.#deficit[queue] += this.#weight[(queue / PRIORITIES) | 0]
        if (this.#deficit[queue] < 1) {
          this.#ringTail[priority] = queue
          continue
        }
      }
      this.#deficit[queue] -= 1
      const left = this.#popQueue(queue, priority, tail)
      if (left && this.#deficit[queue] < 1) this.#ringTail[priority] = queue
      return step
    }
  }

  /** Takes the head of a queue; false when the queue is empty then and has left the ring. */
  #popQueue(queue: number, priority: number, tail: number): boolean {
    this.#queueHead[queue] = this.#next[this.#queueHead[queue]]
    if (this.#queueHead[queue] !== NONE) return true
    if (tail === queue) this.#ringTail[priority] = NONE
    else this.#ringNext[tail] = this.#ringNext[queue]
    return false
  }

  #addEdge(from: number, to: number): void {
    let edge = this.#freeEdge
    if (edge === NONE) {
      edge = this.#edgeCount++
      if (edge === this.#edgeTo.length) {
        this.#edgeTo = grow(this.#edgeTo)
        this.#edgeNext = grow(this.#edgeNext)
      }
    } else {
      this.#freeEdge = this.#edgeNext[edge]
    }
    this.#edgeTo[edge] = to
    this.#edgeNext[edge] = this.#edges[from]
    this.#edges[from] = edge
  }

  #takeStepSlot(): number {
    const free = this.#freeStep
    if (free !== NONE) {
      this.#freeStep = this.#next[free]
      return free
    }
    const step = this.#steps++
    if (step === SLOTS_MAX) throw new RangeError(`more than ${SLOTS_MAX} steps at once`)
    if (step === this.#state.length) {
      this.#state = growBytes(this.#state)
      const generation = new Uint32Array(this.#generation.length * 2)
      generation.set(this.#generation)
      this.#generation = generation
      this.#open = grow(this.#open)
      this.#edges = grow(this.#edges)
      this.#run = grow(this.#run)
      this.#next = grow(this.#next)
      this.#before = grow(this.#before)
      this.#after = grow(this.#after)
    }
    return step
  }

  #releaseStep(step: number): void {
    this.#state[step] = FREE
    // 26 bits of generation beside 26 bits of slot stay an exact integer.
    this.#generation[step] = (this.#generation[step] + 1) % SLOTS_MAX
    this.#next[step] = this.#freeStep
    this.#freeStep = step
  }

  #handle(step: number): StepHandle {
    return this.#generation[step] * SLOTS_MAX + step
  }

  #slot(handle: StepHandle): number {
    const step = slotOf(handle)
    if (step >= this.#steps || this.#generation[step] !== Math.floor(handle / SLOTS_MAX)) return NONE
    const state = this.#state[step]
    return state === FREE || state === DROPPED ? NONE : step
  }

  #tenant(name: string): number {
    const known = this.#tenantIds.get(name)
    if (known !== undefined) return known
    const tenant = this.#tenantIds.size
    this.#tenantIds.set(name, tenant)
    if (tenant === this.#weight.length) {
      this.#weight = growFloats(this.#weight)
      this.#deficit = growFloats(this.#deficit)
      const head = new Int32Array(this.#queueHead.length * 2).fill(NONE)
      head.set(this.#queueHead)
      this.#queueHead = head
      this.#queueTail = grow(this.#queueTail)
      this.#ringNext = grow(this.#ringNext)
    }
    this.#weight[tenant] = 1
    return tenant
  }
}

function grow(array: Int32Array<ArrayBuffer>): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(array.length * 2)
  larger.set(array)
  return larger
}

function growBytes(array: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const larger = new Uint8Array(array.length * 2)
  larger.set(array)
  return larger
}

function growFloats(array: Float64Array<ArrayBuffer>): Float64Array<ArrayBuffer> {
  const larger = new Float64Array(array.length * 2)
  larger.set(array)
  return larger
}
