import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { EntryOf } from '@muster/protocol'
import { PromptCache } from '@muster/stack/prompt-cache'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { viewer } from './fixtures/app.ts'
import { type Harness, runCli, startHarness, unhurried } from './harness.ts'

const price = { inputUsd: 3, cachedUsd: 0.3, outputUsd: 15, cacheWriteUsd: 3.75 }
let harness: Harness
let vendor: Server
/** What the vendor has counted. */
let counted: ReturnType<PromptCache['ofMessages']>[] = []
let cache = new PromptCache()

beforeAll(async () => {
  harness = await startHarness()
  // Speaks Anthropic's Messages, has two pictures shown to it, and then answers.
  vendor = createServer(async (request, response) => {
    let text = ''
    for await (const part of request) text += part
    const one = cache.ofMessages(JSON.parse(text))
    counted.push(one)
    const isLast = counted.length === 3
    const call = { type: 'tool_use', id: `t${counted.length}`, name: 'world_photo', input: {} }
    const input = {
      input_tokens: one.fresh,
      cache_read_input_tokens: one.read,
      cache_creation_input_tokens: one.written,
    }
    const usage = { ...input, output_tokens: 7 }
    const events = [
      { type: 'message_start', message: { type: 'message', model: 'claude', content: [], usage } },
      {
        type: 'content_block_start',
        index: 0,
        content_block: isLast ? { type: 'text', text: 'I have seen it' } : call,
      },
      { type: 'content_block_stop', index: 0 },
      { type: 'message_delta', delta: { stop_reason: isLast ? 'end_turn' : 'tool_use' }, usage },
      { type: 'message_stop' },
    ]
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.end(events.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join(''))
  })
  await new Promise<void>((resolve) => vendor.listen(0, '127.0.0.1', resolve))
})
afterAll(async () => {
  await harness.close()
  vendor.closeAllConnections()
  vendor.close()
})

const total = async () => (await harness.muster.costs.list({ by: 'model', period: 'month' })).total

/** What each turn of a run has used and cost, by its journal. */
async function turns(promptCache: boolean) {
  const { calls } = await total()
  cache = new PromptCache()
  counted = []
  const baseUrl = `http://127.0.0.1:${(vendor.address() as AddressInfo).port}`
  const target = { anthropic: { model: 'claude', baseUrl }, key: 'VENDOR_KEY', price, promptCache }
  const MUSTER_MODELS = JSON.stringify({ default: [target], eyes: [target] })
  await harness.worker({ ...unhurried, VENDOR_KEY: 'key-of-vendor', MUSTER_MODELS })
  const run = await harness.muster.runs.start(viewer, 'What is there? '.repeat(100))
  expect(await run.result()).toBe('I have seen it')
  await vi.waitFor(async () => expect((await total()).calls).toBe(calls + 3), { timeout: 20_000 })
  await harness.killWorkers()
  const ended: EntryOf<'step.ended'>[] = []
  const journal: unknown[] = []
  for await (const { entry } of run.events()) {
    journal.push(entry)
    if (entry.type === 'step.ended' && entry.kind === 'model') ended.push(entry)
  }
  // They are no part of what was said.
  expect(JSON.stringify(journal)).not.toMatch(/cache_control|"cache"|isMarked/)
  const told = ended.map(({ usage, costUsd = 0 }) => ({ usage, costUsd }))
  const { costUsd } = await run.get()
  expect(costUsd).toBeCloseTo(
    told.reduce((sum, one) => sum + one.costUsd, 0),
    9,
  )
  return { run: run.id, turns: told, costUsd }
}

it('the turns of an agent read what those before had written, and cost what the vendor says, to the last token', async () => {
  const marked = await turns(true)
  for (const [i, { usage, costUsd }] of marked.turns.entries()) {
    const { fresh = 0, read = 0, written = 0 } = counted[i] ?? {}
    expect(usage).toMatchObject({ inputTokens: fresh + read + written, cachedTokens: read, cacheWriteTokens: written })
    expect(costUsd).toBeCloseTo((fresh * 3 + read * 0.3 + written * 3.75 + 7 * 15) / 1e6, 9)
    expect(fresh).toBe(0)
    expect(read).toBe(i === 0 ? 0 : (counted[i - 1]?.read ?? 0) + (counted[i - 1]?.written ?? 0))
  }
  const cli = { MUSTER_URL: harness.url, MUSTER_KEY: harness.key }
  expect(await runCli(['verify', marked.run], cli)).toMatchObject({ code: 0 })
  const unmarked = await turns(false)
  expect(unmarked.turns).toHaveLength(3)
  for (const [i, { usage, costUsd }] of unmarked.turns.entries()) {
    expect(usage).toMatchObject({ inputTokens: marked.turns[i]?.usage?.inputTokens, cachedTokens: 0 })
    if (i > 0) expect(marked.turns[i]?.costUsd).toBeLessThan(costUsd)
  }
  expect(marked.costUsd).toBeLessThan(unmarked.costUsd)
  const nano = (usd: number) => Math.round(usd * 1e9)
  const sum = [...marked.turns, ...unmarked.turns].reduce((sum, { costUsd }) => sum + nano(costUsd), 0)
  const cachedTokens = marked.turns.reduce((sum, { usage }) => sum + (usage?.cachedTokens ?? 0), 0)
  expect(await total()).toMatchObject({ calls: 6, usd: sum / 1e9, cachedTokens })
}, 60_000)
