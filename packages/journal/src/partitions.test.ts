import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { childRunId, inPartition, newId, partitionOf } from '@muster/protocol'
import { type RedisService, startRedis } from '@muster/stack'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Intake } from './intake.ts'
import { Journal } from './journal.ts'

const dir = mkdtempSync(join(tmpdir(), 'muster-partitions-'))
let redis: RedisService

beforeAll(async () => {
  redis = await startRedis({ dir })
})
afterAll(async () => {
  await redis.stop()
  rmSync(dir, { recursive: true })
})

const runOf = (run: string) => ({
  run,
  tenant: 'acme',
  definition: { kind: 'plan' as const, name: 'p', version: '1', hash: '' },
  by: { key: 'k', user: 'u' },
  labels: [],
  limits: {},
})

async function withJournal<T>(namespace: string, partitions: number, work: (journal: Journal) => Promise<T>) {
  const journal = await Journal.open({ url: redis.url, namespace, partitions })
  try {
    return await work(journal)
  } finally {
    await journal.close()
  }
}

describe('partitions', () => {
  it('are as many for ever: another number is refused with what to do', async () => {
    await withJournal('count', 3, async () => {})
    await withJournal('count', 3, async () => {})
    await expect(withJournal('count', 4, async () => {})).rejects.toMatchObject({
      code: 'journal.partitions',
      message: 'This namespace has 3 partitions, and MUSTER_PARTITIONS asks for 4',
      hint: expect.stringContaining('Set MUSTER_PARTITIONS to the number in the message'),
    })
    // From before the number was written down.
    await withJournal('old', 1, async (journal) => {
      await journal.redis.hset(journal.partitions[0].keys.manifest, 'plan:p', '{}')
      await journal.redis.del(journal.partitions[0].keys.count)
    })
    await expect(withJournal('old', 3, async () => {})).rejects.toMatchObject({ code: 'journal.partitions' })
    await expect(withJournal('other', 0, async () => {})).rejects.toMatchObject({ code: 'config.invalid' })
  })

  it('are found by the idempotency key, whatever id a repeat brings', () =>
    withJournal('keys', 3, async (journal) => {
      const used = new Set<number>()
      for (let i = 0; i < 30; i++) {
        const start = (partition: number) =>
          journal.create(
            runOf(inPartition(newId(), partition, 3)),
            {},
            { idempotencyKey: `${i}`, offload: async () => {} },
          )
        const made = await Promise.all([0, 1, 2].map(start))
        expect(new Set(made.map(({ id }) => id)).size).toBe(1)
        expect(made.filter(({ created }) => created)).toHaveLength(1)
        const id = made[0]?.id ?? ''
        expect(await journal.get(id)).toMatchObject({ id, created: { run: id } })
        used.add(partitionOf(id, 3))
      }
      expect(used.size).toBe(3)
    }))

  it('hold a child with its parent, and refuse it elsewhere', () =>
    withJournal('children', 3, async (journal) => {
      const parent = { run: newId(), step: 's', until: 'ended' as const }
      const child = childRunId(parent.run, 'abcdef0123456789abcdef')
      expect(journal.of(child)).toBe(journal.of(parent.run))
      const elsewhere = inPartition(child, (partitionOf(child, 3) + 1) % 3, 3)
      const options = { offload: async () => {} }
      await expect(journal.create({ ...runOf(elsewhere), parent }, {}, options)).rejects.toThrow('another partition')
    }))
})

describe('a worker over partitions', () => {
  it(
    'holds no more runs than it may in all, and serves a small partition beside one that is full',
    () =>
      withJournal('worker', 3, async (journal) => {
        const queue = async (partition: number, count: number) => {
          const ids = Array.from({ length: count }, () => inPartition(newId(), partition, 3))
          await journal.createMany(
            ids.map((id) => ({ run: runOf(id), content: {} })),
            { offload: async () => {} },
          )
          return ids
        }
        await queue(0, 400)
        const done: string[] = []
        let held = 0
        let heldMax = 0
        const intake = new Intake(journal, {
          concurrency: 4,
          lockMs: 5000,
          process: async (run) => {
            heldMax = Math.max(heldMax, ++held)
            await new Promise((resolve) => setTimeout(resolve, 20))
            held--
            done.push(run)
          },
          onMail: () => {},
          onMailLost: () => {},
          onLost: () => {},
          onError: () => {},
        })
        while (done.length < 50) await new Promise((resolve) => setTimeout(resolve, 5))
        const late = [...(await queue(1, 5)), ...(await queue(2, 5))]
        const all = new Set(done)
        while (!late.every((run) => all.has(run))) {
          await new Promise((resolve) => setTimeout(resolve, 5))
          for (const run of done) all.add(run)
        }
        // The rest of the first partition still waits.
        expect(done.length).toBeLessThan(400)
        while (done.length < 410) await new Promise((resolve) => setTimeout(resolve, 5))
        await intake.close()
        expect(new Set(done).size).toBe(410)
        expect(heldMax).toBe(4)
      }),
    30_000,
  )

  it(
    'with one place takes turns',
    () =>
      withJournal('turns', 3, async (journal) => {
        const ids = Array.from({ length: 30 }, (_, i) => inPartition(newId(), i % 3, 3))
        await journal.createMany(
          ids.map((id) => ({ run: runOf(id), content: {} })),
          { offload: async () => {} },
        )
        const done: number[] = []
        const intake = new Intake(journal, {
          concurrency: 1,
          lockMs: 5000,
          process: async (run) => {
            done.push(partitionOf(run, 3))
            await new Promise((resolve) => setTimeout(resolve, 20))
          },
          onMail: () => {},
          onMailLost: () => {},
          onLost: () => {},
          onError: () => {},
        })
        while (done.length < 30) await new Promise((resolve) => setTimeout(resolve, 5))
        await intake.close()
        const early = done.slice(0, 18)
        for (const partition of [0, 1, 2]) expect(early.filter((p) => p === partition).length).toBeGreaterThan(2)
      }),
    30_000,
  )
})
