import type { ServerResponse } from 'node:http'
import { ACCESS_KEY, bedrockServer, frame, refuse, SECRET_KEY } from '@muster/stack/bedrock-server'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { failure } from './fixture.ts'
import { Meter } from './meter.ts'
import { createModels } from './models.ts'
import {
  chunk,
  chunkOfUsage,
  DONE,
  functionCall,
  message,
  messageEvents,
  responseEvents,
  says,
  vendor,
} from './relay/fixture.ts'
import type { JsonObject } from './relay/json.ts'
import type { Target } from './target.ts'

const price = { inputUsd: 2, cachedUsd: 1, outputUsd: 10 }
const messages = [{ role: 'user' as const, content: 'What is to be read, and costs something. '.repeat(9) }]
let upstream: Awaited<ReturnType<typeof vendor>>
let other: Awaited<ReturnType<typeof vendor>>
beforeAll(async () => {
  upstream = await vendor()
  other = await vendor()
  vi.stubEnv('AWS_ACCESS_KEY_ID', ACCESS_KEY)
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', SECRET_KEY)
})
afterAll(() => {
  upstream.close()
  other.close()
  vi.unstubAllEnvs()
})

type Api = 'chat' | 'responses' | 'messages'
const at = (api: Api, { url } = upstream, more: Partial<Target> = {}): Target =>
  api === 'messages'
    ? { anthropic: { model: 'm', baseUrl: url }, apiKey: 'k', price, ...more }
    : { model: 'm', baseUrl: `${url}/v1`, apiKey: 'k', api, price, ...more }
const usage = { prompt_tokens: 100, completion_tokens: 50, input_tokens: 100, output_tokens: 50 }
const said = (message: object, finish_reason: string) => ({ usage, choices: [{ index: 0, finish_reason, message }] })
const spent = { usage: { inputTokens: 100, outputTokens: 50, cachedTokens: 0 }, model: 'm', costUsd: 700e-6 }

describe('an answer that is not taken for one', () => {
  it.each([
    ['chat', 'is cut', said({ content: 'a' }, 'length')],
    ['chat', 'is filtered', said({ content: 'a' }, 'content_filter')],
    ['chat', 'refuses', said({ content: null, refusal: 'no' }, 'stop')],
    ['chat', 'stops for what nobody knows', said({ content: 'a' }, 'tired')],
    ['responses', 'is cut', { status: 'incomplete', output: [], usage }],
    ['responses', 'is empty', { status: 'completed', output: [], usage }],
    ['messages', 'is cut', { stop_reason: 'max_tokens', content: [{ type: 'text', text: 'a' }], usage }],
    ['messages', 'refuses', { stop_reason: 'refusal', content: [], usage }],
  ] as const)('of %s has cost something where it %s', async (api, _, whole) => {
    upstream.behave = says(whole)
    const meter = new Meter()
    const models = createModels({ routes: { default: at(api) } })
    expect((await failure(models.invoke('default', { messages, meter }))).code).toBe('model.failed')
    expect(meter.spent).toEqual(spent)
  })

  it('says which of several targets gave it', async () => {
    upstream.behave = says(said({ content: 'a' }, 'length'))
    const models = createModels({ routes: { default: [at('chat'), at('messages')] } })
    const meter = new Meter()
    await failure(models.invoke('default', { messages, meter }))
    expect(meter.spent).toEqual({ ...spent, via: { target: `${new URL(upstream.url).host} m` } })
  })

  it('has cost nothing where it is a refusal, by its status, its body or its first event', async () => {
    const error = { message: 'no', type: 'overloaded_error' }
    for (const behave of [says({ error }, 400), says({ error }, 429), says({ error }, 503), says({ error })]) {
      upstream.behave = behave
      const meter = new Meter()
      await failure(createModels({ routes: { default: at('chat') } }).invoke('default', { messages, meter }))
      expect(meter.spent).toBeUndefined()
    }
    const first = { chat: { error }, responses: { type: 'error', error }, messages: { type: 'error', error } }
    for (const api of ['chat', 'responses', 'messages'] as const) {
      upstream.behave = (response) => {
        response.writeHead(200, { 'content-type': 'text/event-stream' })
        response.end(`event: error\ndata: ${JSON.stringify(first[api])}\n\n`)
      }
      const meter = new Meter()
      const asked = { messages, meter, onDelta: () => {} }
      await failure(createModels({ routes: { default: at(api) } }).invoke('default', asked))
      expect(meter.spent).toBeUndefined()
    }
  })
})

const text = 'It is a good day to break off, wherever that may be: ünter Umständen hier.'
const args = JSON.stringify({ path: 'a'.repeat(90) })
const pieces = (of: string) => of.match(/.{1,9}/gsu) ?? []
const chatEvents = [
  chunk({ role: 'assistant', content: '' }),
  ...pieces(text).map((content) => chunk({ content })),
  chunk({ tool_calls: [{ index: 0, id: 'c', type: 'function', function: { name: 'look', arguments: '' } }] }),
  ...pieces(args).map((part) => chunk({ tool_calls: [{ index: 0, function: { arguments: part } }] })),
  chunk({}, 'tool_calls'),
  chunkOfUsage,
  DONE,
]
/** Of a server that counts as it writes. */
const countedEvents = chatEvents.slice(0, -2).map((event, completion_tokens) => {
  const value = JSON.parse(event.slice('data: '.length))
  return `data: ${JSON.stringify({ ...value, usage: { prompt_tokens: 77, completion_tokens } })}\n\n`
})
const streams: Record<string, { api: Api; events: string[] }> = {
  chat: { api: 'chat', events: chatEvents },
  'chat that counts in every chunk': { api: 'chat', events: [...countedEvents, DONE] },
  responses: { api: 'responses', events: responseEvents([message(text), functionCall('c', 'look', args)]) },
  messages: {
    api: 'messages',
    events: messageEvents(
      [
        { type: 'text', text },
        { type: 'tool_use', id: 'c', name: 'look', input: JSON.parse(args) },
      ],
      'tool_use',
    ),
  },
}

/** What the vendor itself has counted by then, and, where it has told nothing of it, the bytes that it has written. */
function countOf(events: readonly string[]) {
  const count = { input: undefined as number | undefined, output: undefined as number | undefined, bytes: 0 }
  for (const event of events) {
    const data = event.slice(event.indexOf('data: ') + 'data: '.length).trim()
    if (data === '[DONE]') continue
    const value = JSON.parse(data)
    const delta = value.delta ?? value.choices?.[0]?.delta
    const { content, tool_calls, text, partial_json } = typeof delta === 'object' ? delta : { text: delta }
    const written = [content, tool_calls?.[0]?.function.arguments, text, partial_json].filter(Boolean).join('')
    count.bytes += Buffer.byteLength(written)
    const told = value.usage ?? value.response?.usage ?? value.message?.usage
    if (written !== '' && !told) count.output = undefined
    if (!told) continue
    const { prompt_tokens, input_tokens, cache_read_input_tokens = 0, cache_creation_input_tokens = 0 } = told
    const input =
      prompt_tokens ?? (input_tokens && input_tokens + cache_read_input_tokens + cache_creation_input_tokens)
    count.input = input ?? count.input
    // Anthropic begins with a count that is of nothing yet.
    if (value.type !== 'message_start') count.output = told.completion_tokens ?? told.output_tokens
  }
  return count
}

/** About what names and brackets of an answer come to besides its text. */
const ENVELOPE = 110

function check(meter: Meter, events: readonly string[], body: object): void {
  const { input, output, bytes } = countOf(events)
  const { usage, costUsd } = meter.spent ?? { usage: undefined, costUsd: 0 }
  // Three bytes to a token.
  expect(usage?.inputTokens).toBe(input ?? Math.ceil(Buffer.byteLength(JSON.stringify(body)) / 3))
  if (output !== undefined) expect(usage?.outputTokens).toBe(output)
  expect(usage?.outputTokens).toBeGreaterThanOrEqual(output ?? Math.ceil(bytes / 3))
  expect(usage?.outputTokens).toBeLessThanOrEqual(output ?? Math.ceil(bytes / 3) + ENVELOPE)
  const { inputTokens = 0, outputTokens = 0, cachedTokens = 0 } = usage ?? {}
  const own =
    (inputTokens - cachedTokens) * price.inputUsd + cachedTokens * price.cachedUsd + outputTokens * price.outputUsd
  expect(costUsd).toBeCloseTo(own / 1e6, 12)
}

/** The first of them, and then what is said; each is told of when it has been written. */
const writes =
  (events: readonly string[], then: (response: ServerResponse) => void) =>
  (response: ServerResponse): void => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.flushHeaders()
    response.write(events.join(''), () => then(response))
  }

/** The vendor ends after these events; gives what it was asked, without what we add to ask for it. */
function breakOffAfter(sent: readonly string[]): () => JsonObject {
  let asked: JsonObject = {}
  upstream.behave = (response, { body }) => {
    asked = body
    writes(sent, (response) => response.end())(response)
  }
  return () => {
    const { stream_options: _, store: __, include: ___, model: ____, ...own } = asked
    return own
  }
}

const bodyOf = (api: Api): JsonObject => ({
  ...{ model: 'default', stream: true },
  ...(api === 'responses' ? { input: messages } : { messages }),
  ...(api === 'messages' ? { max_tokens: 99 } : {}),
})
const calls = {
  'without a gate': {},
  'with a gate': { gate: async () => ({ allow: true as const }), responseId: 'id_of_ours' },
  'with a gate that decides nothing': { gate: () => new Promise<never>(() => {}) },
}

describe.each(Object.entries(streams))('a stream of %s', (_, { api, events }) => {
  const body = bodyOf(api)

  for (const [how, more] of Object.entries(calls))
    it(`costs what was read and written until its server breaks off, or its client leaves, ${how}`, async () => {
      // What comes after a call that is not decided on is not read.
      const last = 'gate' in more && !('responseId' in more) ? events.length - 2 : events.length - 1
      for (let cut = 0; cut <= last; cut++) {
        const sent = events.slice(0, cut)
        for (const isLeft of [false, true]) {
          const meter = new Meter()
          const left = new AbortController()
          upstream.behave = writes(sent, (response) => {
            if (!isLeft) response.end()
          })
          const models = createModels({ routes: { default: at(api) } })
          const asked = { dialect: api, body, signal: left.signal, idempotencyKey: 'i', meter, ...more }
          const relayed = models
            .relay('default', asked)
            .then(async ({ answer }) => {
              if ('stream' in answer) for await (const _ of answer.stream);
            })
            .catch(() => {})
          // It is told at any time, without an end.
          await vi.waitFor(() => check(meter, sent, body), { interval: 2 })
          left.abort()
          // Nobody can leave a gate.
          if (!('gate' in more) || 'responseId' in more) await relayed
          check(meter, sent, body)
        }
      }
    })

  it('costs the same where an agent is answered by it', async () => {
    for (let cut = 0; cut < events.length; cut++) {
      const sent = events.slice(0, cut)
      const meter = new Meter()
      const askedOf = breakOffAfter(sent)
      const models = createModels({ routes: { default: at(api) } })
      const ended = models.invoke('default', { messages, meter, onDelta: () => {} })
      // Without its last event a chat may be whole.
      await ended.catch(() => {})
      check(meter, sent, askedOf())
    }
  })

  it('costs the same where it is translated, from what is sent', async () => {
    const from = api === 'chat' ? 'messages' : 'chat'
    for (let cut = 0; cut < events.length; cut++) {
      const sent = events.slice(0, cut)
      const meter = new Meter()
      const askedOf = breakOffAfter(sent)
      const models = createModels({ routes: { default: at(api) } })
      const { signal } = new AbortController()
      const request = { dialect: from, body: bodyOf(from), signal, idempotencyKey: 'i', meter } as const
      await models.relay('default', request).then(
        async ({ answer }) => {
          if ('stream' in answer) for await (const _ of answer.stream);
        },
        () => {},
      )
      check(meter, sent, askedOf())
    }
  })
})

describe('a whole answer', () => {
  it('that breaks off, or comes too late, has cost what has come of it', async () => {
    const models = createModels({ routes: { default: at('chat', upstream, { timeoutMs: 200 }) } })
    for (const then of [(response: ServerResponse) => response.destroy(), () => {}]) {
      const meter = new Meter()
      upstream.behave = (response) => {
        response.writeHead(200, { 'content-type': 'application/json' })
        response.write(`{"choices":"${'a'.repeat(288)}`, () => setImmediate(then, response))
      }
      await failure(models.invoke('default', { messages, meter }))
      const inputTokens = Math.ceil(Buffer.byteLength(JSON.stringify({ messages })) / 3)
      expect(meter.spent?.usage).toMatchObject({ inputTokens, outputTokens: 101 })
    }
  })

  it('that never began has cost nothing', async () => {
    const models = createModels({ routes: { default: at('chat', upstream, { timeoutMs: 50 }) } })
    upstream.behave = () => {}
    const meter = new Meter()
    expect((await failure(models.invoke('default', { messages, meter }))).code).toBe('model.unavailable')
    expect(meter.spent).toBeUndefined()
  })
})

describe('of several targets', () => {
  const [start = ''] = messageEvents([], 'end_turn')
  // Of the first what it has told at once, and of the second what it tells at its end.
  const sum = { inputTokens: 200, outputTokens: 21, cachedTokens: 80, cacheWriteTokens: 10 }
  const costUsd = (100 * price.inputUsd - 40 * price.inputUsd + 40 * price.cachedUsd) / 1e6
  const sumUsd = 2 * costUsd + (21 * price.outputUsd) / 1e6
  const answers = (response: ServerResponse) =>
    writes([chunk({ content: 'a' }), chunk({}, 'stop'), chunkOfUsage, DONE], (response) => response.end())(response)

  it('one that broke off before anything was written is part of what the answer of the next costs', async () => {
    upstream.behave = writes([start], (response) => response.end())
    other.behave = answers
    const routes = { default: [at('messages'), at('chat', other)] as const }
    const reply = await createModels({ routes }).invoke('default', { messages, onDelta: () => {} })
    expect(reply.usage).toEqual(sum)
    expect(reply.costUsd).toBeCloseTo(sumUsd, 12)
    expect(reply.via?.passed).toMatchObject([{ code: 'model.unavailable' }])
  })

  it('one that was asked too, and had begun, is part of what the other costs', async () => {
    upstream.behave = writes([start], () => {})
    other.behave = answers
    const routes = { default: { targets: [at('messages'), at('chat', other)] as const, hedgeMs: 200 } }
    const { signal } = new AbortController()
    const asked = { dialect: 'chat', body: bodyOf('chat'), signal, idempotencyKey: 'i' } as const
    const { answer, done } = await createModels({ routes }).relay('default', asked)
    if ('stream' in answer) for await (const _ of answer.stream);
    const { usage, costUsd, via } = await done
    expect(usage).toEqual(sum)
    expect(costUsd).toBeCloseTo(sumUsd, 12)
    expect(via?.hedged).toHaveLength(1)
  })
})

it('at Bedrock has cost nothing where it is refused, and what was told where one call of several is', async () => {
  let calls = 0
  const server = await bedrockServer((response, { path }) => {
    calls++
    if (path.includes('converse-stream')) {
      response.writeHead(200, { 'content-type': 'application/vnd.amazon.eventstream' })
      response.end(frame('throttlingException', { message: 'later' }, 'exception'))
    } else if (calls === 1)
      response
        .writeHead(200, { 'content-type': 'application/json' })
        .end(JSON.stringify({ embedding: [1], inputTextTokenCount: 7 }))
    else setTimeout(() => refuse(response, 503, 'ServiceUnavailableException', 'busy'), 100)
  })
  const { endpoint } = server
  const at = (model: string): Target => ({ bedrock: { model, region: 'eu-central-1', endpoint }, price })
  const models = createModels({ routes: { default: at('m'), titan: at('amazon.titan-embed-text-v2:0') } })
  const some = new Meter()
  const { signal } = new AbortController()
  const body = { model: 'titan', input: ['a', 'b'] }
  const asked = { dialect: 'embeddings', body, signal, idempotencyKey: 'i', meter: some } as const
  await failure(models.relay('titan', asked))
  expect(some.spent).toMatchObject({ usage: { inputTokens: 7, outputTokens: 0 }, costUsd: 14e-6 })
  const none = new Meter()
  const refused = await failure(models.invoke('default', { messages, meter: none, onDelta: () => {} }))
  expect(refused.code).toBe('rate.limited')
  expect(none.spent).toBeUndefined()
  server.close()
})

it('of Converse costs what was read and written until it breaks off', async () => {
  const frames = [
    frame('messageStart', { role: 'assistant' }),
    ...pieces(text).map((text) => frame('contentBlockDelta', { contentBlockIndex: 0, delta: { text } })),
    frame('messageStop', { stopReason: 'end_turn' }),
    frame('metadata', { usage: { inputTokens: 60, outputTokens: 30, totalTokens: 90 }, metrics: { latencyMs: 1 } }),
  ]
  let cut = 0
  const server = await bedrockServer((response) => {
    response.writeHead(200, { 'content-type': 'application/vnd.amazon.eventstream' })
    response.end(Buffer.concat(frames.slice(0, cut)))
  })
  const { endpoint } = server
  const models = createModels({
    routes: { default: { bedrock: { model: 'm', region: 'eu-central-1', endpoint }, price } },
  })
  for (; cut <= frames.length; cut++) {
    const meter = new Meter()
    await models.invoke('default', { messages, meter, onDelta: () => {} }).catch(() => {})
    const bytes = Buffer.byteLength(
      pieces(text)
        .slice(0, Math.max(cut - 1, 0))
        .join(''),
    )
    const isTold = cut === frames.length
    expect(meter.spent?.usage.inputTokens).toBe(
      isTold ? 60 : Math.ceil(Buffer.byteLength(JSON.stringify([messages, undefined, undefined])) / 3),
    )
    const output = meter.spent?.usage.outputTokens
    expect(output).toBeGreaterThanOrEqual(isTold ? 30 : Math.ceil(bytes / 3))
    expect(output).toBeLessThanOrEqual(isTold ? 30 : Math.ceil(bytes / 3) + 2)
  }
  server.close()
})
