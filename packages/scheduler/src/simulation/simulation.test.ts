import { describe, expect, it } from 'vitest'
import { ReferenceScheduler } from '../reference/reference.ts'
import {
  type Kind,
  type Priority,
  type Resource,
  type RunHandle,
  Scheduler,
  type Settled,
  type StepHandle,
} from '../scheduler.ts'
import { type Event, type Subject, Violation } from './event.ts'
import { live, replay } from './life.ts'
import { shrink } from './shrink.ts'

const both = (options: { concurrency: number }) => [new Scheduler(options), new ReferenceScheduler(options)]

describe('The scheduler and its reference', () => {
  // SEED=… lives three more lives.
  const seeds = [1, 22, 333, 4444, ...(process.env.SEED ? [Number(process.env.SEED)] : [])]
  it.each(seeds)('do the same in random lives, and nothing that the rules forbid (seed %i)', (seed) => {
    for (const livingMax of [10, 60, 600])
      expect(live({ seed, events: 8000, livingMax }, both)).toMatchObject({ starts: expect.any(Number) })
  })

  it('live the same life twice', () => {
    const shape = { seed: 5, events: 5000, livingMax: 100 }
    expect(live(shape, both)).toEqual(live(shape, both))
  })
})

describe('What the simulator has found stays right', () => {
  const step = (step: number, run: number, tokens = 0, after: number[] = []): Event =>
    ({ do: 'addStep', step, run, after, kind: 0, join: 'all', tokens }) as const
  const run = (run: number, tenant: string, priority: 0 | 1 | 2, needs: number[] = []): Event =>
    ({ do: 'openRun', run, tenant, priority, needs }) as const

  it('a tenant that comes after a resource’s lane was emptied has queues of its own', () => {
    const events: Event[] = [
      { do: 'resource', resource: 1, limits: { concurrency: 1 } },
      { do: 'closeResource', resource: 1, until: 10 },
      run(1, 'a', 1, [1]),
      step(1, 1),
      { do: 'poll', now: 0 },
      { do: 'closeRun', run: 1 },
      run(2, 'b', 1),
      { do: 'poll', now: 10 },
      step(2, 2),
      run(3, 'c', 2),
      step(3, 2, 0, [2]),
      step(4, 3),
      { do: 'poll', now: 10 },
      { do: 'settle', step: 2, ok: true },
      { do: 'poll', now: 10 },
    ]
    expect(replay({ concurrency: 1, events }, both)).toMatchObject({ starts: 3 })
  })

  it('a wake that was replaced has no place in the order of ties', () => {
    const events: Event[] = [
      { do: 'resource', resource: 1, limits: { concurrency: 1, requestsPerMinute: 600, burstMs: 1 } },
      run(1, 't', 0, [1]),
      run(2, 't', 0, [1]),
      run(3, 't', 0, [1]),
      run(4, 't', 0, [1]),
      step(1, 3),
      { do: 'resource', resource: 2, limits: { concurrency: 1, tokensPerMinute: 70_000, burstMs: 1000 } },
      run(5, 't', 2, [2, 1]),
      step(2, 2, 10),
      run(6, 't', 1, [2]),
      step(3, 4, 100),
      { do: 'poll', now: 167_538 },
      { do: 'learn', kind: 0, ms: 337.5 },
      step(4, 5),
      step(5, 1),
      {
        do: 'setLimits',
        resource: 1,
        limits: { concurrency: 3, requestsPerMinute: 600, tokensPerMinute: 600, burstMs: 100 },
      },
      { do: 'setLimits', resource: 2, limits: { concurrency: 1, tokensPerMinute: 600, burstMs: 0 } },
      step(6, 6, 10),
      { do: 'poll', now: 382_671 },
      { do: 'settle', step: 2, ok: true },
      { do: 'settle', step: 6, ok: true },
      { do: 'poll', now: 382_671 },
      { do: 'poll', now: 383_571 },
      { do: 'poll', now: 383_671 },
    ]
    expect(replay({ concurrency: 4, events }, both)).toMatchObject({ starts: 6 })
  })
})

/** Schedulers with a bug. The simulator's own books must notice each, without the reference. */
const broken: Record<string, new (options: { concurrency: number }) => Subject> = {
  'runs one step too many': class extends Scheduler {
    constructor({ concurrency }: { concurrency: number }) {
      super({ concurrency: concurrency + 1 })
    }
  },
  'lets one step too many use a resource': class extends Scheduler {
    override resource({ concurrency, ...limits }: Parameters<Scheduler['resource']>[0]): Resource {
      return super.resource(concurrency === undefined ? limits : { ...limits, concurrency: concurrency + 1 })
    }
  },
  'lets a bucket fill a tenth too fast': class extends Scheduler {
    override resource({ requestsPerMinute, ...limits }: Parameters<Scheduler['resource']>[0]): Resource {
      return super.resource(
        requestsPerMinute === undefined ? limits : { ...limits, requestsPerMinute: requestsPerMinute * 1.1 },
      )
    }
  },
  'opens a resource before its time': class extends Scheduler {
    override closeResource(resource: Resource, until: number): void {
      super.closeResource(resource, until - 1)
    }
  },
  'forgets a resource that a kind needs': class extends Scheduler {
    override kind({ ms, needs = [], isCall }: { ms?: number; needs?: readonly Resource[]; isCall?: boolean }): Kind {
      return super.kind({ ms, needs: needs.slice(1), isCall })
    }
  },
  'forgets what calls of a run need': class extends Scheduler {
    override openRun(tenant: string, priority?: Priority, needs?: readonly Resource[]): RunHandle {
      return super.openRun(tenant, priority, needs)
    }
  },
  'forgets what a run needs anew': class extends Scheduler {
    override setNeeds(run: RunHandle): Settled {
      return super.setNeeds(run, [], [])
    }
  },
  'starts a step when all but one before it have ended': class extends Scheduler {
    override addStep(run: RunHandle, after: readonly StepHandle[] = [], ...rest: [Kind?]): StepHandle {
      return super.addStep(run, after.length > 2 ? after.slice(1) : after, ...rest)
    }
  },
  'does not drop what can start no more': class extends Scheduler {
    override settle(step: StepHandle, _ok?: boolean, dropped?: StepHandle[]): Settled {
      return super.settle(step, true, dropped)
    }
  },
  'tries a step again too early': class extends Scheduler {
    override retry(step: StepHandle, at: number): Settled {
      return super.retry(step, at - 1)
    }
  },
  'loses a wake-up': class extends Scheduler {
    override get nextTimer(): number {
      return super.nextTimer > 3000 ? Number.POSITIVE_INFINITY : super.nextTimer
    }
  },
  'leaves a place free': class extends Scheduler {
    #last = 0
    override poll(now: number, out: StepHandle[]): number {
      // Polled twice at the same time it does nothing.
      if (now === this.#last) return 0
      this.#last = now
      return super.poll(now, out)
    }
  },
  'lets a tenant wait for ever': class extends Scheduler {
    override setWeight(tenant: string, weight: number): void {
      super.setWeight(tenant, tenant === 't0' ? 1e6 : weight)
    }
  },
  'tells a deadline twice': class extends Scheduler {
    override expire(step: StepHandle, at: number): Settled {
      super.expire(step, at)
      return super.expire(step, at)
    }
  },
  'takes a late call for a new one': class extends Scheduler {
    override cancel(step: StepHandle, dropped?: StepHandle[]): Settled {
      super.cancel(step, dropped)
      return 'settled'
    }
  },
}

describe('The simulator', () => {
  it.each(Object.entries(broken))('notices a scheduler that %s, and shows it by few events', (_, Broken) => {
    const subjects = (options: { concurrency: number }) => [new Broken(options)]
    for (let seed = 1; seed < 100; seed++) {
      const result = live({ seed, events: 2000, livingMax: 60 }, subjects)
      if (!('message' in result)) continue
      const least = shrink(result, subjects)
      expect(least.life.events.length).toBeLessThan(80)
      expect(replay(least.life, both), 'the same events are no harm to the right one').not.toHaveProperty('message')
      return
    }
    throw new Violation('not noticed')
  })
})
