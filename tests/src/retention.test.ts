import { openMemory } from '@muster/memory'
import { newId } from '@muster/protocol'
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

it('that lags is told: what is due, and for how long it has been', async () => {
  expect((await cli('retention')).out).toMatch(/due, of 0 old enough:.*held back: 0\n$/)
  const memory = await openMemory({ table: 'muster', endpoint: harness.dynamoEndpoint })
  for (const hours of [30, 26, 25, 23]) {
    const at = Date.now() - hours * HOUR_MS
    const time = at.toString(16).padStart(12, '0')
    await memory.archive.put(
      'acme',
      {
        ...{ id: `${time.slice(0, 8)}-${time.slice(8)}-${newId().slice(14)}`, tenant: 'acme', status: 'succeeded' },
        ...{ kind: 'plan', name: hours === 30 ? 'other' : 'chain', version: '1', by: { key: 'k', user: 'u' } },
        ...{ createdAt: at, endedAt: at, waiting: [], labels: [], steps: 0, epoch: 1, entries: 1, head: '' },
        ...{ usage: { inputTokens: 0, outputTokens: 0, cachedTokens: 0 }, costUsd: 0 },
      },
      [],
    )
  }
  memory.close()
  const { due } = await harness.muster.retention.get()
  expect(due).toEqual({ content: 0, memory: 0, runs: 2, held: 0, looked: 3, overdueMs: expect.any(Number) })
  expect(due.overdueMs / HOUR_MS).toBeCloseTo(2, 0)
  const { out } = await cli('retention')
  expect(out).toMatch(/due, of 3 old enough:.* 2 runs whole; held back: 0\nthe first of these for 2\.\d hours\n$/)
  expect(JSON.parse((await cli('retention', '--json')).out).due.overdueMs).toBeGreaterThan(2 * HOUR_MS)
})
