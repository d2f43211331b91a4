import Anthropic from '@anthropic-ai/sdk'
import { API_KEY, bedrockServer, refuse, type Seen } from '@muster/stack/bedrock-server'
import { PromptCache } from '@muster/stack/prompt-cache'
import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { ModelMessage, ModelReply, ModelRequest, Part } from './message.ts'
import { createModels, type Models } from './models.ts'
import { costOf } from './price.ts'
import { gateway, says, vendor } from './relay/fixture.ts'
import type { Target } from './target.ts'

const price = { inputUsd: 3, cachedUsd: 0.3, outputUsd: 15, cacheWriteUsd: 3.75, longCacheWriteUsd: 6 }
const SONNET = 'eu.anthropic.claude-sonnet-4-5-20250929-v1:0'
const EARLY_SONNET = 'eu.anthropic.claude-sonnet-4-20250514-v1:0'
const NOVA = 'eu.amazon.nova-2-lite-v1:0'
const LLAMA = 'eu.meta.llama3-2-3b-instruct-v1:0'
const PROFILE = 'arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/abcdefghijkl'

let cache: PromptCache
/** What the vendor has counted of each call. */
let counted: ReturnType<PromptCache['ofMessages']>[]
let asked: Record<string, unknown>[]
/** What the model says to a request that is so far the nth. */
let answer: (n: number) => { text?: string; call?: string }
let claude: Awaited<ReturnType<typeof vendor>>
let amazon: Awaited<ReturnType<typeof bedrockServer>>
let gate: Awaited<ReturnType<typeof gateway>>
let anthropic: Anthropic
let models: Models

beforeAll(async () => {
  claude = await vendor()
  claude.behave = (response, came) => {
    asked.push(came.body)
    try {
      const { fresh, read, written, long } = count(cache.ofMessages(came.body))
      const { text, call } = answer(asked.length)
      const content = [
        ...(text ? [{ type: 'text', text }] : []),
        ...(call ? [{ type: 'tool_use', id: call, ...LOOK }] : []),
      ]
      const cache_creation = { ephemeral_5m_input_tokens: written - long, ephemeral_1h_input_tokens: long }
      const input = { input_tokens: fresh, cache_read_input_tokens: read, cache_creation_input_tokens: written }
      const usage = { ...input, cache_creation, output_tokens: 7 }
      const whole = { id: 'm', type: 'message', role: 'assistant', model: 'claude', content, usage }
      says({ ...whole, stop_reason: call ? 'tool_use' : 'end_turn' })(response, came)
    } catch (error) {
      says({ error: { message: String(error) } }, 400)(response, came)
    }
  }
  amazon = await bedrockServer((response, { path, body }: Seen) => {
    asked.push(body)
    try {
      const model = decodeURIComponent(path.split('/')[2] ?? '')
      const { fresh, read, written, long } = count(cache.ofConverse(model === PROFILE ? SONNET : model, body))
      const { text, call } = answer(asked.length)
      const content = [...(text ? [{ text }] : []), ...(call ? [{ toolUse: { toolUseId: call, ...LOOK } }] : [])]
      const cacheDetails = [
        { ttl: '1h', inputTokens: long },
        { ttl: '5m', inputTokens: written - long },
      ]
      const ofCache = { cacheReadInputTokens: read, cacheWriteInputTokens: written, cacheDetails }
      const usage = { inputTokens: fresh, outputTokens: 7, totalTokens: fresh + read + written + 7, ...ofCache }
      const stopReason = call ? 'tool_use' : 'end_turn'
      response.writeHead(200, { 'content-type': 'application/json' })
      response.end(JSON.stringify({ output: { message: { role: 'assistant', content } }, stopReason, usage }))
    } catch (error) {
      refuse(response, 400, 'ValidationException', String(error))
    }
  })
  const converse = (model: string, more: Partial<Target> = {}) => ({
    bedrock: { model, region: 'eu-central-1', endpoint: amazon.endpoint },
    ...{ apiKey: API_KEY, price, ...more },
  })
  const vendors = { anthropic: { model: 'claude', baseUrl: claude.url }, apiKey: 'k', price }
  models = createModels({
    routes: {
      default: vendors,
      ...{ anthropic: vendors, 'anthropic off': { ...vendors, promptCache: false } },
      ...{ claude: converse(SONNET), 'claude off': converse(SONNET, { promptCache: false }) },
      ...{ nova: converse(NOVA), 'nova off': converse(NOVA, { promptCache: false }) },
      ...{ early: converse(EARLY_SONNET), 'early off': converse(EARLY_SONNET, { promptCache: false }) },
      llama: converse(LLAMA),
      ...{ profile: converse(PROFILE), 'profile on': converse(PROFILE, { promptCache: true }) },
    },
  })
  gate = await gateway(models)
  anthropic = new Anthropic({ baseURL: gate.url, apiKey: 'of-the-client', maxRetries: 0 })
})
afterAll(() => {
  for (const server of [claude, amazon, gate]) server.close()
})
beforeEach(() => {
  cache = new PromptCache()
  counted = []
  asked = []
  answer = () => ({ text: 'Fine.' })
  gate.ends.length = 0
})

function count(one: ReturnType<PromptCache['ofMessages']>) {
  counted.push(one)
  return one
}

const LOOK = { name: 'look', input: { at: 1 } }
const tools = [
  { name: 'look', description: 'Looks.', parameters: { type: 'object' } },
  { name: 'pay', description: 'Pays.', parameters: { type: 'object' } },
]
const long = (text: string) => `${text} `.repeat(100)
const begun: ModelMessage[] = [
  { role: 'system', content: long('Be brief.') },
  { role: 'user', content: long('What is there?') },
]

/** An agent of so many turns, each with the result of its tool. */
async function agent(route: string, turns: number): Promise<ModelReply[]> {
  const messages = [...begun]
  const replies: ModelReply[] = []
  answer = (n) => ({ text: `Turn ${n}.`, call: `c${n}` })
  for (let turn = 1; turn <= turns; turn++) {
    const reply = await models.invoke(route, { messages, tools })
    replies.push(reply)
    const { text: content, toolCalls } = reply
    messages.push({ role: 'assistant', content, toolCalls })
    messages.push({ role: 'tool', callId: `c${turn}`, content: long(`Seen ${turn}.`) })
  }
  return replies
}

/** A request without its marks, which are nothing of what a model is asked. */
function bare(value: unknown): unknown {
  if (Array.isArray(value)) return value.filter((one) => !one?.cachePoint).map(bare)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).flatMap(([k, v]) => (k === 'cache_control' ? [] : [[k, bare(v)]])))
}

const marksIn = (body: unknown) => JSON.stringify(body).match(/"cachePoint":|"cache_control":/g)?.length ?? 0

describe.each(['anthropic', 'claude', 'nova'])('an agent at %s', (route) => {
  it('reads what the turn before had, for less, and is told the same', async () => {
    const replies = await agent(route, 4)
    const [marked, told] = [counted, asked]
    cache = new PromptCache()
    counted = []
    asked = []
    const unmarked = await agent(`${route} off`, 4)
    expect(asked.map(marksIn)).toEqual([0, 0, 0, 0])
    expect(told.map(bare)).toEqual(asked)
    for (const [i, { usage, costUsd }] of replies.entries()) {
      const { fresh = 0, read = 0, written = 0 } = marked[i] ?? {}
      expect(usage).toEqual({
        ...{ inputTokens: fresh + read + written, outputTokens: 7, cachedTokens: read },
        ...(written > 0 ? { cacheWriteTokens: written } : {}),
      })
      expect(usage.inputTokens).toBe(unmarked[i]?.usage.inputTokens)
      const exact = (fresh * 3 + read * 0.3 + written * 3.75 + 7 * 15) / 1e6
      expect(costUsd).toBeCloseTo(exact, 12)
      // All that was marked is read with the next turn.
      const before = marked[i - 1]
      expect(read).toBe(before ? before.read + before.written : 0)
      if (before) expect(costUsd).toBeLessThan(unmarked[i]?.costUsd ?? 0)
    }
    // Amazon's own models take no mark after a result.
    if (route !== 'nova') expect(marked.map(({ fresh }) => fresh)).toEqual([0, 0, 0, 0])
    const sum = (all: ModelReply[]) => all.reduce((sum, { costUsd }) => sum + costUsd, 0)
    expect(sum(replies)).toBeLessThan(sum(unmarked) * 0.75)
  })
})

describe('marks', () => {
  const system = { text: begun[0]?.content }
  const user = { text: begun[1]?.content }
  const point = { cachePoint: { type: 'default' } }
  it('stand after the instructions and the last two turns of the user, at Anthropic in the blocks', async () => {
    await agent('claude', 3)
    const results = (n: number) => ({ toolResult: expect.objectContaining({ toolUseId: `c${n}` }) })
    expect(asked[2]).toMatchObject({
      system: [system, point],
      toolConfig: { tools: [{ toolSpec: {} }, { toolSpec: {} }] },
      messages: [{ content: [user] }, {}, { content: [results(1), point] }, {}, { content: [results(2), point] }],
    })
    asked = []
    await agent('anthropic', 1)
    const cache_control = { type: 'ephemeral' }
    expect(asked[0]).toMatchObject({ system: [{ cache_control }], messages: [{ content: [{ cache_control }] }] })
  })

  it('stand after the tools where there are no instructions, but at Nova', async () => {
    for (const route of ['anthropic', 'claude', 'nova']) await models.invoke(route, { messages: begun.slice(1), tools })
    expect(asked[0]?.tools).toMatchObject([{}, { cache_control: { type: 'ephemeral' } }])
    expect(asked[1]?.toolConfig).toMatchObject({ tools: [{}, {}, point] })
    expect(asked[2]).toMatchObject({ toolConfig: { tools: [{}, {}] }, messages: [{ content: [user, point] }] })
    expect(asked.map(marksIn)).toEqual([2, 2, 1])
  })

  it('are none where no further turn is likely, and some where there have been turns', async () => {
    const spoken: ModelMessage[] = [
      ...begun,
      { role: 'assistant', content: 'A tree.' },
      { role: 'user', content: 'And?' },
    ]
    for (const route of ['anthropic', 'claude']) {
      asked = []
      await models.invoke(route, { messages: begun })
      await models.invoke(route, { messages: begun, tools, settings: { toolChoice: 'none' } })
      await models.invoke(route, { messages: spoken })
      expect(asked.map(marksIn)).toEqual([0, 0, 3])
    }
  })

  it.each([
    ['anthropic.claude-3-haiku-20240307-v1:0', 0],
    ['anthropic.claude-3-5-sonnet-20241022-v2:0', 0],
    ['us.anthropic.claude-3-5-haiku-20241022-v1:0', 2],
    ['anthropic.claude-3-7-sonnet-20250219-v1:0', 2],
    ['arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.anthropic.claude-opus-4-6-v1', 2],
    ['global.anthropic.claude-sonnet-5', 2],
    ['amazon.nova-pro-v1:0', 2],
    ['amazon.nova-sonic-v1:0', 0],
    ['amazon.titan-text-premier-v1:0', 0],
    ['anthropic.claude-v2:1', 0],
    ['anthropic.claude-instant-v1', 0],
    [LLAMA, 0],
    [PROFILE, 0],
  ])('go to %s: %i', async (model, marks) => {
    const target = { bedrock: { model, region: 'eu-central-1', endpoint: amazon.endpoint }, apiKey: API_KEY }
    await createModels({ routes: { default: target } }).invoke('default', { messages: begun, tools })
    expect(marksIn(asked[0])).toBe(marks)
  })

  it('go where a target says so, and change nothing of what an answer depends on', async () => {
    for (const route of ['profile', 'profile on']) await models.invoke(route, { messages: begun, tools })
    expect(asked.map(marksIn)).toEqual([0, 2])
    expect(models.leadsTo('profile')).toBe(models.leadsTo('profile on'))
  })

  const words = fc.constantFrom('', ' ', 'One.', 'Two.')
  const part = fc.oneof(
    words.map((text): Part => ({ type: 'text', text })),
    fc.constant<Part>({ type: 'image', mediaType: 'image/png', data: 'iVBORw0KGgo=' }),
    fc
      .constantFrom('application/pdf', 'text/plain')
      .map((mediaType): Part => ({ type: 'file', name: 'a', mediaType, data: 'SMOp' })),
  )
  const content = fc.oneof(words, fc.array(part, { maxLength: 3 }))
  const ttl = fc.constantFrom(undefined, '5m' as const, '1h' as const)
  const thought = { by: `bedrock eu-central-1 ${SONNET}`, items: [{ text: 'Hm.', signature: 's' }] }
  const turn = fc.tuple(fc.nat(4), content, words, fc.boolean(), ttl).map(([kind, content, text, thinks, cache]) => {
    const mark = cache ? { cache } : {}
    const calls = { toolCalls: [{ id: 'c', name: 'look', arguments: '{}' }] }
    const assistant = { role: 'assistant' as const, content: text, ...(thinks ? { reasoning: thought } : {}), ...mark }
    if (kind === 0) return [{ role: 'system' as const, content: text, ...mark }]
    if (kind === 1) return [{ role: 'user' as const, content, ...mark }]
    if (kind === 2) return [assistant]
    return [
      { ...assistant, ...calls },
      { role: 'tool' as const, callId: 'c', content, ...mark },
    ]
  })
  it.each(['anthropic', 'claude', 'nova', 'early', 'llama', 'profile'])(
    'are never more than four, and never where %s refuses them',
    async (route) => {
      const off = route === 'llama' || route === 'profile' ? route : `${route} off`
      const request = fc.record({
        messages: fc
          .array(turn, { minLength: 1, maxLength: 8 })
          .map((turns): ModelMessage[] => [...turns.flat().slice(0, 12), { role: 'user', content: 'And?' }]),
        tools: fc.array(fc.record({ at: fc.nat(1), cache: ttl }), { maxLength: 3 }),
        isMarked: fc.boolean(),
      })
      await fc.assert(
        fc.asyncProperty(request, async ({ messages, tools: chosen, isMarked }) => {
          cache = new PromptCache()
          asked = []
          counted = []
          const isMine = isMarked && route !== 'llama' && route !== 'profile'
          const asks: ModelRequest = {
            messages: isMine ? messages : messages.map(({ cache: _, ...message }) => message as ModelMessage),
            isMarked: isMine,
            tools: chosen.map(({ cache }, at) => ({
              ...{ name: `look${at}`, description: 'x', parameters: { type: 'object' } },
              ...(isMine && cache ? { cache } : {}),
            })),
            mayBeCut: true,
          }
          if (filesOf(messages) > 5) return
          const { usage, costUsd } = await models.invoke(route, asks)
          expect(marksIn(asked[0])).toBeLessThanOrEqual(4)
          expect(costUsd).toBeCloseTo(costOf(price, usage), 12)
          const bareRequest = { ...asks, messages: messages.map(({ cache: _, ...message }) => message as ModelMessage) }
          const bareTools = (asks.tools ?? []).map(({ cache: _, ...tool }) => tool)
          await models.invoke(off, { ...bareRequest, tools: bareTools, isMarked: true })
          expect(bare(asked[0])).toEqual(asked[1])
          expect(marksIn(asked[1])).toBe(0)
        }),
        { numRuns: 150 },
      )
    },
  )

  function filesOf(messages: ModelMessage[]): number {
    return messages.flatMap(({ content }) => (Array.isArray(content) ? content : [])).filter((p) => p.type === 'file')
      .length
  }
})

describe('a client of Messages whose model is asked by Converse', () => {
  const cache_control = { type: 'ephemeral' as const }
  const hour = { type: 'ephemeral' as const, ttl: '1h' as const }
  const text = (text: string, more: object = {}) => ({ type: 'text' as const, text: long(text), ...more })
  const point = { cachePoint: { type: 'default' } }
  const hourly = { cachePoint: { type: 'default', ttl: '1h' } }
  /** As Claude Code marks: its instructions, and what was said last. */
  const turns = (n: number, of = 3): Anthropic.MessageParam[] =>
    [...Array(n).keys()].flatMap((at): Anthropic.MessageParam[] => [
      { role: 'user', content: [text(`Task ${at}.`), text('Hint.', at === n - 1 ? { cache_control } : {})] },
      ...(at < n - 1 ? [{ role: 'assistant' as const, content: `Done ${of}.` }] : []),
    ])
  const request = (model: string, more: object = {}) => ({
    ...{ model, max_tokens: 99, tools: [{ name: 'look', input_schema: { type: 'object' as const } }] },
    system: [text('You are a clerk.'), text('Be brief.', { cache_control: hour }), text('Today.')],
    messages: turns(1),
    ...more,
  })

  it('has its marks said, and reads what its request before had marked', async () => {
    const first = await anthropic.messages.create(request('claude'))
    const second = await anthropic.messages.create(request('claude', { messages: turns(2) }))
    expect(asked[0]).toMatchObject({
      system: [{ text: long('You are a clerk.') }, { text: long('Be brief.') }, hourly, { text: long('Today.') }],
      messages: [{ content: [{ text: long('Task 0.') }, { text: long('Hint.') }, point] }],
    })
    const [one, two] = counted
    expect([one?.read, one?.fresh, two?.fresh, two?.long]).toEqual([0, 0, 0, 0])
    expect(two?.read).toBe(one?.written)
    expect([first, second].map(({ usage }) => usage)).toMatchObject(
      counted.map(({ fresh, read, written, long }) => ({
        cache_creation: { ephemeral_5m_input_tokens: written - long, ephemeral_1h_input_tokens: long },
        ...{ input_tokens: fresh, cache_read_input_tokens: read, cache_creation_input_tokens: written },
      })),
    )
    const [a, b] = await Promise.all(gate.ends)
    const { written = 0, long: kept = 0 } = one ?? {}
    expect(a?.costUsd).toBeCloseTo(((written - kept) * 3.75 + kept * 6 + 7 * 15) / 1e6, 12)
    expect(kept).toBeGreaterThan(0)
    expect(b?.costUsd).toBeLessThan((a?.costUsd ?? 0) / 2)
  })

  it('has blocks of all kinds marked, and the whole by a mark of the whole', async () => {
    const call = { type: 'tool_use' as const, id: 'c1', name: 'look', input: {} }
    const messages: Anthropic.MessageParam[] = [
      { role: 'user', content: 'Look.' },
      { role: 'assistant', content: [{ ...call, cache_control }] },
      {
        role: 'user',
        content: [{ type: 'tool_result', tool_use_id: 'c1', content: [text('Seen.', { cache_control })] }],
      },
    ]
    const marked = {
      tools: [{ name: 'look', input_schema: { type: 'object' as const }, cache_control }],
      system: 'Be.',
    }
    await anthropic.messages.create(request('claude', { ...marked, messages }))
    expect(asked[0]).toMatchObject({
      toolConfig: { tools: [{ toolSpec: {} }, point] },
      messages: [{}, { content: [{ toolUse: {} }, point] }, { content: [{ toolResult: {} }, point] }],
    })
    await anthropic.messages.create(request('claude', { system: 'Be.', messages: turns(2).slice(0, 1), cache_control }))
    expect(asked[1]).toMatchObject({ system: [{}], messages: [{ content: [{}, {}, point] }] })
  })

  it('is asked for no more than four, nor for an hour or among tools where a model takes none', async () => {
    const all = [1, 2, 3, 4, 5].map((n) => text(`Part ${n}.`, { cache_control }))
    await anthropic.messages.create(request('claude', { system: all }))
    expect(asked[0]?.system).toEqual(all.flatMap(({ text }, at) => [{ text }, ...(at > 1 ? [point] : [])]))
    expect(marksIn(asked[0])).toBe(4)
    await anthropic.messages.create(request('early'))
    expect(JSON.stringify(asked[1])).not.toContain('ttl')
    expect(marksIn(asked[1])).toBe(2)
    const tools = [{ name: 'look', input_schema: { type: 'object' as const }, cache_control }]
    await anthropic.messages.create(request('nova', { tools }))
    expect(asked[2]).toMatchObject({ toolConfig: { tools: [{ toolSpec: {} }] }, system: [{}, {}, point, {}] })
    const call = { type: 'tool_use' as const, id: 'c1', name: 'look', input: {}, cache_control }
    const pdf = { type: 'base64' as const, media_type: 'application/pdf' as const, data: 'SMOp' }
    const result = {
      ...{ type: 'tool_result' as const, tool_use_id: 'c1', cache_control },
      content: [{ type: 'document' as const, source: pdf }],
    }
    const messages = [
      { role: 'user', content: 'Look.' },
      { role: 'assistant', content: [call] },
      { role: 'user', content: [result] },
    ]
    for (const route of ['nova', 'claude']) await anthropic.messages.create(request(route, { messages, system: 'Be.' }))
    expect(asked.slice(3).map(marksIn)).toEqual([0, 1])
  })

  it('has them left out where the model takes none, or the target says so, and none set in their place', async () => {
    for (const route of ['llama', 'claude off', 'profile']) await anthropic.messages.create(request(route))
    const messages = [
      ...turns(2),
      { role: 'assistant' as const, content: 'Yes.' },
      { role: 'user' as const, content: 'So?' },
    ]
    await anthropic.messages.create(request('claude', { system: 'Be.', messages: messages.slice(3) }))
    expect(asked.map(marksIn)).toEqual([0, 0, 0, 0])
    expect(asked[0]?.system).toHaveLength(1)
  })

  it('is passed on to Anthropic as it is', async () => {
    await anthropic.messages.create(request('anthropic'))
    expect(asked[0]).toEqual(request('claude'))
    const five = { messages: [{ role: 'user', content: [1, 2, 3, 4, 5].map(() => text('x', { cache_control })) }] }
    await expect(anthropic.messages.create(request('anthropic', five))).rejects.toMatchObject({ status: 400 })
  })
})
