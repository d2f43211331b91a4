import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { LLMock } from '@copilotkit/aimock'
import { loadPolicies } from '@muster/governance'
import { openMemory } from '@muster/memory'
import { createModels } from '@muster/models'
import { startWorker } from '@muster/runtime'
import { agent, collect, createMuster, plan, ref, tool } from '@muster/sdk'
import { createServer, newApiKey } from '@muster/server'
import { startDynamo, startRedis } from '@muster/stack'
import { pino } from 'pino'
import { z } from 'zod'

const redis = await startRedis({ dir: mkdtempSync(join(tmpdir(), 'm-')) })
const dynamo = await startDynamo({})
console.log(redis.url, dynamo.endpoint)
const memory = await openMemory({ endpoint: dynamo.endpoint, table: 'muster' })
const add = tool({ name: 'math.add', effect: 'read', input: z.object({ a: z.number(), b: z.number() }), output: z.object({ sum: z.number() }), run: ({ a, b }) => ({ sum: a + b }) })
const calc = agent({ name: 'calc', version: '1.0.0', model: 'default', instructions: 'add', tools: [add], output: z.object({ answer: z.number() }), input: z.string() })
const p = plan({
  name: 'sums', version: '1.0.0', input: z.object({ n: z.number() }),
  run: async (step, { n }) => {
    const xs = await step.map(Array.from({ length: n }, (_, i) => i), (i) => step.tool(add, { a: i, b: i }))
    const t = await step.tool(add, { a: ref(xs[0], '/sum'), b: 5 })
    const c = await step.agent(calc, 'hello', { until: 'parked' })
    return { xs: xs.map((x) => x.sum), t, c }
  },
})
const app = collect({ add, calc, p })
const mock = new LLMock({ port: 0 })
mock.on({}, (req) => {
  const last = req.messages.at(-1)
  if (last?.role === 'tool') return { content: JSON.stringify({ answer: JSON.parse(String(last.content)).output.sum }), usage: { prompt_tokens: 10, completion_tokens: 5 } } as never
  return { toolCalls: [{ name: 'math_add', arguments: JSON.stringify({ a: 2, b: 3 }) }] }
})
const url = await mock.start()
const policy = loadPolicies([{ file: 'p', text: '@id("all") permit(principal, action, resource);' }], app.manifest)
const worker = await startWorker({ redisUrl: redis.url, namespace: 'm', app, policy, models: createModels({ routes: { default: { model: 'scripted', baseUrl: `${url}/v1`, apiKey: 'x', free: true } } }), memory, concurrency: 10, lockMs: 2000, journalTtlS: 0, log: pino({ level: 'info' }) })
const { key, stored } = newApiKey({ id: 'dev', tenant: 'dev', user: 'me', roles: ['*'] })
const server = await createServer({ redisUrl: redis.url, namespace: 'm', memory, keys: [stored] })
const at = await server.listen('127.0.0.1', 0)
const muster = createMuster({ url: at, key })
const run = await muster.runs.start(calc, 'what is 2+3')
for await (const e of run.events()) console.log(e.seq, JSON.stringify(e.entry).slice(0, 200), JSON.stringify(e.content)?.slice(0, 100))
console.log(await run.result())
const r2 = await muster.runs.start(p, { n: 3 })
setTimeout(async () => { console.log(JSON.stringify(await r2.get())); const rr = (await import('@muster/journal')); }, 2000)
for await (const e of r2.events()) console.log(e.seq, e.entry.type, 'step' in e.entry ? e.entry.step : '')
console.log(JSON.stringify(await r2.result()))
const r3 = await muster.runs.start({ steps: { a: { tool: 'math.add', input: { a: 1, b: { $ref: '#/input/x' } } }, b: { tool: 'math.add', input: { a: { $ref: '#/steps/a/output/sum' }, b: 1 } } } }, { x: 41 })
console.log(await r3.result())
const t0 = performance.now()
await Promise.all(Array.from({ length: 300 }, async () => (await muster.runs.start({ steps: { a: { tool: 'math.add', input: { a: 1, b: 2 } } } } as never, {})).result()))
console.log('300 runs', performance.now() - t0)
console.log(await muster.runs.list({ limit: 3 }))
await new Promise((r) => setTimeout(r, 500))
console.log((await muster.runs.get(r2.id)).status, 'archived')
console.log('closing'); await server.close(); console.log('server'); await worker.close(500); console.log('worker'); memory.close(); await mock.stop(); console.log('mock'); await redis.stop(); console.log('redis'); await dynamo.stop(); console.log('dynamo'); setTimeout(() => console.log(process.getActiveResourcesInfo()), 1000).unref()
