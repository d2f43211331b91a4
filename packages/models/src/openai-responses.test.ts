import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { failure, watched } from './fixture.ts'
import type { ModelRequest } from './message.ts'
import { createModels } from './models.ts'
import type { OpenAiTarget } from './target.ts'

const apiKey = 'sk-s3cret-0123456789'
let bodies: Record<string, unknown>[] = []
let answer: (response: ServerResponse, body: Record<string, unknown>) => void
const server = createServer(async (request, response) => {
  let text = ''
  for await (const part of request) text += part
  expect([request.url, request.headers.authorization]).toEqual(['/v1/responses', `Bearer ${apiKey}`])
  // By OpenAI's own client.
  expect(request.headers['user-agent']).toMatch(/^OpenAI\/JS /)
  const body = JSON.parse(text)
  bodies.push(body)
  answer(response, body)
})
beforeAll(() => new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve)))
afterAll(() => {
  server.closeAllConnections()
  server.close()
})
beforeEach(() => {
  bodies = []
})

const models = (more: Partial<OpenAiTarget> = {}) => {
  const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`
  const price = { inputUsd: 2, cachedUsd: 0.5, outputUsd: 8 }
  return createModels({ routes: { default: { model: 'm', baseUrl, apiKey, api: 'responses', price, ...more } } })
}
const ask = (more: Partial<ModelRequest> = {}): ModelRequest => ({
  messages: [{ role: 'user', content: 'hello' }],
  ...more,
})
const usage = {
  input_tokens: 100,
  input_tokens_details: {
    ...{ cached_tokens: 40, cache_write_tokens: 30 },
    cache_write_tokens_details: { ttl_30m_tokens: 10, ttl_12h_tokens: 20 },
  },
  output_tokens: 30,
  output_tokens_details: { reasoning_tokens: 20 },
  total_tokens: 130,
}
const reasoning = { type: 'reasoning', id: 'rs_1', summary: [], encrypted_content: 'c2VhbGVk' }
const message = (text: string) => ({
  type: 'message',
  id: 'msg_1',
  role: 'assistant',
  status: 'completed',
  content: [{ type: 'output_text', text, annotations: [] }],
})
const call = (call_id: string, args: string) => ({
  type: 'function_call',
  id: `fc_${call_id}`,
  call_id,
  name: 'pay',
  arguments: args,
  status: 'completed',
})
const responseOf = (output: object[], more: object = {}) => ({
  id: 'resp_1',
  object: 'response',
  created_at: 1,
  model: 'm-2026-05-01',
  status: 'completed',
  error: null,
  incomplete_details: null,
  output,
  usage,
  ...more,
})

function json(response: ServerResponse, status: number, body: object, headers: Record<string, string> = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))
}

function events(response: ServerResponse, list: ({ type: string } & Record<string, unknown>)[]): void {
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  for (const [sequence_number, event] of list.entries())
    response.write(`event: ${event.type}\ndata: ${JSON.stringify({ ...event, sequence_number })}\n\n`)
  response.end()
}

/** As the vendor streams it, event by event. */
function told(output: Record<string, unknown>[]): ({ type: string } & Record<string, unknown>)[] {
  const inside = output.flatMap((item, output_index) => {
    const { text = '' } = ((item.content as { text: string }[] | undefined) ?? [])[0] ?? {}
    const deltas = text.match(/.{1,3}/gsu) ?? []
    return [
      { type: 'response.output_item.added', output_index, item: { ...item, content: [], status: 'in_progress' } },
      ...deltas.map((delta) => ({ type: 'response.output_text.delta', output_index, content_index: 0, delta })),
      ...(item.type === 'function_call'
        ? [{ type: 'response.function_call_arguments.delta', output_index, delta: String(item.arguments) }]
        : []),
      { type: 'response.output_item.done', output_index, item },
    ]
  })
  const begun = responseOf([], { status: 'in_progress', usage: null })
  return [
    { type: 'response.created', response: begun },
    { type: 'response.in_progress', response: begun },
    ...inside,
    { type: 'response.completed', response: responseOf(output) },
  ]
}

describe('OpenAI Responses', () => {
  it('gives text, calls, sealed thoughts and usage, the same streamed and not', async () => {
    const output = [reasoning, message('Good day, ☕.'), call('c1', '{"amount":1}'), call('c2', '{"amount":2}')]
    answer = (response, { stream }) =>
      stream ? events(response, told(output)) : json(response, 200, responseOf(output))
    const tools = [{ name: 'pay', description: 'Pays.', parameters: { type: 'object' } }]
    const plain = await models({ effort: 'high' }).invoke('default', ask({ tools }))
    expect(plain).toMatchObject({
      text: 'Good day, ☕.',
      toolCalls: [
        { id: 'c1', name: 'pay', arguments: '{"amount":1}' },
        { id: 'c2', name: 'pay', arguments: '{"amount":2}' },
      ],
      usage: {
        ...{ inputTokens: 100, outputTokens: 30, cachedTokens: 40, reasoningTokens: 20 },
        ...{ cacheWriteTokens: 30, longCacheWriteTokens: 20 },
      },
      model: 'm-2026-05-01',
    })
    expect(plain.costUsd).toBeCloseTo((60 * 2 + 40 * 0.5 + 30 * 8) / 1e6, 12)
    expect(bodies[0]).toEqual({
      model: 'm',
      store: false,
      include: ['reasoning.encrypted_content'],
      input: [{ role: 'user', content: 'hello' }],
      tools: [{ type: 'function', name: 'pay', description: 'Pays.', parameters: { type: 'object' }, strict: false }],
      reasoning: { effort: 'high' },
    })
    const { reply, written } = await watched(models(), ask({ tools }))
    expect(reply).toEqual(plain)
    expect(written).toBe('Good day, ☕.')
    // Some leave the output out of what they say last.
    answer = (response) =>
      events(response, [...told(output).slice(0, -1), { type: 'response.completed', response: responseOf([]) }])
    expect((await watched(models(), ask({ tools }))).reply).toEqual(plain)
  })

  it('gives the whole conversation back, with its thoughts to the model that had them', async () => {
    answer = (response) => json(response, 200, responseOf([reasoning, call('c1', '{}')]))
    const first = await models().invoke('default', ask())
    const messages: ModelRequest['messages'] = [
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'pay' },
      {
        role: 'assistant',
        content: null,
        toolCalls: first.toolCalls,
        ...(first.reasoning ? { reasoning: first.reasoning } : {}),
      },
      { role: 'tool', callId: 'c1', content: '"paid"' },
      { role: 'assistant', content: 'Done.' },
    ]
    const output = { name: 'answer', schema: { type: 'object' } }
    await models().invoke('default', { messages: JSON.parse(JSON.stringify(messages)), output })
    const rest = [
      { type: 'function_call', call_id: 'c1', name: 'pay', arguments: '{}' },
      { type: 'function_call_output', call_id: 'c1', output: '"paid"' },
      { role: 'assistant', content: 'Done.' },
    ]
    expect(bodies[1]).toMatchObject({
      input: [{ role: 'system', content: 'Be brief.' }, { role: 'user', content: 'pay' }, reasoning, ...rest],
      text: { format: { type: 'json_schema', ...output, strict: false } },
    })
    await models({ model: 'another' }).invoke('default', { messages })
    expect((bodies[2] as { input: unknown[] }).input.slice(2)).toEqual(rest)
  })

  it('asks a model that does not think for no thoughts, after it has said so once', async () => {
    answer = (response, { include }) =>
      include
        ? json(response, 400, { error: { message: 'Encrypted content is not supported with this model.' } })
        : json(response, 200, responseOf([message('x')]))
    const client = models()
    for (let i = 0; i < 2; i++) expect((await client.invoke('default', ask())).text).toBe('x')
    expect(bodies.map((body) => 'include' in body)).toEqual([true, false, false])
  })

  it.each([
    [{ status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' } }, 'model.failed', /limit of tokens/],
    [{ status: 'incomplete', incomplete_details: { reason: 'content_filter' } }, 'model.failed', /content filter/],
    [{ status: 'failed', error: { code: 'server_error', message: `no ${apiKey}` } }, 'model.unavailable', /no \*\*\*/],
    [{ status: 'failed', error: { code: 'rate_limit_exceeded', message: 'wait' } }, 'rate.limited', /wait/],
    [{ status: 'failed', error: { code: 'invalid_prompt', message: 'no' } }, 'model.failed', /no/],
    [{ status: 'cancelled' }, 'model.failed', /cancelled/],
    [{ output: [] }, 'model.failed', /no answer/],
    [{ output: [{ type: 'web_search_call', id: 'w' }] }, 'model.failed', /not asked for: web_search_call/],
    [
      { output: [{ ...message(''), content: [{ type: 'refusal', refusal: 'I will not.' }] }] },
      'model.failed',
      /refused: I will not/,
    ],
  ])('%j is %s', async (more, code, text) => {
    const response = responseOf([message('half of')], more)
    answer = (to) => json(to, 200, response)
    expect(await failure(models().invoke('default', ask()))).toMatchObject({
      code,
      message: expect.stringMatching(text),
    })
    answer = (to) => events(to, [{ type: `response.${response.status}`, response }])
    expect(await failure(watched(models(), ask()))).toMatchObject({ code, message: expect.stringMatching(text) })
  })

  it('takes no stream for an answer that is cut, is no JSON, or tells of an error', async () => {
    const whole = told([message('Good day.')])
    for (let length = 0; length < whole.length; length++) {
      answer = (response) => events(response, whole.slice(0, length))
      expect((await failure(watched(models(), ask()))).code).toBe('model.unavailable')
    }
    answer = (response) =>
      response.writeHead(200, { 'content-type': 'text/event-stream' }).end('event: response.created\ndata: {"ty\n\n')
    expect((await failure(watched(models(), ask()))).code).toBe('model.unavailable')
    answer = (response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      response.write(`data: ${JSON.stringify(whole[0])}\n\n`, () => response.destroy())
    }
    expect((await failure(watched(models(), ask()))).code).toBe('model.unavailable')
    answer = (response) =>
      events(response, [{ type: 'error', code: 'server_error', message: 'overloaded', param: null }])
    expect(await failure(watched(models(), ask()))).toMatchObject({
      code: 'model.unavailable',
      message: expect.stringContaining('overloaded'),
    })
  })

  it('tells errors as Chat Completions does, and how long to wait', async () => {
    answer = (response) => json(response, 429, { error: { message: 'slow down' } }, { 'retry-after': '7' })
    expect(await failure(watched(models(), ask()))).toMatchObject({ code: 'rate.limited', retryAfterMs: 7000 })
    answer = (response) => json(response, 500, { error: { message: 'no' } })
    expect((await failure(models().invoke('default', ask()))).code).toBe('model.unavailable')
  })

  it('an abort in the middle of a stream is no error of the model', async () => {
    const abort = new AbortController()
    answer = (response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      response.write('event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"x"}\n\n')
    }
    const request = ask({ signal: abort.signal, onDelta: () => abort.abort() })
    await expect(models().invoke('default', request)).rejects.toMatchObject({
      name: 'AbortError',
    })
  })

  it('a stream on which nothing comes any more is model.unavailable', async () => {
    answer = (response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      response.write(`data: ${JSON.stringify(told([])[0])}\n\n`)
    }
    expect(await failure(watched(models({ timeoutMs: 50 }), ask()))).toMatchObject({
      code: 'model.unavailable',
      message: 'm: no whole answer within 50 ms',
    })
  })
})
