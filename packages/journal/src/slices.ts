import type { Journal } from './journal.ts'

/** What a worker asks of a limit that holds over all workers. */
export interface SliceRequest {
  /** The limit's name, the same in all workers. */
  limit: string
  /** Places in all; 0 where they are not limited. */
  places: number
  /** Parts into which its rates can be divided, 0 where there is none: each has to hold one request. */
  shares: number
  /** In how long a burst is earned, ms. */
  burstMs: number
  /** How long one keeps a place that cannot be divided, and a share, ms. */
  placeTurnMs: number
  shareTurnMs: number
  /** Places in use. */
  used: number
  /** Whether more could be used than is held. */
  wants: boolean
  /** What the worker goes by now. */
  held: { places: number; shares: number }
}

export interface Slice {
  places: number
  shares: number
  /** Nobody has used it for as long as a burst takes, so that it is full. */
  fresh: boolean
}

/** So many are leased at once: others of Redis wait some ms for them, and not for all. */
const BATCH_MAX = 100

/**
 * Leases slices to a worker until `leaseMs` from when it asks, in a round trip for each hundred; calls of one worker must not
 * overlap.
 */
export async function leaseSlices(
  journal: Journal,
  worker: string,
  leaseMs: number,
  requests: readonly SliceRequest[],
): Promise<Slice[]> {
  const slices: Slice[] = []
  for (let from = 0; from < requests.length; from += BATCH_MAX)
    slices.push(...(await leaseBatch(journal, worker, leaseMs, requests.slice(from, from + BATCH_MAX))))
  return slices
}

async function leaseBatch(
  { redis, partitions: [{ keys }] }: Journal,
  worker: string,
  leaseMs: number,
  requests: readonly SliceRequest[],
): Promise<Slice[]> {
  const slices = await redis.musterLease(
    requests.length,
    ...requests.map(({ limit }) => keys.slices(limit)),
    worker,
    leaseMs,
    ...requests.flatMap(({ places, shares, burstMs, placeTurnMs, shareTurnMs, used, wants, held }) => [
      places,
      shares,
      burstMs,
      placeTurnMs,
      shareTurnMs,
      used,
      wants ? 1 : 0,
      held.places,
      held.shares,
    ]),
  )
  return slices.map(([places, shares, fresh]) => ({ places, shares, fresh: fresh === 1 }))
}

/** Gives slices back; `full` where this worker's part of a burst is whole again. */
export async function releaseSlices(
  { redis, partitions: [{ keys }] }: Journal,
  worker: string,
  slices: readonly { limit: string; full: boolean; burstMs: number }[],
): Promise<void> {
  for (let from = 0; from < slices.length; from += BATCH_MAX) {
    const batch = slices.slice(from, from + BATCH_MAX)
    await redis.musterLeave(
      batch.length,
      ...batch.map(({ limit }) => keys.slices(limit)),
      worker,
      ...batch.map(({ full, burstMs }) => (full ? 0 : burstMs)),
    )
  }
}
