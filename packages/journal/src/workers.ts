import { type WorkerInfo, workerInfo } from '@muster/protocol'
import type { JournalRedis } from './commands.ts'
import type { Keys } from './keys.ts'

/** A worker says so often that it lives; ms. */
export const ANNOUNCE_MS = 5000
/** One that has not said so for this long is not counted on; ms. */
const ALIVE_MS = 3 * ANNOUNCE_MS
/** One that died is forgotten after this time, and so are all when the last was seen; ms. */
const FORGET_MS = 3_600_000

/** A worker lives, and carries these definitions. */
export async function announce(redis: JournalRedis, keys: Keys, worker: WorkerInfo): Promise<void> {
  await redis.multi().hset(keys.workers, worker.name, JSON.stringify(worker)).pexpire(keys.workers, FORGET_MS).exec()
}

/** A worker has ended. */
export async function leave(redis: JournalRedis, keys: Keys, name: string): Promise<void> {
  await redis.hdel(keys.workers, name)
}

/** The workers that live, by name. */
export async function workers(redis: JournalRedis, keys: Keys, now: number): Promise<WorkerInfo[]> {
  const all = Object.values(await redis.hgetall(keys.workers)).map((text) => workerInfo.parse(JSON.parse(text)))
  const gone = all.filter(({ seenAt }) => now - seenAt > FORGET_MS)
  if (gone.length > 0) await redis.hdel(keys.workers, ...gone.map(({ name }) => name))
  return all.filter(({ seenAt }) => now - seenAt <= ALIVE_MS).sort((a, b) => (a.name < b.name ? -1 : 1))
}
