import type { Join } from '../graph.ts'
import type { Limits } from '../resources.ts'
import type { Priority, Resource, RunHandle, Settled, StepHandle } from '../scheduler.ts'
import { ReferencePlaces } from './places.ts'
import { needed, type Run, rank, type Step, StepKind } from './step.ts'

interface Timer {
  at: number
  order: number
  step: Step
}

/**
 * The scheduler as one would write it if time and memory did not matter: arrays, maps and objects, no
 * slot reused. Tests give it the events that `Scheduler` gets and compare what both answer.
 */
export class ReferenceScheduler {
  readonly #places: ReferencePlaces
  readonly #kinds: StepKind[] = [new StepKind()]
  readonly #runs = new Map<RunHandle, Run>()
  readonly #steps = new Map<StepHandle, Step>()
  #runCount = 0
  #stepCount = 0

  /** Ready when they were added, since the last poll. */
  #fresh: Step[] = []
  /** Runs to rank at the next poll, in the order in which they came to need it. */
  readonly #unranked = new Set<Run>()
  #order = 0
  #delays: Timer[] = []
  #deadlines: Timer[] = []

  constructor(options: { concurrency: number }) {
    this.#places = new ReferencePlaces(options.concurrency)
  }

  get running(): number {
    return this.#places.running
  }

  get nextTimer(): number {
    const timers = [...this.#delays, ...this.#deadlines].filter(({ step }) => step.state !== 'gone')
    return Math.min(this.#places.nextWake, ...timers.map(({ at }) => at))
  }

  setWeight(tenant: string, weight: number): void {
    this.#places.setWeight(tenant, weight)
  }

  resource(limits: Limits): Resource {
    return this.#places.add(limits)
  }

  setLimits(resource: Resource, limits: Limits, now?: number): void {
    const held = this.#places.get(resource)
    if (!held) return
    held.setLimits(limits, now)
    this.#places.open(held)
  }

  reconsider(resource: Resource): void {
    const held = this.#places.get(resource)
    if (held) this.#places.reconsider(held)
  }

  inUse(resource: Resource): number {
    return this.#places.get(resource)?.inUse ?? 0
  }

  fullAt(resource: Resource): number {
    const held = this.#places.get(resource)
    return held ? Math.max(held.requestsTat, held.tokensTat) : 0
  }

  isAwaited(resource: Resource): boolean {
    return this.#places.get(resource)?.lane.isEmpty === false
  }

  kind(options: { ms?: number; needs?: readonly Resource[]; isCall?: boolean } = {}): number {
    this.#places.named(options.needs ?? [])
    return this.#kinds.push(new StepKind(options)) - 1
  }

  learn(kind: number, ms: number): void {
    this.#kinds[kind]?.learn(ms)
  }

  openRun(
    tenant: string,
    priority: Priority = 1,
    needs: readonly Resource[] = [],
    calls: readonly Resource[] = [],
  ): RunHandle {
    this.#places.named([...needs, ...calls])
    const id = this.#runCount++
    this.#runs.set(id, { id, tenant, priority, needs, calls, steps: new Set(), unranked: [] })
    return id
  }

  setNeeds(handle: RunHandle, needs: readonly Resource[], calls: readonly Resource[]): Settled {
    const run = this.#runs.get(handle)
    if (!run) return 'stale'
    this.#places.named([...needs, ...calls])
    Object.assign(run, { needs, calls })
    this.#places.change([...run.steps].toReversed(), (step) => needsOf(run, step.kind))
    return 'settled'
  }

  addStep(
    handle: RunHandle,
    after: readonly StepHandle[] = [],
    kindId = 0,
    join: Join = 'all',
    tokens = 0,
  ): StepHandle {
    const run = this.#runs.get(handle)
    if (!run) return -1
    const kind = this.#kind(kindId)
    const on = after.map((id) => this.#steps.get(id)).filter((step) => step !== undefined)
    if (on.some((step) => step.run !== run)) throw new RangeError('a step comes after one of another run')
    const { open, slack } = needed(join, after.length)
    const step: Step = {
      id: this.#stepCount++,
      run,
      kind,
      tokens,
      needs: this.#places.named(needsOf(run, kind)),
      state: 'blocked',
      rank: kind.duration,
      open: open - (after.length - on.length),
      slack,
      join,
      dependents: [],
    }
    this.#steps.set(step.id, step)
    run.steps.add(step)
    run.unranked.push(step)
    for (const dependency of on) dependency.dependents.push(step)
    if (on.length > 0) this.#unranked.add(run)
    if (step.open <= 0) {
      step.state = 'ready'
      this.#fresh.push(step)
    }
    return step.id
  }

  poll(now: number, out: StepHandle[]): number {
    const { due, later } = split(this.#delays, now)
    this.#delays = later
    for (const step of due) this.#places.enqueue(step)
    this.#places.wake(now)
    this.#rank()
    for (const step of this.#fresh) if (step.state === 'ready') this.#places.enqueue(step)
    this.#fresh = []
    const before = out.length
    this.#places.start(now, out)
    return out.length - before
  }

  settle(id: StepHandle, ok = true, dropped: StepHandle[] = []): Settled {
    const step = this.#steps.get(id)
    if (!step) return 'stale'
    if (step.state === 'blocked') return 'refused'
    this.#end(step, ok, dropped)
    return 'settled'
  }

  cancel(id: StepHandle, dropped: StepHandle[] = []): Settled {
    const step = this.#steps.get(id)
    if (!step) return 'stale'
    this.#end(step, false, dropped)
    return 'settled'
  }

  retry(id: StepHandle, at: number): Settled {
    return this.#move(id, 'running', (step) => {
      step.state = 'delayed'
      this.#delays.push({ at, order: this.#order++, step })
    })
  }

  wait(id: StepHandle): Settled {
    return this.#move(id, 'running', (step) => {
      step.state = 'waiting'
    })
  }

  resume(id: StepHandle): Settled {
    return this.#move(id, 'waiting', (step) => this.#places.enqueue(step))
  }

  closeRun(handle: RunHandle): Settled {
    const run = this.#runs.get(handle)
    if (!run) return 'stale'
    for (const step of [...run.steps].toReversed()) this.#forget(step)
    this.#runs.delete(handle)
    this.#unranked.delete(run)
    return 'settled'
  }

  correct(resource: Resource, tokens: number): void {
    const held = this.#places.get(resource)
    if (!held) return
    held.correct(tokens)
    if (tokens < 0) this.#places.open(held)
  }

  closeResource(resource: Resource, until: number): void {
    const held = this.#places.get(resource)
    if (held) held.closedUntil = Math.max(held.closedUntil, until)
  }

  expire(id: StepHandle, at: number): Settled {
    const step = this.#steps.get(id)
    if (!step) return 'stale'
    this.#deadlines.push({ at, order: this.#order++, step })
    return 'settled'
  }

  expired(now: number, out: StepHandle[]): number {
    const { due, later } = split(this.#deadlines, now)
    this.#deadlines = later
    for (const step of due) out.push(step.id)
    return due.length
  }

  #rank(): void {
    for (const run of this.#unranked) {
      rank(2 * run.unranked.length >= run.steps.size ? [...run.steps] : run.unranked)
      run.unranked = []
    }
    this.#unranked.clear()
  }

  #end(step: Step, ok: boolean, dropped: StepHandle[]): void {
    this.#forget(step)
    const ended = [{ step, ok }]
    for (const { step, ok } of ended) {
      for (const dependent of step.dependents.toReversed()) {
        if (dependent.state !== 'blocked') continue
        if (ok || dependent.join === 'settled') {
          if (--dependent.open === 0) this.#places.enqueue(dependent)
        } else if (--dependent.slack < 0) {
          this.#forget(dependent)
          dropped.push(dependent.id)
          ended.push({ step: dependent, ok: false })
        }
      }
    }
  }

  #forget(step: Step): void {
    this.#places.giveBack(step)
    step.state = 'gone'
    step.run.steps.delete(step)
    this.#steps.delete(step.id)
  }

  #move(id: StepHandle, from: 'running' | 'waiting', to: (step: Step) => void): Settled {
    const step = this.#steps.get(id)
    if (!step) return 'stale'
    if (step.state !== from) return 'refused'
    this.#places.giveBack(step)
    to(step)
    return 'settled'
  }

  #kind(id: number): StepKind {
    const kind = this.#kinds[id]
    if (!kind) throw new RangeError(`there is no kind ${id}`)
    return kind
  }
}

function needsOf({ needs, calls }: Run, kind: StepKind): Resource[] {
  return [...kind.needs, ...needs, ...(kind.isCall ? calls : [])]
}

/** Whose time has come, in the order of their times; and the timers that remain, without those of gone steps. */
function split(timers: readonly Timer[], now: number): { due: Step[]; later: Timer[] } {
  const living = timers.filter(({ step }) => step.state !== 'gone')
  const due = living.filter(({ at }) => at <= now).sort((a, b) => a.at - b.at || a.order - b.order)
  return { due: due.map(({ step }) => step), later: living.filter(({ at }) => !(at <= now)) }
}
