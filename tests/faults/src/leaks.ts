import { Redis } from 'ioredis'

/**
 * Keys that stay: what is remembered for a time (journals, told messages, used keys) and what is of all runs. BullMQ's
 * marker is its signal to a worker that blocks: the last one may be left, and costs nothing. The stream of a tenant's heads
 * stays when it is empty, since it knows its last id: the ledger goes on from there. The server, which holds requests, lives.
 */
const STAYS =
  /:(run|log|told|heads|idempotency|index|slices|spent|held|policies|costs|counted|book|cost-books):|:(manifest|policies|controls|partitions|feed|weights|mark|holders|seal|events|workers|recorded|recording)$|:(activations|webhooks):(meta|id|events|stalled-check|marker)$/

/** How many ended runs are not archived yet. */
export async function countUnarchived(redisUrl: string, { namespace, partitions }: Of): Promise<number> {
  const redis = new Redis(redisUrl)
  try {
    const keys = Array.from({ length: partitions }, (_, i) => `{${namespace}${i}}:seal`)
    const counts = await Promise.all(keys.map((key) => redis.xlen(key)))
    return counts.reduce((sum, count) => sum + count, 0)
  } finally {
    redis.disconnect()
  }
}

interface Of {
  namespace: string
  partitions: number
}

/** What was left behind in Redis after every run has ended and every worker has gone. */
export async function findLeaks(redisUrl: string, { namespace }: Pick<Of, 'namespace'>): Promise<string[]> {
  const redis = new Redis(redisUrl)
  try {
    const found: string[] = []
    for await (const keys of redis.scanStream({ match: `{${namespace}*`, count: 1000 })) {
      // SCAN gives names.
      for (const key of keys as string[]) {
        if (!STAYS.test(key)) found.push(`${await redis.type(key)} ${key} was left in Redis`)
      }
    }
    return [...new Set(found)]
  } finally {
    redis.disconnect()
  }
}
