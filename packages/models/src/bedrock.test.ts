import type { ServerResponse } from 'node:http'
import {
  ACCESS_KEY,
  API_KEY,
  bedrockServer,
  frame,
  refuse,
  SECRET_KEY,
  type Seen,
  stream,
} from '@muster/stack/bedrock-server'
import fc from 'fast-check'
import OpenAI from 'openai'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { failure, watched } from './fixture.ts'
import type { ModelRequest } from './message.ts'
import { Meter } from './meter.ts'
import { createModels } from './models.ts'
import { gateway } from './relay/fixture.ts'
import type { BedrockTarget } from './target.ts'

const model = 'eu.anthropic.claude-sonnet-4-20250514-v1:0'
const usage = { inputTokens: 100, outputTokens: 20, totalTokens: 120 }
const price = { inputUsd: 3, cachedUsd: 0.3, outputUsd: 15, cacheWriteUsd: 3.75, longCacheWriteUsd: 6 }
let server: Awaited<ReturnType<typeof bedrockServer>>
let answer: (response: ServerResponse, seen: Seen) => void

beforeEach(async () => {
  vi.stubEnv('AWS_ACCESS_KEY_ID', ACCESS_KEY)
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', SECRET_KEY)
  server = await bedrockServer((response, seen) => answer(response, seen))
})
afterEach(() => {
  server.close()
  vi.unstubAllEnvs()
})

const client = (own: Partial<BedrockTarget['bedrock']> = {}, apiKey?: string, timeoutMs = 20_000) =>
  createModels({
    routes: {
      default: {
        bedrock: { model, region: 'eu-central-1', endpoint: server.endpoint, ...own },
        ...(apiKey === undefined ? {} : { apiKey }),
        price,
      },
    },
    timeoutMs,
  })
const ask = (more: Partial<ModelRequest> = {}): ModelRequest => ({
  messages: [
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: 'hello' },
  ],
  ...more,
})
const body = () => server.seen.at(-1)?.body ?? {}
const says = (content: object[], stopReason = 'end_turn', counted: object = usage) => {
  answer = (response) => {
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ output: { message: { role: 'assistant', content } }, stopReason, usage: counted }))
  }
}
const streams = (...frames: Buffer[]) => {
  answer = (response) => stream(response, frames)
}
const text = (text: string, contentBlockIndex = 0) => frame('contentBlockDelta', { contentBlockIndex, delta: { text } })
const use = (contentBlockIndex: number, toolUseId: string, name: string, ...inputs: string[]) => [
  frame('contentBlockStart', { contentBlockIndex, start: { toolUse: { toolUseId, name } } }),
  ...inputs.map((input) => frame('contentBlockDelta', { contentBlockIndex, delta: { toolUse: { input } } })),
  frame('contentBlockStop', { contentBlockIndex }),
]
const end = (stopReason: string, counted: object = usage) => [
  frame('messageStop', { stopReason }),
  frame('metadata', { usage: counted, metrics: { latencyMs: 1 } }),
]

const tools = [
  { name: 'pay', description: 'Pays.', parameters: { type: 'object', properties: { amount: { type: 'number' } } } },
  { name: 'look', description: '', parameters: { type: 'object' } },
]

describe('Converse', () => {
  it('is signed, and gives text, usage with what was cached, and what it cost', async () => {
    const cacheDetails = [
      { ttl: '1h', inputTokens: 30 },
      { ttl: '5m', inputTokens: 20 },
    ]
    const counted = { ...usage, cacheReadInputTokens: 1000, cacheWriteInputTokens: 50, cacheDetails }
    says([{ text: 'Good ' }, { text: 'day.' }], 'end_turn', counted)
    const reply = await client().invoke('default', ask())
    expect(reply).toEqual({
      text: 'Good day.',
      toolCalls: [],
      usage: {
        ...{ inputTokens: 1150, outputTokens: 20, cachedTokens: 1000 },
        ...{ cacheWriteTokens: 50, longCacheWriteTokens: 30 },
      },
      model,
      costUsd: (100 * 3 + 20 * 3.75 + 30 * 6 + 1000 * 0.3 + 20 * 15) / 1e6,
    })
    expect(server.seen[0]?.path).toBe(`/model/${encodeURIComponent(model)}/converse`)
    expect(body()).toEqual({
      messages: [{ role: 'user', content: [{ text: 'hello' }] }],
      system: [{ text: 'Be brief.' }],
    })
  })

  it('refuses what is signed with another key, and takes an API key in its place', async () => {
    says([{ text: 'x' }])
    expect((await client({}, API_KEY).invoke('default', ask())).text).toBe('x')
    expect(server.seen[0]?.headers.authorization).toBe(`Bearer ${API_KEY}`)
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'another')
    expect(await failure(client().invoke('default', ask()))).toMatchObject({
      code: 'model.failed',
      message: `${model}: The request signature we calculated does not match`,
    })
  })

  it('is shown a conversation as it wants it: turns that alternate, results as the user, nothing empty', async () => {
    says([{ text: 'x' }])
    const messages: ModelRequest['messages'] = [
      { role: 'user', content: 'pay' },
      {
        role: 'assistant',
        content: '',
        toolCalls: [
          { id: 'c1', name: 'pay', arguments: '{"amount":1}' },
          { id: 'call of another vendor', name: 'look', arguments: 'no JSON' },
        ],
      },
      { role: 'tool', callId: 'c1', content: '"paid"' },
      { role: 'tool', callId: 'call of another vendor', content: '"seen"' },
      { role: 'user', content: 'and now?' },
    ]
    await client().invoke('default', { messages, tools })
    const other = expect.stringMatching(/^[0-9a-f]{64}$/)
    const point = { cachePoint: { type: 'default' } }
    expect(body().messages).toEqual([
      { role: 'user', content: [{ text: 'pay' }, point] },
      {
        role: 'assistant',
        content: [
          { toolUse: { toolUseId: 'c1', name: 'pay', input: { amount: 1 } } },
          { toolUse: { toolUseId: other, name: 'look', input: { arguments: 'no JSON' } } },
        ],
      },
      {
        role: 'user',
        content: [
          { toolResult: { toolUseId: 'c1', content: [{ text: '"paid"' }] } },
          { toolResult: { toolUseId: other, content: [{ text: '"seen"' }] } },
          { text: 'and now?' },
          point,
        ],
      },
    ])
    expect(body().toolConfig).toEqual({
      tools: [
        { toolSpec: { name: 'pay', description: 'Pays.', inputSchema: { json: tools[0]?.parameters } } },
        { toolSpec: { name: 'look', inputSchema: { json: { type: 'object' } } } },
        point,
      ],
    })
    // Without tools, it would be refused for the calls that it tells of.
    await client().invoke('default', { messages })
    const named = (body().toolConfig as { tools: { toolSpec: { name: string } }[] }).tools
    expect(named.map((tool) => tool.toolSpec.name)).toEqual(['pay', 'look'])
  })

  it('is given files under names of their own and beside a text, and no text that says nothing', async () => {
    says([{ text: 'x' }])
    const file = (name: string) => ({ type: 'file' as const, name, mediaType: 'application/pdf', data: 'JVBERi0=' })
    const document = (name: string) => ({ document: { format: 'pdf', name, source: { bytes: 'JVBERi0=' } } })
    const messages: ModelRequest['messages'] = [
      { role: 'system', content: '\n' },
      { role: 'user', content: [file('請求書.pdf'), file('契約.PDF'), file('scan (1)')] },
      { role: 'assistant', content: '\n\n', toolCalls: [{ id: 'c1', name: 'look', arguments: '{}' }] },
      { role: 'tool', callId: 'c1', content: [{ type: 'text', text: ' ' }, file('pdf')] },
      { role: 'user', content: [{ type: 'text', text: 'Which?' }, file('scan (1)')] },
    ]
    await client().invoke('default', { messages, tools })
    expect(body().system).toBeUndefined()
    expect(body().messages).toEqual([
      {
        role: 'user',
        content: [
          ...[document('pdf'), document('PDF (2)'), document('scan (1)')],
          { text: '[the file pdf] [the file PDF (2)] [the file scan (1)]' },
        ],
      },
      { role: 'assistant', content: [{ toolUse: { toolUseId: 'c1', name: 'look', input: {} } }] },
      {
        role: 'user',
        content: [
          { toolResult: { toolUseId: 'c1', content: [document('pdf (3)')] } },
          { text: 'Which?' },
          document('scan (1) (2)'),
        ],
      },
    ])
    messages.push({ role: 'user', content: [file('one more')] })
    expect(await failure(client().invoke('default', { messages, tools }))).toMatchObject({
      code: 'model.unsupported',
      issues: [{ path: '/messages', message: '6 files, of which this target takes 5 in a request' }],
    })
  })

  it('gives an answer that matches by a tool that the model must call, or by its own schema', async () => {
    const output = { name: 'answer', schema: { type: 'object', properties: { ok: { type: 'boolean' } } } }
    says([{ text: 'Well,' }, { toolUse: { toolUseId: 't', name: 'answer', input: { ok: true } } }], 'tool_use')
    expect(await client().invoke('default', ask({ output }))).toMatchObject({ text: '{"ok":true}', toolCalls: [] })
    expect(body().toolConfig).toMatchObject({ toolChoice: { tool: { name: 'answer' } } })
    await client().invoke('default', ask({ output, tools }))
    expect(body().toolConfig).toMatchObject({ toolChoice: { any: {} } })
    const list = { name: 'answer', schema: { type: 'array', items: { type: 'number' } } }
    says([{ toolUse: { toolUseId: 't', name: 'answer', input: { value: [1, 2] } } }], 'tool_use')
    expect((await client().invoke('default', ask({ output: list }))).text).toBe('[1,2]')
    // A tool of that name stays what it is.
    says([{ toolUse: { toolUseId: 't', name: 'answer', input: {} } }], 'tool_use')
    const own = [{ name: 'answer', description: 'Answers a call.', parameters: { type: 'object' } }]
    expect((await client().invoke('default', ask({ output, tools: own }))).toolCalls).toHaveLength(1)
    says([{ text: '{"ok":false}' }])
    const { text } = await client({ structured: 'schema' }).invoke('default', ask({ output }))
    expect(text).toBe('{"ok":false}')
    const told = JSON.stringify({ ...output.schema, additionalProperties: false })
    expect(body().outputConfig).toEqual({
      textFormat: { type: 'json_schema', structure: { jsonSchema: { name: 'answer', schema: told } } },
    })
  })

  it('gives thoughts back as they were signed, and only to the model that had them', async () => {
    const thoughts = [
      { reasoningContent: { reasoningText: { text: 'Hm.', signature: 'c2ln' } } },
      { reasoningContent: { redactedContent: Buffer.from('sealed').toString('base64') } },
    ]
    says([...thoughts, { text: 'Yes.' }])
    const { reasoning } = await client().invoke('default', ask())
    const messages: ModelRequest['messages'] = [
      { role: 'user', content: 'Why?' },
      { role: 'assistant', content: 'Yes.', ...(reasoning ? { reasoning } : {}) },
      { role: 'user', content: 'Why?' },
    ]
    await client().invoke('default', { messages: JSON.parse(JSON.stringify(messages)) })
    expect((body().messages as unknown[])[1]).toEqual({ role: 'assistant', content: [...thoughts, { text: 'Yes.' }] })
    await client({ model: 'amazon.nova-pro-v1:0' }).invoke('default', { messages })
    expect((body().messages as unknown[])[1]).toEqual({ role: 'assistant', content: [{ text: 'Yes.' }] })
  })

  it.each([
    ['max_tokens', /limit of tokens/],
    ['model_context_window_exceeded', /limit of tokens/],
    ['content_filtered', /content filter/],
    ['guardrail_intervened', /content filter/],
    ['malformed_tool_use', /malformed_tool_use/],
    ['what comes next', /what comes next/],
  ])('takes no answer for whole that stopped by %s', async (reason, message) => {
    says([{ text: 'half of' }], reason)
    const meter = new Meter()
    expect(await failure(client().invoke('default', ask({ meter })))).toMatchObject({
      code: 'model.failed',
      message: expect.stringMatching(message),
    })
    // It is paid for.
    const spent = { usage: { inputTokens: 100, outputTokens: 20 }, costUsd: (100 * 3 + 20 * 15) / 1e6 }
    expect(meter.spent).toMatchObject(spent)
    streams(text('half of'), ...end(reason))
    expect((await failure(watched(client(), ask()))).message).toMatch(message)
  })

  it('asks a guardrail where one is named', async () => {
    says([{ text: 'x' }])
    await client({ guardrail: { id: 'g1', version: '2' } }).invoke('default', ask())
    expect(body().guardrailConfig).toEqual({ guardrailIdentifier: 'g1', guardrailVersion: '2' })
  })
})

describe('ConverseStream', () => {
  it('gives the same as Converse, with parallel calls whose arguments come in pieces', async () => {
    const counted = { ...usage, cacheReadInputTokens: 7 }
    streams(
      frame('messageStart', { role: 'assistant' }),
      frame('contentBlockDelta', { contentBlockIndex: 0, delta: { reasoningContent: { text: 'H' } } }),
      frame('contentBlockDelta', { contentBlockIndex: 0, delta: { reasoningContent: { text: 'm.' } } }),
      frame('contentBlockDelta', { contentBlockIndex: 0, delta: { reasoningContent: { signature: 'c2ln' } } }),
      ...[text('Let me ', 1), text('see. ☕', 1)],
      ...[...use(2, 'a', 'pay', '{"amo', 'unt":5}'), ...use(3, 'b', 'look'), ...end('tool_use', counted)],
    )
    const { reply, written } = await watched(client(), ask({ tools }))
    expect(written).toBe('Let me see. ☕')
    expect(server.seen[0]?.path).toMatch(/converse-stream$/)
    says(
      [
        { reasoningContent: { reasoningText: { text: 'Hm.', signature: 'c2ln' } } },
        { text: 'Let me see. ☕' },
        { toolUse: { toolUseId: 'a', name: 'pay', input: { amount: 5 } } },
        { toolUse: { toolUseId: 'b', name: 'look', input: {} } },
      ],
      'tool_use',
      counted,
    )
    expect(await client().invoke('default', ask({ tools }))).toEqual(reply)
    expect(reply.toolCalls).toHaveLength(2)
  })

  it('shows an answer that must match while its tool is written', async () => {
    streams(text('Well, '), ...use(1, 'a', 'answer', '{"ok":', 'true}'), ...end('tool_use'))
    const { reply, written } = await watched(client(), ask({ output: { name: 'answer', schema: { type: 'object' } } }))
    expect([reply.text, written]).toEqual(['{"ok":true}', '{"ok":true}'])
  })

  it('takes no cut, bent or garbled stream for an answer, wherever it breaks', async () => {
    const whole = Buffer.concat([text('Good '), ...use(1, 'a', 'pay', '{}'), ...end('tool_use')])
    await fc.assert(
      fc.asyncProperty(
        fc.nat(whole.length - 1),
        fc.boolean(),
        fc.integer({ min: 1, max: 255 }),
        async (at, cut, bit) => {
          const bytes = Buffer.from(cut ? whole.subarray(0, at) : whole)
          if (!cut) bytes[at] = (bytes[at] ?? 0) ^ bit
          streams(bytes)
          expect((await failure(watched(client(), ask({ tools })))).code).toBe('model.unavailable')
        },
      ),
      { numRuns: 60 },
    )
    streams(whole)
    expect((await watched(client(), ask({ tools }))).reply.toolCalls).toHaveLength(1)
  })

  it('is cut with its connection', async () => {
    answer = (response) => {
      response.writeHead(200, { 'content-type': 'application/vnd.amazon.eventstream' })
      response.write(text('Good '), () => response.destroy())
    }
    expect((await failure(watched(client(), ask()))).code).toBe('model.unavailable')
  })

  it.each([
    ['throttlingException', 'rate.limited'],
    ['modelStreamErrorException', 'model.unavailable'],
    ['internalServerException', 'model.unavailable'],
    ['serviceUnavailableException', 'model.unavailable'],
    ['validationException', 'model.failed'],
  ])('that ends by %s is %s', async (type, code) => {
    streams(text('Good '), frame(type, { message: 'no more' }, 'exception'))
    expect(await failure(watched(client(), ask()))).toMatchObject({ code, message: `${model}: no more` })
  })
})

describe('errors of Bedrock', () => {
  it.each([
    [429, 'ThrottlingException', 'rate.limited'],
    [429, 'ModelNotReadyException', 'model.unavailable'],
    [408, 'ModelTimeoutException', 'model.unavailable'],
    [424, 'ModelErrorException', 'model.unavailable'],
    [500, 'InternalServerException', 'model.unavailable'],
    [503, 'ServiceUnavailableException', 'model.unavailable'],
    [400, 'ValidationException', 'model.failed'],
    [400, 'ServiceQuotaExceededException', 'model.failed'],
    [403, 'AccessDeniedException', 'model.failed'],
    [404, 'ResourceNotFoundException', 'model.failed'],
    [502, 'OfAProxy', 'model.unavailable'],
  ])('HTTP %i %s is %s, after one try and without the key', async (status, type, code) => {
    let calls = 0
    answer = (response) => {
      calls++
      refuse(response, status, type, `no, ${API_KEY}`)
    }
    const error = await failure(client({}, API_KEY).invoke('default', ask()))
    expect([error.code, error.message, calls]).toEqual([code, `${model}: no, ***`, 1])
    expect(String(error.cause)).not.toContain(API_KEY)
  })

  it('a quota that is used up asks the next target', async () => {
    answer = (response, { path }) => {
      if (path.includes('claude')) return refuse(response, 400, 'ServiceQuotaExceededException', 'no more')
      response.writeHead(200, { 'content-type': 'application/json' })
      const message = { role: 'assistant', content: [{ text: 'Good day.' }] }
      response.end(JSON.stringify({ output: { message }, stopReason: 'end_turn', usage }))
    }
    const at = (model: string) => ({ bedrock: { model, region: 'eu-central-1', endpoint: server.endpoint } })
    const models = createModels({ routes: { default: [at(model), at('amazon.nova-lite-v1:0')] } })
    expect((await models.invoke('default', ask())).via?.passed).toMatchObject([{ code: 'model.failed' }])
  })

  it('say how long to wait', async () => {
    answer = (response) => refuse(response, 429, 'ThrottlingException', 'slow down', { 'retry-after': '7' })
    expect((await failure(client().invoke('default', ask()))).retryAfterMs).toBe(7000)
  })

  it('a server that is not there, and one that does not answer, are model.unavailable', async () => {
    answer = () => {}
    expect(await failure(client({}, API_KEY, 50).invoke('default', ask()))).toMatchObject({
      code: 'model.unavailable',
      message: `${model}: no whole answer within 50 ms`,
    })
    server.close()
    expect((await failure(client().invoke('default', ask()))).code).toBe('model.unavailable')
  })

  it('an abort is no error of the model', async () => {
    const abort = new AbortController()
    answer = () => abort.abort()
    await expect(client().invoke('default', ask({ signal: abort.signal }))).rejects.toMatchObject({
      name: 'AbortError',
    })
  })
})

describe('embeddings', () => {
  const vectorOf = (text: string) => [text.length, -0.5]
  const json = (response: ServerResponse, value: object, headers: Record<string, string> = {}) =>
    response.writeHead(200, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(value))

  async function embeddings<T>(model: string, use: (openai: OpenAI, ends: Promise<unknown>[]) => Promise<T>) {
    const gate = await gateway(client({ model }))
    try {
      return await use(new OpenAI({ apiKey: 'x', baseURL: `${gate.url}/v1`, maxRetries: 0 }), gate.ends)
    } finally {
      gate.close()
    }
  }

  it('of Titan are one call for each text, in order, and counted', async () => {
    answer = (response, seen) => {
      const { inputText } = seen.body as { inputText: string }
      json(response, { embedding: vectorOf(inputText), inputTextTokenCount: inputText.length })
    }
    const input = Array.from({ length: 20 }, (_, i) => 'x'.repeat(i + 1))
    await embeddings('eu.amazon.titan-embed-text-v2:0', async (openai, ends) => {
      // The client asks for base64 by itself.
      const { data, usage } = await openai.embeddings.create({ model: 'default', input, dimensions: 256 })
      expect(data.map(({ embedding }) => embedding)).toEqual(input.map(vectorOf))
      expect(usage).toEqual({ prompt_tokens: 210, total_tokens: 210 })
      expect(await ends[0]).toMatchObject({ usage: { inputTokens: 210, outputTokens: 0 }, costUsd: (210 * 3) / 1e6 })
      expect(body()).toMatchObject({ dimensions: 256 })
      expect(server.seen[0]?.path).toContain('titan-embed-text-v2')
      const asked = server.seen.length
      for (const [more, path] of [
        [{ dimensions: 300 }, '/dimensions'],
        [{ input_type: 'search_query' }, '/input_type'],
        [{ truncate: 'END' }, '/truncate'],
        [{ input: [[1, 2]] }, '/input/0'],
      ] as const) {
        const refused = openai.embeddings.create({ model: 'default', input: 'x', ...more } as never)
        await expect(refused).rejects.toMatchObject({ error: { issues: [{ path }] } })
      }
      expect(server.seen).toHaveLength(asked)
    })
  })

  it('of Cohere are up to 96 texts a call, counted by a header', async () => {
    answer = (response, seen) => {
      const { texts } = seen.body as { texts: string[] }
      const embeddings = { float: texts.map(vectorOf) }
      json(response, { embeddings, response_type: 'embeddings_by_type' }, { 'x-amzn-bedrock-input-token-count': '50' })
    }
    const input = Array.from({ length: 100 }, (_, i) => `${i}`)
    const create = { model: 'default', input, encoding_format: 'float' as const, input_type: 'search_query' }
    await embeddings('cohere.embed-multilingual-v3', async (openai) => {
      const { data, usage } = await openai.embeddings.create(create)
      expect(data).toHaveLength(100)
      expect(data[99]).toEqual({ object: 'embedding', index: 99, embedding: vectorOf('99') })
      expect(usage.prompt_tokens).toBe(100)
      expect(server.seen.map(({ body }) => (body.texts as string[]).length).sort()).toEqual([4, 96])
      expect(body()).toMatchObject({ input_type: 'search_query', truncate: 'NONE', embedding_types: ['float'] })
      const chosen = openai.embeddings.create({ ...create, dimensions: 512 })
      await expect(chosen).rejects.toMatchObject({ error: { issues: [{ path: '/dimensions' }] } })
    })
    await embeddings('cohere.embed-v4:0', (openai) => openai.embeddings.create({ ...create, dimensions: 512 }))
    expect(body()).toMatchObject({ output_dimension: 512 })
  })

  it('fail as every call does, and a model that has none says so', async () => {
    answer = (response) => refuse(response, 429, 'ThrottlingException', 'slow down')
    const asked = (openai: OpenAI) => openai.embeddings.create({ model: 'default', input: ['a', 'b'] })
    await expect(embeddings('amazon.titan-embed-text-v2:0', asked)).rejects.toMatchObject({ code: 'rate.limited' })
    // Fewer vectors than texts are no answer.
    for (const float of [[[1]], [[1], [null]], [[1], 'x'], 'xy']) {
      answer = (response) => json(response, { embeddings: { float } })
      await expect(embeddings('cohere.embed-v4:0', asked)).rejects.toMatchObject({ code: 'model.failed' })
    }
    // With the status of the vendor, which says that trying again changes nothing.
    answer = (response) => refuse(response, 400, 'ValidationException', 'too long')
    await expect(embeddings('cohere.embed-v4:0', asked)).rejects.toMatchObject({ status: 400, code: 'model.failed' })
    await expect(embeddings(model, asked)).rejects.toMatchObject({ code: 'model.unsupported' })
  })
})
