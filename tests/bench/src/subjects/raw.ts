import { Redis } from 'ioredis'
import { type Place, resultOf, type Subject } from '../subject.ts'
import { CHAIN } from './app.ts'

export interface RawOptions extends Place {
  /** Appends in one Lua call. */
  batch: number
}

/** KEYS: per append a run hash and its log. ARGV: per append the place and the record. */
const lua = `
for i = 1, #KEYS, 2 do
  redis.call('XADD', KEYS[i + 1], ARGV[i] .. '-0', 'e', ARGV[i + 1])
  redis.call('HSET', KEYS[i], 'seq', ARGV[i])
end
return 1`

const CHAINS = 100

type Append = (keys: number, ...keysAndArgs: (string | number)[]) => Promise<number>

/**
 * The limit of machine and client: 200-byte records appended with the run's state by Lua through ioredis, and no
 * engine. 100 chains at once, each append after the one before, in calls of `batch` chains.
 */
export async function rawAppend({ redisUrl, batch }: RawOptions): Promise<Subject> {
  const redis = new Redis(redisUrl, { maxRetriesPerRequest: null, scripts: { append: { lua } } })
  // ioredis adds the methods named in `scripts` at run time, which its types cannot know.
  const { append } = redis as unknown as { append: Append }
  const record = JSON.stringify(resultOf(0))
  let begun = 0
  return {
    async run({ ms }) {
      const until = performance.now() + ms
      const began = performance.now()
      let units = 0
      const lane = async () => {
        while (performance.now() < until) {
          const runs = Array.from({ length: batch }, () => begun++)
          const keys = runs.flatMap((run) => [`raw:run:${run}`, `raw:log:${run}`])
          for (let step = 1; step <= CHAIN; step++) {
            await append.call(redis, keys.length, ...keys, ...runs.flatMap(() => [step, record]))
            units += batch
          }
        }
      }
      await Promise.all(Array.from({ length: batch === 1 ? CHAINS : 2 }, lane))
      return { units, elapsedMs: performance.now() - began }
    },
    async close() {
      redis.disconnect()
    },
  }
}
