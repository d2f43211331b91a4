import { mkdtempSync, rmSync } from 'node:fs'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { GATEWAY, newId, type StoredEntry } from '@muster/protocol'
import { type RedisService, startRedis } from '@muster/stack'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { newHold } from './hold.ts'
import { Holder } from './holder.ts'
import { Journal } from './journal.ts'
import { Spend } from './spend.ts'
import { RunWriter, Writer } from './writer.ts'

const dir = mkdtempSync(join(tmpdir(), 'muster-holder-'))
let redis: RedisService
let journal: Journal
let partition: Journal['partitions'][0]
let holder: Holder
let writer: Writer
let now = 1_000_000
let namespaces = 0
const failures: Error[] = []
const onError = (error: Error) => failures.push(error)

beforeAll(async () => {
  redis = await startRedis({ dir })
})
afterAll(async () => {
  await redis.stop()
  rmSync(dir, { recursive: true })
})
beforeEach(async () => {
  journal = await Journal.open({ url: redis.url, namespace: `holder${namespaces++}`, clock: () => now })
  partition = journal.partitions[0]
  holder = new Holder(journal, { name: 'server-1', leaseMs: 30_000, onError })
  await holder.beat()
  writer = new Writer({
    ...{ partitions: journal.partitions, clock: () => now, offload: async () => {}, onError, holder: holder.name },
    ...{ onWake: () => {}, onParentMail: () => {}, onDrain: () => {} },
  })
})
afterEach(async () => {
  await holder.close()
  await journal.close()
  expect(failures.splice(0)).toEqual([])
})

/** A run that is created with its second entry; resolves when that is durable. */
function hold(team?: string): { id: string; run: RunWriter; durable: Promise<void> } {
  const id = newId()
  const by = { key: 'k', user: 'u', ...(team === undefined ? {} : { team }) }
  const created = newHold(
    { run: id, tenant: 't', definition: GATEWAY, by, labels: [], limits: {} },
    JSON.stringify({ input: 'x' }),
    now,
  )
  const run = new RunWriter(
    { run: id, tenant: 't', epoch: created.epoch, seq: created.seq, head: created.head },
    { mail: () => {}, lost: (why) => failures.push(new Error(why)) },
  )
  if (created.first) writer.create(run, created.first)
  const seq = writer.append(run, '"type":"run.activated","at":1,"epoch":1,"worker":"w","app":""')
  return { id, run, durable: new Promise((resolve) => run.whenDurable(seq, resolve)) }
}

async function entries(run: string): Promise<StoredEntry[]> {
  return Array.fromAsync(journal.read(run))
}

const isEnqueued = async (run: string) => (await partition.queue.getJob(`${run}-1`)) !== undefined

describe('a run that its creator holds', () => {
  it('is there with its first batch, as if it had been created and taken, and in no queue', async () => {
    const { id, run, durable } = hold('blue')
    await durable
    expect(await journal.get(id)).toMatchObject({ status: 'running', epoch: 1, seq: 2, head: run.head })
    expect(await journal.redis.xlen(partition.keys.log(id))).toBe(1)
    const [first, second] = await entries(id)
    expect(JSON.parse(first?.bytes ?? '')).toMatchObject({ v: 3, type: 'run.created', by: { team: 'blue' } })
    expect(second?.hash).toBe(run.head)
    expect((await journal.list('t', 10)).map((record) => record.id)).toEqual([id])
    await partition.sweep(0)
    expect(await isEnqueued(id)).toBe(false)
  })

  it('is written with all it begins with, or after a moment where nothing waits for it; never twice', async () => {
    const id = newId()
    const by = { key: 'k', user: 'u' }
    const begin = () => {
      const { epoch, seq, head, first } = newHold(
        { run: id, tenant: 't', definition: GATEWAY, by, labels: [], limits: {} },
        '{}',
        now,
      )
      const run = new RunWriter(
        { run: id, tenant: 't', epoch, seq, head },
        { mail: () => {}, lost: (why) => failures.push(new Error(why)) },
      )
      if (first) writer.create(run, first)
      return run
    }
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const run = begin()
    writer.append(run, '"type":"run.activated","at":1,"epoch":1,"worker":"w","app":""')
    for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve))
    expect(await journal.get(id)).toBeUndefined()
    vi.runAllTimers()
    vi.useRealTimers()
    await expect.poll(() => journal.get(id)).toMatchObject({ status: 'running', seq: 2 })
    const other = begin()
    writer.close(other, { op: 'end', status: 'succeeded', summary: {} })
    other.whenDurable(2, () => {})
    await expect.poll(() => failures.splice(0).map(({ message }) => message)).toEqual(['gap'])
    expect(await journal.get(id)).toMatchObject({ status: 'running', seq: 2, head: run.head })
    expect(await entries(id)).toHaveLength(2)
  })

  it('goes to Redis in one write with what else is sent at that moment', async () => {
    const budget = { tenant: 't', name: 'b', limits: [1, 1, 1, 1, 1] as const, keptS: 60 }
    const both = () => Promise.all([hold().durable, new Spend(journal).settle([budget], 'r', [1, 1, 1, 1, 1])])
    await both()
    // ioredis keeps it for itself; what Redis reads at once is a matter of time.
    const { stream } = journal.redis as unknown as { stream: Socket }
    const writes = [vi.spyOn(stream, '_write'), vi.spyOn(stream, '_writev')]
    await both()
    expect(writes.reduce((sum, { mock }) => sum + mock.calls.length, 0)).toBe(1)
  })

  it('does not go to the queue where it ended before its holder died, which had no time to say so', async () => {
    const { id, run, durable } = hold()
    await durable
    writer.append(run, '"type":"run.ended","at":1,"status":"succeeded"')
    writer.close(run, { op: 'end', status: 'succeeded', summary: {} })
    await expect.poll(() => journal.get(id)).toMatchObject({ status: 'succeeded' })
    now += 31_000
    expect(await partition.sweep(60_000)).toBe(0)
    expect(await isEnqueued(id)).toBe(false)
    expect(await journal.redis.exists(partition.keys.holding('server-1'), partition.keys.pending)).toBe(0)
  })

  it('goes to the queue when its holder has died, and is fenced from it; one that is over does not', async () => {
    const held = hold()
    const over = hold()
    await Promise.all([held.durable, over.durable])
    holder.over(over.id)
    await expect.poll(() => journal.redis.scard(partition.keys.holding('server-1'))).toBe(1)
    // Half its lease later it lives.
    now += 15_000
    expect(await partition.sweep(60_000)).toBe(0)
    now += 20_000
    expect(await partition.sweep(60_000)).toBe(1)
    expect([await isEnqueued(held.id), await isEnqueued(over.id)]).toEqual([true, false])
    expect(await journal.activate(held.id, 'job')).toMatchObject({ epoch: 2, seq: 2, created: { run: held.id } })
    writer.append(held.run, '"type":"run.parked","at":1,"waiting":[]')
    await expect.poll(() => failures.splice(0).map(({ message }) => message)).toEqual(['fenced'])
    expect(await entries(held.id)).toHaveLength(2)
  })

  it('goes to the queue where its holder leaves it, or is closed', async () => {
    const [left, last] = [hold(), hold()]
    await Promise.all([left.durable, last.durable])
    holder.leave(left.id)
    await expect.poll(() => journal.redis.zscore(partition.keys.pending, left.id)).not.toBeNull()
    await holder.close()
    expect(await partition.sweep(0)).toBeGreaterThan(0)
    expect([await isEnqueued(left.id), await isEnqueued(last.id)]).toEqual([true, true])
  })
})
