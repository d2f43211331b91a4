import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { LIMITS_MAX, newId } from '@muster/protocol'
import { startRedis } from '@muster/stack'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Controls } from './controls.ts'
import { Journal } from './journal.ts'

const dir = mkdtempSync(join(tmpdir(), 'muster-controls-'))
let redis: Awaited<ReturnType<typeof startRedis>>
let journal: Journal

beforeAll(async () => {
  redis = await startRedis({ dir })
  journal = await Journal.open({ url: redis.url, namespace: 'controls', partitions: 2 })
})
afterAll(async () => {
  await journal.close()
  await redis.stop()
  rmSync(dir, { recursive: true, force: true })
})

async function newRun(): Promise<string> {
  const run = newId()
  const definition = { kind: 'plan' as const, name: 'p', version: '1', hash: 'h' }
  const by = { key: 'k', user: 'u' }
  await journal.create({ run, tenant: 't', by, definition, limits: {}, labels: [] }, {}, { offload: async () => {} })
  return run
}

const woken = async (run: string) => (await journal.messages(run)).map(({ type }) => type)
const stop = (name: string) => ({ name, by: 'ann', at: 1 })
const left = async () => (await journal.redis.keys('*')).filter((key) => /:(stopped:.*|awaited)$/.test(key))

describe('a run that waits for a stop to be lifted', () => {
  it('is woken when it is, and at once where it was', async () => {
    const controls = new Controls(journal)
    const run = await newRun()
    await controls.stop('t', stop('tool:pay'))
    await controls.await('t', 'tool:pay', run)
    await controls.wakeLeft()
    expect(await woken(run)).toEqual([])
    expect(await left()).toHaveLength(2)
    await controls.lift('t', 'tool:pay')
    expect(await woken(run)).toEqual(['lifted'])
    await controls.await('t', 'tool:pay', run)
    expect(await woken(run)).toEqual(['lifted', 'lifted'])
    expect(await left()).toEqual([])
  })

  it('is woken by others, and when it is lifted again, where who lifted it came no further', async () => {
    const controls = new Controls(journal)
    for (const wake of [
      () => controls.wakeLeft(),
      () => expect(controls.lift('t', 'tool:pay')).rejects.toMatchObject({ code: 'stop.not_found' }),
    ]) {
      const run = await newRun()
      await controls.stop('t', stop('tool:pay'))
      await controls.await('t', 'tool:pay', run)
      const { controls: key } = journal.partitions[0].keys
      await journal.redis.hdel(key, JSON.stringify(['stop', 't', 'tool:pay']))
      expect(await woken(run)).toEqual([])
      await wake()
      expect(await woken(run)).toEqual(['lifted'])
      expect(await left()).toEqual([])
    }
  })
})

describe('limits that are set', () => {
  const limit = (name: string) => ({ name, limit: { concurrency: 1 }, by: 'ann', at: 1 })

  it('are bounded in number for each tenant, and stay the same objects until they change', async () => {
    const controls = new Controls(journal)
    const fields = Array.from({ length: LIMITS_MAX }, (_, i) => [
      JSON.stringify(['limit', 't', `user:${i}`]),
      JSON.stringify(limit(`user:${i}`)),
    ])
    await journal.redis.hset(journal.partitions[0].keys.controls, Object.fromEntries(fields))
    await controls.setLimit('other', limit('user:0'))
    const before = controls.limits('t')?.get('user:1')
    const { limitsVersion } = controls
    await controls.stop('t', stop('tool:pay'))
    expect(controls.limitsVersion).toBe(limitsVersion)
    await expect(controls.setLimit('t', limit('user:more'))).rejects.toMatchObject({ code: 'limit.too_many' })
    await controls.setLimit('t', { ...limit('user:0'), at: 2 })
    expect(controls.limitsVersion).toBe(limitsVersion + 1)
    expect(controls.limits('t')?.get('user:1')).toBe(before)
    await controls.removeLimit('t', 'user:0')
    await controls.setLimit('t', limit('user:more'))
    await expect(controls.removeLimit('t', 'user:0')).rejects.toMatchObject({ code: 'limit.not_found' })
  })

  it('and what else there is are read beside what a newer process has set', async () => {
    const controls = new Controls(journal)
    await journal.redis.hset(journal.partitions[0].keys.controls, JSON.stringify(['quota', 't', 'x']), '{"new":1}')
    await controls.stop('t', stop('tool:new'))
    expect(controls.stops('t')?.has('tool:new')).toBe(true)
  })
})
