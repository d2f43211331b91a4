import { mkdir, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { externalRedis } from './external-redis.ts'
import { findRunningRedis, startNewRedis } from './local-redis.ts'
import type { RedisOptions, RedisService } from './redis-service.ts'
import { withStartLock } from './start-lock.ts'

/**
 * Gives a Redis server: the one at `url`, else the one that already runs on `dir`, else a new one on `dir`.
 *
 * @throws MusterError `redis.unavailable`, `redis.unsafe`, `port.taken` or `stack.missing`; none shows a credential
 */
export async function startRedis(options: RedisOptions): Promise<RedisService> {
  if (options.url !== undefined) return await externalRedis(options.url)
  await mkdir(options.dir, { recursive: true })
  // Redis reports its folder without symbolic links.
  const dir = await realpath(options.dir)
  return await withStartLock(join(dir, 'redis.lock'), async () => {
    return (await findRunningRedis(dir, options)) ?? (await startNewRedis(dir, options))
  })
}
