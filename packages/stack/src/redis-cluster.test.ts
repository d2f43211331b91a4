import { Cluster } from 'ioredis'
import { describe, expect, vi } from 'vitest'
import { test } from './fixture.ts'
import { startRedis } from './redis.ts'
import { startRedisCluster } from './redis-cluster.ts'

// The first start of a machine downloads packages.
vi.setConfig({ testTimeout: 120_000 })

describe('startRedisCluster', () => {
  test('gives a cluster in which every slot has a node, and that is accepted as the user’s own', async ({ dir }) => {
    const { url, nodes, stop } = await startRedisCluster({ dir, primaries: 3 })
    const cluster = new Cluster(url.split(','))
    try {
      const keys = Array.from({ length: 50 }, (_, i) => `key-${i}`)
      await Promise.all(keys.map((key) => cluster.set(key, key)))
      expect(await Promise.all(keys.map((key) => cluster.get(key)))).toEqual(keys)
      const sizes = await Promise.all(cluster.nodes('master').map((node) => node.dbsize()))
      expect(sizes).toHaveLength(nodes.length)
      expect(Math.min(...sizes)).toBeGreaterThan(0)
      expect(await startRedis({ dir, url })).toMatchObject({ source: 'external', url })
    } finally {
      cluster.disconnect()
      await stop()
    }
  })
})
