import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { newId, partitionOf } from '@muster/protocol'
import { type RedisService, startRedis } from '@muster/stack'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Heads } from './heads.ts'
import { Journal } from './journal.ts'
import { RunWriter, Writer } from './writer.ts'

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

const writerOf = (ledger: boolean) =>
  new Writer({
    partitions: journal.partitions,
    clock: () => 7000,
    offload: async () => {},
    onWake: () => {},
    onParentMail: () => {},
    onError: (error) => {
      throw error
    },
    onDrain: () => {},
    ledger,
  })

async function hold(tenant: string, run = newId()): Promise<RunWriter> {
  const definition = { kind: 'plan' as const, name: 'p', version: '1', hash: '' }
  const created = { run, tenant, definition, by: { key: 'k', user: 'u' }, labels: [], limits: {} }
  await journal.create(created, {}, { offload: async () => {} })
  const held = await journal.activate(run)
  if (!held) throw new Error('nothing to do')
  return new RunWriter({ run, tenant, ...held }, { mail: () => {}, lost: () => {} })
}

async function write(writer: Writer, pen: RunWriter, op?: 'park' | 'end'): Promise<void> {
  const seq = writer.append(pen, '"type":"message.ignored","at":1,"about":"child"')
  if (op) writer.close(pen, { op, status: op === 'end' ? 'succeeded' : 'waiting', summary: {} })
  await new Promise<void>((resolve) => pen.whenDurable(seq, resolve))
}

describe('heads of runs', () => {
  it('are left by what ends or parks a run, in its own tenant, and taken once from where they were', async () => {
    const writer = writerOf(true)
    const [parked, over, other] = await Promise.all([hold('ann'), hold('ann'), hold('bob')])
    await Promise.all([write(writer, parked, 'park'), write(writer, over, 'end'), write(writer, other, 'end')])
    expect((await heads.tenants()).sort()).toEqual(['ann', 'bob'])
    const { heads: taken, cursors, more } = await heads.take('ann', {}, 100)
    expect(more).toBe(false)
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
    const writer = writerOf(true)
    const pen = await hold('cid')
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
    const writer = writerOf(true)
    const runs = await Promise.all(Array.from({ length: 450 }, () => hold('dan')))
    await Promise.all(runs.map((pen) => write(writer, pen, 'end')))
    expect(new Set(runs.map(({ run }) => partitionOf(run, 2))).size).toBe(2)
    let cursors = {}
    const seen: string[] = []
    for (let more = true; more; ) {
      const taken = await heads.take('dan', cursors, 100)
      expect(taken.heads.length).toBeLessThan(300)
      seen.push(...taken.heads.map(({ run }) => run))
      ;({ cursors, more } = taken)
    }
    expect(seen.sort()).toEqual(runs.map(({ run }) => run).sort())
  })

  it('are not left where there is no ledger', async () => {
    const writer = writerOf(false)
    await write(writer, await hold('eve'), 'end')
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
})
