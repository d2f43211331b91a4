import type { Kind, Resource, RunHandle, StepHandle } from '../scheduler.ts'
import { type Answer, check, type Event, type Subject } from './event.ts'

/** Puts events to a scheduler: translates their names to its handles, and the handles of its answers to names. */
export class Driver {
  readonly #subject: Subject
  readonly #steps = new Map<number, StepHandle>()
  readonly #names = new Map<StepHandle, number>()
  readonly #runs = new Map<number, RunHandle>()
  readonly #resources = new Map<number, Resource>()
  readonly #kinds = new Map<number, Kind>([[0, 0]])

  constructor(subject: Subject) {
    this.#subject = subject
  }

  do(event: Event): Answer {
    const handles: StepHandle[] = []
    const said = this.#call(event, handles)
    const steps = handles.map((handle) => {
      const name = this.#names.get(handle)
      check(name !== undefined, `${handle} names no step`)
      return name
    })
    const { running, nextTimer } = this.#subject
    const resources = event.do === 'poll' || 'resource' in event ? [...this.#resources.values()].map(this.#use) : []
    return { said, steps, running, nextTimer, resources }
  }

  #call(event: Event, out: StepHandle[]): Answer['said'] {
    const subject = this.#subject
    switch (event.do) {
      case 'resource':
        this.#resources.set(event.resource, subject.resource(event.limits))
        return 'done'
      case 'setLimits':
        subject.setLimits(this.#resource(event.resource), event.limits, event.now)
        return 'done'
      case 'correct':
        subject.correct(this.#resource(event.resource), event.tokens)
        return 'done'
      case 'closeResource':
        subject.closeResource(this.#resource(event.resource), event.until)
        return 'done'
      case 'kind':
        this.#kinds.set(
          event.kind,
          subject.kind({ ms: event.ms, needs: this.#named(event.needs), isCall: event.isCall ?? false }),
        )
        return 'done'
      case 'learn':
        subject.learn(this.#kind(event.kind), event.ms)
        return 'done'
      case 'setWeight':
        subject.setWeight(event.tenant, event.weight)
        return 'done'
      case 'openRun':
        this.#runs.set(
          event.run,
          subject.openRun(event.tenant, event.priority, this.#named(event.needs), this.#named(event.calls ?? [])),
        )
        return 'done'
      case 'setNeeds': {
        const said = subject.setNeeds(this.#run(event.run), this.#named(event.needs), this.#named(event.calls))
        for (const resource of this.#resources.values()) subject.reconsider(resource)
        return said
      }
      case 'closeRun':
        return subject.closeRun(this.#run(event.run))
      case 'addStep':
        return this.#add(event)
      case 'poll':
        check(subject.poll(event.now, out) === out.length, 'poll does not give the number of steps that it started')
        return 'done'
      case 'expired':
        check(subject.expired(event.now, out) === out.length, 'expired does not give the number of its steps')
        return 'done'
      case 'settle':
        return subject.settle(this.#step(event.step), event.ok, out)
      case 'cancel':
        return subject.cancel(this.#step(event.step), out)
      case 'wait':
        return subject.wait(this.#step(event.step))
      case 'resume':
        return subject.resume(this.#step(event.step))
      case 'retry':
        return subject.retry(this.#step(event.step), event.at)
      case 'expire':
        return subject.expire(this.#step(event.step), event.at)
    }
  }

  #add({ step, run, after, kind, join, tokens }: Extract<Event, { do: 'addStep' }>): Answer['said'] {
    const on = after.map((name) => this.#step(name))
    let handle: StepHandle
    try {
      handle = this.#subject.addStep(this.#run(run), on, this.#kind(kind), join, tokens)
    } catch (error) {
      if (error instanceof RangeError) return 'refused'
      throw error
    }
    if (handle === -1) return 'stale'
    check(!this.#names.has(handle), `the handle ${handle} is used again`)
    this.#steps.set(step, handle)
    this.#names.set(handle, step)
    return 'settled'
  }

  #use = (resource: Resource) => ({
    inUse: this.#subject.inUse(resource),
    fullAt: this.#subject.fullAt(resource),
    isAwaited: this.#subject.isAwaited(resource),
  })

  // What has no handle here was never made: -1 names nothing.
  #step = (name: number): StepHandle => this.#steps.get(name) ?? -1
  #run = (name: number): RunHandle => this.#runs.get(name) ?? -1
  #resource = (name: number): Resource => this.#resources.get(name) ?? -1
  #kind = (name: number): Kind => this.#kinds.get(name) ?? 0
  #named = (names: readonly number[]): Resource[] => names.map(this.#resource).filter((handle) => handle !== -1)
}
