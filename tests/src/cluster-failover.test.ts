import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { type RedisService, startRedis, startRedisCluster } from '@muster/stack'
import { newLedgerKey } from '@muster/worker/settings'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { chain } from './fixtures/app.ts'
import { type Harness, startHarness, stopProcess, until } from './harness.ts'
import { provenEnd } from './receipts.ts'

const keyFile = join(mkdtempSync(join(tmpdir(), 'muster-failover-')), 'ledger.pem')
let harness: Harness
let back: RedisService | undefined
let cluster: Awaited<ReturnType<typeof startRedisCluster>>

beforeAll(async () => {
  writeFileSync(keyFile, newLedgerKey())
  harness = await startHarness(
    { MUSTER_PARTITIONS: '5', MUSTER_REPLICAS: '1', MUSTER_REPLICA_TIMEOUT_MS: '4000' },
    {
      redis: async ({ dir }) => {
        cluster = await startRedisCluster({ dir, primaries: 3, replicas: true })
        return cluster
      },
    },
  )
})
afterAll(async () => {
  await harness.close()
  await back?.stop()
  rmSync(dirname(keyFile), { recursive: true })
})

describe('a primary of a Redis Cluster that dies', () => {
  it('takes no head with it of a run whose end was acknowledged', async () => {
    const { muster } = harness
    // Heads stay in Redis: this worker has no key.
    const keyless = await harness.worker({ MUSTER_LEDGER: 'heads' })
    const runs = await Promise.all(Array.from({ length: 30 }, () => muster.runs.start(chain, { n: 1, ms: 0 })))
    await Promise.all(runs.map((run) => run.result()))
    await stopProcess(keyless)
    const [primary, , , replica] = cluster.nodes
    if (primary?.pid === undefined || !replica) throw new Error('a primary and its replica')
    const before = new Redis(primary.url)
    const [, bus = ''] = (await before.config('GET', 'cluster-port')) as string[]
    before.disconnect()
    process.kill(primary.pid, 'SIGKILL')
    const redis = new Redis(replica.url)
    await redis.call('CLUSTER', 'FAILOVER', 'TAKEOVER')
    await until(
      () => redis.cluster('INFO'),
      (info) => info.includes('cluster_state:ok'),
    )
    expect(await redis.info('replication')).toContain('role:master')
    redis.disconnect()
    // Who was the primary comes back as a replica: without one nothing is acknowledged.
    const port = Number(new URL(primary.url).port)
    back = await startRedis({ dir: join(harness.dir, 'redis', 'node-0'), port, clusterPort: Number(bus) })
    const former = new Redis(primary.url)
    await until(
      () => former.info('replication'),
      (text) => text.includes('role:slave') && text.includes('master_link_status:up'),
    )
    former.disconnect()
    await harness.worker({ MUSTER_LEDGER_KEY_FILE: keyFile })
    const leaves = await Promise.all(runs.map((run) => provenEnd(muster, run.id)))
    expect(new Set(leaves.map(({ run }) => run)).size).toBe(30)
  }, 120_000)
})
