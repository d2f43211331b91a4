import type { Join } from '../graph.ts'
import type { seeded } from '../random.ts'
import type { Limits } from '../resources.ts'
import type { Priority } from '../scheduler.ts'
import type { Event } from './event.ts'
import { type RunModel, STATES, type StepModel } from './model.ts'
import type { World } from './world.ts'

type Random = ReturnType<typeof seeded>

const PRIORITIES: readonly Priority[] = [0, 1, 2]
const JOINS: readonly Join[] = ['all', 'all', 'all', 'any', 'settled', 1, 2, 3, 0, -1, 99]
/** How often each happens; each life makes some of them rarer, more frequent, or leaves them out. */
const OFTEN = {
  poll: 300,
  settle: 200,
  add: 160,
  graph: 12,
  open: 30,
  close: 12,
  cancel: 15,
  retry: 25,
  wait: 20,
  resume: 25,
  late: 15,
  expire: 15,
  expired: 20,
  limits: 10,
  correct: 15,
  closeResource: 10,
  learn: 10,
  weight: 5,
  kind: 4,
  resource: 2,
  needs: 6,
}
type Act = keyof typeof OFTEN
/** Without these no life goes on. */
const ALWAYS: readonly Act[] = ['poll', 'settle', 'add', 'open']

/** Makes up the events of one life, from a seed and what the world is like. */
export class Generator {
  readonly #world: World
  readonly #random: Random
  readonly #acts: readonly Act[]
  readonly #tenants: number
  readonly #livingMax: number
  readonly #resourcesMax: number
  readonly #kindsMax: number
  /** Steps of a graph that are still to be added. */
  readonly #planned: Event[] = []
  #named = 0

  constructor(world: World, random: Random, livingMax: number) {
    this.#world = world
    this.#random = random
    this.#livingMax = livingMax
    this.#tenants = 1 + random.int(random.pick([2, 5, 20]))
    this.#resourcesMax = random.pick([0, 1, 3, 6, 20])
    this.#kindsMax = random.pick([2, 12, 40])
    this.#acts = (Object.keys(OFTEN) as Act[]).flatMap((act) => {
      const times = ALWAYS.includes(act) ? random.pick([0.5, 1, 2]) : random.pick([0, 0.3, 1, 1, 3, 10])
      return Array.from({ length: Math.round(OFTEN[act] * times) }, () => act)
    })
  }

  next(): Event {
    for (;;) {
      const event = this.#planned.shift() ?? this.#make(this.#act())
      if (event) return event
    }
  }

  #act(): Act {
    const { openRuns, in: steps, living } = this.#world
    if (openRuns.all.length === 0) return 'open'
    const act = this.#random.pick(this.#acts)
    // A world that is full lets its steps go on before there are new ones.
    if (living < this.#livingMax || (act !== 'add' && act !== 'graph')) return act
    return this.#random.pick(steps.running.all.length > 0 ? ['settle', 'poll'] : ['poll', 'close', 'resume'])
  }

  #make(act: Act): Event | undefined {
    const random = this.#random
    const { in: steps, resources, kinds } = this.#world
    switch (act) {
      case 'poll':
        return { do: 'poll', now: this.#later() }
      case 'expired':
        return { do: 'expired', now: this.#later() }
      case 'settle':
        return this.#about(this.#pick(steps.running.all), (step) => ({ do: 'settle', step, ok: random.int(8) > 0 }))
      case 'late': {
        // A call about any step, whatever its state allows.
        const [step, at] = [this.#anyStep(), this.#later() + random.int(50)]
        const calls = ['settle', 'cancel', 'wait', 'resume', 'retry', 'expire'] as const
        // Each takes of these what it needs.
        return this.#about(step, (step) => ({ do: random.pick(calls), step, at, ok: random.int(2) > 0 }) as Event)
      }
      case 'cancel':
        return this.#about(this.#anyStep(), (step) => ({ do: 'cancel', step }))
      case 'retry':
        return this.#about(this.#pick(steps.running.all), (step) => ({ do: 'retry', step, at: this.#soon() }))
      case 'wait':
        return this.#about(this.#pick(steps.running.all), (step) => ({ do: 'wait', step }))
      case 'resume':
        return this.#about(this.#pick(steps.waiting.all), (step) => ({ do: 'resume', step }))
      case 'expire':
        return this.#about(this.#anyStep(), (step) => ({ do: 'expire', step, at: this.#soon() }))
      case 'add':
        return this.#add(this.#run(20))
      case 'graph':
        return this.#plan(this.#pick(this.#world.openRuns.all))
      case 'open':
        return this.#open()
      case 'needs': {
        const run = this.#run(10)
        return run && { do: 'setNeeds', run: run.name, needs: this.#needs(), calls: this.#needs() }
      }
      case 'close':
        return this.#close()
      case 'weight':
        return { do: 'setWeight', tenant: this.#tenant(), weight: random.pick([0, 0.1, 0.5, 1, 1, 2, 3.5, 8]) }
      case 'learn':
        return { do: 'learn', kind: random.int(kinds.size), ms: random.int(20) ** 3 / 10 }
      case 'kind':
        if (kinds.size >= this.#kindsMax) return undefined
        return {
          do: 'kind',
          kind: kinds.size,
          ms: random.int(20) ** 3 / 10,
          needs: this.#needs(),
          isCall: random.int(2) > 0,
        }
      case 'resource':
        if (resources.size >= this.#resourcesMax) return undefined
        return { do: 'resource', resource: resources.size + 1, limits: this.#limits() }
      default:
        return this.#ofResource(act)
    }
  }

  #ofResource(act: 'limits' | 'correct' | 'closeResource'): Event | undefined {
    const random = this.#random
    if (this.#world.resources.size === 0) return undefined
    const resource = 1 + random.int(this.#world.resources.size)
    switch (act) {
      case 'limits':
        return {
          do: 'setLimits',
          resource,
          limits: this.#limits(),
          now: random.pick([undefined, this.#world.now]),
        }
      case 'correct':
        return { do: 'correct', resource, tokens: random.int(200) - 120 }
      case 'closeResource':
        return { do: 'closeResource', resource, until: this.#soon() }
    }
  }

  #open(): Event {
    const priority = this.#random.pick(PRIORITIES)
    const needs = this.#random.int(3) === 0 ? this.#needs() : []
    return {
      do: 'openRun',
      run: this.#named++,
      tenant: this.#tenant(),
      priority,
      needs,
      calls: this.#random.int(3) === 0 ? this.#needs() : [],
    }
  }

  #close(): Event | undefined {
    const run = this.#run(10)
    return run && { do: 'closeRun', run: run.name }
  }

  /** An open one; now and then one that may be closed. */
  #run(nowAndThen: number): RunModel | undefined {
    const { runs, openRuns } = this.#world
    const isAny = this.#random.int(nowAndThen) === 0
    return isAny ? runs.get(this.#random.int(this.#named + 1)) : this.#pick(openRuns.all)
  }

  #add(run: RunModel | undefined): Event | undefined {
    const random = this.#random
    if (!run) return undefined
    const after: number[] = []
    for (let edges = random.pick([0, 0, 1, 1, 2, 3, 4]); edges > 0; edges--) {
      const recent = run.added.at(-1 - random.int(Math.min(run.added.length, 12)))
      if (recent !== undefined) after.push(recent)
    }
    const other = random.int(50) === 0 ? this.#anyStep() : undefined
    if (other) after.push(other.name)
    return this.#step(run.name, after, random.pick(JOINS))
  }

  /** A chain, or a fork that is joined. */
  #plan(run: RunModel | undefined): Event | undefined {
    if (!run) return undefined
    const random = this.#random
    const first = this.#step(run.name, run.added.slice(-1), 'all')
    const count = 1 + random.int(random.pick([4, 16, 64]))
    const isChain = random.int(2) === 0
    let last = first.step
    const forked: number[] = []
    for (let i = 0; i < count; i++) {
      const step = this.#step(run.name, [isChain ? last : first.step], 'all')
      this.#planned.push(step)
      forked.push(step.step)
      last = step.step
    }
    if (!isChain) this.#planned.push(this.#step(run.name, forked, random.pick(JOINS)))
    return first
  }

  #step(run: number, after: readonly number[], join: Join): Extract<Event, { do: 'addStep' }> {
    const random = this.#random
    const kind = random.int(3) === 0 ? 0 : random.int(this.#world.kinds.size)
    const tokens = random.pick([0, 1, 10, 10, 100, 400])
    return { do: 'addStep', step: this.#named++, run, after, kind, join, tokens }
  }

  #limits(): Limits {
    const random = this.#random
    const limits: Limits = {}
    if (random.int(3) > 0) limits.concurrency = random.pick([0, 1, 1, 2, 3, 5, 10])
    if (random.int(3) === 0) limits.requestsPerMinute = random.pick([0, 60, 600, 7000, 60_000])
    if (random.int(3) === 0) limits.tokensPerMinute = random.pick([0, 600, 6000, 6000, 70_000])
    if (random.int(2) === 0) limits.burstMs = random.pick([0, 1, 100, 1000])
    return limits
  }

  #needs(): number[] {
    const count = Math.min(this.#random.pick([0, 1, 1, 2, 3]), this.#world.resources.size)
    return Array.from({ length: count }, () => 1 + this.#random.int(this.#world.resources.size))
  }

  #tenant(): string {
    return `t${this.#random.int(this.#tenants)}`
  }

  #later(): number {
    const { now, nextTimer } = this.#world
    const jump = this.#random.int(40)
    if (jump === 0) return now + this.#random.int(5000)
    if (jump < 6 && nextTimer < Number.POSITIVE_INFINITY) return Math.max(now, nextTimer)
    return now + (jump < 25 ? 0 : this.#random.int(6))
  }

  #soon(): number {
    return this.#world.now + this.#random.int(this.#random.pick([2, 10, 100, 2000]))
  }

  #anyStep(): StepModel | undefined {
    return this.#pick(this.#world.in[this.#random.pick(STATES)].all)
  }

  #pick<T>(from: readonly T[]): T | undefined {
    return from.length > 0 ? this.#random.pick(from) : undefined
  }

  #about(step: StepModel | undefined, event: (step: number) => Event): Event | undefined {
    return step && event(step.name)
  }
}
