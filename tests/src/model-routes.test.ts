import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { openMemory } from '@muster/memory'
import { createModels } from '@muster/models'
import { COSTS_BY, type CostsBy, type EntryOf } from '@muster/protocol'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { actor } from './fixtures/app.ts'
import { price } from './fixtures/scripted-model.ts'
import { type Harness, runCli, startHarness, until } from './harness.ts'

const reasoning = { type: 'reasoning', id: 'rs_1', summary: [], encrypted_content: 'c2VhbGVk' }
const secret = 'sk-of-the-first-target'

const home = mkdtempSync(join(tmpdir(), 'muster-routes-'))
const policies = `${readFileSync(fileURLToPath(new URL('./fixtures/policy.cedar', import.meta.url)), 'utf8')}
@id("board-at-home")
forbid (principal, action == Action::"model:invoke", resource)
when { context.labels.contains("board") && context.region != "eu" };
`

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
  const ledger = { MUSTER_LEDGER_KEY_FILE: join(home, 'ledger.pem'), MUSTER_LEDGER_ORIGIN: 'log.example' }
  expect(await runCli(['ledger', 'key', ledger.MUSTER_LEDGER_KEY_FILE], ledger)).toMatchObject({ code: 0 })
  writeFileSync(join(home, 'policy.cedar'), policies)
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
  const all = [{ file: 'all.cedar', text: 'permit (principal, action, resource);' }]
  harness = await startHarness(
    {
      ...ledger,
      MUSTER_POLICY: join(home, 'policy.cedar'),
      MUSTER_COMMITMENTS: JSON.stringify({
        thinkers: { provider: 'thinkers', ...committed, tenant: 'acme' },
        everyone: { provider: 'thinkers', ...committed },
      }),
    },
    { gateway: { models: createModels({ routes: { default: target } }), policies: () => all, lockMs: 1000 } },
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
          ...{ when: { labels: { without: ['secret'] } }, region: 'eu' },
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
  rmSync(home, { recursive: true })
})

/** The first call of a model in a run: what was intended, and how it ended. */
async function entriesOf(run: string) {
  let intent: EntryOf<'step.intent'> | undefined
  for await (const { entry } of harness.muster.runs.of(run).events()) {
    if (entry.type === 'step.intent' && entry.kind === 'model') intent ??= entry
    if (entry.type === 'step.ended' && entry.kind === 'model') return [intent, entry] as const
  }
  return [intent, undefined] as const
}

/** The days of a month such as 2026-11. */
function daysOf(month: string): string[] {
  const [year = 0, number = 0] = month.split('-').map(Number)
  const length = new Date(Date.UTC(year, number, 0)).getUTCDate()
  return Array.from({ length }, (_, i) => `${month}-${String(i + 1).padStart(2, '0')}`)
}

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
    expect(out).toContain(`via ${scripted} (eu), not ${host} (model.unavailable)`)
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
    for (const by of COSTS_BY) expect((await of(by)).total).toEqual(total)
    const { date: today, days: only } = await of('team', 'day')
    expect(only).toEqual([{ date: today, ...total }])
    const { days } = await of('team')
    expect(days.map(({ date }) => date)).toEqual(daysOf(today.slice(0, 7)))
    expect(days.filter(({ calls }) => calls > 0)).toEqual(only)
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
    expect(shown).not.toContain('no price')
    const unknown = { ...env, MUSTER_MODELS: '{"default":[{"openai":{"model":"gpt-unheard-of"}}]}' }
    expect((await runCli(['models'], { ...cli, ...unknown })).out).toMatch(/no price.*no price: .* MUSTER_PRICES/s)
    expect((await runCli(['costs', '--by', 'key'], cli)).out).toMatch(/key .*acme-key .* \$0\.0020 /s)
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

  it('may be denied one of them by policy, and replay tells by an export where a call may have gone', async () => {
    const asked = bodies.length
    const run = await harness.muster.runs.start(actor, { turns: [{ answer: 1 }] }, { labels: ['board'] })
    await run.result()
    expect(bodies).toHaveLength(asked)
    const [intent, ended] = await entriesOf(run.id)
    const [there = '', here = ''] = intent?.decision.targets?.map(({ name }) => name) ?? []
    const where = { region: 'eu', effect: 'allow', policies: ['all'] }
    expect(intent?.decision).toMatchObject({
      ...{ effect: 'allow', policies: ['all'] },
      targets: [{ name: there, provider: 'thinkers', region: '', effect: 'deny', policies: ['board-at-home'] }, where],
    })
    expect(ended?.via).toEqual({ target: here, region: 'eu', passed: [{ target: there, code: 'policy.denied' }] })

    const cli = { MUSTER_URL: harness.url, MUSTER_KEY: harness.key, MUSTER_HOME: home }
    await until(
      () => harness.muster.ledger.receipt(run.id).catch(() => undefined),
      (receipt) => receipt !== undefined,
      60_000,
    )
    const to = join(home, 'export')
    expect(await runCli(['audit', 'export', '--to', to, '--run', run.id], cli)).toMatchObject({ code: 0 })
    const file = join(to, 'runs', `${run.id}.jsonl`)
    const before = readFileSync(file, 'utf8')
    const replayed = async (from: string, with_: string) => {
      writeFileSync(file, before.replaceAll(from.replaceAll('"', '\\"'), with_.replaceAll('"', '\\"')))
      const { code, out } = await runCli(['audit', 'verify', to, '--replay', '--json'], cli)
      const { conduct } = JSON.parse(out)
      return { code, ...conduct, breaches: conduct.breaches.map(({ message }: { message: string }) => message) }
    }
    const whole = await replayed('', '')
    expect(whole).toMatchObject({ code: 0, breaches: [], notCheckable: [], same: whole.decisions })
    // As if it had been allowed there.
    const { breaches } = await replayed(
      '"effect":"deny","policies":["board-at-home"]',
      '"effect":"allow","policies":["all"]',
    )
    expect(breaches).toEqual([
      `step 1.model at ${there}: recorded is allow, and by its policies it is deny (board-at-home)`,
    ])
    // As if it had been asked, and as if it had answered.
    const went = `step 1.model went to ${there}, and nothing before it allowed that`
    expect((await replayed('"code":"policy.denied"', '"code":"model.unavailable"')).breaches).toEqual([went])
    expect((await replayed(`"via":{"target":"${here}"`, `"via":{"target":"${there}"`)).breaches).toEqual([went])
  })

  it('is refused before it starts where a variable with a key is missing', async () => {
    const MUSTER_MODELS = JSON.stringify({ default: [{ openai: { model: 'm' }, key: 'NO_SUCH_KEY' }] })
    await expect(harness.worker({ MUSTER_MODELS })).rejects.toThrow(
      'MUSTER_MODELS/default/0/key: there is no variable NO_SUCH_KEY with the key',
    )
  })
})
