import { setTimeout as sleep } from 'node:timers/promises'
import { MusterError } from '@muster/protocol'
import { shownAddress } from './address.ts'
import { type RedisFacts, readRedisFacts } from './redis-facts.ts'
import type { RedisService } from './redis-service.ts'

const limitMs = 3000
const pollMs = 25

/** The user's own server, once it answers and is known not to drop data; nodes of a Redis Cluster are separated by commas. */
export async function externalRedis(url: string): Promise<RedisService> {
  const nodes = await Promise.all(url.split(',').map((node) => checkedNode(node.trim())))
  const version = nodes[0] ?? ''
  return { url, source: 'external', version, isAlive: async () => true, stop: async () => undefined }
}

/** Gives the version of one that does not drop data. */
async function checkedNode(url: string): Promise<string> {
  const facts = await readExternal(url)
  if (facts.evictionPolicy !== undefined && facts.evictionPolicy !== 'noeviction') {
    const detail = `Redis at ${shownAddress(url)} has maxmemory-policy ${facts.evictionPolicy}, which may drop data`
    throw new MusterError('redis.unsafe', detail)
  }
  return facts.version
}

async function readExternal(url: string): Promise<RedisFacts> {
  const end = performance.now() + limitMs
  const unavailable = (why: string) =>
    new MusterError('redis.unavailable', `Redis at ${shownAddress(url)} cannot be used: ${why}`)
  while (true) {
    const left = Math.max(1, end - performance.now())
    const facts = await readRedisFacts(url, left).catch((error: Error) => {
      throw unavailable(error.message)
    })
    if (!facts.loading) return facts
    if (left < pollMs) throw unavailable(`it still loads its data after ${limitMs} ms`)
    await sleep(pollMs)
  }
}
