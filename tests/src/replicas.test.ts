import { join } from 'node:path'
import { type RedisService, startRedis } from '@muster/stack'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { chain } from './fixtures/app.ts'
import { type Harness, startHarness, until } from './harness.ts'

let harness: Harness
let replica: RedisService
let control: Redis

beforeAll(async () => {
  harness = await startHarness({ MUSTER_REPLICAS: '1', MUSTER_REPLICA_TIMEOUT_MS: '300' })
  replica = await startRedis({ dir: join(harness.dir, 'replica') })
  control = new Redis(replica.url)
})
afterAll(async () => {
  control.disconnect()
  await replica.stop()
  await harness.close()
})

const follow = () => control.replicaof('127.0.0.1', Number(new URL(harness.redisUrl).port))

describe('a deployment that asks for a replica', () => {
  it('does not start a worker without one, and says why', async () => {
    await expect(harness.worker()).rejects.toThrow(/Fewer than 1 replicas/)
  })

  it('refuses runs while it is missing, lets go of those at hand, and ends them when it is back', async () => {
    await follow()
    await until(
      () => control.info('replication'),
      (text) => text.includes('master_link_status:up'),
    )
    await harness.worker()
    const { muster } = harness
    const run = await muster.runs.start(chain, { n: 12, ms: 100 })
    await until(run.get, ({ steps }) => steps > 2)
    await control.replicaof('NO', 'ONE')
    const body = { plan: 'chain', input: { n: 1, ms: 0 } }
    await expect(muster.request('POST', '/v1/runs', body, { 'idempotency-key': 'k' })).rejects.toMatchObject({
      code: 'journal.not_replicated',
      status: 503,
    })
    const { results } = await muster.request<{ results: unknown[] }>('POST', '/v1/runs/batch', { runs: [body] })
    expect(results).toMatchObject([{ error: { code: 'journal.not_replicated', status: 503 } }])
    // Longer than the time that replicas have: the run was let go.
    await new Promise((resolve) => setTimeout(resolve, 1000))
    await follow()
    expect(await run.result()).toBe('01234567891011')
    expect((await run.get()).epoch).toBeGreaterThan(1)
    const again = await muster.runs.start('chain', { n: 1, ms: 0 }, { idempotencyKey: 'k' })
    expect(await again.result()).toBe('0')
  }, 60_000)
})
