import { OUTBOXES, type OutboxLag } from '@muster/protocol'
import { WEBHOOK_QUEUE } from './keys.ts'
import type { Partition } from './partition.ts'

/** What waits in one place, and since when the first does, ms. */
interface Waits {
  waiting: number
  since?: number | undefined
}

/**
 * How far each outbox is behind. Asks for numbers and first members alone, so that its cost does not grow with what waits;
 * for heads it asks for the number of each tenant that has any.
 */
export async function lags(partitions: readonly Partition[]): Promise<OutboxLag[]> {
  const parts = await Promise.all(
    partitions.map(async (partition) => {
      const now = partition.clock()
      const [archive, webhooks, deliveries, ledger, wake] = await Promise.all([
        inStream(partition, partition.keys.ended),
        inStream(partition, partition.keys.events),
        deliveriesIn(partition),
        headsIn(partition),
        lateIn(partition, now),
      ])
      return { now, waits: { archive, webhooks, deliveries, ledger, wake } }
    }),
  )
  return OUTBOXES.map((outbox) => {
    const all = parts.map(({ now, waits }) => ({ now, ...waits[outbox] }))
    return {
      outbox,
      waiting: all.reduce((sum, { waiting }) => sum + waiting, 0),
      // What was written by a clock that is ahead of ours is not old.
      ageMs: Math.max(0, ...all.map(({ now, since = now }) => now - since)),
    }
  })
}

/** Records, however many runs one names: they leave their stream once they are done. It may be there and empty. */
async function inStream({ redis }: Partition, stream: string): Promise<Waits> {
  const [waiting, [first]] = await Promise.all([redis.xlen(stream), redis.xrange(stream, '-', '+', 'COUNT', 1)])
  return { waiting, since: first && Number.parseInt(first[0], 10) }
}

/**
 * Deliveries that are not done, those that are tried again later too. As old as the event whose turn is next: those to
 * webhooks that do not answer are put off for days, and no list has them by their age.
 */
async function deliveriesIn({ redis, keys }: Partition): Promise<Waits> {
  const key = (name: string) => keys.ofQueue(WEBHOOK_QUEUE, name)
  const [ready, active, delayed, next] = await Promise.all([
    redis.llen(key('wait')),
    redis.llen(key('active')),
    redis.zcard(key('delayed')),
    redis.lindex(key('wait'), -1),
  ])
  const at = next === null ? null : await redis.hget(key(next), 'timestamp')
  return { waiting: ready + active + delayed, since: at === null ? undefined : Number(at) }
}

/** A tenant whose heads are all in the tiles is late as long as its checkpoint is not signed. */
async function headsIn({ redis, keys }: Partition): Promise<Waits> {
  const scored = await redis.zrange(keys.unsealed, '0', '-1', 'WITHSCORES')
  const tenants = scored.filter((_, i) => i % 2 === 0)
  const counts = await Promise.all(tenants.map((tenant) => redis.xlen(keys.heads(tenant))))
  return { waiting: counts.reduce((sum, count) => sum + count, 0), since: numberOf(scored[1]) }
}

async function lateIn({ redis, keys }: Partition, now: number): Promise<Waits> {
  const [waiting, [, since]] = await Promise.all([
    redis.zcount(keys.wake, '-inf', now),
    redis.zrange(keys.wake, '0', '0', 'WITHSCORES'),
  ])
  return { waiting, since: numberOf(since) }
}

function numberOf(text: string | undefined): number | undefined {
  return text === undefined ? undefined : Number(text)
}
