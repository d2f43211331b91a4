import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inPartition, newId, OUTBOXES, type OutboxLag, type WebhookPayload } from '@muster/protocol'
import { type RedisService, startRedis } from '@muster/stack'
import { Queue } from 'bullmq'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { holdRun, write, writerOf } from './fixture.ts'
import { Heads } from './heads.ts'
import { Journal } from './journal.ts'
import { Outbox } from './outbox.ts'
import { type Attempted, WebhookQueue } from './webhook-queue.ts'
import { Webhooks } from './webhooks.ts'
import type { Closing, Writer } from './writer.ts'

const PARTITIONS = 2
const dir = mkdtempSync(join(tmpdir(), 'muster-lags-'))
let redis: RedisService
let journal: Journal
let writer: Writer
let now = 0
let namespaces = 0
const onError = (error: unknown): void => {
  throw error
}

beforeAll(async () => {
  redis = await startRedis({ dir })
})
afterAll(async () => {
  await redis.stop()
  rmSync(dir, { recursive: true })
})
beforeEach(async () => {
  now = 1000
  const clock = () => now
  journal = await Journal.open({
    ...{ url: redis.url, namespace: `lags${namespaces++}`, partitions: PARTITIONS, clock },
  })
  writer = writerOf(journal, { clock, ledger: true })
})
afterEach(() => journal.close())

async function lagOf(outbox: OutboxLag['outbox']): Promise<Omit<OutboxLag, 'outbox'>> {
  const lag = (await journal.lags()).find((one) => one.outbox === outbox)
  if (!lag) throw new Error(`${outbox} is not told`)
  return { waiting: lag.waiting, ageMs: lag.ageMs }
}

/** A run of the partition that ends or parks at once. */
async function close(tenant: string, partition: number, op: Closing['op'] = 'end', more: Partial<Closing> = {}) {
  const pen = await holdRun(journal, tenant, inPartition(newId(), partition, PARTITIONS))
  await write(writer, pen, op, more)
}

/** When the oldest record of a stream was written, by Redis's clock. */
async function oldest(streams: readonly string[]): Promise<number> {
  const firsts = await Promise.all(streams.map((stream) => journal.redis.xrange(stream, '-', '+', 'COUNT', 1)))
  return Math.min(...firsts.flat().map(([id]) => Number.parseInt(id, 10)))
}

const NONE = { waiting: 0, ageMs: 0 }

describe('what the background has not done', () => {
  it('is nothing where nothing was ever left for it', async () => {
    expect(await journal.lags()).toEqual(OUTBOXES.map((outbox) => ({ outbox, ...NONE })))
  })

  it('are ended runs until they are archived, of all partitions and as old as the oldest', async () => {
    for (const partition of [1, 0, 0]) await close('ann', partition)
    const streams = journal.partitions.map(({ keys }) => keys.ended)
    now = (await oldest(streams)) + 5000
    expect(await lagOf('archive')).toEqual({ waiting: 3, ageMs: 5000 })
    // A clock that is behind Redis's.
    now = (await oldest(streams)) - 5000
    expect(await lagOf('archive')).toEqual({ waiting: 3, ageMs: 0 })

    now += 20_000
    const outbox = new Outbox(journal, 'ended', 'archiver', 'worker')
    outbox.start((records) => Promise.allSettled(records), onError)
    await expect.poll(() => lagOf('archive')).toEqual(NONE)
    await outbox.close()
  })

  it('are events until they are handed on, and then deliveries until they are done, put off or not', async () => {
    const webhook = { id: 'hook', url: 'https://example.com', events: ['run.succeeded' as const], rotation: 0 }
    await new Webhooks(journal).create('ann', { ...webhook, createdAt: 0, rotatedAt: 0 })
    const event: WebhookPayload = { type: 'run.succeeded', timestamp: '', data: {} }
    await close('ann', 0, 'end', { event })
    await close('ann', 1, 'end', { event })
    await close('bob', 0, 'end', { event })
    now = (await oldest(journal.partitions.map(({ keys }) => keys.events))) + 5000
    expect(await lagOf('webhooks')).toEqual({ waiting: 2, ageMs: 5000 })
    expect(await lagOf('deliveries')).toEqual(NONE)

    const queue = new WebhookQueue(journal)
    const outbox = new Outbox(journal, 'events', 'webhooks', 'worker')
    const handOn = ({ run }: { run: string }) =>
      queue.add({ tenant: 'ann', webhook: 'hook', event: `evt_${run}`, payload: event })
    outbox.start((records) => Promise.allSettled(records.map(handOn)), onError)
    await expect.poll(() => lagOf('webhooks')).toEqual(NONE)
    await outbox.close()
    const bull = new Queue('webhooks', { prefix: journal.partitions[0].keys.tag, connection: journal.redis })
    const [first] = await bull.getWaiting(0, 0)
    await journal.redis.hset(journal.partitions[0].keys.ofQueue('webhooks', first?.id ?? ''), 'timestamp', 3000)
    now = 10_000
    expect(await lagOf('deliveries')).toEqual({ waiting: 2, ageMs: 7000 })

    let answer = (): Attempted => ({ againMs: 600_000 })
    queue.work(async () => answer(), onError)
    await expect.poll(() => bull.getDelayedCount()).toBe(2)
    expect(await lagOf('deliveries')).toEqual({ waiting: 2, ageMs: 0 })
    answer = () => 'done'
    await bull.promoteJobs()
    await expect.poll(() => lagOf('deliveries')).toEqual(NONE)
    await queue.close()
    await bull.close()
  })

  it('are heads until the ledgers have them, however long a tenant is never without any', async () => {
    await close('ann', 0)
    await close('bob', 1)
    now = 3000
    await close('ann', 0)
    now = 10_000
    expect(await lagOf('ledger')).toEqual({ waiting: 3, ageMs: 9000 })
    const heads = new Heads(journal)
    const seal = async (tenant: string, max: number) => {
      const { cursors } = await heads.take(tenant, {}, max)
      await heads.forget(tenant, cursors, true)
    }
    await seal('bob', 100)
    await seal('ann', 1)
    expect(await lagOf('ledger')).toEqual({ waiting: 1, ageMs: 7000 })
    // In the tiles, and not under a checkpoint yet.
    const { cursors } = await heads.take('ann', {}, 100)
    await heads.forget('ann', cursors, false)
    expect(await lagOf('ledger')).toEqual({ waiting: 0, ageMs: 7000 })
    await heads.forget('ann', cursors, true)
    expect(await lagOf('ledger')).toEqual(NONE)
  })

  it('are parked runs whose time has passed, until they are taken up', async () => {
    for (const [partition, wakeAt] of [2000, 4000, 60_000].entries())
      await close('ann', partition % PARTITIONS, 'park', { wakeAt })
    expect(await lagOf('wake')).toEqual(NONE)
    now = 10_000
    expect(await lagOf('wake')).toEqual({ waiting: 2, ageMs: 8000 })
    for (const partition of journal.partitions) await partition.wake()
    expect(await lagOf('wake')).toEqual(NONE)
  })
})
