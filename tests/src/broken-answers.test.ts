import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { openMemory } from '@muster/memory'
import { createModels, type Target } from '@muster/models'
import type { EntryOf, PlanData } from '@muster/protocol'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ended, type Harness, runCli, startHarness, until } from './harness.ts'

const price = { inputUsd: 3, cachedUsd: 3, outputUsd: 15 }
const policies = [{ file: 'all.cedar', text: 'permit (principal, action, resource);' }]
const LAST = 'and so it goes on.'

/** What the vendor has read and written, by its own count; by model. */
const counts: Record<string, { calls: number; inputTokens: number; outputTokens: number }> = {}
let vendor: Server
let harness: Harness
/** Told when an answer was written as far as it goes. */
let written: (model: string) => void = () => {}

const event = (value: { type?: string }) =>
  `${value.type ? `event: ${value.type}\n` : ''}data: ${JSON.stringify(value)}\n\n`

/** An answer that never comes to its end, of which the vendor has told what it has read and written. */
function half(path: string, model: string, input_tokens: number, output_tokens: number): string {
  if (path.endsWith('/messages')) {
    const begun = { id: 'msg', type: 'message', role: 'assistant', model, content: [] }
    const delta = { type: 'text_delta', text: LAST }
    return [
      { type: 'message_start', message: { ...begun, usage: { input_tokens, output_tokens: 1 } } },
      { type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } },
      { type: 'content_block_delta', index: 0, delta },
      { type: 'content_block_stop', index: 0 },
      { type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { output_tokens } },
    ]
      .map(event)
      .join('')
  }
  const usage = { prompt_tokens: input_tokens, completion_tokens: output_tokens }
  return event({ ...{ id: 'c', model, usage }, choices: [{ index: 0, delta: { content: LAST } }] } as object)
}

beforeAll(async () => {
  vendor = createServer(async (request, response: ServerResponse) => {
    let text = ''
    for await (const part of request) text += part
    const { model } = JSON.parse(text)
    const count = counts[model] ?? { calls: 0, inputTokens: 0, outputTokens: 0 }
    counts[model] = count
    const [input, output] = [100 + 7 * count.calls, 20 + 3 * count.calls]
    count.calls++
    count.inputTokens += input
    count.outputTokens += output
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write(half(request.url ?? '', model, input, output), () => {
      written(model)
      if (text.includes('break off')) response.end()
    })
  })
  await new Promise<void>((resolve) => vendor.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(vendor.address() as AddressInfo).port}`
  const chat = (model: string): Target => ({ model, baseUrl: `${url}/v1`, apiKey: 'k', price })
  const messages = (model: string): Target => ({ anthropic: { model, baseUrl: url }, apiKey: 'k', price })
  const models = createModels({
    routes: { default: chat('c'), chat: chat('c'), messages: messages('m') },
  })
  harness = await startHarness({}, { gateway: { models, policies: () => policies, lockMs: 1000 } })
  await harness.worker({
    MUSTER_MODELS: JSON.stringify({
      default: [{ anthropic: { model: 'agent', baseUrl: url }, key: 'VENDOR_KEY', price, timeoutMs: 60_000 }],
    }),
    VENDOR_KEY: 'k',
  })
})
afterAll(async () => {
  await harness.close()
  vendor.closeAllConnections()
  vendor.close()
})

async function stepsOf(run: string): Promise<EntryOf<'step.ended'>[]> {
  const steps: EntryOf<'step.ended'>[] = []
  for await (const { entry } of harness.muster.runs.of(run).events())
    if (entry.type === 'step.ended' && entry.kind === 'model') steps.push(entry)
  return steps
}

const asks = (prompt: string): PlanData => ({ steps: { ask: { model: 'default', prompt } } })

type How =
  | 'its server breaks off'
  | 'its client leaves'
  | 'an operator stops it'
  | 'its key is revoked'
  | 'is cancelled'

/** A client's stream, cut off in one of these ways once all was read; the run that it was. */
async function cut(path: string, route: string, how: How): Promise<string> {
  const made = await harness.muster.keys.create({ user: 'ann' })
  const left = new AbortController()
  const content = how === 'its server breaks off' ? 'break off' : 'go on'
  const response = await fetch(`${harness.url}/v1/${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${made.key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: route, stream: true, max_tokens: 99, messages: [{ role: 'user', content }] }),
    signal: left.signal,
  })
  const run = response.headers.get('x-muster-run') ?? ''
  let read = ''
  let isCut = false
  const decoder = new TextDecoder()
  try {
    for await (const bytes of response.body ?? []) {
      read += decoder.decode(bytes, { stream: true })
      if (isCut || !read.includes(LAST)) continue
      isCut = true
      if (how === 'its client leaves') left.abort()
      if (how === 'an operator stops it') await harness.muster.stops.set(`model:${route}`, { reason: 'too dear' })
      if (how === 'its key is revoked') await harness.muster.keys.revoke(made.id)
      if (how === 'is cancelled') await harness.muster.runs.cancel(run)
    }
  } catch (error) {
    // What is cut off is cut off.
    if (!isCut) throw error
  }
  if (how === 'an operator stops it') await harness.muster.stops.lift(`model:${route}`)
  await until(() => harness.muster.runs.get(run), ended)
  return run
}

describe('an answer that never came to its end', () => {
  const ways: How[] = [
    ...(['its server breaks off', 'its client leaves', 'an operator stops it'] as const),
    ...(['its key is revoked', 'is cancelled'] as const),
  ]
  const dialects = [
    ['passed on', 'chat/completions', 'chat', 'c'],
    ['passed on', 'messages', 'messages', 'm'],
    ['translated', 'chat/completions', 'messages', 'm'],
  ] as const

  it.each(dialects.flatMap((dialect) => ways.map((how) => [...dialect, how] as const)))(
    'costs what its vendor has counted: %s from %s to %s (%s) until %s',
    async (_, path, route, model, how) => {
      const before = { ...(counts[model] ?? { inputTokens: 0, outputTokens: 0 }) }
      const run = await cut(path, route, how)
      const { inputTokens, outputTokens } = counts[model] ?? before
      const used = { inputTokens: inputTokens - before.inputTokens, outputTokens: outputTokens - before.outputTokens }
      const isLeft = how === 'its client leaves' || how === 'its key is revoked' || how === 'is cancelled'
      const costUsd = (used.inputTokens * price.inputUsd + used.outputTokens * price.outputUsd) / 1e6
      const [step] = await stepsOf(run)
      expect(step).toMatchObject({ status: isLeft ? 'cancelled' : 'failed', usage: used, model })
      expect(step?.costUsd).toBeCloseTo(costUsd, 12)
      const { usage, costUsd: ofRun } = await harness.muster.runs.get(run)
      expect({ usage, costUsd: ofRun }).toMatchObject({ usage: used, costUsd: step?.costUsd })
      const cli = { MUSTER_URL: harness.url, MUSTER_KEY: harness.key }
      expect(await runCli(['verify', run], cli)).toMatchObject({ code: 0 })
      const shown = `\\$${costUsd.toFixed(4)}`.replace('.', '\\.')
      expect((await runCli(['trace', run], cli)).out).toMatch(new RegExp(` model .*${shown}`))
    },
  )

  it('of a run’s own step costs that too, with each attempt, and where it is cancelled', async () => {
    const broken = await harness.muster.runs.start(asks('break off'), {})
    await expect(broken.result()).rejects.toMatchObject({ code: 'model.unavailable' })
    const attempts = await stepsOf(broken.id)
    expect(attempts.length).toBeGreaterThan(1)
    const isThere = new Promise<string>((resolve) => {
      written = resolve
    })
    const cancelled = await harness.muster.runs.start(asks('go on'), {})
    // Watched, it is told of what it has read.
    expect(await isThere).toBe('agent')
    for await (const event of cancelled.events({ deltas: true }))
      if ('delta' in event && event.delta.text.includes(LAST)) break
    await harness.muster.runs.cancel(cancelled.id)
    await until(cancelled.get, ended)
    const [cutOff] = await stepsOf(cancelled.id)
    expect(cutOff).toMatchObject({ status: 'cancelled', model: 'agent' })
    const sum = [...attempts, ...(cutOff ? [cutOff] : [])].reduce(
      (sum, { usage }) => ({
        calls: sum.calls + 1,
        inputTokens: sum.inputTokens + (usage?.inputTokens ?? 0),
        outputTokens: sum.outputTokens + (usage?.outputTokens ?? 0),
      }),
      { calls: 0, inputTokens: 0, outputTokens: 0 },
    )
    expect(sum).toEqual(counts.agent)
  })

  it('is in the totals, to the last token, and where they are made anew from the archive', async () => {
    const nanoUsd = ({ inputTokens, outputTokens }: { inputTokens: number; outputTokens: number }) =>
      (inputTokens * price.inputUsd + outputTokens * price.outputUsd) * 1000
    const all = Object.entries(counts).map(([name, count]) => ({
      ...{ name, ...count, usd: nanoUsd(count) / 1e9, cachedTokens: 0 },
    }))
    const byName = (a: { name: string }, b: { name: string }) => a.name.localeCompare(b.name)
    const told = async () => (await harness.muster.costs.list({ by: 'model' })).costs.sort(byName)
    expect(
      await until(told, (costs) => costs.reduce((sum, { calls }) => sum + calls, 0) === sumOf(all, 'calls')),
    ).toEqual(all.sort(byName))
    const memory = await openMemory({ table: 'muster', endpoint: harness.dynamoEndpoint })
    const { runs } = await harness.muster.runs.list()
    for (const { id } of runs)
      await until(
        () => memory.archive.get('acme', id),
        (run) => run !== undefined,
      )
    memory.close()
    const redis = new Redis(harness.redisUrl)
    expect(await redis.unlink(await redis.keys('*:costs:*'))).toBeGreaterThan(0)
    redis.disconnect()
    expect(await told()).toEqual([])
    const cli = { MUSTER_URL: harness.url, MUSTER_KEY: harness.key }
    expect(await runCli(['costs', 'rebuild'], cli)).toMatchObject({ code: 0 })
    expect(await told()).toEqual(all)
  })
})

function sumOf<Name extends string>(all: readonly { [name in Name]: number }[], name: Name): number {
  return all.reduce((sum, one) => sum + one[name], 0)
}
