import { Redis } from 'ioredis'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { chain } from './fixtures/app.ts'
import { ended, type Harness, startHarness, until } from './harness.ts'

let harness: Harness
let redis: Redis

beforeAll(async () => {
  harness = await startHarness()
  redis = new Redis(harness.redisUrl)
})
afterEach(() => harness.killWorkers())
afterAll(async () => {
  redis.disconnect()
  await harness.close()
})

/** Starts a run as soon as that is possible, and waits for its end; gives how long all of it took, ms. */
async function oneRun(): Promise<number> {
  const from = performance.now()
  const start = () => harness.muster.runs.start(chain, { n: 2, ms: 0 }).catch(() => undefined)
  const run = await until(start, (run) => run !== undefined)
  expect(await run?.result()).toBe('01')
  return performance.now() - from
}

describe('a Redis that has lost all its data', () => {
  it('is served again within ten seconds by the worker that was there', async () => {
    await harness.worker()
    await oneRun()
    const lost = await harness.muster.runs.start(chain, { n: 1000, ms: 20 })
    await until(lost.get, ({ steps }) => steps > 2)
    await redis.flushall()
    expect(await oneRun()).toBeLessThan(30_000)
    // What it held is gone, and it does not go on with that.
    await expect(lost.get()).rejects.toMatchObject({ code: 'run.not_found' })
    const held = () => harness.muster.request<{ workers: { held: number }[] }>('GET', '/v1/workers')
    await until(held, ({ workers }) => workers.length === 1 && workers[0]?.held === 0)
  })
})

describe('a Redis that may evict what it holds', () => {
  it('is refused at the start, with the reason, and makes a server that runs unready', async () => {
    const ready = async () => (await fetch(`${harness.url}/readyz`)).status
    expect(await ready()).toBe(200)
    await redis.config('SET', 'maxmemory-policy', 'allkeys-lru')
    try {
      expect(await ready()).toBe(500)
      await expect(harness.worker()).rejects.toThrow('maxmemory-policy allkeys-lru')
    } finally {
      await redis.config('SET', 'maxmemory-policy', 'noeviction')
    }
    expect(await ready()).toBe(200)
  })
})

describe('a tool that takes many times as long as the lock', () => {
  it('is called once while its worker lives, though another worker is idle', async () => {
    for (let i = 0; i < 2; i++) await harness.worker()
    // Ten locks long; each is a second.
    const run = await harness.muster.runs.start(chain, { n: 1, ms: 10_000 })
    expect(await until(run.get, ended, 30_000)).toMatchObject({ status: 'succeeded', epoch: 1 })
    expect(harness.effects().filter(({ key }) => key.startsWith(run.id))).toHaveLength(1)
  })
})
