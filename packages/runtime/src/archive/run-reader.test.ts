import { setTimeout as sleep } from 'node:timers/promises'
import { Journal } from '@muster/journal'
import { type Memory, openMemory } from '@muster/memory'
import { newId, type Run } from '@muster/protocol'
import { type DynamoService, startDynamo } from '@muster/stack'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { stopRedis, theRedis } from '../fixture.ts'
import { RunReader } from './run-reader.ts'

const tenant = 't'
const definition = { kind: 'plan' as const, name: 'p', version: '1', hash: '' }

let dynamo: DynamoService
let memory: Memory
let journal: Journal
beforeAll(async () => {
  dynamo = await startDynamo({})
  memory = await openMemory({ table: 'reader', endpoint: dynamo.endpoint ?? '', keyCacheMs: 0 })
  const { url } = await theRedis()
  journal = await Journal.open({ url, namespace: 'reader' })
})
afterAll(async () => {
  await journal.close()
  memory.close()
  await dynamo.stop()
  await stopRedis()
})

async function live(id: string, user: string): Promise<void> {
  const run = { run: id, tenant, definition, by: { key: 'k', user }, labels: [], limits: {} }
  await journal.create(run, { input: {} }, { offload: async () => {} })
}

async function archived(id: string, user: string): Promise<void> {
  const run: Run = {
    ...{ id, tenant, status: 'succeeded', kind: 'plan', name: 'p', version: '1', by: { key: 'k', user } },
    ...{ createdAt: 1, endedAt: 2, waiting: [], labels: [], steps: 0, costUsd: 0, epoch: 1, entries: 0, head: '' },
    usage: { inputTokens: 0, outputTokens: 0, cachedTokens: 0 },
  }
  await memory.archive.put(tenant, run, [])
}

it('lists the runs of one user in pages that look at so many, and none is lost or told twice', async () => {
  // A few in a row of one store, and of one user; one that has just been archived is in both.
  const places = ['aaalll', 'laabal', 'aaaaaaaaa', 'llllllll', 'alalalal', 'aaallaa'].join('')
  const users = 'uvvvvvvvuuvvvvvvvvvvvvvvvvuvvvvvvvvuvuvvvvvvvu'
  const own: string[] = []
  for (const [i, place] of [...places].entries()) {
    const id = newId()
    const user = users[i] ?? 'v'
    if (place !== 'a') await live(id, user)
    if (place !== 'l') await archived(id, user)
    if (user === 'u') own.push(id)
  }
  own.sort().reverse()
  expect(own.length).toBeGreaterThan(5)
  for (const most of [1, 2, 3, 7, 1000])
    for (const limit of [1, 2, 5, 50]) {
      const reader = new RunReader(journal, memory, most)
      const found: string[] = []
      let before: string | undefined
      do {
        const { runs, cursor } = await reader.list(tenant, { limit, before, user: 'u' })
        expect(runs.length).toBeLessThanOrEqual(limit)
        // Each page gets further.
        if (cursor !== undefined && before !== undefined) expect(cursor < before).toBe(true)
        found.push(...runs.map(({ id }) => id))
        before = cursor
      } while (before !== undefined)
      expect(found, `${limit} of ${most}`).toEqual(own)
      // With another filter it looks on until the page is full.
      const { runs } = await reader.list(tenant, { limit, user: 'u', name: 'p' })
      expect(runs.map(({ id }) => id)).toEqual(own.slice(0, limit))
    }
})

it('has a run that goes from Redis into the archive meanwhile', async () => {
  const id = newId()
  const left: Journal['list'] = async () => {
    // Whoever asks the archive at the same time has its answer before.
    await sleep(100)
    await archived(id, 'w')
    return []
  }
  const moving = new Proxy(journal, { get: (of, name) => (name === 'list' ? left : Reflect.get(of, name, of)) })
  const { runs } = await new RunReader(moving, memory).list(tenant, { limit: 5 })
  expect(runs.map((run) => run.id)).toContain(id)
})
