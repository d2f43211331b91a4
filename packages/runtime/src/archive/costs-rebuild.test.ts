import { Journal, RunCosts, RunWriter, Writer } from '@muster/journal'
import type { Memory } from '@muster/memory'
import { type Actor, type CostLine, newId, type Run } from '@muster/protocol'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { putRun, stopMemory, stopRedis, theMemory, theRedis } from '../fixture.ts'
import { rebuildCosts } from './costs-rebuild.ts'

let memory: Memory
let journal: Journal

beforeAll(async () => {
  memory = await theMemory()
  journal = await Journal.open({ url: (await theRedis()).url, namespace: 'rebuild' })
})
afterAll(async () => {
  await journal.close()
  await stopRedis()
  await stopMemory()
})

const [day, at] = ['2026-11-28', Date.parse('2026-11-28T12:00:00Z')]
const line: CostLine = {
  ...{ day, names: { model: 'm', provider: 'then', agent: 'a', user: 'u', team: '', key: 'k' } },
  ...{ nanoUsd: 7, calls: 1, inputTokens: 1, outputTokens: 2, cachedTokens: 0 },
}

const called = {
  ...{ type: 'step.ended', step: '1.model', kind: 'model', target: 'default', model: 'm', costUsd: 0.000_000_007, at },
  usage: { inputTokens: 1, outputTokens: 2, cachedTokens: 0 },
}

const sum = (calls: number) => ({
  nanoUsd: 7 * calls,
  calls,
  inputTokens: calls,
  outputTokens: 2 * calls,
  cachedTokens: 0,
})

async function archive(
  tenant: string,
  costs: CostLine[] | undefined,
  by: Actor = { key: 'k', user: 'u' },
): Promise<string> {
  const id = newId()
  const who = { kind: 'agent' as const, name: 'a', version: '1', by, labels: [] }
  const run: Run = {
    ...{ id, tenant, status: 'succeeded', ...who, createdAt: at, endedAt: at, input: null, waiting: [], steps: 1 },
    ...{ usage: { inputTokens: 1, outputTokens: 2, cachedTokens: 0 }, costUsd: 0, epoch: 1, entries: 2, head: '' },
  }
  const entries = [
    {
      type: 'run.created',
      run: id,
      tenant,
      definition: { kind: 'agent', name: 'a', version: '1', hash: '' },
      by: run.by,
    },
    called,
  ]
  const stored = entries.map((entry, i) => ({ seq: i + 1, hash: '', bytes: JSON.stringify(entry) }))
  await putRun(memory, run, stored, costs)
  return id
}

it('goes on where it was left, by whoever asks, and reads the journal where nothing else tells', async () => {
  const ids = await Promise.all([[line], [line], undefined, [line], undefined].map((costs) => archive('t', costs)))
  await archive('other', [line])
  await memory.archive.remove('t', ids[0] ?? '', { at, by: 'retention' })
  const stores = { journal, memory, providerOf: () => 'now' }
  const one = () => {
    let steps = 0
    return () => ++steps > 1
  }
  let { id, done, runs } = await rebuildCosts(stores, 't', { until: one() })
  for (let asked = 0; !done; asked++) {
    expect(asked).toBeLessThan(20)
    const both = await Promise.all([id, undefined].map((name) => rebuildCosts(stores, 't', { name, until: one() })))
    expect(new Set(both.flatMap((state) => (state.done ? [] : [state.id]))).size).toBeLessThan(2)
    ;[{ id, done, runs }] = both as [(typeof both)[0]]
  }
  await rebuildCosts(stores, 't', { until: () => false })
  expect(runs).toBeLessThanOrEqual(5)
  const costs = new RunCosts(journal)
  expect(await costs.by('provider', 't', [day])).toEqual([
    new Map([
      ['then', sum(3)],
      ['now', sum(2)],
    ]),
  ])
  expect(await costs.by('model', 'other', [day])).toEqual([new Map()])
})

/** A run that has ended, and that nobody has archived yet. */
async function end(tenant: string, by: Actor): Promise<void> {
  const id = newId()
  const definition = { kind: 'agent' as const, name: 'a', version: '1', hash: '' }
  const offload = async () => {}
  await journal.create({ run: id, tenant, definition, by, labels: [], limits: {} }, {}, { offload })
  const hold = await journal.activate(id)
  if (!hold) throw new Error('nobody else takes it')
  const failed = (what: unknown) => expect.unreachable(String(what))
  const writer = new Writer({
    ...{ partitions: journal.partitions, clock: () => at, offload, onError: failed },
    ...{ onWake: () => {}, onParentMail: () => {}, onDrain: () => {} },
  })
  const run = new RunWriter({ run: id, tenant, ...hold }, { mail: () => {}, lost: failed })
  writer.append(run, JSON.stringify(called).slice(1, -1))
  writer.close(run, { op: 'end', status: 'succeeded', summary: {} })
  await writer.idle()
}

it('tells by key what was counted before keys were told of', async () => {
  // As an older Muster has archived and counted it.
  const old = [{ ...line, names: { model: 'm', provider: 'then', agent: 'a', user: 'u' } }] as CostLine[]
  const by = (key: string) => ({ key, user: 'u' })
  await archive('old', old, by('laptop'))
  await archive('old', old, by('laptop'))
  await archive('old', old, by('desk'))
  await archive('old', undefined, by('desk'))
  await end('old', by('laptop'))
  const [{ redis, keys }] = journal.partitions
  await redis.hset(keys.costs('old', day), { 'nmodel:m': 35, 'kmodel:m': 5 })
  const costs = new RunCosts(journal)
  expect(await costs.by('model', 'old', [day])).toMatchObject([new Map([['m', { calls: 5, nanoUsd: 35 }]])])
  expect(await costs.by('key', 'old', [day])).toEqual([new Map()])
  await rebuildCosts({ journal, memory, providerOf: () => 'now' }, 'old', { until: () => false })
  const found = { laptop: sum(3), desk: sum(2) }
  expect(await costs.by('key', 'old', [day])).toEqual([new Map(Object.entries(found))])
  expect(await costs.by('model', 'old', [day])).toEqual([new Map([['m', sum(5)]])])
  // Of what was archived it was known then who was paid.
  expect(await costs.by('provider', 'old', [day])).toEqual([
    new Map([
      ['then', sum(3)],
      ['now', sum(2)],
    ]),
  ])
})
