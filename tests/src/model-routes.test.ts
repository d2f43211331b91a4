import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { openMemory } from '@muster/memory'
import { createModels } from '@muster/models'
import type { CostsBy, EntryOf } from '@muster/protocol'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { actor } from './fixtures/app.ts'
import { type Harness, runCli, startHarness, until } from './harness.ts'

const reasoning = { type: 'reasoning', id: 'rs_1', summary: [], encrypted_content: 'c2VhbGVk' }
const secret = 'sk-of-the-first-target'
const price = { inputUsd: 10, cachedUsd: 1, outputUsd: 20 }

let harness: Harness
let first: Server
const bodies: { input: unknown[] }[] = []
/** Calls that it answers before it is overloaded. */
let answers = 1

beforeAll(async () => {
  // Speaks OpenAI Responses.
  first = createServer(async (request, response) => {
    let text = ''
    for await (const part of request) text += part
    bodies.push(JSON.parse(text))
    if (bodies.length > answers) {
      response.writeHead(503, { 'content-type': 'application/json' })
      response.end(JSON.stringify({ error: { message: `overloaded, ${request.headers.authorization}` } }))
      return
    }
    const call = { type: 'function_call', call_id: 'c1', name: 'math_add', arguments: '{"a":1,"b":2}' }
    const usage = {
      ...{ input_tokens: 100, output_tokens: 50, total_tokens: 150 },
      ...{ input_tokens_details: { cached_tokens: 0 }, output_tokens_details: { reasoning_tokens: 40 } },
    }
    const whole = { id: 'r', model: 'thinker', status: 'completed', output: [reasoning, call], usage }
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.end(
      `event: response.completed\ndata: ${JSON.stringify({ type: 'response.completed', response: whole })}\n\n`,
    )
  })
  await new Promise<void>((resolve) => first.listen(0, '127.0.0.1', resolve))
  const committed = { usd: 1, from: '2026-01-01', until: '2028-12-31' }
  const baseUrl = `http://127.0.0.1:${(first.address() as AddressInfo).port}/v1`
  // Who is paid for what goes on is told by the gateway's routes.
  const target = {
    model: 'thinker',
    baseUrl,
    api: 'responses',
    apiKey: 'none',
    provider: 'thinkers',
    free: true,
  } as const
  const policies = [{ file: 'all.cedar', text: 'permit (principal, action, resource);' }]
  harness = await startHarness(
    {
      MUSTER_COMMITMENTS: JSON.stringify({
        thinkers: { provider: 'thinkers', ...committed, tenant: 'acme' },
        everyone: { provider: 'thinkers', ...committed },
      }),
    },
    { gateway: { models: createModels({ routes: { default: target } }), policies: () => policies, lockMs: 1000 } },
  )
  await harness.worker({
    FIRST_KEY: secret,
    MUSTER_MODELS: JSON.stringify({
      default: [
        {
          openai: { model: 'thinker', baseUrl, api: 'responses' },
          ...{ key: 'FIRST_KEY', price, provider: 'thinkers', when: { labels: { without: ['pii'] } } },
        },
        {
          when: { labels: { without: ['secret'] } },
          openai: { model: 'scripted', baseUrl: `${harness.modelUrl}/v1` },
          price: { inputUsd: 0, cachedUsd: 0, outputUsd: 0 },
        },
      ],
    }),
  })
})
afterAll(async () => {
  await harness.close()
  first.closeAllConnections()
  first.close()
})

describe('a route of two targets', () => {
  it('goes over to the second within a step, and the journal and the trace say which answered and why', async () => {
    const turns = [{ calls: [] }, { answer: 3 }]
    const run = await harness.muster.runs.start(actor, { turns })
    expect(await run.result()).toEqual({ answer: 3 })
    const [one, two] = bodies
    expect(one?.input.map((item) => (item as { role: string }).role)).toEqual(['system', 'user'])
    // What was thought went through the journal, and came back to who had thought it.
    expect(two?.input[2]).toEqual(reasoning)
    const steps: EntryOf<'step.ended'>[] = []
    for await (const { entry } of run.events())
      if (entry.type === 'step.ended' && entry.kind === 'model') steps.push(entry)
    const host = `127.0.0.1:${(first.address() as AddressInfo).port} thinker`
    const scripted = `${new URL(harness.modelUrl).host} scripted`
    expect(steps).toMatchObject([
      { v: 3, model: 'thinker', via: { target: host }, usage: { reasoningTokens: 40 } },
      {
        v: 3,
        via: { target: scripted, passed: [{ target: host, code: 'model.unavailable' }] },
        costUsd: 0,
      },
    ])
    expect(steps[0]?.costUsd).toBeCloseTo((100 * 10 + 50 * 20) / 1e6, 12)
    expect((await run.get()).costUsd).toBeCloseTo(steps[0]?.costUsd ?? 0, 12)
    const cli = { MUSTER_URL: harness.url, MUSTER_KEY: harness.key }
    const { out } = await runCli(['trace', run.id], cli)
    expect(out).toContain(`via ${scripted}, not ${host} (model.unavailable)`)
    expect(await runCli(['verify', run.id], cli)).toMatchObject({ code: 0 })
    const { out: json } = await runCli(['trace', run.id, '--json'], cli)
    expect(json).toContain('"passed"')
    expect(json).not.toContain(secret)
  })

  it('may have labels that are for one of them alone, or for none', async () => {
    const asked = bodies.length
    const run = await harness.muster.runs.start(actor, { turns: [{ answer: 1 }] }, { labels: ['pii'] })
    expect(await run.result()).toEqual({ answer: 1 })
    for await (const { entry } of run.events())
      if (entry.type === 'step.ended' && entry.kind === 'model')
        expect(entry.via?.passed).toMatchObject([{ code: 'route.refused' }])
    const refused = await harness.muster.runs.start(actor, { turns: [] }, { labels: ['pii', 'secret'] })
    await expect(refused.result()).rejects.toMatchObject({ code: 'route.refused' })
    expect(bodies).toHaveLength(asked)
  })

  it('is in the costs of who is paid, which are those of the journals, and draws on a commitment', async () => {
    const sum = { calls: 0, inputTokens: 0, outputTokens: 0, cachedTokens: 0 }
    let nanoUsd = 0
    const { runs } = await harness.muster.runs.list()
    for (const { id } of runs)
      for await (const { entry } of harness.muster.runs.of(id).events()) {
        if (entry.type !== 'step.ended' || entry.kind !== 'model' || !entry.usage) continue
        nanoUsd += Math.round((entry.costUsd ?? 0) * 1e9)
        sum.calls++
        for (const amount of ['inputTokens', 'outputTokens', 'cachedTokens'] as const)
          sum[amount] += entry.usage[amount]
      }
    const total = { usd: nanoUsd / 1e9, ...sum }
    expect(total).toMatchObject({ calls: 3, usd: 0.002 })
    const of = (by: CostsBy, period: 'day' | 'month' = 'month') => harness.muster.costs.list({ by, period })
    await vi.waitFor(async () => expect((await of('model')).total).toEqual(total), { timeout: 20_000, interval: 50 })
    for (const by of ['model', 'provider', 'agent', 'user'] as const) expect((await of(by)).total).toEqual(total)
    const thinkers = { usd: 0.002, calls: 1, inputTokens: 100, outputTokens: 50, cachedTokens: 0 }
    expect((await of('provider')).costs).toMatchObject([
      { name: 'thinkers', ...thinkers },
      { usd: 0, calls: 2 },
    ])
    expect((await of('agent')).costs).toMatchObject([{ name: 'actor' }])
    const [drawn] = await harness.muster.costs.commitments()
    expect(drawn).toMatchObject({ name: 'thinkers', spentUsd: 0.002, leftUsd: 0.998 })
    const cli = { MUSTER_URL: harness.url, MUSTER_KEY: harness.key }
    const { out } = await runCli(['costs', '--by', 'provider'], cli)
    expect(out).toMatch(/thinkers .* \$0\.0020 .* 100 .* 50/)
    const json = await runCli(['costs', '--by', 'user', '--day', '--json'], cli)
    expect(JSON.parse(json.out)).toMatchObject({ by: 'user', period: 'day', costs: [{ name: 'acme-user' }] })
    expect((await runCli(['commitments'], cli)).out).toMatch(/thinkers .* \$0\.0020 .* \$1\.0000/)
    const routes = {
      default: { targets: [{ openai: { model: 'gpt-5' }, price }, { openai: { model: 'gpt-5' } }], order: 'cheapest' },
    }
    const own = [{ model: 'gpt-5', ...price, inputUsd: 7, since: '2026-01-01' }]
    const env = { OPENAI_API_KEY: 'k', MUSTER_MODELS: JSON.stringify(routes), MUSTER_PRICES: JSON.stringify(own) }
    const shown = (await runCli(['models'], { ...cli, ...env })).out
    expect(shown).toMatch(
      /default \(cheapest\) .* openai .* \$10 .* \$20 .* target.*\$7 .* 2026-01-01 .* MUSTER_PRICES/s,
    )
    expect(await runCli(['costs', '--by', 'shoe'], cli)).toMatchObject({ code: 1 })
    // One that waits is counted as it is, and once when it has ended.
    answers = bodies.length + 1
    const turns = [{ calls: [] }, { calls: [{ name: 'world_pay', arguments: { amount: 2000 } }] }, { answer: 'paid' }]
    const waiting = await harness.muster.runs.start(actor, { turns })
    const [asks] = await until(
      async () => (await waiting.get()).waiting ?? [],
      (all) => all.length > 0,
    )
    expect((await of('model')).total).toMatchObject({ calls: 5 })
    expect((await of('agent')).costs).toMatchObject([{ name: 'actor', calls: 5 }])
    for (const one of await harness.muster.costs.commitments()) expect(one.spentUsd).toBe(0.004)
    await harness.muster.runs.approve(waiting.id, {
      step: asks?.step ?? '',
      digest: asks?.digest ?? '',
      verdict: 'approve',
    })
    await waiting.result()
    const runCalls = async () => (await of('model')).total.calls
    expect(await runCalls()).toBe(6)
    // What is archived was counted before.
    const memory = await openMemory({ table: 'muster', endpoint: harness.dynamoEndpoint })
    await until(
      () => memory.archive.get('acme', waiting.id),
      (run) => run !== undefined,
    )
    memory.close()
    expect(await runCalls()).toBe(6)
    // Lost, and made anew from the archive; again, it changes nothing.
    const whole = await of('provider')
    const redis = new Redis(harness.redisUrl)
    const lost = await redis.keys('*:costs:*')
    expect(await redis.unlink(lost)).toBeGreaterThan(0)
    redis.disconnect()
    expect(await runCalls()).toBe(0)
    for (let i = 0; i < 2; i++) {
      const made = await runCli(['costs', 'rebuild', '--json'], cli)
      expect(JSON.parse(made.out)).toMatchObject({ done: true, runs: 4 })
      expect(await of('provider')).toEqual(whole)
    }
    const refused = Array.fromAsync(harness.people.ann.costs.rebuild())
    await expect(refused).rejects.toMatchObject({ code: 'auth.forbidden' })
    const bad = harness.muster.costs.list({ period: 'day', date: '2026-13-41' })
    await expect(bad).rejects.toMatchObject({ code: 'request.invalid' })
    await expect(harness.stranger.costs.list()).rejects.toMatchObject({ code: 'auth.forbidden' })
  })

  it('is refused before it starts where a variable with a key is missing', async () => {
    const MUSTER_MODELS = JSON.stringify({ default: [{ openai: { model: 'm' }, key: 'NO_SUCH_KEY' }] })
    await expect(harness.worker({ MUSTER_MODELS })).rejects.toThrow(
      'MUSTER_MODELS/default/0/key: there is no variable NO_SUCH_KEY with the key',
    )
  })
})
