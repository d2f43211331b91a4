import type { Memory } from '@muster/memory'
import { newId } from '@muster/protocol'
import { collect, tool } from '@muster/sdk'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { any, ended, entries, stopMemory, stopRedis, theMemory, withWorker } from '../fixture.ts'
import { archiveRuns } from './archiver.ts'

let memory: Memory
beforeAll(async () => {
  memory = await theMemory()
})
afterAll(async () => {
  await stopMemory()
  await stopRedis()
})

const look = tool({ name: 'look', effect: 'pure', input: any, output: any, run: async () => ({ seen: 'it' }) })
const app = collect({ look })
const plan = { steps: { one: { tool: 'look', input: {} } } }

it('archives many runs at once, and one that is broken keeps none of them', async () => {
  await withWorker(app, { memory }, async (journal, start) => {
    const runs = await Promise.all(Array.from({ length: 40 }, () => start(plan)))
    const journals = new Map(await Promise.all(runs.map(async (run) => [run, await entries(journal, run)] as const)))
    const broken = runs[17] ?? ''
    const { redis, keys } = journal.of(broken)
    await redis.xadd(keys.log(broken), '99-0', 'e', `${'0'.repeat(64)} {not JSON`, 'c', '')
    const asked = [...runs, runs[3] ?? '', newId()]
    const results = await archiveRuns({ journal, memory, providerOf: () => '' }, asked, 0)
    expect(results).toHaveLength(asked.length)
    for (const [i, result] of results.entries())
      expect(result).toMatchObject(
        i === 17 ? { status: 'rejected', reason: { code: 'journal.corrupt' } } : { status: 'fulfilled' },
      )
    for (const run of runs) {
      if (run === broken) {
        expect(await memory.archive.get('t', run)).toBeUndefined()
        expect(await journal.get(run)).toMatchObject({ status: 'succeeded' })
        continue
      }
      const bytes = (await Array.fromAsync(memory.archive.entries('t', run))).map((entry) => JSON.parse(entry.bytes))
      expect(bytes).toEqual(journals.get(run))
      expect(await memory.archive.get('t', run)).toMatchObject({ id: run, status: 'succeeded' })
      expect(await journal.get(run)).toBeUndefined()
    }
  })
})

it('archives what a worker ends, and what could not be as soon as it can', async () => {
  let isAway = true
  const archive = { ...memory.archive }
  const flaky: Memory = {
    ...memory,
    archive: {
      ...archive,
      putMany: (puts) => (isAway ? Promise.reject(new Error('away')) : archive.putMany(puts)),
    },
  }
  await withWorker(app, { memory: flaky, archive: true, journalTtlS: 3600 }, async (journal, start) => {
    const runs = await Promise.all(Array.from({ length: 20 }, () => start(plan)))
    for (const run of runs) expect(await ended(journal, run)).toMatchObject({ status: 'succeeded' })
    const { redis, keys } = journal.partitions[0]
    expect(await redis.xlen(keys.ended)).toBe(20)
    expect(await memory.archive.list('t', { limit: 100, session: 'none' })).toEqual([])
    isAway = false
    await vi.waitFor(async () => expect(await redis.xlen(keys.ended)).toBe(0), { timeout: 20_000 })
    for (const run of runs) expect(await memory.archive.get('t', run)).toMatchObject({ status: 'succeeded' })
  })
}, 60_000)
