import { type Memory, openMemory } from '@muster/memory'
import { newId, type Run } from '@muster/protocol'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type Harness, runCli, startHarness } from './harness.ts'

const HOUR_MS = 3_600_000

let harness: Harness
// Without a worker: what is due stays.
beforeAll(async () => {
  harness = await startHarness({ MUSTER_RETENTION: '[{"name":"chain","run":"1d"}]' })
})
afterAll(() => harness.close())

const cli = (...args: string[]) => runCli(args, { MUSTER_URL: harness.url, MUSTER_KEY: harness.key })

const by = { key: 'k', user: 'u' }

/** Archives a run of then. */
async function archive(memory: Memory, of: Pick<Run, 'id' | 'name' | 'subject'>, at: number): Promise<void> {
  const run: Run = {
    ...{ ...of, tenant: 'acme', status: 'succeeded', kind: 'plan', version: '1', by, createdAt: at, endedAt: at },
    ...{ waiting: [], labels: [], steps: 0, epoch: 1, entries: 1, head: '', costUsd: 0 },
    usage: { inputTokens: 0, outputTokens: 0, cachedTokens: 0 },
  }
  const [put] = await memory.archive.putMany([{ tenant: 'acme', run, entries: [] }])
  expect(put).toMatchObject({ status: 'fulfilled' })
}

it('a hold is refused that comes too late for what is being erased, and no other', async () => {
  const memory = await openMemory({ table: 'muster', endpoint: harness.dynamoEndpoint })
  // More than are looked at at once; the one that is to be held is the last.
  const ids = Array.from({ length: 20 }, () => newId())
  const last = ids.at(-1) ?? ''
  for (const id of ids) await archive(memory, { id, subject: 's', name: id === last ? 'kept' : 'chain' }, Date.now())
  const begun = {
    ...{ reason: 'r', by, at: Date.now(), state: 'erasing' as const },
    erased: { runs: 0, entries: 0, turns: 0, facts: 0, blobs: 0 },
  }
  const late = { code: 'hold.too_late' }
  await memory.erasures.create('acme', { ...begun, id: newId(), subject: 's' })
  await expect(harness.muster.holds.place({ name: 'kept', reason: 'r' })).rejects.toMatchObject(late)
  await expect(harness.muster.holds.place({ run: last, reason: 'r' })).rejects.toMatchObject(late)
  await expect(harness.muster.holds.place({ subject: 's', reason: 'r' })).rejects.toMatchObject(late)
  expect(await memory.holds.list('acme')).toEqual([])
  const { id } = await harness.muster.holds.place({ name: 'another', reason: 'r' })
  await harness.muster.holds.lift(id, 'r')
  for (const open of await memory.erasures.openOf('acme')) await memory.erasures.close(open)
  // Of one run alone.
  await memory.erasures.create('acme', { ...begun, id: newId(), run: last })
  await expect(harness.muster.holds.place({ name: 'kept', reason: 'r' })).rejects.toMatchObject(late)
  const other = await harness.muster.holds.place({ name: 'chain', reason: 'r' })
  await harness.muster.holds.lift(other.id, 'r')
  for (const open of await memory.erasures.openOf('acme')) await memory.erasures.close(open)
  memory.close()
})

it('that lags is told: what is due, and for how long it has been', async () => {
  expect((await cli('retention')).out).toMatch(/due, of 0 old enough:.*held back: 0\n$/)
  const memory = await openMemory({ table: 'muster', endpoint: harness.dynamoEndpoint })
  for (const hours of [30, 26, 25, 23]) {
    const at = Date.now() - hours * HOUR_MS
    const time = at.toString(16).padStart(12, '0')
    const id = `${time.slice(0, 8)}-${time.slice(8)}-${newId().slice(14)}`
    await archive(memory, { id, name: hours === 30 ? 'other' : 'chain' }, at)
  }
  const sweep = await memory.sweeps.of('acme')
  await memory.sweeps.save({ ...sweep, failing: [newId()], tries: 1, againAt: 0 })
  memory.close()
  const { due } = await harness.muster.retention.get()
  expect(due).toEqual({ content: 0, memory: 0, runs: 2, held: 0, failing: 1, looked: 3, overdueMs: expect.any(Number) })
  expect(due.overdueMs / HOUR_MS).toBeCloseTo(2, 0)
  const { out } = await cli('retention')
  expect(out).toMatch(
    /due, of 3 old enough:.* 2 runs whole; held back: 0\nthe first of these for 2\.\d hours\n1 could not be expired/,
  )
  expect(JSON.parse((await cli('retention', '--json')).out).due.overdueMs).toBeGreaterThan(2 * HOUR_MS)
})
