import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { freePort } from './port.ts'
import { startRedis } from './redis.ts'
import type { RedisService } from './redis-service.ts'

const SLOTS = 16_384
const POLL_MS = 50

export interface RedisCluster {
  /** Addresses of the nodes, separated by commas. */
  url: string
  /** The primaries, and then a replica of each where there are any. */
  nodes: RedisService[]
  /** Stops all nodes. */
  stop(): Promise<void>
}

/**
 * Starts a Redis Cluster on this machine, for tests. `dir`: folder of its data; created.
 *
 * @param replicas of each primary one
 */
export async function startRedisCluster({
  dir,
  primaries,
  replicas = false,
}: {
  dir: string
  primaries: number
  replicas?: boolean
}): Promise<RedisCluster> {
  const nodes: RedisService[] = []
  const count = replicas ? 2 * primaries : primaries
  for (let i = 0; i < count; i++)
    nodes.push(await startRedis({ dir: join(dir, `node-${i}`), clusterPort: await freePort() }))
  const connections = nodes.map(({ url }) => new Redis(url))
  try {
    for (const [i, redis] of connections.slice(0, primaries).entries()) {
      const from = Math.floor((i * SLOTS) / primaries)
      await redis.cluster('ADDSLOTSRANGE', from, Math.floor(((i + 1) * SLOTS) / primaries) - 1)
      await redis.cluster('SET-CONFIG-EPOCH', i + 1)
    }
    for (const [i, redis] of connections.entries()) {
      const { port } = new URL(nodes[i]?.url ?? '')
      const [, bus = ''] = (await redis.config('GET', 'cluster-port')) as string[]
      if (i > 0) await connections[0]?.call('CLUSTER', 'MEET', '127.0.0.1', port, bus)
    }
    for (const redis of connections) {
      const ready = async () =>
        (await redis.cluster('INFO')).includes('cluster_state:ok') &&
        (await redis.cluster('INFO')).includes(`cluster_known_nodes:${count}`)
      while (!(await ready())) await sleep(POLL_MS)
    }
    for (const [i, replica] of connections.slice(primaries).entries()) {
      await replica.call('CLUSTER', 'REPLICATE', String(await connections[i]?.cluster('MYID')))
      while (!(await replica.info('replication')).includes('master_link_status:up')) await sleep(POLL_MS)
    }
  } finally {
    for (const redis of connections) redis.disconnect()
  }
  return {
    url: nodes.map(({ url }) => url).join(','),
    nodes,
    stop: async () => {
      await Promise.all(nodes.map((node) => node.stop()))
    },
  }
}
