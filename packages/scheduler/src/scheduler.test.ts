import { describe, expect, it } from 'vitest'
import { seeded } from './random.ts'
import { type Priority, type RunHandle, Scheduler, type StepHandle } from './scheduler.ts'

const priorities: readonly Priority[] = [0, 1, 2]
const tenants = ['a', 'b', 'c', 'd']

const poll = (scheduler: Scheduler, now = 0): StepHandle[] => {
  const out: StepHandle[] = []
  expect(scheduler.poll(now, out)).toBe(out.length)
  return out
}

/** A world around the scheduler that knows by itself what must and must not happen. */
class World {
  readonly random: ReturnType<typeof seeded>
  readonly scheduler: Scheduler
  readonly concurrency: number
  now = 0
  starts = 0
  readonly runs = new Map<RunHandle, StepHandle[]>()
  readonly state = new Map<StepHandle, 'blocked' | 'ready' | 'running' | 'waiting' | 'delayed'>()
  readonly after = new Map<StepHandle, StepHandle[]>()
  readonly due = new Map<StepHandle, number>()
  readonly ended: StepHandle[] = []

  constructor(seed: number) {
    this.random = seeded(seed)
    this.concurrency = 1 + this.random.int(20)
    this.scheduler = new Scheduler({ concurrency: this.concurrency })
  }

  in(state: string): StepHandle[] {
    return [...this.state].filter(([, of]) => of === state).map(([handle]) => handle)
  }

  open(): void {
    const run = this.scheduler.openRun(`tenant-${this.random.int(30)}`, this.random.pick(priorities))
    expect(this.runs.has(run), 'an open run keeps its handle').toBe(false)
    this.runs.set(run, [])
  }

  add(): void {
    const run = this.random.pick([...this.runs.keys()])
    const steps = this.runs.get(run)
    if (!steps) return
    const after = Array.from({ length: this.random.int(4) }, () => this.random.pick(steps)).filter(
      (step) => step !== undefined,
    )
    const handle = this.scheduler.addStep(run, after)
    expect(this.state.has(handle), 'a live step keeps its handle').toBe(false)
    steps.push(handle)
    const open = after.filter((on) => this.state.has(on))
    this.after.set(handle, open)
    this.state.set(handle, open.length === 0 ? 'ready' : 'blocked')
  }

  end(handle: StepHandle): void {
    this.state.delete(handle)
    this.after.delete(handle)
    this.ended.push(handle)
    for (const [step, on] of this.after) {
      if (this.state.get(step) === 'blocked' && on.every((of) => !this.state.has(of))) this.state.set(step, 'ready')
    }
  }

  settle(handle: StepHandle | undefined): void {
    if (handle === undefined) return
    const blocked = this.state.get(handle) === 'blocked'
    expect(this.scheduler.settle(handle)).toBe(blocked ? 'refused' : 'settled')
    if (!blocked) this.end(handle)
  }

  close(): void {
    const run = this.random.pick([...this.runs.keys()])
    const steps = this.runs.get(run)
    if (!steps) return
    this.scheduler.closeRun(run)
    this.runs.delete(run)
    for (const step of steps) {
      if (this.state.delete(step)) this.ended.push(step)
      this.after.delete(step)
    }
  }

  poll(): void {
    for (const step of this.in('delayed')) if ((this.due.get(step) ?? 0) <= this.now) this.state.set(step, 'ready')
    for (const step of poll(this.scheduler, this.now)) {
      this.starts++
      expect(
        this.state.get(step),
        'only a ready step starts: none before its dependencies or its time, none twice, none that ended',
      ).toBe('ready')
      this.state.set(step, 'running')
    }
    if (this.scheduler.running < this.concurrency)
      expect(this.in('ready'), 'no place stays free while a step is ready').toEqual([])
  }

  disturb(): void {
    const old = this.random.pick(this.ended)
    if (old === undefined) return
    const { running } = this.scheduler
    for (const act of ['settle', 'wait', 'resume', 'retry'] as const)
      expect(this.scheduler[act](old, this.now)).toBe('stale')
    expect(this.scheduler.running).toBe(running)
  }

  step(): void {
    const dice = this.random.int(100)
    if (dice < 4 || this.runs.size === 0) this.open()
    else if (dice < 40) this.add()
    else if (dice < 62) this.settle(this.random.pick(this.in('running')))
    else if (dice < 64) this.settle(this.random.pick([...this.state.keys()]))
    else if (dice < 68) {
      const step = this.random.pick(this.in('running'))
      if (step !== undefined) {
        this.due.set(step, this.now + this.random.int(50))
        expect(this.scheduler.retry(step, this.due.get(step) ?? 0)).toBe('settled')
        this.state.set(step, 'delayed')
      }
    } else if (dice < 72) {
      const step = this.random.pick(this.in('running'))
      if (step !== undefined) {
        expect(this.scheduler.wait(step)).toBe('settled')
        this.state.set(step, 'waiting')
      }
    } else if (dice < 75) {
      const step = this.random.pick(this.in('waiting'))
      if (step !== undefined) {
        expect(this.scheduler.resume(step)).toBe('settled')
        this.state.set(step, 'ready')
      }
    } else if (dice < 77) this.close()
    else if (dice < 80) this.disturb()
    else if (dice < 81) this.scheduler.setWeight(`tenant-${this.random.int(30)}`, this.random.int(40) / 8)
    else {
      this.now += this.random.int(4)
      this.poll()
    }
    expect(this.scheduler.running).toBe(this.in('running').length)
    expect(this.scheduler.running).toBeLessThanOrEqual(this.concurrency)
  }

  /** Lets everything come to its end, and nothing new begin. */
  drain(): void {
    for (const step of this.in('waiting')) {
      this.scheduler.resume(step)
      this.state.set(step, 'ready')
    }
    for (let rounds = 0; this.state.size > 0; rounds++) {
      expect(rounds, 'every step comes to its turn').toBeLessThan(10_000)
      if (this.in('running').length + this.in('ready').length === 0)
        this.now = Math.max(this.now, this.scheduler.nextTimer)
      this.poll()
      for (const step of this.in('running')) this.settle(step)
    }
    expect(this.scheduler.running).toBe(0)
  }
}

describe('Scheduler in a long random life', () => {
  // SEED=… runs one more life.
  const seeds = [1, 22, 333, 4444, 55_555, ...(process.env.SEED ? [Number(process.env.SEED)] : [])]
  it.each(seeds)('keeps every invariant after each of 12,000 events, and starves no step (seed %i)', (seed) => {
    const world = new World(seed)
    for (let i = 0; i < 12_000; i++) world.step()
    world.drain()
    expect(world.starts).toBeGreaterThan(1000)
  })
})

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
      for (const act of ['settle', 'wait', 'resume', 'retry'] as const) expect(scheduler[act](handle, 0)).toBe('stale')
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
