import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { toMusterError } from '@muster/protocol'
import { type RedisOptions, type RedisService, startRedis } from '@muster/stack'

/** How often it is looked whether it lives, ms. */
const LOOK_MS = 500
/** How long it is waited before it is started again, ms: longer each time, until one has lived for `LIVED_MS`. */
const PAUSE_MS = { first: 500, longest: 15_000 }
const LIVED_MS = 60_000

interface Watch {
  /** Once it is aborted no other is started. */
  ending: AbortSignal
  onDeath: (what: string) => void
}

/**
 * The Redis that is given, or one of ours, which is started again on its data and port whenever it ends by itself: killed
 * for its memory, say, or for want of room on its disk, which it does not survive.
 *
 * @throws MusterError as `startRedis` does, where the first does not start
 */
export async function startKeptRedis(options: RedisOptions, { ending, onDeath }: Watch): Promise<RedisService> {
  let redis = await startRedis(options)
  if (redis.source === 'external') return redis
  const again = { ...options, port: Number(new URL(redis.url).port) }
  const log = join(options.dir, 'redis.log')

  async function keep(): Promise<void> {
    let pause = PAUSE_MS.first
    let since = performance.now()
    while (await waited(LOOK_MS, ending)) {
      if (await redis.isAlive()) continue
      if (performance.now() - since > LIVED_MS) pause = PAUSE_MS.first
      onDeath(`Redis ended and is started again: see ${log}`)
      await redis.stop()
      for (let told = false; await waited(pause, ending); told = true) {
        pause = Math.min(2 * pause, PAUSE_MS.longest)
        const started = await startRedis(again).catch((error) => {
          if (!told) onDeath(`Redis does not start, and is tried again: ${toMusterError(error).message}`)
        })
        if (!started) continue
        redis = started
        since = performance.now()
        break
      }
    }
  }

  const keeping = keep()
  return {
    ...redis,
    isAlive: () => redis.isAlive(),
    async stop() {
      await keeping
      await redis.stop()
    },
  }
}

/** False once it is ending. */
function waited(ms: number, ending: AbortSignal): Promise<boolean> {
  return sleep(ms, undefined, { signal: ending }).then(
    () => true,
    () => false,
  )
}
