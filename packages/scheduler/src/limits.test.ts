import { describe, expect, it } from 'vitest'
import { poll } from './fixture.ts'
import { type Priority, type Resource, Scheduler, type StepHandle } from './scheduler.ts'

/** Steps ready at once, each in a run of its own. */
function add(
  scheduler: Scheduler,
  count: number,
  needs: readonly Resource[],
  { tenant = 'a', priority = 1, tokens = 0 }: { tenant?: string; priority?: Priority; tokens?: number } = {},
): StepHandle[] {
  return Array.from({ length: count }, () =>
    scheduler.addStep(scheduler.openRun(tenant, priority, needs), [], 0, 'all', tokens),
  )
}

/** Polls in steps of a millisecond; each start with its time. All that starts ends at once. */
function timeline(scheduler: Scheduler, until: number): [number, StepHandle][] {
  const starts: [number, StepHandle][] = []
  for (let now = 0; now <= until; now++) {
    for (const step of poll(scheduler, now)) {
      starts.push([now, step])
      scheduler.settle(step)
    }
  }
  return starts
}

describe('A resource', () => {
  it('lets so many steps use it at once, in order, and the others do not wait for them', () => {
    const scheduler = new Scheduler({ concurrency: 10 })
    const tool = scheduler.resource({ concurrency: 2 })
    const users = add(scheduler, 5, [tool])
    const others = add(scheduler, 3, [])
    expect(poll(scheduler)).toEqual([...users.slice(0, 2), ...others])
    expect(poll(scheduler)).toEqual([])
    scheduler.settle(users[0] ?? -1)
    expect(poll(scheduler)).toEqual([users[2]])
    scheduler.retry(users[1] ?? -1, 100)
    scheduler.wait(users[2] ?? -1)
    expect(poll(scheduler)).toEqual(users.slice(3))
  })

  it('named by a run and by a kind is taken once', () => {
    const scheduler = new Scheduler({ concurrency: 10 })
    const tool = scheduler.resource({ concurrency: 2 })
    const kind = scheduler.kind({ needs: [tool, tool] })
    const run = scheduler.openRun('a', 1, [tool])
    const steps = [scheduler.addStep(run, [], kind), scheduler.addStep(run, [], kind), scheduler.addStep(run, [], kind)]
    expect(poll(scheduler)).toEqual(steps.slice(0, 2))
    scheduler.closeRun(run)
    expect(poll(scheduler)).toEqual([])
    expect(add(scheduler, 2, [tool])).toEqual(poll(scheduler))
  })

  it('is given by priority, then to tenants in turn; who has got it goes before its tenant’s longest way', () => {
    const scheduler = new Scheduler({ concurrency: 1 })
    const tool = scheduler.resource({ concurrency: 1 })
    const [holder] = add(scheduler, 1, [tool])
    poll(scheduler)
    scheduler.wait(holder ?? -1)
    scheduler.closeResource(tool, 10)
    const low = add(scheduler, 1, [tool], { priority: 2 })
    const a = add(scheduler, 2, [tool])
    const b = add(scheduler, 2, [tool], { tenant: 'b' })
    poll(scheduler)
    const long = scheduler.addStep(scheduler.openRun('a'), [], scheduler.kind({ ms: 1000 }))
    const started: StepHandle[] = []
    for (let i = 0; i < 6; i++) {
      for (const step of poll(scheduler, 10)) {
        started.push(step)
        scheduler.settle(step)
      }
    }
    expect(started).toEqual([a[0], long, b[0], a[1], b[1], low[0]])
  })

  it('that is full holds no place that a step without it could have', () => {
    const scheduler = new Scheduler({ concurrency: 4 })
    const tool = scheduler.resource({ concurrency: 1 })
    const [first] = add(scheduler, 100, [tool], { priority: 0 })
    const plain = add(scheduler, 3, [], { priority: 2 })
    expect(poll(scheduler)).toEqual([first, ...plain])
  })

  it('gets new limits while it is in use: more let the next go, fewer take nothing away', () => {
    const scheduler = new Scheduler({ concurrency: 10 })
    const tool = scheduler.resource({ concurrency: 1 })
    const steps = add(scheduler, 6, [tool])
    poll(scheduler)
    scheduler.setLimits(tool, { concurrency: 3 })
    expect(poll(scheduler)).toEqual(steps.slice(1, 3))
    scheduler.setLimits(tool, { concurrency: 1 })
    for (const step of steps.slice(0, 2)) scheduler.settle(step)
    expect(poll(scheduler)).toEqual([])
    expect(scheduler.running).toBe(1)
    scheduler.settle(steps[2] ?? -1)
    expect(poll(scheduler)).toEqual([steps[3]])
  })
})

describe('A bucket', () => {
  it('lets a burst go and then a request each time that one is earned', () => {
    const scheduler = new Scheduler({ concurrency: 100 })
    const model = scheduler.resource({ requestsPerMinute: 6000, burstMs: 50 })
    add(scheduler, 9, [model])
    expect(timeline(scheduler, 100).map(([now]) => now)).toEqual([0, 0, 0, 0, 0, 10, 20, 30, 40])
  })

  it('of tokens counts those that a step says; more than it holds goes when it is full', () => {
    const scheduler = new Scheduler({ concurrency: 100 })
    const model = scheduler.resource({ tokensPerMinute: 60_000, burstMs: 100 })
    const [small, large, last] = [60, 500, 1].map((tokens) => add(scheduler, 1, [model], { tokens })[0])
    expect(timeline(scheduler, 600)).toEqual([
      [0, small],
      [60, large],
      [461, last],
    ])
  })

  it('is corrected by what a step has used more or less', () => {
    const scheduler = new Scheduler({ concurrency: 100 })
    const model = scheduler.resource({ tokensPerMinute: 60_000, burstMs: 100 })
    const [first, second, third] = [100, 10, 10].map((tokens) => add(scheduler, 1, [model], { tokens })[0])
    expect(poll(scheduler)).toEqual([first])
    expect(scheduler.nextTimer).toBe(10)
    scheduler.correct(model, 40)
    expect(poll(scheduler, 49)).toEqual([])
    expect(scheduler.nextTimer).toBe(50)
    scheduler.correct(model, -30)
    expect(poll(scheduler, 49)).toEqual([second, third])
  })

  it('that is closed after a 429 holds only its own steps, until its time', () => {
    const scheduler = new Scheduler({ concurrency: 2 })
    const [limited, free] = [scheduler.resource({ concurrency: 5 }), scheduler.resource({ concurrency: 5 })]
    scheduler.closeResource(limited, 30)
    scheduler.closeResource(limited, 20)
    const held = add(scheduler, 2, [limited], { priority: 0 })
    const others = add(scheduler, 1, [free], { priority: 2 })
    expect(poll(scheduler)).toEqual(others)
    expect(scheduler.nextTimer).toBe(30)
    expect(poll(scheduler, 29)).toEqual([])
    expect(poll(scheduler, 30)).toEqual([held[0]])
    expect(scheduler.running).toBe(2)
  })
})

describe('A step that needs several resources', () => {
  it('takes all or none', () => {
    const scheduler = new Scheduler({ concurrency: 10 })
    const [a, b] = [scheduler.resource({ concurrency: 1 }), scheduler.resource({ concurrency: 1 })]
    const [holder] = add(scheduler, 1, [b])
    expect(poll(scheduler)).toEqual([holder])
    const [both] = add(scheduler, 1, [a, b])
    expect(poll(scheduler)).toEqual([])
    const [ofA] = add(scheduler, 1, [a])
    expect(poll(scheduler)).toEqual([ofA])
    scheduler.settle(holder ?? -1)
    expect(poll(scheduler)).toEqual([])
    scheduler.settle(ofA ?? -1)
    expect(poll(scheduler)).toEqual([both])
  })

  it('starts in a drain, beside hundreds that need but one of them', () => {
    const scheduler = new Scheduler({ concurrency: 10 })
    const [a, b] = [scheduler.resource({ concurrency: 1 }), scheduler.resource({ concurrency: 1 })]
    const singles = [...add(scheduler, 200, [a]), ...add(scheduler, 200, [b])]
    const [both] = add(scheduler, 1, [a, b])
    const running: StepHandle[] = []
    const started = new Set<StepHandle>()
    // One at a time ends, so that the two are hardly ever free together.
    for (let i = 0; i < 401; i++) {
      for (const step of poll(scheduler)) {
        started.add(step)
        running.push(step)
      }
      scheduler.settle(running.shift() ?? -1)
    }
    expect(started.has(both ?? -1)).toBe(true)
    expect(started.size).toBe(singles.length + 1)
  })

  it('that holds them all and has not started gives them back when it is cancelled', () => {
    const scheduler = new Scheduler({ concurrency: 1 })
    const tool = scheduler.resource({ concurrency: 1 })
    const [holder] = add(scheduler, 1, [tool])
    poll(scheduler)
    scheduler.wait(holder ?? -1)
    const [granted, next] = [
      ...add(scheduler, 1, [tool], { priority: 2 }),
      ...add(scheduler, 1, [tool], { priority: 2 }),
    ]
    scheduler.closeResource(tool, 5)
    const [plain] = add(scheduler, 1, [])
    poll(scheduler)
    scheduler.settle(plain ?? -1)
    const [before] = add(scheduler, 1, [])
    expect(poll(scheduler, 5)).toEqual([before])
    scheduler.settle(before ?? -1)
    scheduler.cancel(granted ?? -1)
    expect(poll(scheduler, 5)).toEqual([next])
  })
})
