import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { TileLog } from '@muster/audit'
import { type LedgerLeaf, partitionOf } from '@muster/protocol'
import { startRedisCluster } from '@muster/stack'
import { newLedgerKey } from '@muster/worker/settings'
import { Cluster } from 'ioredis'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readJournal } from '../faults/src/journal.ts'
import { actor, chain, fanOut, parent, slowPayment } from './fixtures/app.ts'
import { ended, type Harness, startHarness, stopProcess, until } from './harness.ts'
import { provenEnd, tilesOf } from './receipts.ts'

/** Their hash tags lie on all three nodes. */
const PARTITIONS = 5
let harness: Harness
let muster: Harness['muster']
let cluster: Cluster

const keyFile = join(mkdtempSync(join(tmpdir(), 'muster-cluster-')), 'ledger.pem')

beforeAll(async () => {
  writeFileSync(keyFile, newLedgerKey())
  harness = await startHarness(
    { MUSTER_PARTITIONS: String(PARTITIONS), MUSTER_LEDGER_KEY_FILE: keyFile },
    { redis: ({ dir }) => startRedisCluster({ dir, primaries: 3 }) },
  )
  muster = harness.muster
  cluster = new Cluster(harness.redisUrl.split(','))
})
afterAll(async () => {
  cluster.disconnect()
  await harness.close()
  rmSync(dirname(keyFile), { recursive: true })
})

const verified = async (run: string): Promise<boolean> => (await readJournal(muster, run)).verification.ok

describe('on a Redis Cluster', () => {
  it('a backlog over all partitions is worked off, whatever workers are killed meanwhile', async () => {
    // What it carries is known from then on.
    await stopProcess(await harness.worker())
    const started = await muster.runs.startMany(
      chain,
      Array.from({ length: 60 }, (_, i) => ({ input: { n: 1 + (i % 4), ms: 20 }, idempotencyKey: `backlog-${i}` })),
    )
    const ids = started.map(({ run }) => run?.id ?? '')
    expect(new Set(ids.map((id) => partitionOf(id, PARTITIONS))).size).toBe(PARTITIONS)
    const sizes = await Promise.all(cluster.nodes('master').map((node) => node.dbsize()))
    expect(Math.min(...sizes)).toBeGreaterThan(0)
    for (let i = 0; i < 2; i++) {
      const worker = await harness.worker()
      await new Promise((resolve) => setTimeout(resolve, 150))
      await stopProcess(worker, 'SIGKILL')
    }
    await harness.worker()
    expect(await Promise.all(started.map(({ run }) => run?.result()))).toEqual(
      ids.map((_, i) => '0123'.slice(0, 1 + (i % 4))),
    )
    for (const id of ids.slice(0, 10)) expect(await verified(id)).toBe(true)
    // Heads of all partitions are in the ledger, each once.
    for (const id of ids) await provenEnd(muster, id)
    const log = new TileLog(tilesOf(muster))
    const { size } = await muster.ledger.head()
    const leaves = (await log.entries(0, size)).map((leaf): LedgerLeaf => JSON.parse(Buffer.from(leaf).toString()))
    expect(
      leaves
        .filter(({ state }) => state === 'ended')
        .map(({ run }) => run)
        .sort(),
    ).toEqual(ids.toSorted())
    const listed = await muster.runs.list({ name: 'chain', limit: 200 })
    expect(listed.runs.map(({ id }) => id)).toEqual(ids.toSorted().toReversed())
    // What was started with a key is not started again.
    const again = await muster.runs.startMany(
      chain,
      ids.map((_, i) => ({ input: { n: 1 + (i % 4), ms: 20 }, idempotencyKey: `backlog-${i}` })),
    )
    expect(again.map(({ run }) => run?.id)).toEqual(ids)
  }, 60_000)

  it('a run starts a child run and hears of its end', async () => {
    const turns = [{ calls: [{ name: 'world_write', arguments: { text: 'child' } }] }, { answer: 'grown' }]
    const runs = await Promise.all(Array.from({ length: 6 }, () => muster.runs.start(parent, { turns })))
    for (const run of runs) {
      expect(await run.result()).toEqual({ answer: 'grown' })
      const children = (await muster.runs.list({ name: 'actor', limit: 200 })).runs.filter(
        (child) => child.parent?.run === run.id,
      )
      expect(children.map(({ id }) => partitionOf(id, PARTITIONS))).toEqual([partitionOf(run.id, PARTITIONS)])
      expect(await verified(run.id)).toBe(true)
    }
  }, 30_000)

  it('a run waits for a person, is woken by the answer, and one that is followed and cancelled ends', async () => {
    const worker = await harness.worker()
    const run = await muster.runs.start(slowPayment, { ms: 60_000, reconcilable: false })
    await until(
      () => harness.effects(),
      (effects) => effects.some(({ key }) => key.startsWith(run.id)),
    )
    await harness.killWorkers()
    await harness.worker()
    const { waiting } = await until(run.get, ({ status }) => status === 'waiting')
    expect(worker.signalCode).toBe('SIGKILL')
    await muster.runs.approve(run.id, { step: 'world.launch', verdict: 'deny', digest: waiting[0]?.digest ?? '' })
    await expect(run.result()).rejects.toMatchObject({ code: 'step.in_doubt' })

    const long = await muster.runs.start(chain, { n: 3, ms: 30_000 })
    const types: string[] = []
    const following = (async () => {
      for await (const { entry } of long.events()) types.push(entry.type)
    })()
    await until(
      () => types,
      (seen) => seen.includes('step.intent'),
    )
    await long.cancel()
    await until(long.get, ended)
    await following
    expect(types.at(-1)).toBe('run.ended')
    expect(await (await muster.runs.start(fanOut, { n: 50 })).result()).toBe((50 * 51) / 2)
    const said = await muster.runs.start(actor, { turns: [{ answer: 1 }] })
    expect(await said.result()).toEqual({ answer: 1 })
  }, 60_000)

  it('another number of partitions is refused, by a worker too', async () => {
    await expect(harness.worker({ MUSTER_PARTITIONS: '1' })).rejects.toThrow('has 5 partitions')
  })
})
