import type { Limits } from '../resources.ts'
import type { Resource, StepHandle } from '../scheduler.ts'
import { ReferenceLane } from './lane.ts'
import { ReferenceResource } from './resource.ts'
import { bucketOf, type Lane, type Step } from './step.ts'

/** Granted steps, and steps that another lane has had before, come before the others of their tenant. */
const TOP_BUCKET = 63

/** Who is running, who waits for what: the lanes, the resources, and the places of the scheduler. */
export class ReferencePlaces {
  readonly #concurrency: number
  readonly #weights = new Map<string, number>()
  readonly #resources = new Map<Resource, ReferenceResource>()
  readonly #main: Lane
  /** Resources whose lanes are to be looked at, first come first. */
  readonly #opened = new Set<ReferenceResource>()
  readonly #running = new Set<Step>()
  readonly #granted = new Set<Step>()
  #order = 0

  constructor(concurrency: number) {
    this.#concurrency = concurrency
    this.#main = this.#lane()
  }

  get running(): number {
    return this.#running.size
  }

  get nextWake(): number {
    return Math.min(...[...this.#resources.values()].map(({ wake }) => wake?.at ?? Number.POSITIVE_INFINITY))
  }

  setWeight(tenant: string, weight: number): void {
    this.#weights.set(tenant, Math.max(weight, 0.01))
  }

  add(limits: Limits): Resource {
    const id = this.#resources.size + 1
    this.#resources.set(id, new ReferenceResource(limits, this.#lane()))
    return id
  }

  /** Those named, each once. @throws RangeError for one that there is not */
  named(ids: readonly Resource[]): ReferenceResource[] {
    return [...new Set(ids)].map((id) => {
      const held = this.#resources.get(id)
      if (!held) throw new RangeError(`there is no resource ${id}`)
      return held
    })
  }

  get(id: Resource): ReferenceResource | undefined {
    return this.#resources.get(id)
  }

  /** Looks again at the lanes whose time has come. */
  wake(now: number): void {
    const due = [...this.#resources.values()].flatMap((held) => (held.wake ? [{ ...held.wake, held }] : []))
    for (const { held } of due.filter(({ at }) => at <= now).sort((a, b) => a.at - b.at || a.order - b.order)) {
      held.wake = undefined
      this.open(held)
    }
  }

  /** Starts what can start now. */
  start(now: number, out: StepHandle[]): void {
    for (;;) {
      const granted = this.#grant(now)
      const taken = this.#startFromMain(now, out)
      if (this.running >= this.#concurrency || this.#opened.size === 0 || granted + taken === 0) return
    }
  }

  enqueue(step: Step): void {
    step.state = 'ready'
    this.#main.put(step, bucketOf(step.rank))
  }

  #lane(): Lane {
    return new ReferenceLane((tenant) => this.#weights.get(tenant) ?? 1)
  }

  /** Gives to steps in the lanes of resources what they need, as long as there are places for them. */
  #grant(now: number): number {
    const before = this.#granted.size
    const full = () => this.#granted.size >= this.#concurrency - this.running
    for (let [held] = this.#opened; held && !full(); [held] = this.#opened) {
      this.#opened.delete(held)
      while (!full() && this.#grantFrom(held, now));
      if (full()) this.open(held)
    }
    return this.#granted.size - before
  }

  /** @returns whether the lane may have another step that can go */
  #grantFrom(held: ReferenceResource, now: number): boolean {
    const step = held.lane.peek()
    if (!step) return false
    const at = held.blockedUntil(step.tokens, now)
    if (at > now) {
      if (at < (held.wake?.at ?? Number.POSITIVE_INFINITY)) held.wake = { at, order: this.#order++ }
      return false
    }
    const missing = step.needs.find((need) => need.blockedUntil(step.tokens, now) > now)
    held.lane.pop(!missing)
    if (missing) {
      this.#put(missing, step, TOP_BUCKET)
      return true
    }
    this.#take(step, now)
    step.state = 'granted'
    this.#granted.add(step)
    this.#main.put(step, TOP_BUCKET)
    return true
  }

  /** @returns how many steps left the main lane, started or for the lane of a resource */
  #startFromMain(now: number, out: StepHandle[]): number {
    let taken = 0
    for (; this.running < this.#concurrency; taken++) {
      const step = this.#main.peek()
      if (!step) break
      const missing =
        step.state === 'granted'
          ? undefined
          : step.needs.find((held) => held.blockedUntil(step.tokens, now) > now || !held.lane.isEmpty)
      this.#main.pop(!missing)
      if (missing) {
        this.#put(missing, step, bucketOf(step.rank))
        continue
      }
      if (!this.#granted.delete(step)) this.#take(step, now)
      step.state = 'running'
      this.#running.add(step)
      out.push(step.id)
    }
    return taken
  }

  #take(step: Step, now: number): void {
    for (const held of step.needs) held.take(step.tokens, now)
  }

  #put(held: ReferenceResource, step: Step, bucket: number): void {
    held.lane.put(step, bucket)
    this.#opened.add(held)
  }

  /** Its lane is looked at in the next poll. */
  open(held: ReferenceResource): void {
    if (!held.lane.isEmpty) this.#opened.add(held)
  }

  giveBack(step: Step): void {
    // One of the two: a step that holds nothing gives nothing back.
    if (!this.#running.delete(step) && !this.#granted.delete(step)) return
    this.#release(step)
  }

  #release(step: Step): void {
    for (const held of step.needs) {
      held.inUse -= 1
      this.open(held)
    }
  }

  /** What these need from now on; what they hold they hold of that. */
  change(steps: readonly Step[], needsOf: (step: Step) => readonly Resource[]): void {
    const holding = steps.filter((step) => this.#running.has(step) || this.#granted.has(step))
    for (const step of holding) this.#release(step)
    for (const step of steps) step.needs = this.named(needsOf(step))
    for (const step of holding) for (const held of step.needs) held.inUse += 1
  }

  reconsider(held: ReferenceResource): void {
    for (let step = held.lane.peek(); step; step = held.lane.peek()) {
      held.lane.pop(false)
      this.#main.put(step, TOP_BUCKET)
    }
  }
}
