import { Heads, Journal } from '@muster/journal'
import type { Memory } from '@muster/memory'
import { type Erasure, newId, type Run } from '@muster/protocol'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { putRun, stopMemory, stopRedis, theMemory, theRedis } from '../fixture.ts'
import { Eraser } from './erasing.ts'
import { planErasure } from './erasure-target.ts'
import { RecordBook } from './record-book.ts'

const RUNS = 40
const LEASE_MS = 10_000
const NOW = Date.UTC(2026, 5, 1)
const by = { key: 'k', user: 'u' }
const NOTHING = { runs: 0, entries: 0, turns: 0, facts: 0, blobs: 0 }

let memory: Memory
let journal: Journal
beforeAll(async () => {
  memory = await theMemory({ keyCacheMs: 0 })
  journal = await Journal.open({ url: (await theRedis()).url, namespace: 'erasing' })
})
afterAll(async () => {
  await journal.close()
  await stopMemory()
  await stopRedis()
})

async function archive(tenant: string, subject: string): Promise<string> {
  const run: Run = {
    ...{ id: newId(), tenant, subject, status: 'succeeded', kind: 'plan', name: 'p', version: '1', by, input: {} },
    ...{ createdAt: NOW, endedAt: NOW, waiting: [], labels: [], steps: 0, epoch: 1, entries: 1, head: '' },
    ...{ usage: { inputTokens: 0, outputTokens: 0, cachedTokens: 0 }, costUsd: 0 },
  }
  await putRun(memory, run, [{ seq: 1, hash: '', bytes: '{}', content: '"said"' }])
  return run.id
}

/** A tenant with runs of a subject, which are to be erased. */
async function asked(state: Erasure['state'] = 'requested'): Promise<{ tenant: string; id: string; runs: string[] }> {
  const [tenant, id] = [newId(), newId()]
  const runs = await Promise.all(Array.from({ length: RUNS }, () => archive(tenant, 's')))
  await memory.erasures.create(tenant, { id, subject: 's', reason: 'r', by, at: 0, state, erased: NOTHING })
  return { tenant, id, runs: runs.toSorted() }
}

/** A worker's, with some of its archive put in another way. */
function eraser(
  tenant: string,
  own: Partial<Memory['archive']>,
  clock = () => NOW,
  write = (_line: string) => {},
): Eraser {
  const made = new Eraser({
    ...{ journal, clock, providerOf: () => 'none' },
    memory: {
      ...memory,
      archive: { ...memory.archive, ...own },
      erasures: { ...memory.erasures, open: () => memory.erasures.openOf(tenant) },
    },
    book: new RecordBook(new Heads(journal), memory.records),
    log: pino({ level: 'warn' }, { write }),
  })
  made.start()
  return made
}

const isDone = (tenant: string, id: string) =>
  expect.poll(async () => (await memory.erasures.get(tenant, id)).state).toBe('done')

const whole = async (runs: readonly string[], tenant: string) => {
  const found = await Promise.all(runs.map((run) => memory.archive.get(tenant, run)))
  return runs.filter((_, i) => found[i]?.input !== undefined)
}

describe('an erasure', () => {
  it('goes through runs side by side, and stays its worker’s while that looks for holds', async () => {
    const { tenant, id, runs } = await asked()
    await memory.holds.place(tenant, { id: 'h', name: 'another', reason: 'r', by, at: 0 })
    expect(await planErasure({ journal, memory }, tenant, { subject: 's' })).toMatchObject({ runs: RUNS, heldBy: [] })
    let now = NOW
    let shortest = LEASE_MS
    let [atOnce, most] = [0, 0]
    const one = eraser(
      tenant,
      {
        find: async (...of) => {
          now += 300
          const [open] = await memory.erasures.openOf(tenant)
          shortest = Math.min(shortest, (open?.until ?? 0) - now)
          return memory.archive.find(...of)
        },
        eraseContent: async (...of) => {
          most = Math.max(most, ++atOnce)
          const counts = await memory.archive.eraseContent(...of)
          atOnce--
          return counts
        },
      },
      () => now,
    )
    await isDone(tenant, id)
    await one.close()
    expect(now).toBeGreaterThan(NOW + LEASE_MS)
    expect(shortest).toBeGreaterThan(0)
    expect(most).toBeGreaterThan(8)
    expect(most).toBeLessThanOrEqual(16)
    expect(await memory.erasures.get(tenant, id)).toMatchObject({ erased: { runs: RUNS, entries: RUNS } })
    expect(await whole(runs, tenant)).toEqual([])
  })

  it('is gone on with by another when its worker dies or closes, and counts every run once', async () => {
    const { tenant, id, runs } = await asked()
    let calls = 0
    const died = new Promise<void>((dies) => {
      eraser(tenant, {
        eraseContent: (...of) => {
          if (++calls <= 20) return memory.archive.eraseContent(...of)
          dies()
          return new Promise(() => {})
        },
      })
    })
    await died
    let now = NOW + LEASE_MS
    let closed: Promise<void> | undefined
    const closing = eraser(
      tenant,
      {
        eraseContent: (...of) => {
          closed ??= closing.close()
          return memory.archive.eraseContent(...of)
        },
      },
      () => now,
    )
    await expect.poll(() => closed !== undefined).toBe(true)
    await closed
    const { erased, cursor } = await memory.erasures.get(tenant, id)
    expect({ runs: erased.runs, cursor }).toEqual({ runs: 32, cursor: runs[31] })
    now += LEASE_MS
    const last = eraser(tenant, {}, () => now)
    await isDone(tenant, id)
    await last.close()
    expect(await memory.erasures.get(tenant, id)).toMatchObject({ erased: { runs: RUNS, entries: RUNS } })
    expect(await whole(runs, tenant)).toEqual([])
  })

  it('goes past no run that fails, destroys no key before, and tries again', async () => {
    const { tenant, id, runs } = await asked()
    const [failing = ''] = runs.slice(18)
    let now = NOW
    let isBroken = true
    let [underWay, left] = [0, -1]
    const one = eraser(
      tenant,
      {
        eraseContent: (of, run, why) => {
          if (isBroken && run === failing) throw new Error('not now')
          underWay++
          return memory.archive.eraseContent(of, run, why).finally(() => underWay--)
        },
      },
      () => now,
      (line) => {
        if (line.includes('not now')) left = underWay
      },
    )
    // Nothing is under way any more when it is told.
    await expect.poll(() => left).toBe(0)
    expect(await memory.erasures.get(tenant, id)).toMatchObject({ state: 'erasing', cursor: runs[15] })
    expect(await whole(runs, tenant)).toEqual([failing, ...runs.slice(32)])
    isBroken = false
    now += LEASE_MS
    await isDone(tenant, id)
    await one.close()
    expect(await memory.erasures.get(tenant, id)).toMatchObject({ erased: { runs: RUNS } })
    expect(await whole(runs, tenant)).toEqual([])
  })

  it('sees a hold from when it began, though who began it has died', async () => {
    const { tenant, id, runs } = await asked('erasing')
    await memory.holds.place(tenant, { id: 'h', run: runs[30], reason: 'r', by, at: 0 })
    let now = NOW
    const one = eraser(tenant, {}, () => now)
    await expect.poll(() => memory.erasures.get(tenant, id)).toMatchObject({ state: 'held', heldBy: ['h'] })
    expect(await whole(runs, tenant)).toEqual(runs)
    await memory.holds.lift(tenant, 'h', { by, at: NOW, reason: 'over' })
    now += LEASE_MS
    await isDone(tenant, id)
    await one.close()
    expect(await whole(runs, tenant)).toEqual([])
  })
})
