import type { RunEvent } from '@muster/protocol'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { actor, chain } from './fixtures/app.ts'
import { ended, type Harness, startHarness, until } from './harness.ts'

let harness: Harness
let muster: Harness['muster']

beforeAll(async () => {
  harness = await startHarness()
  muster = harness.muster
  await harness.worker()
})
afterAll(() => harness.close())

const writes = (run: string) => harness.effects().filter(({ effect, key }) => effect === 'write' && key.startsWith(run))

async function events(run: { events(): AsyncGenerator<RunEvent> }): Promise<RunEvent[]> {
  const all: RunEvent[] = []
  for await (const event of run.events()) all.push(event)
  return all
}

const order = {
  steps: {
    first: { tool: 'world.write', input: { text: 'one' } },
    second: { tool: 'world.write', input: { text: { $ref: '#/steps/first/output/written' } } },
    last: { tool: 'world.write', input: { text: { $ref: '#/input/text' } }, after: ['second'] },
  },
  output: { $ref: '#/steps/last/output/written' },
}

describe('a fork', () => {
  it('takes over what came before its step, does the rest anew, and says where it comes from', async () => {
    const run = await muster.runs.start(chain, { n: 4, ms: 0 })
    expect(await run.result()).toBe('0123')
    const fork = await run.fork({ step: 'world.write.3', input: { n: 5, ms: 0 } })
    expect(await fork.result()).toBe('01234')
    expect(writes(fork.id)).toHaveLength(3)
    const [origin, copy] = [await events(run), await events(fork)]
    const { origin: from, costUsd } = await fork.get()
    const cut = origin.find(({ seq }) => seq === from?.seq)
    expect(from).toMatchObject({ run: run.id, step: 'world.write.3', hash: cut?.hash })
    // What was taken over has the same content under the same digest.
    const taken = copy.filter(({ entry }) => entry.type === 'step.ended' && entry.copied !== undefined)
    expect(taken).toHaveLength(2)
    for (const { entry } of taken) {
      const before = origin.find(({ seq }) => entry.type === 'step.ended' && seq === entry.copied)
      expect(before?.entry.content).toBe(entry.content)
    }
    expect(copy.some(({ entry }) => entry.type === 'run.copied' && entry.entries === 2)).toBe(true)
    expect(costUsd).toBe(0)
  })

  it('of an agent goes on from a turn', async () => {
    const write = { name: 'world_write', arguments: { text: 'x' } }
    const run = await muster.runs.start(actor, { turns: [{ calls: [write] }, { calls: [write] }, { answer: 'done' }] })
    await run.result()
    const fork = await run.fork({ step: '2.world.write' })
    expect(await fork.result()).toEqual({ answer: 'done' })
    expect(writes(run.id)).toHaveLength(2)
    expect(writes(fork.id)).toHaveLength(1)
  })

  it('of a run that has left Redis takes over the same from the archive', async () => {
    const redis = new Redis(harness.redisUrl)
    try {
      const run = await muster.runs.start(chain, { n: 4, ms: 0 })
      expect(await run.result()).toBe('0123')
      const key = `{${harness.namespace}0}:log:${run.id}`
      await until(
        async () => (await redis.ttl(key)) !== -1,
        (archived) => archived,
      )
      await redis.del(key, `{${harness.namespace}0}:run:${run.id}`)
      const fork = await run.fork({ step: 'world.write.3', input: { n: 5, ms: 0 } })
      expect(await fork.result()).toBe('01234')
      expect(writes(fork.id)).toHaveLength(3)
    } finally {
      redis.disconnect()
    }
  })

  it('of what is not there is refused', async () => {
    const run = await muster.runs.start(chain, { n: 1, ms: 0 })
    await run.result()
    await expect(run.fork({ step: 'nothing' })).rejects.toMatchObject({
      code: 'run.not_forkable',
      issues: [{ path: '/step' }],
    })
    await expect(run.fork({ step: 'nothing' })).rejects.toThrow('It has taken: world.write')
    await expect(run.fork({ version: '9' })).rejects.toMatchObject({ code: 'definition.not_found' })
    await expect(run.fork({ input: { n: 'many' } })).rejects.toMatchObject({ code: 'input.invalid' })
    await expect(run.restart()).rejects.toMatchObject({ code: 'run.not_forkable' })
    await expect(harness.stranger.runs.of(run.id).fork()).rejects.toMatchObject({ code: 'run.not_found' })
    const waits = await muster.runs.start({ steps: { nap: { sleepMs: 60_000 } } }, {})
    await expect(waits.restart()).rejects.toMatchObject({ code: 'run.not_ended' })
    await waits.cancel()
  })
})

describe('a restart', () => {
  it('goes on from where a run was cancelled, once under one key', async () => {
    const run = await muster.runs.start(
      { steps: { ...order.steps, nap: { sleepMs: 60_000, after: ['second'] } }, output: order.output },
      { text: 'three' },
    )
    await until(run.get, ({ status }) => status === 'waiting')
    await run.cancel()
    await until(run.get, ended)
    const [again, same] = [await run.restart({ idempotencyKey: 'k' }), await run.restart({ idempotencyKey: 'k' })]
    expect(same.id).toBe(again.id)
    await until(again.get, ({ status }) => status === 'waiting')
    expect(writes(again.id)).toEqual([])
    await again.terminate()
  })

  it('of all that failed with one error does anew what failed, and nothing else', async () => {
    const broken = {
      steps: {
        first: { tool: 'world.write', input: { text: 'kept' } },
        pay: { tool: 'world.pay', input: { amount: { $ref: '#/steps/first/output/nothing' } } },
      },
    }
    const runs = await Promise.all(Array.from({ length: 3 }, () => muster.runs.start(broken, {})))
    for (const run of runs) await until(run.get, ended)
    const wanted = { error: 'plan.unknown_reference' }
    const listed = await muster.runs.list({ status: 'failed', ...wanted })
    expect(listed.runs.map(({ id }) => id).sort()).toEqual(runs.map(({ id }) => id).sort())
    const would = []
    for await (const acted of muster.runs.act('restart', { ...wanted, dryRun: true })) would.push(acted)
    expect(would).toHaveLength(3)
    expect(would.every(({ begun }) => begun === undefined)).toBe(true)
    const begun: string[] = []
    for (let i = 0; i < 2; i++)
      for await (const acted of muster.runs.act('restart', wanted)) begun.push(acted.begun ?? '')
    // Sent twice: each of the three was begun anew once, though those that were begun then have failed as well.
    const first = begun.slice(0, 3)
    expect(new Set(first).size).toBe(3)
    for (const id of first) {
      expect(await until(muster.runs.of(id).get, ended)).toMatchObject({
        status: 'failed',
        error: { code: wanted.error },
      })
      expect(writes(id)).toEqual([])
    }
  })
})
