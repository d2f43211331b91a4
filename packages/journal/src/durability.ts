import { MusterError } from '@muster/protocol'
import type { Redis } from 'ioredis'
import { type JournalRedis, primaries } from './commands.ts'

/** What Redis says of its log: when it is synced, `off` where there is none, `unknown` where it may not be asked. */
type Sync = 'always' | 'everysec' | 'no' | 'off' | 'unknown'

/** What an acknowledgement is worth. */
export interface Durability {
  sync: Sync
  replicas: number
  /** Whether it outlives the crash of one server process. */
  safe: boolean
  /** The same for a person. */
  text: string
}

const meaning: Record<Sync, string> = {
  always: 'what is acknowledged is on disk',
  everysec: 'up to a second of what is acknowledged is lost when the machine loses power, none when a process dies',
  no: 'what is acknowledged is lost when the machine loses power, as much as the system had not written yet',
  off: 'what is acknowledged is lost when Redis ends: set appendonly yes',
  unknown: 'Redis does not tell when it syncs its log: see to it that it keeps one',
}

/** Reads what Redis promises. Managed services often refuse to tell. */
export async function readDurability(redis: JournalRedis, replicas: number): Promise<Durability> {
  const all = await Promise.all(primaries(redis).map(readSync))
  const sync = weakest.find((sync) => all.includes(sync)) ?? 'unknown'
  const copies = replicas === 0 ? '' : `what is acknowledged is on ${replicas} replicas besides the primary; `
  return {
    sync,
    replicas,
    safe: replicas > 0 || (sync !== 'off' && sync !== 'no'),
    text: `${copies}appendfsync ${sync}: ${meaning[sync]}`,
  }
}

/** What one server does holds for the runs that it has: the least is what can be promised. */
const weakest: readonly Sync[] = ['off', 'no', 'unknown', 'everysec', 'always']

/**
 * Checks that no server gives up data when its memory is full. One that may not be asked passes.
 *
 * @throws MusterError `redis.unsafe`
 */
export async function checkEviction(redis: JournalRedis): Promise<void> {
  for (const server of primaries(redis)) {
    const info = await server.info('memory').catch(() => '')
    const policy = /^maxmemory_policy:(\S+)/m.exec(info)?.[1]
    if (policy === undefined || policy === 'noeviction') continue
    throw new MusterError(
      'redis.unsafe',
      `Redis has maxmemory-policy ${policy}: when its memory is full it would delete runs, locks and journals`,
    )
  }
}

async function readSync(redis: Redis): Promise<Sync> {
  const settings = await redis.config('GET', 'append*').then(toRecord, () => ({}) as Record<string, string>)
  return settings.appendonly === 'no' ? 'off' : toSync(settings.appendfsync)
}

function toSync(value: string | undefined): Sync {
  return value === 'always' || value === 'everysec' || value === 'no' ? value : 'unknown'
}

/** Names and values come in turns, or as a map. */
function toRecord(reply: unknown): Record<string, string> {
  if (!Array.isArray(reply)) return { ...(reply as object) }
  const pairs = Array.from({ length: reply.length / 2 }, (_, i) => [String(reply[2 * i]), String(reply[2 * i + 1])])
  return Object.fromEntries(pairs)
}
