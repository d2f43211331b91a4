import { mkdtemp, realpath, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test as base } from 'vitest'
import { startRedis } from './redis.ts'
import type { RedisOptions, RedisService } from './redis-service.ts'

interface Fixture {
  /** A folder of the test's own, gone after it. */
  dir: string
  /** startRedis on that folder; what still runs is stopped after the test. */
  redis(options?: Partial<RedisOptions>): Promise<RedisService>
}

/** vitest's `test` with what tests of this package share. */
export const test = base.extend<Fixture>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads the names of the fixtures used from this pattern.
  dir: async ({}, use) => {
    const dir = await realpath(await mkdtemp(join(tmpdir(), 'muster stack ')))
    await use(dir)
    await rm(dir, { recursive: true, force: true })
  },
  redis: async ({ dir }, use) => {
    const started: RedisService[] = []
    await use(async (options) => {
      const service = await startRedis({ dir: join(dir, 'redis'), ...options })
      started.push(service)
      return service
    })
    await Promise.all(started.map((service) => service.stop()))
  },
})
