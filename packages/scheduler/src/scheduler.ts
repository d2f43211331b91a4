import { Graph, type Join } from './graph.ts'
import { Kinds } from './kinds.ts'
import { Lanes, TOP_BUCKET } from './lanes.ts'
import { type Limits, Resources } from './resources.ts'
import { NEWEST, QUEUE, RUN_CALLS, RUN_NEEDS, RUN_STRIDE } from './runs.ts'
import {
  BLOCKED,
  DELAYED,
  GONE,
  GRANTED,
  KIND,
  NEEDS,
  NONE,
  OLDER,
  QUEUED,
  RANK,
  READY,
  RUN,
  RUNNING,
  STATES,
  STRIDE,
  TOKENS,
  WAITING,
} from './steps.ts'
import { Timers } from './timers.ts'

/** 0 goes first. */
export type Priority = 0 | 1 | 2
/** A run that is open, until `closeRun`. */
export type RunHandle = number
/** A step, until it has ended. Handles are not used again. */
export type StepHandle = number
export type Resource = number
export type Kind = number

/**
 * What became of a call: `stale` when the step or run is over (a late or repeated call), `refused` when its state does
 * not allow it. Neither changes anything.
 */
export type Settled = 'settled' | 'stale' | 'refused'

export interface SchedulerOptions {
  /** Steps that run at once. */
  concurrency: number
}

/** Time that steps have waited, all together, ms. */
export interface Waited {
  /** For one of the places that all share. */
  place: number
  /** For a resource. */
  limit: number
}

const MAIN = 0
const NOTHING: readonly number[] = []
/** Half octaves of a rank in ms, from 1/16 ms up: the bits of a float32 from its exponent's lowest but 9 up. */
const LOWEST_HALF_OCTAVE = 246

/** Says which step starts next. See the README for the order, and for what each promise rests on. */
export class Scheduler {
  readonly #concurrency: number
  readonly #kinds = new Kinds()
  readonly #graph = new Graph(this.#kinds)
  readonly #steps = this.#graph.steps
  readonly #runs = this.#graph.runs
  readonly #lanes = new Lanes(this.#steps)
  readonly #resources = new Resources()
  readonly #delays = new Timers((step) => this.#is(step, DELAYED))
  readonly #deadlines = new Timers((step) => this.#steps.find(step) !== NONE)
  readonly #tenants = new Map<string, { id: number; queue: number }>()
  /** The resources that the step at hand needs. */
  readonly #needs: number[] = []
  #running = 0
  /** Steps that hold their resources and have not started. */
  #granted = 0
  /** What `waitedMs` gives, as of the last poll, and what it left waiting. */
  #polledAt = 0
  readonly #waited: Waited = { place: 0, limit: 0 }
  readonly #left: Waited = { place: 0, limit: 0 }

  constructor(options: SchedulerOptions) {
    this.#concurrency = options.concurrency
  }

  /** Steps that run now. */
  get running(): number {
    return this.#running
  }

  /** Bytes of the arrays that hold all this. */
  get bytes(): number {
    const timers = this.#delays.bytes + this.#deadlines.bytes
    return this.#graph.bytes + this.#lanes.bytes + this.#resources.bytes + timers
  }

  /** When `poll` or `expired` next has something to do without any other call; Infinity for never. */
  get nextTimer(): number {
    return Math.min(this.#delays.next, this.#resources.wakes.next, this.#deadlines.next)
  }

  /** Share of a tenant beside others of the same priority; 1 for those not named, at least 0.01. */
  setWeight(tenant: string, weight: number): void {
    this.#lanes.setWeight(this.#tenant(tenant).id, Math.max(weight, 0.01))
  }

  /** Something that steps share and that has limits: a tenant, an agent, a tool, a model. */
  resource(limits: Limits): Resource {
    const resource = this.#resources.add(limits)
    this.#lanes.addLane(resource)
    return resource
  }

  /**
   * New limits from now on. What runs already goes on.
   *
   * @param now when given, what a raised rate adds to its bucket is empty then: the bucket holds as much as before.
   *   Otherwise it is as full as before, as a part of what it can hold, and a lowered rate leaves that part in any case.
   */
  setLimits(resource: Resource, limits: Limits, now?: number): void {
    if (!this.#resources.has(resource)) return
    if (now !== undefined) this.#heed(now)
    this.#resources.setLimits(resource, limits, now)
    this.#look(resource)
  }

  /**
   * What nothing needs any more is forgotten, and its number may be another's.
   *
   * @returns false where a run, a kind or a step needs it still, and nothing has changed
   */
  dropResource(resource: Resource): boolean {
    if (!this.#resources.has(resource) || !this.#lanes.isEmpty(resource)) return false
    return this.#resources.drop(resource)
  }

  /** Steps that use a resource now. */
  inUse(resource: Resource): number {
    return this.#resources.has(resource) ? this.#resources.inUse(resource) : 0
  }

  /** When the buckets of a resource are full again, in ms of the clock of `poll`. */
  fullAt(resource: Resource): number {
    return this.#resources.has(resource) ? this.#resources.fullAt(resource) : 0
  }

  /** From when on a step of so many tokens may use a resource; Infinity while all of its places are taken. */
  opensAt(resource: Resource, tokens: number): number {
    return this.#resources.has(resource) ? this.#resources.opensAt(resource, tokens) : 0
  }

  /** Whether any step waits for a resource. */
  isAwaited(resource: Resource): boolean {
    return this.#resources.has(resource) && !this.#lanes.isEmpty(resource)
  }

  /**
   * Steps of one tool or model.
   *
   * @param options `ms` is how long one is thought to last until the first was learned; those that are calls need what
   *   their run says of its calls, besides
   * @throws RangeError when a resource does not exist
   */
  kind(options: { ms?: number; needs?: readonly Resource[]; isCall?: boolean } = {}): Kind {
    return this.#kinds.add(options.ms, this.#resources.list(options.needs ?? NOTHING), options.isCall ?? false)
  }

  /** A step of this kind lasted so long. */
  learn(kind: Kind, ms: number): void {
    if (this.#kinds.has(kind)) this.#kinds.learn(kind, ms)
  }

  /**
   * @param needs of all its steps
   * @param calls what those of them need besides that are calls
   * @throws RangeError when a resource does not exist
   */
  openRun(
    tenant: string,
    priority: Priority = 1,
    needs: readonly Resource[] = NOTHING,
    calls: readonly Resource[] = NOTHING,
  ): RunHandle {
    const lists = [this.#resources.list(needs), this.#resources.list(calls)] as const
    return this.#runs.open(this.#tenant(tenant).queue + priority, ...lists)
  }

  /**
   * What all steps of a run, and its calls, need from now on. What runs uses it at once, whether there is room or not,
   * and takes nothing from its buckets. What waits for a resource that it needs no more waits on until `reconsider`.
   *
   * @throws RangeError when a resource does not exist
   */
  setNeeds(handle: RunHandle, needs: readonly Resource[], calls: readonly Resource[]): Settled {
    const run = this.#runs.find(handle)
    if (run === NONE) return 'stale'
    const { words } = this.#runs
    const at = run * RUN_STRIDE
    const before = [words[at + RUN_NEEDS], words[at + RUN_CALLS]] as const
    const lists = [this.#resources.list(needs), this.#resources.list(calls)] as const
    this.#eachHolding(run, (step) => this.#release(step))
    words[at + RUN_NEEDS] = lists[0]
    words[at + RUN_CALLS] = lists[1]
    for (const list of before) this.#resources.leave(list)
    this.#graph.needsChanged(run)
    this.#eachHolding(run, (step) => {
      const count = this.#gather(step)
      for (let i = 0; i < count; i++) this.#resources.hold(this.#needs[i])
    })
    return 'settled'
  }

  /** Those that wait for a resource wait for what they need now. */
  reconsider(resource: Resource): void {
    if (!this.#resources.has(resource)) return
    const lanes = this.#lanes
    for (let step = lanes.peek(resource); step !== NONE; step = lanes.peek(resource)) {
      lanes.move(step)
      lanes.put(this.#queue(step), step, TOP_BUCKET)
    }
  }

  #eachHolding(run: number, then: (step: number) => void): void {
    const { words } = this.#steps
    for (let step = this.#runs.words[run * RUN_STRIDE + NEWEST]; step !== NONE; step = words[step * STRIDE + OLDER]) {
      const state = words[step * STRIDE] & STATES
      if (state === RUNNING || state === GRANTED) then(step)
    }
  }

  /**
   * Adds a step that may start when enough of `after` have ended. One that is over counts as ended well. The graph has
   * no cycle by construction: a step can only come after steps that exist.
   *
   * @param tokens of models, that it takes from the buckets of its resources
   * @returns -1, which no step has, when the run is not open
   * @throws RangeError when a dependency belongs to another run or the kind does not exist
   */
  addStep(
    run: RunHandle,
    after: readonly StepHandle[] = NOTHING,
    kind: Kind = 0,
    join: Join = 'all',
    tokens = 0,
  ): StepHandle {
    if (!this.#kinds.has(kind)) throw new RangeError(`there is no kind ${kind}`)
    return this.#graph.add(run, after, kind, join, tokens)
  }

  /**
   * Appends to `out` the steps to start now, and counts them as running. O(what it gives).
   *
   * @param now in ms, of any clock; where that goes back, nothing waits longer for a resource or to be tried again
   */
  poll(now: number, out: StepHandle[]): number {
    const before = out.length
    this.#heed(now)
    const ms = Math.max(now - this.#polledAt, 0)
    this.#waited.place += ms * this.#left.place
    this.#waited.limit += ms * this.#left.limit
    this.#polledAt = now
    if (this.#delays.size > 0) this.#enqueueDue(now)
    if (this.#resources.wakes.size > 0) this.#wake(now)
    this.#graph.rank()
    if (this.#graph.fresh.first !== NONE) this.#enqueueFresh()
    for (;;) {
      const granted = this.#resources.firstOpen !== 0 && this.#grant(now)
      const gave = this.#startMain(now, out)
      if (this.#running >= this.#concurrency || this.#resources.firstOpen === 0 || !(granted || gave)) break
    }
    this.#left.place = this.#lanes.inMain
    this.#left.limit = this.#lanes.inOthers
    return out.length - before
  }

  /** How long all steps together have waited so far: those that a poll could not start, until the next. */
  waitedMs(now: number): Waited {
    const ms = Math.max(now - this.#polledAt, 0)
    const { place, limit } = this.#waited
    return { place: place + ms * this.#left.place, limit: limit + ms * this.#left.limit }
  }

  /**
   * A step has ended for good.
   *
   * @param ok whether it ended well; what comes after it by `all` is dropped when not
   * @param dropped gets the steps that can start no more because of it: they are over
   */
  settle(handle: StepHandle, ok = true, dropped?: StepHandle[]): Settled {
    const step = this.#steps.find(handle)
    if (step === NONE) return 'stale'
    if ((this.#steps.words[step * STRIDE] & STATES) === BLOCKED) return 'refused'
    this.#end(step, ok, dropped)
    return 'settled'
  }

  /** Ends a step in any state, not well. `dropped` as in `settle`. */
  cancel(handle: StepHandle, dropped?: StepHandle[]): Settled {
    const step = this.#steps.find(handle)
    if (step === NONE) return 'stale'
    this.#end(step, false, dropped)
    return 'settled'
  }

  /** The attempt failed; the step is ready again at `at`. */
  retry(handle: StepHandle, at: number): Settled {
    const settled = this.#move(handle, RUNNING, DELAYED)
    if (settled === 'settled') this.#delays.add(at, handle)
    return settled
  }

  /** The step waits for the outside (an approval, a child run) and holds neither a place nor a resource. */
  wait(handle: StepHandle): Settled {
    return this.#move(handle, RUNNING, WAITING)
  }

  /** Whether a step cannot start before others have ended. */
  isBlocked(handle: StepHandle): boolean {
    const step = this.#steps.find(handle)
    return step !== NONE && (this.#steps.words[step * STRIDE] & STATES) === BLOCKED
  }

  /** What the step waited for has come: it is ready again. */
  resume(handle: StepHandle): Settled {
    const step = this.#steps.find(handle)
    if (step === NONE) return 'stale'
    if ((this.#steps.words[step * STRIDE] & STATES) !== WAITING) return 'refused'
    this.#enqueue(step)
    return 'settled'
  }

  /** Ends a run and forgets all of its steps. */
  closeRun(handle: RunHandle): Settled {
    const run = this.#runs.find(handle)
    if (run === NONE) return 'stale'
    const { words } = this.#steps
    for (let step = this.#runs.words[run * RUN_STRIDE + NEWEST]; step !== NONE; step = words[step * STRIDE + OLDER]) {
      const flags = words[step * STRIDE]
      if ((flags & STATES) === GONE) continue
      this.#giveBack(step, flags)
      this.#graph.leave(step)
    }
    const at = run * RUN_STRIDE
    this.#resources.leave(this.#runs.words[at + RUN_NEEDS])
    this.#resources.leave(this.#runs.words[at + RUN_CALLS])
    this.#graph.close(run)
    return 'settled'
  }

  /** A model used more tokens (or less, below 0) than the step took from the bucket. */
  correct(resource: Resource, tokens: number): void {
    if (!this.#resources.has(resource)) return
    this.#resources.correct(resource, tokens)
    if (tokens < 0) this.#look(resource)
  }

  /** Nothing more starts on this resource before `until`, or a later time that was set already: what a 429 with Retry-After asks for. */
  closeResource(resource: Resource, until: number): void {
    if (this.#resources.has(resource)) this.#resources.close(resource, until)
  }

  /** Sets a deadline, which `expired` tells if the step is not over by then. */
  expire(handle: StepHandle, at: number): Settled {
    const step = this.#steps.find(handle)
    if (step === NONE) return 'stale'
    this.#deadlines.add(at, handle)
    return 'settled'
  }

  /** Appends to `out` the steps whose deadline has passed, each deadline once. They go on until they are ended. */
  expired(now: number, out: StepHandle[]): number {
    const before = out.length
    for (let step = this.#deadlines.takeDue(now); step !== NONE; step = this.#deadlines.takeDue(now)) out.push(step)
    return out.length - before
  }

  /** What is to come after a time comes after that time, though the clock goes back. Deadlines are the caller's. */
  #heed(now: number): void {
    const ms = this.#polledAt - now
    if (ms <= 0) return
    this.#polledAt = now
    this.#delays.goBack(ms)
    this.#resources.goBack(ms, (resource) => this.#look(resource))
  }

  #startMain(now: number, out: StepHandle[]): boolean {
    const lanes = this.#lanes
    const { words } = this.#steps
    let gave = false
    while (this.#running < this.#concurrency) {
      const step = lanes.peek(MAIN)
      if (step === NONE) break
      gave = true
      const at = step * STRIDE
      const state = words[at]
      if ((state & STATES) === GRANTED) this.#granted--
      else if (state & NEEDS && !this.#takeAll(step, now)) continue
      lanes.pop(step)
      words[at] = (words[at] & ~STATES) | RUNNING
      this.#running++
      out.push(this.#steps.handle(step))
    }
    return gave
  }

  /** Takes all that a step needs, or moves it to the lane of the first resource that holds it back. */
  #takeAll(step: number, now: number): boolean {
    const tokens = this.#steps.words[step * STRIDE + TOKENS]
    const count = this.#gather(step)
    const resources = this.#resources
    for (let i = 0; i < count; i++) {
      const resource = this.#needs[i]
      // Those that wait already come first.
      if (resources.opensAt(resource, tokens) <= now && this.#lanes.isEmpty(resource)) continue
      this.#lanes.move(step)
      this.#putWaiting(resource, step, this.#bucket(step))
      return false
    }
    for (let i = 0; i < count; i++) resources.take(this.#needs[i], tokens, now)
    return true
  }

  /**
   * Gives what is free to steps that wait for it, in each lane's order, and lets them go before all others of their
   * tenant; at most as many as could start, so that nothing is held for long.
   */
  #grant(now: number): boolean {
    const resources = this.#resources
    const lanes = this.#lanes
    const before = this.#granted
    for (let resource = resources.firstOpen; resource !== 0; resource = resources.firstOpen) {
      if (this.#granted >= this.#concurrency - this.#running) break
      resources.shiftOpen()
      for (;;) {
        if (this.#granted >= this.#concurrency - this.#running) {
          this.#look(resource)
          break
        }
        const step = lanes.peek(resource)
        if (step === NONE) break
        const tokens = this.#steps.words[step * STRIDE + TOKENS]
        const opens = resources.opensAt(resource, tokens)
        if (opens > now) {
          if (opens !== Number.POSITIVE_INFINITY) resources.wakeAt(resource, opens)
          break
        }
        const count = this.#gather(step)
        let i = 0
        while (i < count && resources.opensAt(this.#needs[i], tokens) <= now) i++
        if (i < count) {
          lanes.move(step)
          this.#putWaiting(this.#needs[i], step, TOP_BUCKET)
          continue
        }
        for (i = 0; i < count; i++) resources.take(this.#needs[i], tokens, now)
        lanes.pop(step)
        const { words } = this.#steps
        words[step * STRIDE] = (words[step * STRIDE] & ~STATES) | GRANTED
        lanes.put(this.#queue(step), step, TOP_BUCKET)
        this.#granted++
      }
    }
    return this.#granted > before
  }

  #putWaiting(resource: Resource, step: number, bucket: number): void {
    this.#lanes.putWaiting(resource, this.#queue(step), step, bucket)
    this.#resources.open(resource)
  }

  /** Something may have become free for those that wait for it. */
  #look(resource: Resource): void {
    if (!this.#lanes.isEmpty(resource)) this.#resources.open(resource)
  }

  #end(step: number, ok: boolean, dropped: StepHandle[] | undefined): void {
    const flags = this.#steps.words[step * STRIDE]
    this.#giveBack(step, flags)
    this.#graph.end(step, ok, dropped)
    const { ready } = this.#graph
    for (let next = ready.shift(); next !== NONE; next = ready.shift())
      this.#lanes.put(this.#queue(next), next, this.#bucket(next))
  }

  /** Gives back what a step holds. */
  #giveBack(step: number, flags: number): void {
    const state = flags & STATES
    if (state === RUNNING) this.#running--
    else if (state === GRANTED) this.#granted--
    else return
    if (flags & NEEDS) this.#release(step)
  }

  #release(step: number): void {
    const count = this.#gather(step)
    for (let i = 0; i < count; i++) {
      this.#resources.release(this.#needs[i])
      this.#look(this.#needs[i])
    }
  }

  #move(handle: StepHandle, from: number, to: number): Settled {
    const step = this.#steps.find(handle)
    if (step === NONE) return 'stale'
    const at = step * STRIDE
    const { words } = this.#steps
    if ((words[at] & STATES) !== from) return 'refused'
    this.#running--
    if (words[at] & NEEDS) this.#release(step)
    words[at] = (words[at] & ~STATES) | to
    return 'settled'
  }

  #enqueue(step: number): void {
    const { words } = this.#steps
    words[step * STRIDE] = (words[step * STRIDE] & ~STATES) | READY
    this.#lanes.put(this.#queue(step), step, this.#bucket(step))
  }

  #enqueueDue(now: number): void {
    for (let step = this.#delays.takeDue(now); step !== NONE; step = this.#delays.takeDue(now))
      this.#enqueue(this.#steps.find(step))
  }

  #wake(now: number): void {
    for (let resource = this.#resources.takeDue(now); resource !== NONE; resource = this.#resources.takeDue(now))
      this.#look(resource)
  }

  #enqueueFresh(): void {
    const { words } = this.#steps
    const { fresh } = this.#graph
    for (let step = fresh.shift(); step !== NONE; step = fresh.shift()) {
      if ((words[step * STRIDE] & STATES) === GONE) {
        words[step * STRIDE] &= ~QUEUED
        this.#steps.release(step)
      } else {
        this.#lanes.put(this.#queue(step), step, this.#bucket(step))
      }
    }
  }

  #bucket(step: number): number {
    return Math.min(Math.max((this.#steps.words[step * STRIDE + RANK] >>> 22) - LOWEST_HALF_OCTAVE, 0), TOP_BUCKET - 1)
  }

  /** The step's queue in the main lane. */
  #queue(step: number): number {
    return this.#runs.words[this.#steps.words[step * STRIDE + RUN] * RUN_STRIDE + QUEUE]
  }

  #gather(step: number): number {
    const at = step * STRIDE
    const { words } = this.#steps
    const kind = words[at + KIND]
    const run = words[at + RUN] * RUN_STRIDE
    const ofKind = this.#resources.gather(this.#kinds.needs(kind), this.#needs)
    const count = this.#resources.gather(this.#runs.words[run + RUN_NEEDS], this.#needs, ofKind)
    if (!this.#kinds.isCall(kind)) return count
    return this.#resources.gather(this.#runs.words[run + RUN_CALLS], this.#needs, count)
  }

  #is(handle: StepHandle, state: number): boolean {
    const step = this.#steps.find(handle)
    return step !== NONE && (this.#steps.words[step * STRIDE] & STATES) === state
  }

  #tenant(name: string): { id: number; queue: number } {
    const known = this.#tenants.get(name)
    if (known) return known
    const id = this.#tenants.size
    const tenant = { id, queue: this.#lanes.addTenant(id) }
    this.#tenants.set(name, tenant)
    return tenant
  }
}
