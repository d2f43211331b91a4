import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { NewRun } from '@muster/journal'
import type { Memory } from '@muster/memory'
import { createModels } from '@muster/models'
import type { Entry, EntryOf } from '@muster/protocol'
import { agent, collect, tool } from '@muster/sdk'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { z } from 'zod'
import { entries, stopMemory, stopRedis, theMemory, withWorker } from '../fixture.ts'

let asked = 0
/** A server of Chat Completions: has the tool called, then answers with how often it was asked. */
const server = createServer(async (request, response) => {
  let body = ''
  for await (const piece of request) body += piece
  asked++
  const call = { id: 'c1', type: 'function', function: { name: 'look', arguments: '{}' } }
  const isFirst = !body.includes('"role":"tool"')
  const message = {
    role: 'assistant',
    ...(isFirst ? { content: null, tool_calls: [call] } : { content: `of ${asked}` }),
  }
  const usage = { prompt_tokens: 1000, completion_tokens: 100, total_tokens: 1100 }
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify({ id: 'x', object: 'chat.completion', model: 'm', choices: [{ message }], usage }))
})

let memory: Memory
let models: ReturnType<typeof createModels>
let now = Date.now()

beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`
  const target = { model: 'm', baseUrl, apiKey: 'k', price: { inputUsd: 1, cachedUsd: 1, outputUsd: 1 } }
  models = createModels({ routes: { default: target, other: { ...target, effort: 'low' } } })
  memory = await theMemory({ clock: () => now })
})
afterAll(async () => {
  server.close()
  await stopMemory()
  await stopRedis()
})

const open = z.object({})
const look = tool({ name: 'look', effect: 'read', input: open, output: open, run: () => ({}) })
const about = { version: '1', model: 'default', instructions: 'Look.', tools: [look], input: open }
const cache = { ttl: '1h' as const }
const app = collect({
  look,
  same: agent({ ...about, name: 'same', cache }),
  elsewhere: agent({ ...about, name: 'elsewhere', model: 'other', cache }),
  always: agent({ ...about, name: 'always' }),
})

it('an identical call is answered as the first was, in its tenant and of its subject, until it is erased or old', async () => {
  await withWorker(app, { models, memory }, async (journal, start) => {
    /** How often the model was asked, and what the run came to. */
    async function run(name: string, extra: Partial<NewRun> = {}) {
      const before = asked
      const id = await start('', { definition: { kind: 'agent', name, version: '1', hash: '' }, ...extra })
      const all = await entries(journal, id)
      const steps = all.filter((one: Entry): one is EntryOf<'step.ended'> => one.type === 'step.ended')
      const end = all.at(-1)
      expect(end).toMatchObject({ status: 'succeeded' })
      return { id, times: asked - before, end, models: steps.filter(({ kind }) => kind === 'model') }
    }

    const first = await run('same')
    expect(first).toMatchObject({ times: 2, end: { costUsd: 0.0022, usage: { inputTokens: 2000 } } })
    for (const step of first.models) expect(step).not.toHaveProperty('cached')
    const second = await run('same')
    expect(second).toMatchObject({ times: 0, end: { costUsd: 0, usage: { inputTokens: 0, outputTokens: 0 } } })
    expect(second.models).toMatchObject([
      { cached: true, costUsd: 0, model: 'm', v: 3 },
      { cached: true, costUsd: 0 },
    ])

    expect(await run('always')).toMatchObject({ times: 2 })
    expect(await run('elsewhere')).toMatchObject({ times: 2 })
    expect(await run('same', { tenant: 'other' })).toMatchObject({ times: 2 })
    expect(await run('same', { subject: 'ann' })).toMatchObject({ times: 2 })
    expect(await run('same', { subject: 'ann' })).toMatchObject({ times: 0 })

    await memory.keys.destroy('t', { subject: 'ann' })
    expect(await run('same', { subject: 'ann' })).toMatchObject({ times: 2 })
    await memory.keys.destroy('t', { run: first.id })
    expect(await run('same')).toMatchObject({ times: 2 })
    expect(await run('same')).toMatchObject({ times: 0 })
    now += 3_600_001
    expect(await run('same')).toMatchObject({ times: 2 })
  })
}, 60_000)

it('without the store the model is asked, and what a guardrail found is journaled', async () => {
  const { answers } = memory
  const lost = { find: () => Promise.reject(new Error('away')), keep: () => Promise.reject(new Error('away')) }
  const away = { ...memory, answers: { ...answers, ...lost } }
  const checked: typeof models = {
    ...models,
    invoke: async (route, request) => ({ ...(await models.invoke(route, request)), guardrail: { 'pii.EMAIL': 2 } }),
  }
  await withWorker(app, { models: checked, memory: away }, async (journal, start) => {
    const before = asked
    const id = await start('', { definition: { kind: 'agent', name: 'same', version: '1', hash: '' } })
    const all = await entries(journal, id)
    expect(all.at(-1)).toMatchObject({ status: 'succeeded' })
    expect(all.find((one) => one.type === 'step.ended')).toMatchObject({ guardrail: { 'pii.EMAIL': 2 }, v: 3 })
    expect(asked - before).toBe(2)
  })
}, 60_000)
