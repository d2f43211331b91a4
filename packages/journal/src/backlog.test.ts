import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { newId, type Priority, type StoredEntry } from '@muster/protocol'
import { type RedisService, startRedis } from '@muster/stack'
import fc from 'fast-check'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { Journal } from './journal.ts'

const dir = mkdtempSync(join(tmpdir(), 'muster-backlog-'))
let redis: RedisService
let journal: Journal
let partition: Journal['partitions'][0]
let namespaces = 0

beforeAll(async () => {
  redis = await startRedis({ dir })
})
afterAll(async () => {
  await redis.stop()
  rmSync(dir, { recursive: true })
})
// A backlog of its own for each test, and no worker that would feed it.
beforeEach(async () => {
  journal = await Journal.open({ url: redis.url, namespace: `backlog${namespaces++}` })
  partition = journal.partitions[0]
})
afterEach(() => journal.close())

const runOf = (tenant: string, priority?: Priority, session?: string) => ({
  run: newId(),
  tenant,
  definition: { kind: 'plan' as const, name: 'p', version: '1.0.0', hash: 'a'.repeat(64) },
  by: { key: 'k', user: 'u' },
  labels: [],
  limits: {},
  ...(session === undefined ? {} : { session }),
  ...(priority === undefined ? {} : { priority }),
})

async function queue(tenant: string, count: number, priority?: Priority): Promise<string[]> {
  const requests = Array.from({ length: count }, () => ({ run: runOf(tenant, priority), content: { input: 1 } }))
  const results = await journal.createMany(requests, { offload: async () => {} })
  expect(results.every((result) => result.status === 'fulfilled' && result.value.created)).toBe(true)
  return requests.map(({ run }) => run.run)
}

/** What the next window brings, as if workers had taken it up at once. */
async function next(window: number): Promise<string[]> {
  const due = await partition.feeder.take(window)
  // No window is remembered, so that creating a run feeds nothing behind the test's back.
  await journal.redis.hdel(partition.keys.feed, 'window')
  await journal.redis.zrem(partition.keys.pending, 'none', ...due.map(({ run }) => run))
  return due.map(({ run }) => run)
}

async function entries(run: string): Promise<StoredEntry[]> {
  const all: StoredEntry[] = []
  for await (const entry of journal.read(run)) all.push(entry)
  return all
}

describe('the backlog', () => {
  it('gives a single run its turn in the first window, whatever another tenant has queued', async () => {
    const many = new Set(await queue('many', 2000))
    expect((await next(50)).every((run) => many.has(run))).toBe(true)
    const [one] = await queue('one', 1)
    await queue('one', 1, 'high')
    expect(await journal.backlog()).toEqual(
      new Map([
        ['many', 1950],
        ['one', 2],
      ]),
    )
    expect(await next(10)).toContain(one)
    expect((await journal.backlog()).has('one')).toBe(false)
  })

  it('is shared by weight, and not made up for by having been away', async () => {
    await journal.setWeights({ heavy: 3 })
    const heavy = new Set(await queue('heavy', 400))
    await queue('light', 400)
    const shares = async (count: number) => (await next(count)).filter((run) => heavy.has(run)).length / count
    expect(await shares(200)).toBeCloseTo(0.75, 1)
    const late = new Set(await queue('late', 100))
    const window = await next(50)
    // Weights 3, 1 and 1: a fifth, and not all of them for the time before.
    expect(window.filter((run) => late.has(run)).length).toBeLessThanOrEqual(12)
  })

  it('forgets weights that are not set any more', async () => {
    await journal.setWeights({ light: 3 })
    await journal.setWeights({ heavy: 4 })
    const heavy = new Set(await queue('heavy', 400))
    await queue('light', 400)
    expect((await next(200)).filter((run) => heavy.has(run))).toHaveLength(160)
    await expect(journal.setWeights({ heavy: 0 })).rejects.toMatchObject({ code: 'config.invalid' })
  })

  it('takes a higher class first, and still some of a lower one', async () => {
    const low = new Set(await queue('a', 100, 'low'))
    const high = new Set(await queue('a', 400, 'high'))
    const window = await next(160)
    expect(window.filter((run) => high.has(run)).length).toBe(150)
    expect(window.filter((run) => low.has(run)).length).toBe(10)
  })

  it('feeds no more than the window holds, and every run once', async () => {
    const queued = await queue('a', 25)
    await partition.feeder.feed(10)
    await partition.feeder.feed(10)
    const jobs = await partition.queue.getJobs(['waiting'])
    expect(jobs.flatMap((job) => job.data.runs).sort()).toEqual(queued.slice(0, 10).sort())
  })

  it('loses nothing when a feeder dies between taking runs and adding their jobs', async () => {
    const queued = await queue('a', 5)
    await partition.feeder.take(3)
    await journal.redis.zadd(partition.keys.pending, ...queued.slice(0, 3).flatMap((run) => [Date.now() - 60_000, run]))
    expect(await partition.sweep(30_000)).toBe(3)
    // Again, as two sweepers would at once.
    await partition.feeder.wake(queued.slice(0, 3))
    await partition.feeder.feed(10)
    const jobs = await partition.queue.getJobs(['waiting'])
    expect(jobs.flatMap((job) => job.data.runs).sort()).toEqual([...queued].sort())
    expect(await journal.redis.zcard(partition.keys.pending)).toBe(0)
  })

  it('lets go of a run that is given a message, so that it hears it at once', async () => {
    await queue('a', 50)
    const [run = ''] = await queue('a', 1)
    await journal.post(run, { type: 'cancel', by: { key: 'k', user: 'u' } })
    expect(await partition.queue.getJob(`${run}-1`)).toBeDefined()
    expect((await journal.activate(run))?.mail).toBe(1)
    expect(await next(100)).not.toContain(run)
  })

  it('gives a run with a used idempotency key once, though both come in one call', async () => {
    const offload = { offload: async () => {} }
    const [first, again, other] = await journal.createMany(
      [1, 1, 2].map((input) => ({ run: runOf('a'), content: { input }, idempotencyKey: 'key' })),
      offload,
    )
    expect(first).toMatchObject({ status: 'fulfilled', value: { created: true } })
    expect(again).toMatchObject({ status: 'fulfilled', value: { created: false } })
    expect(other).toMatchObject({ status: 'rejected', reason: { code: 'idempotency.conflict' } })
  })
})

describe('a queued run', () => {
  it('has the same first entry, byte by byte, before and after it is taken up', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.string({ minLength: 1, unit: 'grapheme' }),
        fc.option(fc.string({ unit: 'grapheme' }), { nil: undefined }),
        fc.jsonValue(),
        async (user, session, input) => {
          const run = { ...runOf('tenant', 'low', session), by: { key: 'k', user } }
          const content = { input: JSON.parse(JSON.stringify(input)) }
          await journal.create(run, content, { offload: async () => {} })
          const before = await entries(run.run)
          const held = await journal.activate(run.run)
          expect(held?.entries).toEqual(before)
          expect(await entries(run.run)).toEqual(before)
          expect(JSON.parse(before[0]?.bytes ?? '')).toMatchObject(run)
          expect(JSON.parse(before[0]?.content?.slice(22) ?? '')).toEqual(content)
        },
      ),
      { numRuns: 60 },
    )
  })

  it('leaves no shape behind when all that share it are taken up', async () => {
    const queued = await queue('a', 3)
    const shapes = () => journal.redis.keys(`${partition.keys.tag}:shape:*`)
    expect(await shapes()).toHaveLength(1)
    for (const run of queued) await journal.activate(run)
    expect(await shapes()).toEqual([])
  })
})
