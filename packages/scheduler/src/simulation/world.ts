import { Bag } from './bag.ts'
import { Due } from './due.ts'
import { type Answer, check, type Event } from './event.ts'
import { type Group, type RunModel, STATES, type State, type StepModel, verdict } from './model.ts'
import { ResourceModel } from './resource-model.ts'
import { Turns } from './turns.ts'

/**
 * What must and what must not happen, kept by own books: from the events and the answers to them, without a look
 * into the scheduler. Which of several ready steps starts is left open, within bounds.
 */
export class World {
  readonly concurrency: number
  now = 0
  readonly steps = new Map<number, StepModel>()
  readonly runs = new Map<number, RunModel>()
  readonly openRuns = new Bag<RunModel>()
  readonly kinds = new Map<number, { needs: readonly number[]; isCall?: boolean }>([[0, { needs: [] }]])
  readonly resources = new Map<number, ResourceModel>()
  readonly in = Object.fromEntries(STATES.map((state) => [state, new Bag<StepModel>()])) as Record<
    State,
    Bag<StepModel>
  > // each state has one
  starts = 0
  nextTimer = Number.POSITIVE_INFINITY
  readonly #groups = new Map<string, Group>()
  readonly #turns = new Turns()
  readonly #delays = new Due<{ step: StepModel; at: number }>(({ step, at }) => step.dueAt !== at)
  readonly #deadlines = new Due<StepModel>(({ state }) => state === 'gone')
  /** After a poll that left no place free, steps may hold resources that have not started. */
  #maybeGranted = false
  /** The first poll since no step held resources before its start. */
  #since = 0

  constructor(concurrency: number) {
    this.concurrency = concurrency
  }

  get living(): number {
    return this.steps.size - this.in.gone.all.length
  }

  /** The event without what is not there; undefined when it is about that. */
  known(event: Event): Event | undefined {
    if ('step' in event && event.do !== 'addStep' && !this.steps.has(event.step)) return undefined
    if ('resource' in event && event.do !== 'resource' && !this.resources.has(event.resource)) return undefined
    if (event.do === 'learn' && !this.kinds.has(event.kind)) return undefined
    if ('run' in event && event.do !== 'openRun' && !this.runs.has(event.run)) return undefined
    const there = (needs: readonly number[]) => needs.filter((need) => this.resources.has(need))
    if (event.do === 'setNeeds') return { ...event, needs: there(event.needs), calls: there(event.calls) }
    if (event.do === 'openRun') return { ...event, needs: there(event.needs), calls: there(event.calls ?? []) }
    if (event.do === 'kind') return { ...event, needs: there(event.needs) }
    if (event.do !== 'addStep') return event
    const { after, kind } = event
    return { ...event, after: after.filter((on) => this.steps.has(on)), kind: this.kinds.has(kind) ? kind : 0 }
  }

  /** Checks the answer to an event and keeps in mind what has happened. */
  happened(event: Event, answer: Answer): void {
    const { said, steps } = this.#expected(event, answer)
    check(answer.said === said, `the answer is ${answer.said}, not ${said}`)
    check(String(answer.steps) === String(steps), `the steps are [${answer.steps}], not [${steps}]`)
    const running = this.in.running.all.length
    check(answer.running === running, `running is ${answer.running}, not ${running}`)
    const timer = Math.min(this.#delays.next, this.#deadlines.next)
    check(answer.nextTimer <= timer, `nextTimer is ${answer.nextTimer}, later than ${timer}`)
    this.nextTimer = answer.nextTimer
  }

  #expected(event: Event, answer: Answer): Pick<Answer, 'said' | 'steps'> {
    switch (event.do) {
      case 'resource':
        this.resources.set(event.resource, new ResourceModel(event.resource, event.limits))
        return done
      case 'setLimits':
        this.resources.get(event.resource)?.setLimits(event.limits, event.now, this.#maybeGranted)
        return done
      case 'correct':
        this.resources.get(event.resource)?.correct(event.tokens, this.now, this.#maybeGranted)
        return done
      case 'closeResource':
        this.resources.get(event.resource)?.close(event.until, this.#maybeGranted)
        return done
      case 'kind':
        this.kinds.set(event.kind, event)
        return done
      case 'learn':
        return done
      case 'setWeight':
        this.#turns.setWeight(event.tenant, event.weight)
        return done
      case 'openRun':
        this.#open(event)
        return done
      case 'setNeeds':
        return this.#setNeeds(event)
      case 'closeRun':
        return this.#close(event.run)
      case 'addStep':
        return this.#add(event)
      case 'poll':
        this.now = event.now
        this.#polled(answer)
        return { said: 'done', steps: answer.steps }
      case 'expired':
        this.now = event.now
        return { said: 'done', steps: this.#deadlines.take(event.now).map(({ name }) => name) }
      default:
        return this.#moved(event)
    }
  }

  #open({ run: name, tenant, priority, needs, calls = [] }: Extract<Event, { do: 'openRun' }>): void {
    const run = {
      name,
      tenant,
      priority,
      needs,
      calls,
      living: new Set<StepModel>(),
      added: [],
      isOpen: true,
      place: 0,
    }
    this.runs.set(name, run)
    this.openRuns.add(run)
  }

  #setNeeds({ run: name, needs, calls }: Extract<Event, { do: 'setNeeds' }>): Pick<Answer, 'said' | 'steps'> {
    const run = this.runs.get(name)
    if (!run?.isOpen) return stale
    run.needs = needs
    run.calls = calls
    for (const step of run.living) this.#regroup(step, this.#groupOf(run, step.kind))
    return settled
  }

  #regroup(step: StepModel, group: Group): void {
    const { group: before, run, tokens } = step
    if (group === before) return
    step.group = group
    if (step.state === 'running') {
      for (const held of before.resources) held.inUse--
      for (const held of group.resources) held.inUse++
    }
    if (step.state === 'ready') {
      before.ready--
      group.ready++
      if (this.#maybeGranted) for (const held of before.resources) held.mayHaveTaken(tokens, this.now)
      if (before.resources.length === 0) this.#turns.leaves(run)
      if (group.resources.length === 0) this.#turns.waits(run)
    }
    for (const held of group.resources) held.tokensMax = Math.max(held.tokensMax, tokens)
    for (const held of [...before.resources, ...group.resources]) held.changed(this.#maybeGranted)
  }

  #close(name: number): Pick<Answer, 'said' | 'steps'> {
    const run = this.runs.get(name)
    if (!run?.isOpen) return stale
    run.isOpen = false
    this.openRuns.remove(run)
    for (const step of run.living) this.#to(step, 'gone')
    return settled
  }

  #add({ step: name, run: of, after, kind, join, tokens }: Extract<Event, { do: 'addStep' }>) {
    const run = this.runs.get(of)
    if (!run?.isOpen) return stale
    const on = after.map((name) => this.steps.get(name)).filter((step) => step && step.state !== 'gone')
    if (on.some((step) => step?.run !== run)) return refused
    const group = this.#groupOf(run, kind)
    const step: StepModel = {
      name,
      run,
      kind,
      group,
      tokens,
      join,
      edges: after.length,
      good: after.length - on.length,
      bad: 0,
      dependents: [],
      state: 'blocked',
      place: 0,
      dueAt: Number.NaN,
    }
    for (const dependency of on) dependency?.dependents.push(step)
    for (const held of group.resources) held.tokensMax = Math.max(held.tokensMax, tokens)
    this.steps.set(name, step)
    run.living.add(step)
    run.added.push(name)
    this.in.blocked.add(step)
    if (verdict(step) === 'ready') this.#to(step, 'ready')
    return settled
  }

  #moved(event: Extract<Event, { do: 'settle' | 'cancel' | 'wait' | 'resume' | 'retry' | 'expire' }>) {
    const step = this.steps.get(event.step)
    if (!step || step.state === 'gone') return stale
    switch (event.do) {
      case 'settle':
        return step.state === 'blocked' ? refused : { said: 'settled' as const, steps: this.#end(step, event.ok) }
      case 'cancel':
        return { said: 'settled' as const, steps: this.#end(step, false) }
      case 'expire':
        this.#deadlines.add(event.at, step)
        return settled
      case 'resume':
        if (step.state !== 'waiting') return refused
        this.#to(step, 'ready')
        return settled
      case 'wait':
        if (step.state !== 'running') return refused
        this.#to(step, 'waiting')
        return settled
      case 'retry':
        if (step.state !== 'running') return refused
        this.#to(step, 'delayed')
        step.dueAt = event.at
        this.#delays.add(event.at, { step, at: event.at })
        return settled
    }
  }

  /** @returns the names of the steps that are dropped, in order */
  #end(first: StepModel, isGood: boolean): number[] {
    const ended = [first]
    this.#to(first, 'gone')
    for (const step of ended) {
      for (const dependent of step.dependents.reverse()) {
        if (dependent.state !== 'blocked') continue
        if (isGood) dependent.good++
        else dependent.bad++
        const is = verdict(dependent)
        if (is === 'ready') this.#to(dependent, 'ready')
        if (is !== 'dropped') continue
        this.#to(dependent, 'gone')
        ended.push(dependent)
      }
      step.dependents = []
    }
    return ended.slice(1).map(({ name }) => name)
  }

  #polled({ steps: started, nextTimer, resources }: Answer): void {
    for (const { step } of this.#delays.take(this.now)) this.#to(step, 'ready')
    if (!this.#maybeGranted) this.#since = this.now
    for (const name of started) {
      const step = this.steps.get(name)
      check(step?.state === 'ready', `step ${name} starts, but is ${step?.state}`)
      for (const held of step.group.resources) held.started(step.tokens, this.#since, this.now)
      this.#to(step, 'running')
      this.#turns.started(step.run)
      this.starts++
    }
    const running = this.in.running.all.length
    check(running <= this.concurrency, `${running} steps run, of at most ${this.concurrency}`)
    this.#maybeGranted = running === this.concurrency
    if (this.#maybeGranted) return
    this.#nothingIsLeft(nextTimer)
    const uses = resources.map(({ inUse }) => inUse)
    const held = [...this.resources.values()].map(({ inUse }) => inUse)
    check(String(uses) === String(held), `the uses of resources are [${uses}], not [${held}]`)
  }

  /** Places are free, so none of the ready steps can go. And if time alone can help one, there is a timer for that. */
  #nothingIsLeft(nextTimer: number): void {
    for (const held of this.resources.values()) held.noneGranted()
    for (const { ready, resources } of this.#groups.values()) {
      if (ready === 0) continue
      const openAt = Math.max(Number.NEGATIVE_INFINITY, ...resources.map((held) => held.openAt))
      const ids = resources.map(({ id }) => id)
      check(openAt > this.now, `a place is free and a step that needs [${ids}] can start, but does not`)
      const isLater = openAt < Number.POSITIVE_INFINITY && nextTimer > openAt
      check(!isLater, `nextTimer is ${nextTimer}, but a step that needs [${ids}] can start at ${openAt}`)
    }
  }

  #groupOf(run: RunModel, kind: number): Group {
    const { needs = [], isCall = false } = this.kinds.get(kind) ?? {}
    return this.#group([...needs, ...run.needs, ...(isCall ? run.calls : [])])
  }

  #group(needs: readonly number[]): Group {
    const unique = [...new Set(needs)].sort((a, b) => a - b)
    const key = unique.join()
    const known = this.#groups.get(key)
    if (known) return known
    const resources = unique.map((need) => this.resources.get(need)).filter((held) => held !== undefined)
    const group = { resources, ready: 0 }
    this.#groups.set(key, group)
    return group
  }

  #to(step: StepModel, state: State): void {
    const { group, run } = step
    const isPlain = group.resources.length === 0
    if (step.state === 'running') for (const held of group.resources) held.inUse--
    if (step.state === 'ready') {
      group.ready--
      if (state === 'gone' && this.#maybeGranted)
        for (const held of group.resources) held.mayHaveTaken(step.tokens, this.now)
      if (isPlain) this.#turns.leaves(run)
    }
    this.in[step.state].remove(step)
    step.state = state
    step.dueAt = Number.NaN
    this.in[state].add(step)
    if (state === 'ready') {
      group.ready++
      if (isPlain) this.#turns.waits(run)
    }
    if (state === 'gone') run.living.delete(step)
  }
}

const done = { said: 'done', steps: [] } as const
const settled = { said: 'settled', steps: [] } as const
const stale = { said: 'stale', steps: [] } as const
const refused = { said: 'refused', steps: [] } as const
