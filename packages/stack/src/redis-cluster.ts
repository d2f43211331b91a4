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
  nodes: RedisService[]
  /** Stops all nodes. */
  stop(): Promise<void>
}

/** Starts a Redis Cluster of primaries without replicas on this machine, for tests. `dir`: folder of its data; created. */
export async function startRedisCluster({ dir, primaries }: { dir: string; primaries: number }): Promise<RedisCluster> {
  const nodes: RedisService[] = []
  for (let i = 0; i < primaries; i++)
    nodes.push(await startRedis({ dir: join(dir, `node-${i}`), clusterPort: await freePort() }))
  const connections = nodes.map(({ url }) => new Redis(url))
  try {
    for (const [i, redis] of connections.entries()) {
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
        (await redis.cluster('INFO')).includes(`cluster_known_nodes:${primaries}`)
      while (!(await ready())) await sleep(POLL_MS)
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
