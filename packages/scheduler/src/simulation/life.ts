import { seeded } from '../random.ts'
import { Driver } from './driver.ts'
import { type Answer, check, type Event, type Subject, Violation } from './event.ts'
import { Generator } from './generator.ts'
import { World } from './world.ts'

/** Polls of a drain that nothing comes of, in a row, until it is thought to be stuck. */
const IDLE_POLLS_MAX = 10_000

export type Subjects = (options: { concurrency: number }) => readonly Subject[]

/** One world from its begin to its end. What is not here follows from it. */
export interface Life {
  concurrency: number
  events: readonly Event[]
}

export interface Figures {
  events: number
  starts: number
}

export interface Failure {
  life: Life
  message: string
}

/** Puts the same events to each subject, compares the answers, and lets a world check them. */
class Lockstep {
  readonly world: World
  readonly events: Event[] = []
  readonly #drivers: readonly Driver[]

  constructor(concurrency: number, subjects: Subjects) {
    this.world = new World(concurrency)
    this.#drivers = subjects({ concurrency }).map((subject) => new Driver(subject))
  }

  do(event: Event): Answer | undefined {
    const known = this.world.known(event)
    if (!known) return undefined
    this.events.push(event)
    const [answer, ...others] = this.#drivers.map((driver) => driver.do(known))
    for (const other of others) {
      check(text(answer) === text(other), `the answers differ: ${text(answer)} and ${text(other)}`)
    }
    this.world.happened(known, answer)
    return answer
  }

  /** Nothing new comes, all that waits is resumed, all that runs ends: then every step comes to its end. */
  drain(): void {
    const { world } = this
    for (const { id, limits } of world.resources.values()) {
      const { concurrency, requestsPerMinute, tokensPerMinute } = limits
      if ([concurrency, requestsPerMinute, tokensPerMinute].includes(0))
        this.do({ do: 'setLimits', resource: id, limits: { concurrency: 1 } })
    }
    for (let idle = 0; world.living > 0; idle++) {
      check(idle < IDLE_POLLS_MAX, `${world.living} steps never end`)
      for (const { name } of [...world.in.waiting.all]) this.do({ do: 'resume', step: name })
      for (const { name } of [...world.in.running.all]) this.do({ do: 'settle', step: name, ok: true })
      const { starts } = world
      this.do({ do: 'poll', now: world.now })
      if (world.starts > starts) idle = 0
      else if (world.living > 0) {
        check(world.nextTimer < Number.POSITIVE_INFINITY, `${world.living} steps never end, and there is no timer`)
        this.do({ do: 'expired', now: Math.max(world.now, world.nextTimer) })
      }
    }
  }
}

/** Lives a life of so many events that a seed gives. */
export function live(
  { seed, events, livingMax }: { seed: number; events: number; livingMax: number },
  subjects: Subjects,
): Figures | Failure {
  const random = seeded(seed)
  const concurrency = 1 + random.int(random.pick([1, 4, 20, 100]))
  const lockstep = new Lockstep(concurrency, subjects)
  const generator = new Generator(lockstep.world, random, livingMax)
  return attempt(lockstep, () => {
    while (lockstep.events.length < events) lockstep.do(generator.next())
    lockstep.drain()
  })
}

/** Lives a life again; events about what is not there are left out. */
export function replay({ concurrency, events }: Life, subjects: Subjects): Figures | Failure {
  const lockstep = new Lockstep(concurrency, subjects)
  return attempt(lockstep, () => {
    for (const event of events) lockstep.do(event)
    lockstep.drain()
  })
}

function attempt({ world, events }: Lockstep, act: () => void): Figures | Failure {
  try {
    act()
    return { events: events.length, starts: world.starts }
  } catch (error) {
    if (!(error instanceof Violation)) throw error
    return { life: { concurrency: world.concurrency, events }, message: error.message }
  }
}

function text({ said, steps, running, nextTimer, resources }: Answer): string {
  const uses = resources.map(({ inUse, fullAt, isAwaited }) => `${inUse} until ${fullAt} ${isAwaited}`)
  return `${said} [${steps}], ${running} run, timer at ${nextTimer}, resources: ${uses}`
}
