import { createServer } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { LLMock } from '@copilotkit/aimock'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { failure } from './fixture.ts'
import type { ModelRequest } from './message.ts'
import { createModels, type ModelsOptions } from './models.ts'
import type { Price } from './price.ts'

const apiKey = 'sk-s3cret-0123456789'
const prices: Price[] = [{ model: 'm', inputUsd: 2, cachedUsd: 0.5, outputUsd: 8, since: '2026-01-01', source: 'test' }]
const server = new LLMock({ port: 0, host: '127.0.0.1', logLevel: 'silent' })
let baseUrl: string

beforeAll(async () => {
  baseUrl = `${await server.start()}/v1`
})
afterAll(() => server.stop())
beforeEach(() => {
  server.reset()
})

const models = (options: Partial<ModelsOptions> = {}) =>
  createModels({ routes: { default: { model: 'm', baseUrl, apiKey } }, prices, ...options })
const ask = (content: string, more: Partial<ModelRequest> = {}): ModelRequest => ({
  messages: [{ role: 'user', content }],
  ...more,
})
const lastBody = () => JSON.parse(JSON.stringify(server.getLastRequest()?.body)) as Record<string, unknown>

/** A server that answers with exactly this, for what the mock does not send. */
async function withAnswer<T>(
  status: number,
  body: unknown,
  use: (baseUrl: string, calls: () => number) => Promise<T>,
  headers: Record<string, string> = {},
): Promise<T> {
  let calls = 0
  const exact = createServer((_, response) => {
    calls++
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))
  })
  await new Promise<void>((resolve) => exact.listen(0, '127.0.0.1', resolve))
  try {
    return await use(`http://127.0.0.1:${(exact.address() as AddressInfo).port}`, () => calls)
  } finally {
    exact.closeAllConnections()
    exact.close()
  }
}

const at = (url: string) => models({ routes: { default: { model: 'm', baseUrl: url, apiKey } } })

describe('a reply that is watched while it is written', () => {
  const watched = async (client: ReturnType<typeof models>, request: ModelRequest) => {
    const deltas: string[] = []
    const reply = await client.invoke('default', { ...request, onDelta: (text) => deltas.push(text) })
    return { reply, deltas }
  }

  it('is the same as one that is not, with its calls, its usage and its cost', async () => {
    server.onMessage('hello', {
      content: 'Good day, and a fine one at that.',
      model: 'm-2026-05-01',
      usage: { prompt_tokens: 1000, completion_tokens: 500 },
    })
    server.onMessage('look', {
      toolCalls: [{ name: 'world_look', arguments: '{"what":"letter"}' }],
      usage: { prompt_tokens: 10, completion_tokens: 5 },
    })
    const plain = await models().invoke('default', ask('hello'))
    const { reply, deltas } = await watched(models(), ask('hello'))
    expect(lastBody()).toMatchObject({ stream: true, stream_options: { include_usage: true } })
    expect(reply).toEqual(plain)
    expect(deltas.length).toBeGreaterThan(1)
    expect(deltas.join('')).toBe(plain.text)
    const calling = await watched(models(), ask('look'))
    expect(calling.reply).toMatchObject({
      ...{ text: null, toolCalls: [{ name: 'world_look', arguments: '{"what":"letter"}' }] },
      usage: { inputTokens: 10, outputTokens: 5 },
    })
    expect(calling.deltas).toEqual([])
  })

  it('comes from a server that does not stream as from any other', async () => {
    const completion = {
      model: 'm',
      choices: [{ index: 0, finish_reason: 'stop', message: { role: 'assistant', content: 'whole' } }],
      usage: { prompt_tokens: 3, completion_tokens: 1 },
    }
    // It does not know the field, and answers as ever.
    await withAnswer(200, completion, async (url, calls) => {
      const client = at(url)
      for (let i = 0; i < 2; i++) expect((await watched(client, ask('hello'))).reply.text).toBe('whole')
      // No answer is paid for twice.
      expect(calls()).toBe(2)
      const keyless = models({ routes: { default: { model: 'm', baseUrl: url, apiKey: 'none' } } })
      expect((await watched(keyless, ask('hello'))).reply.text).toBe('whole')
    })
    let asked = 0
    const refusing = createServer(async (request, response) => {
      let body = ''
      for await (const part of request) body += part
      const { stream = false } = JSON.parse(body)
      if (stream) asked++
      const answer = stream ? { error: { message: 'stream is not supported' } } : completion
      response.writeHead(stream ? 400 : 200, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
    })
    await new Promise<void>((resolve) => refusing.listen(0, '127.0.0.1', resolve))
    try {
      const client = at(`http://127.0.0.1:${(refusing.address() as AddressInfo).port}`)
      for (let i = 0; i < 2; i++) expect((await watched(client, ask('hello'))).reply.text).toBe('whole')
      expect(asked).toBe(1)
    } finally {
      refusing.close()
    }
  })

  it('that breaks off is tried again like a connection that does, and one without usage is not free', async () => {
    const chunk = (delta: object, finish: string | null = null) =>
      `data: ${JSON.stringify({ id: 'c', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{ index: 0, delta, finish_reason: finish }] })}\n\n`
    let parts: string[] = []
    const streaming = createServer((_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      for (const part of parts) response.write(part)
      response.end()
    })
    await new Promise<void>((resolve) => streaming.listen(0, '127.0.0.1', resolve))
    try {
      const url = `http://127.0.0.1:${(streaming.address() as AddressInfo).port}`
      parts = [chunk({ role: 'assistant', content: 'half of' })]
      expect((await failure(watched(at(url), ask('hello')))).code).toBe('model.unavailable')
      parts = [chunk({ role: 'assistant', content: 'x'.repeat(300) }), chunk({}, 'stop'), 'data: [DONE]\n\n']
      const { reply } = await watched(at(url), ask('hello'))
      expect(reply.usage.outputTokens).toBeGreaterThanOrEqual(100)
      expect(reply.costUsd).toBeGreaterThan(0)
    } finally {
      streaming.close()
    }
  })
})

describe('invoke', () => {
  it('gives text, the model that answered, its usage and what it cost', async () => {
    server.onMessage('hello', {
      content: 'Good day.',
      model: 'm-2026-05-01',
      usage: { prompt_tokens: 1000, completion_tokens: 500 },
    })
    expect(await models().invoke('default', ask('hello'))).toEqual({
      text: 'Good day.',
      toolCalls: [],
      usage: { inputTokens: 1000, outputTokens: 500, cachedTokens: 0 },
      model: 'm-2026-05-01',
      costUsd: (1000 * 2 + 500 * 8) / 1e6,
    })
  })

  it('counts cached tokens at their own price', () =>
    withAnswer(
      200,
      {
        model: 'm',
        choices: [{ index: 0, message: { role: 'assistant', content: 'x' } }],
        usage: {
          prompt_tokens: 1000,
          completion_tokens: 0,
          prompt_tokens_details: { cached_tokens: 600, cache_write_tokens: 300 },
        },
      },
      async (url) => {
        const { usage, costUsd } = await at(url).invoke('default', ask('x'))
        expect(usage).toEqual({ inputTokens: 1000, outputTokens: 0, cachedTokens: 600, cacheWriteTokens: 300 })
        expect(costUsd).toBeCloseTo((400 * 2 + 600 * 0.5) / 1e6, 12)
      },
    ))

  it('gives tool calls with their arguments as the model wrote them', async () => {
    server.onMessage('pay', { toolCalls: [{ id: 'c1', name: 'ledger_pay', arguments: '{"amount": 5}' }] })
    const tools = [
      {
        name: 'ledger_pay',
        description: 'Pays.',
        parameters: { type: 'object', properties: { amount: { type: 'number' } } },
      },
    ]
    const reply = await models().invoke('default', ask('pay', { tools }))
    expect(reply).toMatchObject({
      text: null,
      toolCalls: [{ id: 'c1', name: 'ledger_pay', arguments: '{"amount": 5}' }],
    })
    expect(lastBody()).toMatchObject({ model: 'm', tools: [{ type: 'function', function: tools[0] }] })
  })

  it('sends a conversation with its tool calls and results, and the schema of the answer', async () => {
    server.on({}, { content: '{"ok":true}' })
    const messages: ModelRequest['messages'] = [
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'pay' },
      { role: 'assistant', content: null, toolCalls: [{ id: 'c1', name: 'pay', arguments: '{}' }] },
      { role: 'tool', callId: 'c1', content: '"done"' },
    ]
    const output = { name: 'answer', schema: { type: 'object' } }
    await models().invoke('default', { messages, output, idempotencyKey: 'idem' })
    expect(lastBody()).toMatchObject({
      messages: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: 'pay' },
        {
          role: 'assistant',
          content: null,
          tool_calls: [{ id: 'c1', type: 'function', function: { name: 'pay', arguments: '{}' } }],
        },
        { role: 'tool', tool_call_id: 'c1', content: '"done"' },
      ],
      response_format: { type: 'json_schema', json_schema: output },
    })
    expect(server.getLastRequest()?.headers['idempotency-key']).toBe('idem')
  })

  it.each([
    ['fast', 'small'],
    ['another-model', 'another-model'],
    ['constructor', 'constructor'],
  ])('leads the route %s to the model %s', async (route, model) => {
    server.on({}, { content: 'x' })
    const routed = models({
      routes: { default: { model: 'm', baseUrl, apiKey }, fast: { model: 'small', baseUrl, apiKey } },
    })
    await routed.invoke(route, ask('x'))
    expect(lastBody().model).toBe(model)
  })

  it('costs nothing where no price is known', async () => {
    server.on({}, { content: 'x', model: 'unknown', usage: { prompt_tokens: 10, completion_tokens: 10 } })
    expect(await models({ prices: [] }).invoke('default', ask('x'))).toMatchObject({
      costUsd: 0,
      usage: { inputTokens: 10 },
    })
  })

  it('fails when the model refuses or gives no answer', async () => {
    const refusal = {
      model: 'm',
      choices: [{ index: 0, message: { role: 'assistant', content: null, refusal: 'I will not.' } }],
    }
    await withAnswer(200, refusal, async (url) => {
      expect(await failure(at(url).invoke('default', ask('x')))).toMatchObject({
        code: 'model.failed',
        message: 'm refused: I will not.',
      })
    })
    await withAnswer(200, { model: 'm', choices: [] }, async (url) => {
      expect(await failure(at(url).invoke('default', ask('x')))).toMatchObject({
        code: 'model.failed',
        message: 'm gave no answer',
      })
    })
  })
})

describe('errors', () => {
  it.each([
    [429, 'rate.limited'],
    [500, 'model.unavailable'],
    [503, 'model.unavailable'],
    [400, 'model.failed'],
    [401, 'model.failed'],
    [404, 'model.failed'],
  ])('HTTP %i is %s, with what the provider said and never the key', async (status, code) => {
    server.on({}, { error: { message: `the key ${apiKey} is no good`, type: 'some_error' }, status })
    const error = await failure(models().invoke('default', ask('x')))
    expect(error.code).toBe(code)
    expect(error.message).toMatch(/^m: .*the key \*\*\* is no good/)
    expect(`${error.stack} ${JSON.stringify(error.toProblem())} ${String(error.cause)}`).not.toContain('s3cret')
  })

  it('is told after one try: the step decides on the next', async () => {
    await withAnswer(503, { error: { message: 'no' } }, async (url, calls) => {
      await failure(at(url).invoke('default', ask('x')))
      expect(calls()).toBe(1)
    })
  })

  it.each([
    ['seconds', { 'retry-after': '7' }, 7000],
    ['milliseconds', { 'retry-after': '7', 'retry-after-ms': '250' }, 250],
    ['a date that has passed', { 'retry-after': 'Wed, 21 Oct 2015 07:28:00 GMT' }, 0],
    ['more than an hour', { 'retry-after': '1000000' }, 3_600_000],
    ['nonsense', { 'retry-after': 'soon' }, undefined],
    ['nonsense, more finely', { 'retry-after': '7', 'retry-after-ms': 'soon' }, 7000],
    ['nothing', {}, undefined],
  ])('HTTP 429 and 503 say how long to wait: %s', async (_, headers, ms) => {
    for (const status of [429, 503])
      await withAnswer(
        status,
        { error: { message: 'slow down' } },
        async (url) => {
          const error = await failure(at(url).invoke('default', ask('x')))
          const code = status === 429 ? 'rate.limited' : 'model.unavailable'
          expect(error).toMatchObject({ code, retryAfterMs: ms })
        },
        headers,
      )
  })

  it('a quota that is used up does not come back by waiting', async () => {
    await withAnswer(429, { error: { message: 'pay', code: 'insufficient_quota' } }, async (url) => {
      expect((await failure(at(url).invoke('default', ask('x')))).code).toBe('model.failed')
    })
  })

  it('a server that is not there is model.unavailable', async () => {
    const { port, close } = await new Promise<{ port: number; close: () => Promise<unknown> }>((resolve) => {
      const gone = createServer().listen(0, '127.0.0.1', () => {
        resolve({ port: (gone.address() as AddressInfo).port, close: () => new Promise((done) => gone.close(done)) })
      })
    })
    await close()
    expect(await failure(at(`http://127.0.0.1:${port}`).invoke('default', ask('x')))).toMatchObject({
      code: 'model.unavailable',
      message: expect.stringMatching(/^m: connect ECONNREFUSED/),
    })
  })

  it('a call that takes too long is model.unavailable', async () => {
    const slow = createServer(() => {}).listen(0, '127.0.0.1')
    await new Promise((resolve) => slow.once('listening', resolve))
    const url = `http://127.0.0.1:${(slow.address() as AddressInfo).port}`
    const error = await failure(
      models({ routes: { default: { model: 'm', baseUrl: url, apiKey } }, timeoutMs: 50 }).invoke('default', ask('x')),
    )
    expect(error.code).toBe('model.unavailable')
    slow.closeAllConnections()
    slow.close()
  })

  it('an abort ends the call at once, and is no error of the model', async () => {
    const hanging = createServer(() => {}).listen(0, '127.0.0.1')
    await new Promise((resolve) => hanging.once('listening', resolve))
    const url = `http://127.0.0.1:${(hanging.address() as AddressInfo).port}`
    const abort = new AbortController()
    setTimeout(() => abort.abort(), 30)
    await expect(at(url).invoke('default', ask('x', { signal: abort.signal }))).rejects.toMatchObject({
      name: 'AbortError',
    })
    hanging.closeAllConnections()
    hanging.close()
  })

  // Sooner than the connection is given up.
  it('an abort is heeded, and time runs out, while a connection is not there yet', { timeout: 8000 }, async () => {
    // It never shakes hands.
    const silent = createTcpServer(() => {}).listen(0, '127.0.0.1')
    await new Promise((resolve) => silent.once('listening', resolve))
    const baseUrl = `https://127.0.0.1:${(silent.address() as AddressInfo).port}`
    const signal = AbortSignal.timeout(30)
    await expect(at(baseUrl).invoke('default', ask('x', { signal }))).rejects.toMatchObject({ name: 'TimeoutError' })
    const late = models({ routes: { default: { model: 'm', baseUrl, apiKey, timeoutMs: 50 } } })
    expect((await failure(late.invoke('default', ask('x')))).code).toBe('model.unavailable')
    silent.close()
  })
})

describe('reserveUsd', () => {
  it('is no less than what a call of this size costs, in any script and with tools', async () => {
    const tools = [{ name: 't', description: 'x'.repeat(3000), parameters: { type: 'object' } }]
    const latin = models().reserveUsd('default', ask('word '.repeat(600)))
    expect(latin).toBeGreaterThan((600 * 2 + 4096 * 8) / 1e6)
    // A character of Chinese is about a token.
    expect(models().reserveUsd('default', ask('字'.repeat(3000)))).toBeGreaterThan((3000 * 2 + 4096 * 8) / 1e6)
    expect(models().reserveUsd('default', ask('x', { tools }))).toBeGreaterThan((1000 * 2 + 4096 * 8) / 1e6)
  })

  it('refuses to guess: a model without a price under a money limit is model.no_price, unless it is free', () => {
    const of = (free: boolean) => models({ routes: { default: { model: 'unknown', baseUrl, apiKey, free } } })
    expect(() => of(false).reserveUsd('default', ask('x'))).toThrow(expect.objectContaining({ code: 'model.no_price' }))
    expect(of(true).reserveUsd('default', ask('x'))).toBe(0)
  })

  it('knows a dated snapshot by its family', () => {
    expect(models().reserveUsd('m-2026-05-01', ask('x'))).toBe(models().reserveUsd('default', ask('x')))
  })
})
