import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { newId, partitionOf } from '@muster/protocol'
import { type RedisService, startRedis } from '@muster/stack'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { holdRun, write, writerOf } from './fixture.ts'
import { Heads } from './heads.ts'
import { Journal } from './journal.ts'

const dir = mkdtempSync(join(tmpdir(), 'muster-heads-'))
let redis: RedisService
let journal: Journal
let heads: Heads

beforeAll(async () => {
  redis = await startRedis({ dir })
  journal = await Journal.open({ url: redis.url, namespace: 'heads', partitions: 2 })
  heads = new Heads(journal)
})
afterAll(async () => {
  await journal.close()
  await redis.stop()
  rmSync(dir, { recursive: true })
})

describe('heads of runs', () => {
  it('are left by what ends or parks a run, in its own tenant, and taken once from where they were', async () => {
    const writer = writerOf(journal, { ledger: true, clock: () => 7000 })
    const [parked, over, other] = await Promise.all([
      holdRun(journal, 'ann'),
      holdRun(journal, 'ann'),
      holdRun(journal, 'bob'),
    ])
    await Promise.all([write(writer, parked, 'park'), write(writer, over, 'end'), write(writer, other, 'end')])
    expect((await heads.tenants()).sort()).toEqual(['ann', 'bob'])
    const { heads: taken, cursors } = await heads.take('ann', {}, 100)
    const expected = [
      { run: parked.run, seq: 2, head: parked.head, at: 7000, state: 'parked' },
      { run: over.run, seq: 2, head: over.head, at: 7000, state: 'ended' },
    ]
    expect(taken).toHaveLength(2)
    expect(taken).toEqual(expect.arrayContaining(expected))
    expect((await heads.take('ann', cursors, 100)).heads).toEqual([])
    // Until they are forgotten they stay, for one that has not come so far.
    expect((await heads.take('ann', {}, 100)).heads).toHaveLength(2)
    await heads.forget('ann', cursors, false)
    expect((await heads.tenants()).sort()).toEqual(['ann', 'bob'])
    await heads.forget('ann', cursors, true)
    expect((await heads.take('ann', {}, 100)).heads).toEqual([])
    expect(await heads.tenants()).toEqual(['bob'])
  })

  it('of running runs are sent when they have moved', async () => {
    const writer = writerOf(journal, { ledger: true, clock: () => 7000 })
    const pen = await holdRun(journal, 'cid')
    const runs = [{ run: pen.run, tenant: 'cid' }]
    await write(writer, pen)
    expect(await heads.send(runs, 8000)).toBe(1)
    expect(await heads.send(runs, 8001)).toBe(0)
    const { heads: taken, cursors } = await heads.take('cid', {}, 100)
    expect(taken).toEqual([{ run: pen.run, seq: 2, head: pen.head, at: 8000, state: 'running' }])
    await write(writer, pen)
    expect(await heads.send([...runs, { run: newId(), tenant: 'cid' }], 8002)).toBe(1)
    await write(writer, pen, 'end')
    expect(await heads.send(runs, 8003)).toBe(0)
    const after = await heads.take('cid', cursors, 100)
    expect(after.heads.map(({ seq, state }) => [seq, state])).toEqual([
      [3, 'running'],
      [4, 'ended'],
    ])
  })

  it('that are many are given in parts, from each partition', async () => {
    const writer = writerOf(journal, { ledger: true, clock: () => 7000 })
    const runs = await Promise.all(Array.from({ length: 450 }, () => holdRun(journal, 'dan')))
    await Promise.all(runs.map((pen) => write(writer, pen, 'end')))
    expect(new Set(runs.map(({ run }) => partitionOf(run, 2))).size).toBe(2)
    const seen: string[] = []
    let taken = await heads.take('dan', {}, 100)
    while (taken.heads.length > 0) {
      expect(taken.heads.length).toBeLessThan(300)
      seen.push(...taken.heads.map(({ run }) => run))
      taken = await heads.take('dan', taken.cursors, 100)
    }
    expect(seen.sort()).toEqual(runs.map(({ run }) => run).sort())
  })

  it('are not left where there is no ledger', async () => {
    const writer = writerOf(journal, { clock: () => 7000 })
    await write(writer, await holdRun(journal, 'eve'), 'end')
    expect(await heads.tenants()).not.toContain('eve')
    expect((await heads.take('eve', {}, 100)).heads).toEqual([])
  })

  it('are the work of one worker at a time', async () => {
    expect(await heads.hold('fay', 'one', 5000)).toBe(true)
    expect(await heads.hold('fay', 'one', 5000)).toBe(true)
    expect(await heads.hold('fay', 'two', 5000)).toBe(false)
    expect(await heads.hold('fay', 'two', 0)).toBe(false)
    await heads.hold('fay', 'one', 0)
    expect(await heads.hold('fay', 'two', 5000)).toBe(true)
  })

  it('are to be witnessed until that size, or a later one, was', async () => {
    await heads.toWitness('gus', 7)
    await heads.toWitness('gus', 5)
    await heads.witnessed('gus', 5)
    expect(await heads.unwitnessed()).toContain('gus')
    await heads.witnessed('gus', 7)
    expect(await heads.unwitnessed()).not.toContain('gus')
  })
})
