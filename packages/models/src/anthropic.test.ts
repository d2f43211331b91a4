import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { failure, watched } from './fixture.ts'
import { createModels, type Models } from './models.ts'
import { events, messageEvents, says, streams, vendor } from './relay/fixture.ts'

const KEY = 'sk-ant-of-the-vendor'
let upstream: Awaited<ReturnType<typeof vendor>>
let models: Models
beforeAll(async () => {
  upstream = await vendor()
  const price = { inputUsd: 10, cachedUsd: 1, outputUsd: 100 }
  const target = { anthropic: { model: 'claude', baseUrl: upstream.url }, apiKey: KEY, price, timeoutMs: 500 }
  models = createModels({ routes: { default: target } })
})
afterAll(() => upstream.close())

const messages = [
  { role: 'system' as const, content: 'Be brief.' },
  { role: 'user' as const, content: 'Good day.' },
]
const thinking = { type: 'thinking', thinking: 'Hm.', signature: 's1' }
const whole = {
  ...{ id: 'msg_1', type: 'message', role: 'assistant', model: 'claude-of-vendor', stop_reason: 'tool_use' },
  content: [thinking, { type: 'text', text: 'I pay.' }, { type: 'tool_use', id: 'c1', name: 'pay', input: { a: 1 } }],
  usage: { input_tokens: 60, cache_read_input_tokens: 40, output_tokens: 20 },
}

describe('Anthropic Messages', () => {
  it('gives text, calls, usage and cost, and is given back what the model thought', async () => {
    upstream.behave = says(whole)
    const tools = [{ name: 'pay', description: 'Pays.', parameters: { type: 'object' } }]
    const reply = await models.invoke('default', { messages, tools, idempotencyKey: 'i' })
    const by = `anthropic ${upstream.url} claude`
    expect(reply).toEqual({
      ...{ text: 'I pay.', toolCalls: [{ id: 'c1', name: 'pay', arguments: '{"a":1}' }], model: 'claude-of-vendor' },
      ...{ usage: { inputTokens: 100, outputTokens: 20, cachedTokens: 40 }, costUsd: (600 + 40 + 2000) / 1e6 },
      reasoning: { by, items: [thinking] },
    })
    const { text: content, toolCalls, reasoning } = reply
    const turn = [
      { role: 'assistant' as const, content, toolCalls, ...(reasoning ? { reasoning } : {}) },
      // Ids that another vendor gave may hold what Anthropic refuses.
      ...[
        { role: 'tool' as const, callId: 'c1', content: 'Paid.' },
        { role: 'tool' as const, callId: 'c.2', content: '' },
      ],
    ]
    await models.invoke('default', { messages: [...messages, ...turn] })
    expect(upstream.asked[0]).toMatchObject({
      path: '/v1/messages',
      headers: { 'x-api-key': KEY, 'idempotency-key': 'i' },
    })
    const cache_control = { type: 'ephemeral' }
    expect(upstream.asked[0]?.body).toEqual({
      ...{ model: 'claude', max_tokens: 8192, system: [{ type: 'text', text: 'Be brief.', cache_control }] },
      messages: [{ role: 'user', content: [{ type: 'text', text: 'Good day.', cache_control }] }],
      tools: [{ name: 'pay', description: 'Pays.', input_schema: { type: 'object' } }],
    })
    expect(upstream.asked[1]?.body.messages).toEqual([
      { role: 'user', content: [{ type: 'text', text: 'Good day.', cache_control }] },
      { role: 'assistant', content: whole.content },
      {
        role: 'user',
        content: [
          { type: 'tool_result', tool_use_id: 'c1', content: 'Paid.' },
          { type: 'tool_result', tool_use_id: expect.stringMatching(/^[0-9a-f]{64}$/), content: '', cache_control },
        ],
      },
    ])
  })

  it('is told the schema of an answer, and of strict calls, as it takes it', async () => {
    upstream.behave = says(whole)
    const schema = { type: 'object', properties: { count: { type: 'integer', minimum: 0 } } }
    const closed = {
      ...{ type: 'object', additionalProperties: false },
      properties: { count: { type: 'integer', description: '{"minimum":0}' } },
    }
    const tool = { name: 'pay', description: 'Pays.', parameters: schema }
    await models.invoke('default', {
      ...{ messages, output: { name: 'answer', schema } },
      tools: [tool, { ...tool, name: 'buy', strict: true }],
    })
    expect(upstream.asked.at(-1)?.body).toMatchObject({
      output_config: { format: { type: 'json_schema', schema: closed } },
      tools: [{ input_schema: schema }, { input_schema: closed, strict: true }],
    })
  })

  it('is told no text that says nothing', async () => {
    upstream.behave = says(whole)
    const blank = [
      { role: 'system' as const, content: ' ' },
      {
        role: 'user' as const,
        content: [
          { type: 'text' as const, text: '' },
          { type: 'text' as const, text: 'Pay.' },
        ],
      },
      { role: 'assistant' as const, content: '\n\n', toolCalls: [{ id: 'c1', name: 'pay', arguments: '{}' }] },
      { role: 'tool' as const, callId: 'c1', content: 'Paid.' },
    ]
    await models.invoke('default', { messages: blank })
    expect(upstream.asked.at(-1)?.body.system).toBeUndefined()
    expect(upstream.asked.at(-1)?.body.messages).toMatchObject([
      { content: [{ text: 'Pay.' }] },
      { content: [{ type: 'tool_use' }] },
      { content: [{ type: 'tool_result' }] },
    ])
  })

  it.each([
    ['whole', false],
    ['streamed', true],
  ])('counts what is written to a cache, %s', async (_, isStream) => {
    const cache_creation = { ephemeral_5m_input_tokens: 10, ephemeral_1h_input_tokens: 20 }
    const usage = { input_tokens: 60, cache_read_input_tokens: 40, cache_creation_input_tokens: 30, output_tokens: 20 }
    const message = { ...whole, usage: { ...usage, cache_creation } }
    const [start = '', ...others] = messageEvents([{ type: 'text', text: 'Good.' }], 'end_turn')
    const begun = JSON.stringify({ type: 'message_start', message: { ...message, content: [], stop_reason: null } })
    upstream.behave = isStream ? streams(`event: message_start\ndata: ${begun}\n\n`, ...others) : says(message)
    expect(start).toContain('message_start')
    const price = { inputUsd: 4, cachedUsd: 0.4, outputUsd: 20, cacheWriteUsd: 5, longCacheWriteUsd: 8 }
    const target = { anthropic: { model: 'claude', baseUrl: upstream.url }, apiKey: KEY, price }
    const dear = createModels({ routes: { default: target } })
    const { usage: used, costUsd } = await dear.invoke('default', {
      messages,
      ...(isStream ? { onDelta: () => {} } : {}),
    })
    const written = { cacheWriteTokens: 30, longCacheWriteTokens: 20 }
    expect(used).toEqual({ inputTokens: 130, outputTokens: 20, cachedTokens: 40, ...written })
    expect(costUsd).toBeCloseTo((60 * 4 + 40 * 0.4 + 10 * 5 + 20 * 8 + 20 * 20) / 1e6, 12)
  })

  it('shows what is written as it comes', async () => {
    upstream.behave = streams(...messageEvents([{ type: 'text', text: 'Good morning.' }], 'end_turn'))
    const { reply, written } = await watched(models, { messages })
    expect([written, reply.text, reply.usage.outputTokens]).toEqual(['Good morning.', 'Good morning.', 20])
  })

  it.each([
    ['overloaded', says({ error: { message: 'later' } }, 529), 'model.unavailable'],
    ['asked to wait', says({}, 429, { 'retry-after': '2' }), 'rate.limited'],
    ['refused', says({ error: { message: `no, ${KEY}` } }, 401), 'model.failed'],
    ['cut short', says({ ...whole, stop_reason: 'max_tokens' }), 'model.failed'],
    ['stopped for a reason that is not known', says({ ...whole, stop_reason: 'pause_turn' }), 'model.failed'],
    ['without an answer', says({ ...whole, content: [], stop_reason: 'end_turn' }), 'model.failed'],
    [
      'broken',
      streams(...messageEvents([{ type: 'text', text: 'Good' }], 'end_turn').slice(0, 4)),
      'model.unavailable',
    ],
    [
      'told to be overloaded',
      streams(...events({ type: 'error', error: { type: 'overloaded_error' } })),
      'model.unavailable',
    ],
    ['hanging', () => {}, 'model.unavailable'],
  ] as const)('is no answer when it is %s', async (name, behave, code) => {
    upstream.behave = behave
    const isStream = name === 'broken' || name === 'told to be overloaded'
    const error = await failure(models.invoke('default', { messages, ...(isStream ? { onDelta: () => {} } : {}) }))
    expect(error.code).toBe(code)
    expect(error.retryAfterMs).toBe(code === 'rate.limited' ? 2000 : undefined)
    expect(JSON.stringify([error.message, error.cause])).not.toContain(KEY)
  })
})
