import { describe, expect, it } from 'vitest'
import { poll } from './fixture.ts'
import { type Priority, Scheduler, type StepHandle } from './scheduler.ts'

describe('Fairness', () => {
  /** Lets `count` steps start, one place each, and gives whose they were. */
  function shares(scheduler: Scheduler, owner: Map<StepHandle, string>, count: number): Map<string, number> {
    const got = new Map<string, number>()
    for (let i = 0; i < count; i++) {
      for (const step of poll(scheduler)) {
        const of = owner.get(step) ?? '?'
        got.set(of, (got.get(of) ?? 0) + 1)
        scheduler.settle(step)
      }
    }
    return got
  }

  function backlog(
    scheduler: Scheduler,
    tenant: string,
    count: number,
    owner = new Map<StepHandle, string>(),
    priority: Priority = 1,
  ) {
    const run = scheduler.openRun(tenant, priority)
    for (let i = 0; i < count; i++) owner.set(scheduler.addStep(run), tenant)
    return owner
  }

  it.each([1, 4, 100])(
    'a tenant with 10,000 ready steps delays the single step of another by one step at most (%i at once)',
    (concurrency) => {
      const scheduler = new Scheduler({ concurrency })
      backlog(scheduler, 'large', 10_000)
      const under = poll(scheduler)
      const single = scheduler.addStep(scheduler.openRun('small'))
      const started: StepHandle[] = []
      for (const step of under.slice(0, 2)) {
        scheduler.settle(step)
        scheduler.poll(0, started)
      }
      for (let i = 0; i < 2 && started.length < 2; i++) {
        scheduler.settle(started[i])
        scheduler.poll(0, started)
      }
      expect(started.slice(0, 2)).toContain(single)
    },
  )

  it('among many tenants each comes once in a round, however much the others have', () => {
    const scheduler = new Scheduler({ concurrency: 1 })
    const owner = new Map<StepHandle, string>()
    for (let i = 0; i < 50; i++) backlog(scheduler, `t${i}`, i === 0 ? 10_000 : 20, owner)
    for (let round = 0; round < 20; round++)
      expect([...shares(scheduler, owner, 50).values()]).toEqual(Array(50).fill(1))
  })

  it('weights give shares, fractions too', () => {
    const scheduler = new Scheduler({ concurrency: 1 })
    const owner = new Map<StepHandle, string>()
    const weights = { a: 0.25, b: 1, c: 2.5, d: 4 }
    for (const [tenant, weight] of Object.entries(weights)) {
      scheduler.setWeight(tenant, weight)
      backlog(scheduler, tenant, 5000, owner)
    }
    const got = shares(scheduler, owner, 7750)
    for (const [tenant, weight] of Object.entries(weights)) {
      expect(Math.abs((got.get(tenant) ?? 0) - weight * 1000)).toBeLessThanOrEqual(weight + 1)
    }
  })

  it('takes a weight for any number of tenants, set before their first run', () => {
    const scheduler = new Scheduler({ concurrency: 1 })
    const owner = new Map<StepHandle, string>()
    for (let i = 0; i < 40; i++) scheduler.setWeight(`t${i}`, 3)
    for (let i = 0; i < 40; i++) backlog(scheduler, `t${i}`, 10, owner)
    expect([...shares(scheduler, owner, 120).values()]).toEqual(Array(40).fill(3))
  })

  it('a weight of nothing is still a share', () => {
    const scheduler = new Scheduler({ concurrency: 1 })
    const owner = new Map<StepHandle, string>()
    scheduler.setWeight('poor', 0)
    backlog(scheduler, 'poor', 5, owner)
    backlog(scheduler, 'rich', 1000, owner)
    expect(shares(scheduler, owner, 505).get('poor')).toBe(5)
  })

  it('a tenant that was away saves up nothing', () => {
    const scheduler = new Scheduler({ concurrency: 1 })
    const owner = new Map<StepHandle, string>()
    backlog(scheduler, 'here', 200, owner)
    shares(scheduler, owner, 100)
    backlog(scheduler, 'late', 100, owner)
    expect(shares(scheduler, owner, 20)).toEqual(
      new Map([
        ['here', 10],
        ['late', 10],
      ]),
    )
  })

  it('takes a higher priority first, whoever has it, and within a tenant first come first served', () => {
    const scheduler = new Scheduler({ concurrency: 1 })
    const owner = new Map<StepHandle, string>()
    for (const priority of [2, 1, 0] as const) {
      for (const tenant of ['a', 'b']) backlog(scheduler, tenant, 3, owner, priority)
    }
    const order = [...owner.keys()]
    const started: StepHandle[] = []
    for (let i = 0; i < 18; i++) {
      for (const step of poll(scheduler)) {
        started.push(step)
        scheduler.settle(step)
      }
    }
    const [a, b] = [order.slice(12, 15), order.slice(15)]
    expect(started.slice(0, 6)).toEqual([a[0], b[0], a[1], b[1], a[2], b[2]])
    expect(started.slice(6, 12).toSorted()).toEqual(order.slice(6, 12).toSorted())
    expect(started.slice(12).toSorted()).toEqual(order.slice(0, 6).toSorted())
  })
})

describe('Priorities', () => {
  it.each([
    [0, 1],
    [0, 2],
    [1, 2],
  ] as const)('of 16 starts one is priority %i’s lower one, %i, however much the higher has', (high, low) => {
    const scheduler = new Scheduler({ concurrency: 1 })
    const [above, below] = [scheduler.openRun('a', high), scheduler.openRun('b', low)]
    const waiting = new Set<StepHandle>()
    for (let i = 0; i < 1000; i++) scheduler.addStep(above)
    for (let i = 0; i < 10; i++) waiting.add(scheduler.addStep(below))
    const turns: number[] = []
    for (let i = 1; i <= 160; i++) {
      for (const step of poll(scheduler)) {
        if (waiting.has(step)) turns.push(i)
        scheduler.settle(step)
      }
    }
    expect(turns).toEqual(Array.from({ length: 10 }, (_, i) => (i + 1) * 16))
  })

  it('the lower of two that waited too long does not wait for ever either', () => {
    const scheduler = new Scheduler({ concurrency: 1 })
    const runs = ([0, 1, 2] as const).map((priority) => scheduler.openRun('a', priority))
    const priorityOf = new Map<StepHandle, number>()
    for (const [priority, run] of runs.entries())
      for (let i = 0; i < 500; i++) priorityOf.set(scheduler.addStep(run), priority)
    const last = [0, 0, 0]
    for (let i = 1; i <= 340; i++) {
      for (const step of poll(scheduler)) {
        last[priorityOf.get(step) ?? -1] = i
        scheduler.settle(step)
      }
      for (const at of last) expect(i - at).toBeLessThanOrEqual(17)
    }
  })
})
