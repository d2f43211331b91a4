import { Journal } from '@muster/journal'
import type { EntryOf, Limit, SetLimit } from '@muster/protocol'
import { Scheduler, type StepHandle } from '@muster/scheduler'
import { pino } from 'pino'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { stopRedis, theRedis } from '../fixture.ts'
import { Kinds } from '../step/kinds.ts'
import { Slices } from './slices.ts'

afterAll(stopRedis)

const cleanups: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of cleanups.splice(0)) await close()
})

const HOUR = 3_600_000

/** What of a worker has to do with limits, on real Redis; its clocks are ours. */
async function worker(namespace: string, limits: Record<string, Limit>, name = namespace) {
  const journal = await Journal.open({ url: (await theRedis()).url, namespace })
  const time = { wall: HOUR, steady: 0 }
  const scheduler = new Scheduler({ concurrency: 10_000 })
  const slices = new Slices({
    ...{ journal, scheduler, worker: name, leaseMs: 60_000, log: pino({ level: 'silent' }), onChange: () => {} },
    clock: () => time.wall,
    steady: () => time.steady,
  })
  const set = new Map<string, SetLimit>()
  const controls = { limitsVersion: 0, limits: () => set }
  const kinds = new Kinds(scheduler, slices, { configured: limits, controls })
  const model = kinds.of({ kind: 'model', target: 'default' } as Parameters<Kinds['of']>[0])
  cleanups.push(async () => {
    await slices.close()
    await journal.close()
  })
  const open = (user: string) => {
    const by = { user, key: `of-${user}` }
    const definition = { kind: 'plan' as const, name: 'p', version: '1', hash: '' }
    const created = { tenant: 't', definition, by } as EntryOf<'run.created'>
    return { created, ...kinds.open(created) }
  }
  const poll = () => {
    const out: StepHandle[] = []
    scheduler.poll(time.wall, out)
    return out
  }
  let total = 0
  /** How many steps have started, with those that can now. */
  const started = () => {
    total += poll().length
    return total
  }
  return { journal, time, scheduler, kinds, model, open, poll, started, set, controls }
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 20_000; !(await holds()); ) {
    if (Date.now() > deadline) throw new Error('it never holds')
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

describe('limits of a worker', () => {
  it('of users who have gone leave nothing behind', async () => {
    const { scheduler, kinds, model, open, poll, time } = await worker('gone', { 'user:*': { requestsPerMinute: 60 } })
    const round = async (from: number) => {
      const runs = Array.from({ length: 300 }, (_, i) => open(`user-${from + i}`))
      const steps = runs.map((run) => scheduler.addStep(run.slot, [], model.kind, 'all', 10))
      const started: StepHandle[] = []
      await until(() => started.push(...poll()) > 0 && started.length === steps.length)
      for (const run of runs) kinds.closeRun(run)
      time.wall += HOUR
      time.steady += HOUR
      await until(
        () => !scheduler.inUse(1) && runs.every(({ needs }) => needs.calls.every((one) => scheduler.fullAt(one) === 0)),
      )
      return scheduler.bytes
    }
    const first = await round(0)
    for (let i = 1; i < 8; i++) expect(await round(300 * i)).toBe(first)
  })

  it('let workers use one place by turns of seconds', async () => {
    const limits = { 'model:default': { concurrency: 1 } }
    const both = [await worker('turns', limits, 'a'), await worker('turns', limits, 'b')]
    const turns: number[] = []
    for (const { scheduler, model, open } of both)
      for (let i = 0; i < 10_000; i++) scheduler.addStep(open('ann').slot, [], model.kind)
    await until(() => {
      for (const [i, { scheduler, poll }] of both.entries())
        for (const step of poll()) {
          if (turns.at(-1) !== i) turns.push(i)
          scheduler.settle(step)
        }
      return turns.length === 4
    })
  })

  it('are leased on where the clock is set back, and let through what waits', async () => {
    const { journal, scheduler, model, open, poll, started, time } = await worker('back', {
      'user:*': { requestsPerMinute: 60 },
    })
    const run = open('ann')
    for (let i = 0; i < 11; i++) scheduler.addStep(run.slot, [], model.kind)
    await until(() => started() === 10)
    const key = journal.partitions[0].keys.slices(JSON.stringify(['user:ann', 't']))
    const leasedUntil = async () => Number((await journal.redis.hget(key, 'back'))?.split(',')[4])
    time.wall = 0
    poll()
    time.wall = 1000
    expect(poll()).toHaveLength(1)
    const leases = new Set<number>()
    await until(async () => {
      time.steady += 1000
      return leases.add(await leasedUntil()).size === 5
    })
  })

  it('that change keep what was used, also where an answer of Redis is on its way', async () => {
    const limits = (requestsPerMinute: number) => ({ limit: { requestsPerMinute }, name: 'user:ann', by: 'x', at: 1 })
    const { journal, scheduler, model, kinds, open, started, time, set, controls } = await worker('changed', {})
    const change = (rate: number) => {
      set.set('user:ann', limits(rate))
      controls.limitsVersion++
      kinds.heed([run])
    }
    const add = (steps: number) => {
      for (let i = 0; i < steps; i++) scheduler.addStep(run.slot, [], model.kind)
    }
    const run = open('ann')
    change(600)
    add(60)
    await until(() => started() === 60)
    // The other forty are left, and no more.
    change(6000)
    add(3000)
    await until(() => started() >= 100)
    for (let i = 0; i < 10; i++) {
      change(6000)
      // It is asked for by these, and answered when it is less.
      await new Promise(setImmediate)
      change(6)
      for (let turn = 0; turn < 3; turn++) {
        await journal.redis.ping()
        time.wall += 1000
        started()
      }
    }
    expect(started()).toBeLessThanOrEqual(100 + 1 + (time.wall - HOUR) / 10_000)
  })
})
