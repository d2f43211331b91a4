import { describe, expect, it } from 'vitest'
import { type Priority, Scheduler, type StepHandle } from './scheduler.ts'

const poll = (scheduler: Scheduler, now = 0): StepHandle[] => {
  const out: StepHandle[] = []
  expect(scheduler.poll(now, out)).toBe(out.length)
  return out
}

describe('Scheduler', () => {
  it('starts no step before all that it comes after have ended', () => {
    const scheduler = new Scheduler({ concurrency: 10 })
    const run = scheduler.openRun('a')
    const left = scheduler.addStep(run)
    const right = scheduler.addStep(run)
    const join = scheduler.addStep(run, [left, right, left])
    expect(poll(scheduler)).toEqual([left, right])
    scheduler.settle(left)
    expect(poll(scheduler)).toEqual([])
    scheduler.settle(right)
    expect(poll(scheduler)).toEqual([join])
  })

  it('counts a dependency that has ended as met', () => {
    const scheduler = new Scheduler({ concurrency: 1 })
    const run = scheduler.openRun('a')
    const first = scheduler.addStep(run)
    poll(scheduler)
    scheduler.settle(first)
    const second = scheduler.addStep(run, [first])
    expect(poll(scheduler)).toEqual([second])
  })

  it('refuses what the state of a step does not allow, and changes nothing then', () => {
    const scheduler = new Scheduler({ concurrency: 1 })
    const run = scheduler.openRun('a')
    const first = scheduler.addStep(run)
    const second = scheduler.addStep(run, [first])
    expect(scheduler.settle(second)).toBe('refused')
    for (const step of [first, second]) {
      expect(scheduler.wait(step)).toBe('refused')
      expect(scheduler.resume(step)).toBe('refused')
      expect(scheduler.retry(step, 0)).toBe('refused')
    }
    expect(poll(scheduler)).toEqual([first])
    expect(scheduler.resume(first)).toBe('refused')
    expect(scheduler.running).toBe(1)
  })

  it.each([-1, 0, 1, 63, 64, 2 ** 26, 2 ** 52, 0.5, Number.NaN])(
    'answers "stale" to %d, which names no step',
    (handle) => {
      const scheduler = new Scheduler({ concurrency: 1 })
      for (const act of ['settle', 'wait', 'resume'] as const) expect(scheduler[act](handle)).toBe('stale')
      expect(scheduler.retry(handle, 0)).toBe('stale')
    },
  )

  it('tells an old handle from the step that has its slot now', () => {
    const scheduler = new Scheduler({ concurrency: 1 })
    const run = scheduler.openRun('a')
    const old = scheduler.addStep(run)
    poll(scheduler)
    scheduler.settle(old)
    const fresh = scheduler.addStep(run)
    expect(fresh).not.toBe(old)
    expect(scheduler.settle(old)).toBe('stale')
    expect(poll(scheduler)).toEqual([fresh])
  })

  it('frees the places of a closed run and never starts what it had queued', () => {
    const scheduler = new Scheduler({ concurrency: 2 })
    const closed = scheduler.openRun('a')
    for (let i = 0; i < 10; i++) scheduler.addStep(closed)
    poll(scheduler)
    const other = scheduler.openRun('a')
    const step = scheduler.addStep(other)
    scheduler.closeRun(closed)
    scheduler.closeRun(closed)
    expect(scheduler.running).toBe(0)
    expect(poll(scheduler)).toEqual([step])
  })

  it('holds a retried step until its time, and says when that is', () => {
    const scheduler = new Scheduler({ concurrency: 1 })
    const step = scheduler.addStep(scheduler.openRun('a'))
    expect(scheduler.nextTimer).toBe(Number.POSITIVE_INFINITY)
    poll(scheduler)
    scheduler.retry(step, 100)
    expect(scheduler.nextTimer).toBe(100)
    expect(poll(scheduler, 99)).toEqual([])
    expect(poll(scheduler, 100)).toEqual([step])
  })

  it('lets a waiting step hold no place, and start again when it is resumed', () => {
    const scheduler = new Scheduler({ concurrency: 1 })
    const run = scheduler.openRun('a')
    const waiting = scheduler.addStep(run)
    const other = scheduler.addStep(run)
    poll(scheduler)
    scheduler.wait(waiting)
    expect(poll(scheduler)).toEqual([other])
    scheduler.settle(other)
    scheduler.resume(waiting)
    expect(poll(scheduler)).toEqual([waiting])
  })

  it('uses slots again: a million short steps and runs take no more memory than the first', () => {
    const scheduler = new Scheduler({ concurrency: 8 })
    const out: StepHandle[] = []
    let now = 0
    let slotMax = 0
    const live = (steps: number) => {
      for (let i = 0; i < steps; i += 10) {
        const run = scheduler.openRun('a')
        let last = scheduler.addStep(run)
        for (let j = 1; j < 10; j++) last = scheduler.addStep(run, [last])
        for (let left = 9; left > 0; ) {
          out.length = 0
          scheduler.poll(++now, out)
          for (const step of out) {
            slotMax = Math.max(slotMax, step % 2 ** 26)
            if (now % 7 === 0) scheduler.retry(step, now + 1)
            else if (scheduler.settle(step) === 'settled') left--
          }
        }
        scheduler.closeRun(run)
      }
    }
    live(1000)
    const before = process.memoryUsage().arrayBuffers
    live(1_000_000)
    expect(slotMax).toBeLessThan(64)
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(100_000)
  })
})

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
