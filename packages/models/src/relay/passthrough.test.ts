import { brotliCompressSync, gzipSync } from 'node:zlib'
import Anthropic from '@anthropic-ai/sdk'
import { exactJson, MusterError } from '@muster/protocol'
import OpenAI from 'openai'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createModels, type Models } from '../models.ts'
import {
  type Behave,
  chunk,
  chunkOfUsage,
  DONE,
  events,
  functionCall,
  gateway,
  message,
  messageEvents,
  responseEvents,
  says,
  streams,
  vendor,
} from './fixture.ts'
import { type JsonObject, objectOf } from './json.ts'

const KEY = 'sk-of-the-vendor'
const rates = { inputUsd: 10, cachedUsd: 1, outputUsd: 100 }
const twice = { inputUsd: 20, cachedUsd: 2, outputUsd: 200 }
const price = { ...rates, tiers: { priority: twice, fast: twice } }
/** 100 tokens of input, of which 40 were cached, and 20 of output. */
const COST = (60 * 10 + 40 * 1 + 20 * 100) / 1e6

let upstream: Awaited<ReturnType<typeof vendor>>
let second: Awaited<ReturnType<typeof vendor>>
let models: Models
let gate: Awaited<ReturnType<typeof gateway>>
let openai: OpenAI
let anthropic: Anthropic

beforeAll(async () => {
  upstream = await vendor()
  second = await vendor()
  const common = { apiKey: KEY, price }
  const chat = { model: 'gpt', baseUrl: `${upstream.url}/v1`, ...common }
  models = createModels({
    routes: {
      default: chat,
      responses: { ...chat, api: 'responses' },
      messages: { anthropic: { model: 'claude', baseUrl: upstream.url }, ...common },
      gated: [chat, { ...chat, baseUrl: `${second.url}/v1` }],
      late: { ...chat, timeoutMs: 100 },
      both: {
        breaker: false,
        targets: [
          { ...chat, timeoutMs: 100 },
          { ...chat, model: 'second', baseUrl: `${second.url}/v1` },
        ],
      },
    },
  })
  gate = await gateway(models)
  openai = new OpenAI({ baseURL: `${gate.url}/v1`, apiKey: 'of-the-client', maxRetries: 0 })
  anthropic = new Anthropic({ baseURL: gate.url, apiKey: 'of-the-client', maxRetries: 0 })
})
afterAll(() => {
  for (const server of [upstream, second, gate]) server.close()
})
beforeEach(() => {
  upstream.asked.length = 0
  second.asked.length = 0
  gate.ends.length = 0
  gate.gate = undefined
  gate.responseId = undefined
  gate.kept = undefined
})

const asks = [{ role: 'user' as const, content: 'Good day.' }]
const end = () => gate.ends[0] ?? Promise.reject(new Error('nothing was relayed'))
const usage = { inputTokens: 100, outputTokens: 20, cachedTokens: 40 }
const toolOf = (name: string) => ({ type: 'function' as const, function: { name, parameters: { type: 'object' } } })
async function all<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const events: T[] = []
  for await (const event of stream) events.push(event)
  return events
}
const only = (allowed: string) => async (call: { name: string }) =>
  call.name === allowed ? { allow: true as const } : { allow: false as const, message: `not ${call.name}` }

describe('chat', () => {
  const calls = [
    { id: 'c1', type: 'function', function: { name: 'pay', arguments: '{"a":1}' } },
    { id: 'c2', type: 'custom', custom: { name: 'patch', input: '*** Begin' } },
  ]
  const answer = (message: object, finish_reason: string) => ({
    ...{
      id: 'chatcmpl-of-vendor',
      object: 'chat.completion',
      created: 1,
      model: 'gpt-of-vendor',
      of_vendor: { kept: 1 },
    },
    choices: [{ index: 0, finish_reason, message: { role: 'assistant', ...message } }],
    usage: { prompt_tokens: 100, completion_tokens: 20, prompt_tokens_details: { cached_tokens: 40 } },
  })
  const pieces = [
    chunk({ role: 'assistant', content: 'I ' }),
    chunk({ content: 'pay.' }),
    chunk({ tool_calls: [{ index: 0, id: 'c1', type: 'function', function: { name: 'pay', arguments: '' } }] }),
    chunk({ tool_calls: [{ index: 0, function: { arguments: '{"a"' } }] }),
    chunk({ tool_calls: [{ index: 0, function: { arguments: ':1}' } }] }),
    chunk({ tool_calls: [{ index: 1, id: 'c2', type: 'function', function: { name: 'look', arguments: '{}' } }] }),
    chunk({}, 'tool_calls'),
    chunkOfUsage,
    DONE,
  ]

  it('passes a whole answer on, and what was asked as it is but for the model', async () => {
    upstream.behave = says(answer({ content: null, tool_calls: calls }, 'tool_calls'))
    const asked = { model: 'default', messages: asks, tools: [toolOf('pay')], n: 1, of_client: { kept: true } }
    expect(await openai.chat.completions.create(asked)).toEqual(
      answer({ content: null, tool_calls: calls }, 'tool_calls'),
    )
    expect(upstream.asked).toMatchObject([
      { path: '/v1/chat/completions', headers: { authorization: `Bearer ${KEY}`, 'idempotency-key': 'run-1/1' } },
    ])
    expect(upstream.asked[0]?.body).toEqual({ ...asked, model: 'gpt' })
    const toolCalls = [
      { id: 'c1', name: 'pay', arguments: '{"a":1}' },
      { id: 'c2', name: 'patch', arguments: '*** Begin', isText: true },
    ]
    expect(await end()).toMatchObject({ usage, costUsd: COST, model: 'gpt-of-vendor', toolCalls, refused: [] })
  })

  it('costs what it does where it says that it was served otherwise than others', async () => {
    upstream.behave = says({ ...answer({ content: 'x' }, 'stop'), service_tier: 'priority' })
    await openai.chat.completions.create({ model: 'default', messages: asks, service_tier: 'auto' })
    upstream.behave = streams(
      ...messageEvents([{ type: 'text', text: 'x' }], 'end_turn').map((event) =>
        event.replace('"cache_creation_input_tokens"', '"service_tier":"standard","speed":"fast",$&'),
      ),
    )
    const asked = { model: 'messages', max_tokens: 100, messages: asks, stream: true as const }
    await all(await anthropic.messages.create(asked))
    expect((await Promise.all(gate.ends)).map(({ costUsd }) => costUsd)).toEqual([2 * COST, 2 * COST])
    const reserved = (body: JsonObject) => models.relayReserve('default', 'chat', { ...body, max_tokens: 100 }, '').usd
    const plain = reserved({})
    const other = (service_tier: string) => reserved({ service_tier })
    expect([other('flex'), other('priority')]).toEqual([plain, 2 * plain])
    expect([reserved({ n: 3 }), reserved({ n: null })]).toEqual([3 * plain, plain])
  })

  it('puts what the gate says in the place of calls, in a whole answer', async () => {
    upstream.behave = says(answer({ content: 'I pay.', tool_calls: calls }, 'tool_calls'))
    gate.gate = only('patch')
    gate.responseId = 'chatcmpl-ours'
    const one = await openai.chat.completions.create({ model: 'default', messages: asks })
    expect(one).toMatchObject({
      id: 'chatcmpl-ours',
      choices: [{ finish_reason: 'tool_calls', message: { content: 'I pay.\n\nnot pay', tool_calls: [{ id: 'c2' }] } }],
    })
    expect(await end()).toMatchObject({ whole: one, toolCalls: [{ id: 'c2' }], refused: [{ id: 'c1' }] })
    gate.gate = only('nothing')
    const none = await openai.chat.completions.create({ model: 'default', messages: asks })
    expect(none.choices[0]).toMatchObject({
      finish_reason: 'stop',
      message: { content: 'I pay.\n\nnot pay\n\nnot patch' },
    })
    expect(none.choices[0]?.message).not.toHaveProperty('tool_calls')
  })

  it('streams to the byte, and counts what the client has not asked to be told', async () => {
    upstream.behave = streams(...pieces)
    const raw = async (more: object) => {
      const body = JSON.stringify({ model: 'default', messages: asks, stream: true, ...more })
      return (await fetch(`${gate.url}/v1/chat/completions`, { method: 'POST', body })).text()
    }
    const without = pieces.filter((piece) => piece !== chunkOfUsage)
    expect(await raw({})).toBe(without.join(''))
    expect(await raw({ stream_options: { include_usage: true, include_obfuscation: false } })).toBe(pieces.join(''))
    expect(upstream.asked.map(({ body }) => body.stream_options)).toEqual([
      { include_usage: true },
      { include_usage: true, include_obfuscation: false },
    ])
    gate.responseId = 'chatcmpl-ours'
    expect(await raw({})).toBe(without.join('').replaceAll('chatcmpl-of-vendor', 'chatcmpl-ours'))
    expect(await end()).toMatchObject({ usage, costUsd: COST })
  })

  it.each([
    ['all', async () => ({ allow: true as const }), ['pay', 'look'], ''],
    ['one', only('look'), ['look'], '\n\nnot pay'],
    ['none', only('nothing'), [], '\n\nnot pay\n\nnot look'],
  ])('holds calls of a stream back until the gate has decided: it allows %s', async (_, decides, allowed, said) => {
    let isAsked = false
    let read = ''
    upstream.behave = streams(...pieces)
    gate.gate = async (call) => {
      // What was written before has been delivered by now.
      if (!isAsked) await expect.poll(() => read).toBe('I pay.')
      isAsked = true
      return decides(call)
    }
    const stream = openai.chat.completions.stream({ model: 'default', messages: asks })
    stream.on('content', (text) => {
      read += text
    })
    stream.on('chunk', ({ choices }) => {
      if (choices[0]?.delta.tool_calls) expect(isAsked).toBe(true)
    })
    const { choices } = await stream.finalChatCompletion()
    const { toolCalls, refused, whole } = await end()
    expect(choices[0]?.message.content).toBe(`I pay.${said}`)
    const names = (choices[0]?.message.tool_calls ?? []).map((call) => call.type === 'function' && call.function.name)
    expect([names, toolCalls.map(({ name }) => name), refused.length]).toEqual([allowed, allowed, 2 - allowed.length])
    expect(choices[0]?.finish_reason).toBe(allowed.length > 0 ? 'tool_calls' : 'stop')
    const { tool_calls = [], content } = choices[0]?.message ?? {}
    expect(whole).toMatchObject({ choices: [{ message: { content, ...(allowed.length > 0 ? { tool_calls } : {}) } }] })
  })

  it.each([
    ['no', {}],
    ['the same', { index: 0 }],
  ])(
    'tells calls apart to which a server gives %s index, and takes no piece of one that was decided on',
    async (_, at) => {
      const call = (id: string, name: string, args: string) => ({
        ...{ ...at, id, type: 'function' },
        function: { name, arguments: args },
      })
      const rest = { ...at, function: { arguments: '1}' } }
      gate.gate = only('look')
      const told = async (...events: string[]) => {
        upstream.behave = streams(...events, DONE)
        const seen = await all(await openai.chat.completions.create({ model: 'default', messages: asks, stream: true }))
        return seen.flatMap(({ choices }) => choices[0]?.delta.tool_calls ?? [])
      }
      const calls = [chunk({ tool_calls: [call('c1', 'pay', '{"a":')] }, ''), chunk({ tool_calls: [rest] }, '')]
      const other = chunk({ tool_calls: [call('c2', 'look', '{}')] })
      expect(await told(...calls, other, chunk({}, 'tool_calls'))).toEqual([{ ...call('c2', 'look', '{}'), index: 0 }])
      expect((await end()).refused).toEqual([{ id: 'c1', name: 'pay', arguments: '{"a":1}' }])
      await expect(told(other, chunk({}, 'tool_calls'), chunk({ tool_calls: [rest] }))).rejects.toThrow('decided on')
      gate.gate = undefined
      await told(...calls, other, chunk({}, 'tool_calls'))
      const made = [{ function: { arguments: '{"a":1}' } }, { function: { name: 'look' } }]
      expect((await gate.ends.at(-1))?.whole).toMatchObject({ choices: [{ message: { tool_calls: made } }] })
    },
  )

  it('asks a server that has no word for it without what was added, once', async () => {
    upstream.behave = (response, asked) =>
      asked.body.stream_options
        ? says({ error: { message: 'unknown field stream_options' } }, 400)(response, asked)
        : streams(chunk({ content: 'hi' }, 'stop'), DONE)(response, asked)
    const ask = { model: 'default', messages: asks, stream: true } as const
    // What is refused for what a client has asked itself changes nothing for others.
    const odd = { include_obfuscation: true }
    await expect(openai.chat.completions.create({ ...ask, stream_options: odd })).rejects.toMatchObject({ status: 400 })
    upstream.asked.length = 0
    for (let i = 0; i < 2; i++) {
      expect(await all(await openai.chat.completions.create(ask))).toHaveLength(1)
    }
    expect(upstream.asked.map(({ body }) => body.stream_options !== undefined)).toEqual([true, false, false])
    // It must not look as if it had cost nothing.
    expect((await end()).costUsd).toBeGreaterThan(0)
    // What the client asks itself is not left out.
    const stream_options = { include_usage: true }
    const refused = openai.chat.completions.create({ model: 'default', messages: asks, stream: true, stream_options })
    await expect(refused).rejects.toMatchObject({ status: 400 })
  })
})

describe('responses', () => {
  const reasoning = { id: 'rs_1', type: 'reasoning', summary: [], encrypted_content: 'c2VhbGVk' }
  const patch = {
    id: 'ctc_1',
    type: 'custom_tool_call',
    status: 'completed',
    call_id: 'c2',
    name: 'apply_patch',
    input: '*** Begin',
  }
  const search = { id: 'ws_1', type: 'web_search_call', status: 'completed', action: { type: 'search', query: 'x' } }
  const unknown = { id: 'x_1', type: 'of_next_year', value: [1, { a: null }] }
  const items = [reasoning, search, message('I will pay.'), functionCall('c1', 'pay', '{"amount":12}'), patch, unknown]
  const shell = {
    id: 'sh_1',
    type: 'local_shell_call',
    status: 'completed',
    call_id: 'c3',
    action: { type: 'exec', command: ['ls'] },
  }
  const post = async (more: object = {}) => {
    const body = JSON.stringify({ model: 'responses', input: 'Good day.', stream: true, ...more })
    return (await fetch(`${gate.url}/v1/responses`, { method: 'POST', body })).text()
  }

  it('streams every event as it came, known or not, and keeps nothing at the vendor', async () => {
    upstream.behave = streams(...responseEvents(items))
    expect(
      await post({ previous_response_id: 'resp_1', background: false, store: true, tools: [{ type: 'custom' }] }),
    ).toBe(responseEvents(items).join(''))
    expect(upstream.asked[0]?.body).toEqual({
      ...{ model: 'gpt', input: 'Good day.', stream: true, store: false, tools: [{ type: 'custom' }] },
      include: ['reasoning.encrypted_content'],
    })
    const toolCalls = [
      { id: 'c1', name: 'pay', arguments: '{"amount":12}' },
      { id: 'c2', name: 'apply_patch', arguments: '*** Begin' },
    ]
    expect(await end()).toMatchObject({ usage: { ...usage, reasoningTokens: 5 }, costUsd: COST, toolCalls })
    gate.gate = async () => ({ allow: true })
    expect(await post()).toBe(responseEvents(items).join(''))
    gate.responseId = 'resp_ours'
    expect(await post()).toBe(responseEvents(items).join('').replaceAll('resp_of_vendor', 'resp_ours'))
  })

  it('has ids of items that tell which response they are of, where it is kept by who relays, and no others', async () => {
    const said = [...items, message('The "item_id":"msg_1" is {"item_id":"msg_1"}.')]
    const marked = (text: string) =>
      text.replaceAll(/"(id|item_id)":"((rs|ws|msg|fc|ctc|x)_\w+)"/g, '"$1":"$2_of_ours"')
    upstream.behave = streams(...responseEvents(said))
    gate.responseId = 'resp_of_ours'
    const plain = responseEvents(said).join('').replaceAll('resp_of_vendor', 'resp_of_ours')
    for (const one of [undefined, async () => ({ allow: true as const })]) {
      gate.gate = one
      gate.kept = {}
      expect(await post()).toBe(plain)
      gate.kept = { store: true }
      expect((await post()).replaceAll(',"store":true', '')).toBe(marked(plain))
    }
    // However it is written.
    upstream.behave = streams(...responseEvents(said).map((event) => event.replace('"item_id":', '"item_id": ')))
    expect((await post()).replaceAll(',"store":true', '')).toBe(marked(plain))
    upstream.behave = streams(...responseEvents(said))
    const { whole } = (await Promise.all(gate.ends)).at(-1) ?? {}
    expect(objectOf(whole).output).toEqual(JSON.parse(marked(JSON.stringify(said))))
    upstream.behave = says({ id: 'r', object: 'response', model: 'm', status: 'completed', output: said })
    expect(JSON.parse(await post({ stream: false })).output).toEqual(objectOf(whole).output)
    // What stands in the place of a call is of the response as well.
    gate.gate = only('nothing')
    for (const stream of [false, true]) {
      if (stream) upstream.behave = streams(...responseEvents(said))
      const refused = await post({ stream })
      expect(refused).toMatch(/"msg_[0-9a-f]{32}_of_ours"/)
      expect(refused).not.toMatch(/"msg_[0-9a-f]{32}"/)
    }
  })

  it('that fails has no calls but those that were decided on', async () => {
    const [created = '', , ...rest] = responseEvents([
      functionCall('c1', 'pay', '{}'),
      functionCall('c2', 'tell', '{}'),
    ])
    const ofFirst = rest.filter((event) => event.includes('"output_index":0'))
    const output = ['pay', 'tell', 'erase'].map((name, at) => functionCall(`c${at + 1}`, name, '{"of":"it"}'))
    const error = { code: 'server_error', message: 'gone' }
    const failed = { id: 'resp_of_vendor', object: 'response', model: 'm', status: 'failed', error, output }
    upstream.behave = streams(created, ...ofFirst, ...events({ type: 'response.failed', response: failed }))
    gate.gate = only('tell')
    const told = await post()
    expect(told).toContain('event: response.failed')
    expect(told).toContain('not pay')
    expect(told).not.toContain('function_call')
  })

  it('puts a message in the place of each call that is refused, as a valid stream', async () => {
    upstream.behave = streams(...responseEvents([...items, shell]))
    gate.gate = only('pay')
    const stream = openai.responses.stream({ model: 'responses', input: 'Good day.' })
    const seen = await all(stream)
    const { output } = await stream.finalResponse()
    expect(output.map(({ type }) => type)).toEqual([
      'reasoning',
      'web_search_call',
      'message',
      'function_call',
      'message',
      'of_next_year',
      'message',
    ])
    expect(output[4]).toMatchObject({ content: [{ type: 'output_text', text: 'not apply_patch' }] })
    expect(output[6]).toMatchObject({ content: [{ text: 'not local_shell' }] })
    expect(seen.map(({ sequence_number }) => sequence_number)).toEqual(seen.map((_, at) => at))
    const at4 = seen.filter((event) => 'output_index' in event && event.output_index === 4)
    expect(at4.map(({ type }) => type.replace('response.', ''))).toEqual([
      ...['output_item.added', 'content_part.added', 'output_text.delta'],
      ...['output_text.done', 'content_part.done', 'output_item.done'],
    ])
    expect(JSON.stringify(seen)).not.toContain('*** Begin')
    const last = seen.at(-1)
    expect(await end()).toMatchObject({
      whole: last?.type === 'response.completed' && last.response,
      toolCalls: [{ name: 'pay' }],
      refused: [{ name: 'apply_patch' }, { name: 'local_shell', arguments: '{"type":"exec","command":["ls"]}' }],
    })
  })

  it('asks about calls that only the end tells of, and about each item of a whole answer', async () => {
    const whole = {
      id: 'r',
      object: 'response',
      model: 'm',
      status: 'completed',
      output: [functionCall('c1', 'pay', '{}')],
    }
    gate.gate = only('nothing')
    upstream.behave = streams(...events({ type: 'response.completed', sequence_number: 0, response: whole }))
    expect(await post()).toContain('not pay')
    upstream.behave = says(whole)
    const { output } = await openai.responses.create({ model: 'responses', input: 'x' })
    expect(output).toMatchObject([{ type: 'message', content: [{ text: 'not pay' }] }])
    expect(await Promise.all(gate.ends)).toMatchObject([{ refused: [{ id: 'c1' }] }, { refused: [{ id: 'c1' }] }])
  })

  it('delivers text while another item is held back, and numbers the events anew', async () => {
    const [created = '', , ...rest] = responseEvents([functionCall('c1', 'pay', '{}'), message('Meanwhile.')])
    const ofCall = rest.filter((event) => event.includes('"output_index":0'))
    const ofText = rest.filter((event) => event.includes('"output_index":1'))
    upstream.behave = streams(created, ...ofCall.slice(0, 2), ...ofText, ...ofCall.slice(2), ...rest.slice(-1))
    let read = ''
    gate.gate = async () => {
      await expect.poll(() => read).toBe('Meanwhile.')
      return { allow: true }
    }
    const stream = openai.responses.stream({ model: 'responses', input: 'x' })
    stream.on('response.output_text.delta', ({ delta }) => {
      read += delta
    })
    const seen = await all(stream)
    expect(seen.map(({ sequence_number }) => sequence_number)).toEqual(seen.map((_, at) => at))
    expect((await end()).toolCalls).toMatchObject([{ id: 'c1' }])
  })

  it('is over with its last event, whatever comes with that', async () => {
    const said = responseEvents([message('All of it.')]).join('')
    const after = responseEvents([message('And more.')]).join('')
    upstream.behave = streams(`${said}${after}data: [DONE]\n\n`)
    expect(await post()).toBe(said)
    expect(await end()).toMatchObject({ whole: { output: [message('All of it.')] } })
  })

  it('does not ask a model for sealed thoughts that has none, and passes on an answer that came to its limit', async () => {
    upstream.behave = (response, asked) =>
      JSON.stringify(asked.body.include ?? []).includes('encrypted')
        ? says({ error: { message: 'Encrypted content is not supported with this model.' } }, 400)(response, asked)
        : streams(...responseEvents([message('cut')], 'incomplete'))(response, asked)
    expect(await post()).toContain('event: response.incomplete')
    expect(upstream.asked.map(({ body }) => body.include)).toEqual([['reasoning.encrypted_content'], undefined])
    expect(await end()).toMatchObject({ whole: { status: 'incomplete' } })
    expect(await post({ include: ['reasoning.encrypted_content'] })).toContain('Encrypted content is not supported')
  })
})

describe('messages', () => {
  const blocks: Parameters<typeof messageEvents>[0] = [
    { type: 'text', text: 'I will pay.' },
    { type: 'tool_use', id: 'c1', name: 'pay', input: { amount: 12 } },
    { type: 'tool_use', id: 'c2', name: 'look', input: {} },
  ]
  const asked = { model: 'messages', max_tokens: 100, messages: asks }

  it('streams to the byte, with the key where Anthropic has it', async () => {
    upstream.behave = streams(...messageEvents(blocks, 'tool_use'))
    const body = JSON.stringify({ ...asked, stream: true })
    const response = await fetch(`${gate.url}/v1/messages`, { method: 'POST', body })
    expect(await response.text()).toBe(messageEvents(blocks, 'tool_use').join(''))
    expect(upstream.asked).toMatchObject([
      {
        path: '/v1/messages',
        headers: { 'x-api-key': KEY, 'anthropic-version': '2023-06-01' },
        body: { model: 'claude' },
      },
    ])
    const toolCalls = [
      { id: 'c1', name: 'pay', arguments: '{"amount":12}' },
      { id: 'c2', name: 'look', arguments: '{}' },
    ]
    expect(await end()).toMatchObject({ usage, costUsd: COST, model: 'claude-of-vendor', toolCalls })
    upstream.behave = says({ error: { type: 'not_found_error', message: 'no such model' } }, 404)
    await expect(anthropic.messages.create(asked)).rejects.toMatchObject({ status: 404 })
  })

  it('keeps what a tool is called with to the digit, in a whole answer and in what a stream comes to', async () => {
    const input = '{"id":9007199254740993,"rate":0.12345678901234567891}'
    const call = { type: 'tool_use' as const, id: 'c1', name: 'pay', input: objectOf(exactJson(input)) }
    const ask = async (stream: boolean) => {
      const body = JSON.stringify({ ...asked, stream })
      return (await fetch(`${gate.url}/v1/messages`, { method: 'POST', body })).text()
    }
    upstream.behave = streams(...messageEvents([call], 'tool_use'))
    await ask(true)
    expect(JSON.stringify((await end()).whole)).toContain(`"input":${input}`)
    upstream.behave = says({ type: 'message', role: 'assistant', content: [call], stop_reason: 'tool_use', usage: {} })
    expect(await ask(false)).toContain(`"input":${input}`)
  })

  it('passes on a call that was cut, and asks about it as it was written', async () => {
    const cut = messageEvents(blocks, 'max_tokens').filter((event) => !event.includes('"partial_json":"}"'))
    upstream.behave = streams(...cut)
    gate.gate = async ({ arguments: args }) =>
      args === '{"amount":12' ? { allow: true } : { allow: false, message: args }
    const response = await fetch(`${gate.url}/v1/messages`, {
      method: 'POST',
      body: JSON.stringify({ ...asked, stream: true }),
    })
    expect(await response.text()).toContain(cut.slice(0, -5).join(''))
  })

  it.each([
    ['all', async () => ({ allow: true as const }), ['text', 'tool_use', 'tool_use'], 'tool_use'],
    ['one', only('look'), ['text', 'text', 'tool_use'], 'tool_use'],
    ['none', only('nothing'), ['text', 'text', 'text'], 'end_turn'],
  ])(
    'holds calls back until the gate has decided: it allows %s, in a stream and whole',
    async (_, decides, types, stop) => {
      gate.gate = decides
      gate.responseId = 'msg_ours'
      upstream.behave = streams(...messageEvents(blocks, 'tool_use'))
      const streamed = await anthropic.messages.stream(asked).finalMessage()
      const { usage: _usage, ...whole } = streamed
      upstream.behave = says({ ...whole, id: 'msg_of_vendor', content: blocks, stop_reason: 'tool_use', usage: {} })
      const created = await anthropic.messages.create(asked)
      for (const { id, content, stop_reason } of [streamed, created])
        expect([id, content.map(({ type }) => type), stop_reason]).toEqual(['msg_ours', types, stop])
      const [first, other] = await Promise.all(gate.ends)
      expect(first?.whole).toMatchObject(JSON.parse(JSON.stringify({ content: streamed.content, stop_reason: stop })))
      expect(other?.toolCalls).toEqual(first?.toolCalls)
      if (stop === 'end_turn') expect(JSON.stringify([streamed, created])).not.toContain('amount')
    },
  )
})

describe('embeddings', () => {
  it('are passed on, and cost their input', async () => {
    const data = [{ object: 'embedding', index: 0, embedding: [0.25, -1] }]
    upstream.behave = says({ object: 'list', data, model: 'e', usage: { prompt_tokens: 100, total_tokens: 100 } })
    const asked = { model: 'default', input: 'x', encoding_format: 'float' as const }
    expect((await openai.embeddings.create(asked)).data).toEqual(data)
    expect(upstream.asked).toMatchObject([{ path: '/v1/embeddings', body: { ...asked, model: 'gpt' } }])
    expect(await end()).toMatchObject({ usage: { inputTokens: 100, outputTokens: 0 }, costUsd: 0.001 })
    await expect(openai.embeddings.create({ ...asked, model: 'messages' })).rejects.toMatchObject({ status: 422 })
  })
})

describe('tokens of messages', () => {
  const count = (model: string, more: object = {}) =>
    anthropic.messages.countTokens({
      model,
      messages: [{ role: 'user', content: 'How many tokens are these?' }],
      ...more,
    })

  it('are counted by Anthropic where the route leads there, and by nobody else', async () => {
    upstream.behave = says({ input_tokens: 42 })
    const tools = [{ type: 'web_search_20250305' as const, name: 'web_search' as const }]
    expect(await count('messages', { tools })).toEqual({ input_tokens: 42 })
    expect(upstream.asked).toMatchObject([
      {
        path: '/v1/messages/count_tokens',
        headers: { 'x-api-key': KEY, 'anthropic-beta': 'of-client', 'anthropic-version': '2023-06-01' },
        body: { model: 'claude', tools },
      },
    ])
    // Elsewhere about as many; what would be refused is refused.
    const { input_tokens } = await count('default')
    expect(input_tokens).toBeGreaterThan(5)
    expect(input_tokens).toBeLessThan(30)
    await expect(count('default', { tools })).rejects.toMatchObject({ status: 422 })
    expect(await count('default', { system: 'x '.repeat(200_000) })).toMatchObject({
      input_tokens: expect.closeTo(133_400, -3),
    })
    expect(upstream.asked).toHaveLength(1)
  })

  it('are estimated where a server cannot count, and refused as it refuses', async () => {
    upstream.behave = says({ error: { type: 'not_found_error', message: 'no such route' } }, 404)
    expect((await count('messages')).input_tokens).toBeGreaterThan(5)
    upstream.behave = says({ error: { type: 'invalid_request_error', message: 'no' } }, 400)
    await expect(count('messages')).rejects.toMatchObject({ status: 400 })
    upstream.behave = says({ error: { type: 'overloaded_error', message: 'later' } }, 529)
    await expect(count('messages')).rejects.toMatchObject({ status: 529 })
  })
})

describe('tokens of a response', () => {
  const input = 'How many tokens are these?'
  const count = (model: string, more: OpenAI.Responses.InputTokenCountParams = {}) =>
    openai.responses.inputTokens.count({ model, input, ...more })

  it('are counted by OpenAI where the route leads there, which is told what counts alone', async () => {
    upstream.behave = says({ object: 'response.input_tokens', input_tokens: 42 })
    const tools = [{ type: 'web_search' as const }]
    const beside = { metadata: { a: 'b' }, stream: true, store: true, background: true, previous_response_id: 'r' }
    expect(await count('responses', { tools, instructions: 'Be brief.', ...beside })).toMatchObject({
      input_tokens: 42,
    })
    expect(upstream.asked).toMatchObject([
      { path: '/v1/responses/input_tokens', headers: { authorization: `Bearer ${KEY}` } },
    ])
    expect(upstream.asked[0]?.body).toEqual({ model: 'gpt', input, tools, instructions: 'Be brief.' })
    // Elsewhere about as many; what would be refused is refused.
    const { input_tokens } = await count('messages')
    expect(input_tokens).toBeGreaterThan(5)
    expect(input_tokens).toBeLessThan(30)
    expect(await count('default')).toMatchObject({ input_tokens })
    await expect(count('default', { tools })).rejects.toMatchObject({ status: 422 })
    expect(upstream.asked).toHaveLength(1)
  })

  it('are estimated where a server cannot count, and refused as it refuses', async () => {
    upstream.behave = says({ error: { message: 'no such route' } }, 404)
    const { input_tokens } = await count('responses')
    expect(await count('default')).toMatchObject({ input_tokens })
    // What only OpenAI knows is taken into account.
    const tools = [{ type: 'web_search' as const }]
    expect((await count('responses', { tools })).input_tokens).toBeGreaterThan(input_tokens)
    expect(await count('responses', { instructions: 'x '.repeat(200_000) })).toMatchObject({
      input_tokens: expect.closeTo(133_400, -3),
    })
    upstream.behave = says({ error: { message: 'no' } }, 400)
    await expect(count('responses')).rejects.toMatchObject({ status: 400 })
  })
})

describe('what goes wrong', () => {
  const ask = (model: string, stream = false) => openai.chat.completions.create({ model, messages: asks, stream })

  it('is told with the status of the vendor and its words, without the key', async () => {
    upstream.behave = says({ error: { message: `no, ${KEY}`, param: 'n' } }, 403)
    await expect(ask('default')).rejects.toMatchObject({ status: 403, message: '403 gpt: 403 no, ***' })
    // As OpenAI shows it.
    upstream.behave = says({ error: { message: 'Incorrect API key: sk-proj-********wxyz.' } }, 401)
    await expect(ask('default')).rejects.toMatchObject({ status: 401, message: '401 gpt: 401 Incorrect API key: ***.' })
    upstream.behave = says({}, 307, { location: '/elsewhere' })
    await expect(ask('default')).rejects.toMatchObject({ status: 502 })
    upstream.behave = streams(
      `data: ${JSON.stringify({ error: { message: `at once, ${KEY}`, code: 'server_error' } })}\n\n`,
    )
    await expect(ask('default', true)).rejects.toMatchObject({ status: 503, message: '503 gpt: at once, ***' })
    upstream.behave = streams(
      chunk({ content: 'hi' }),
      `data: ${JSON.stringify({ error: { message: `late, ${KEY}` } })}\n\n`,
    )
    const stream = await openai.chat.completions.create({ model: 'default', messages: asks, stream: true })
    await expect(all(stream)).rejects.toThrow('late, ***')
    await expect(end()).rejects.toMatchObject({ code: 'model.unavailable', message: 'gpt: late, ***' })
  })

  it.each<[string, Behave, string]>([
    ['500', says({}, 500), 'model.unavailable'],
    ['a hang', () => {}, 'model.unavailable'],
    ['a reset', (response) => response.socket?.resetAndDestroy(), 'model.unavailable'],
    ['an error as its first event', streams('data: {"error":{"code":"server_error"}}\n\n'), 'model.unavailable'],
    ['comments and no more', streams(': wait\n\n', ': wait\n\n'), 'model.unavailable'],
    // It is not asked again for an hour.
    ['429', says({}, 429, { 'retry-after': '3600' }), 'rate.limited'],
  ])('leads to the next target after %s', async (_, behave, code) => {
    upstream.behave = behave
    second.behave = streams(chunk({ content: 'hi' }, 'stop'), chunkOfUsage, DONE)
    const stream = await openai.chat.completions.create({ model: 'both', messages: asks, stream: true })
    expect(await all(stream)).toHaveLength(1)
    expect([upstream.asked.length, second.asked.length]).toEqual([1, 1])
    const name = (url: string, model: string) => `${new URL(url).host} ${model}`
    const passed = [{ target: name(upstream.url, 'gpt'), code }]
    expect((await end()).via).toEqual({ target: name(second.url, 'second'), passed })
  })

  it.each([
    ['chat', 'default', [chunk({ role: 'assistant', content: 'I ' })]],
    ['responses', 'responses', responseEvents([message('I will pay.')]).slice(0, 6)],
    ['messages', 'messages', messageEvents([{ type: 'text', text: 'I will pay.' }], 'end_turn').slice(0, 4)],
  ])('ends a stream of %s that is cut with an error', async (dialect, model, begun) => {
    upstream.behave = streams(...begun)
    const iterate = async () => {
      if (dialect === 'chat') await all(await openai.chat.completions.create({ model, messages: asks, stream: true }))
      else if (dialect === 'messages')
        await all(await anthropic.messages.create({ model, max_tokens: 9, messages: asks, stream: true }))
      else {
        const seen = await all(await openai.responses.create({ model, input: 'x', stream: true }))
        const last = seen.at(-1)
        expect(last).toMatchObject({ type: 'response.failed', sequence_number: 6 })
        if (last?.type === 'response.failed') throw new Error(last.response.error?.message)
      }
    }
    await expect(iterate()).rejects.toThrow('the stream ended before the answer did')
    await expect(end()).rejects.toMatchObject({ code: 'model.unavailable' })
  })

  it('is told under whatever status, and an answer that is none is not taken for one', async () => {
    upstream.behave = says({ error: { message: 'overloaded', type: 'server_error' } })
    await expect(ask('default')).rejects.toMatchObject({ status: 503 })
    upstream.behave = says({ error: 'no such model' })
    await expect(ask('default')).rejects.toMatchObject({ status: 502, message: '502 gpt: no such model' })
    upstream.behave = says({ object: 'chat.completion' })
    await expect(ask('default')).rejects.toMatchObject({ status: 503, message: '503 gpt: the answer is none' })
  })

  it('at a server that says what it should not reaches no other object', async () => {
    const piece = '{"__proto__":{"isReached":true},"content":"hi"}'
    upstream.behave = streams(`data: {"choices":[{"index":0,"delta":${piece},"finish_reason":"stop"}]}\n\n`, DONE)
    await all(await openai.chat.completions.create({ model: 'default', messages: asks, stream: true }))
    expect((await end()).whole).toMatchObject({ choices: [{ message: { content: 'hi' } }] })
    expect('isReached' in {}).toBe(false)
  })

  it('bends no answer of a server that is given a word in place of a key', async () => {
    const keyless = createModels({
      routes: { default: { model: 'm', baseUrl: `${upstream.url}/v1`, apiKey: 'none', free: true } },
    })
    upstream.behave = streams(chunk({ content: 'there is none' }, 'stop'), DONE)
    const { signal } = new AbortController()
    const body = { model: 'default', stream: true }
    const { answer } = await keyless.relay('default', { dialect: 'chat', body, signal, idempotencyKey: 'i' })
    if (!('stream' in answer)) throw new Error('no stream')
    expect((await all(answer.stream)).join('')).toContain('there is none')
  })

  it('at the gate is the same at every target, so that no other is asked', async () => {
    upstream.behave = streams(
      chunk({ tool_calls: [{ index: 0, id: 'c', function: { name: 'f' } }] }, 'tool_calls'),
      DONE,
    )
    gate.gate = async () => {
      throw new MusterError('rate.limited', 'the gate is shut')
    }
    await expect(ask('gated', true)).rejects.toMatchObject({ status: 429, code: 'rate.limited' })
    expect([upstream.asked.length, second.asked.length]).toEqual([1, 0])
  })

  it('is a call that the gate cannot be asked about', async () => {
    gate.gate = async () => ({ allow: true })
    const function_call = { name: 'pay', arguments: '{}' }
    upstream.behave = says({ choices: [{ index: 0, finish_reason: 'function_call', message: { function_call } }] })
    await expect(ask('default')).rejects.toThrow('a call of `functions`')
    upstream.behave = streams(chunk({ function_call }), chunk({}, 'function_call'), DONE)
    await expect(ask('default', true)).rejects.toThrow('a call of `functions`')
  })

  it('makes a vendor wait whose client reads slowly, and loses nothing of it', async () => {
    const total = 1500
    let sent = 0
    upstream.behave = async (response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      const event = chunk({ content: 'x'.repeat(20_000) })
      for (; sent < total; sent++)
        if (!response.write(event)) await new Promise<void>((resolve) => response.once('drain', resolve))
      response.end(chunk({}, 'stop') + DONE)
    }
    const { signal } = new AbortController()
    const body = { model: 'default', stream: true }
    const { answer, done } = await models.relay('default', { dialect: 'chat', body, signal, idempotencyKey: 'i' })
    if (!('stream' in answer)) throw new Error('no stream')
    let before = -1
    const isStill = () => {
      const now = sent
      const isSame = now === before
      before = now
      return isSame
    }
    await expect.poll(isStill, { interval: 100, timeout: 20_000 }).toBe(true)
    expect(sent).toBeLessThan(total)
    for await (const _ of answer.stream);
    const { whole } = await done
    expect(JSON.stringify(whole).length).toBeGreaterThan(total * 20_000)
  })

  it.each(['chat', 'responses'] as const)('ends the call when a stream of %s is left', async (dialect) => {
    let isLeft = false
    upstream.behave = (response) => {
      response.on('close', () => {
        isLeft = true
      })
      response
        .writeHead(200, { 'content-type': 'text/event-stream' })
        .write(chunk({ role: 'assistant', content: 'I ' }))
    }
    const { signal } = new AbortController()
    const body = { model: 'default', stream: true, ...(dialect === 'chat' ? {} : { input: 'x' }) }
    const { answer, done } = await models.relay('default', { dialect, body, signal, idempotencyKey: 'i' })
    if (!('stream' in answer)) throw new Error('no stream')
    for await (const _ of answer.stream) break
    await expect.poll(() => isLeft).toBe(true)
    await expect(done).rejects.toMatchObject({ name: 'AbortError' })
  })

  it('ends the call when the client has gone', async () => {
    let isLeft = false
    upstream.behave = (response) => {
      response.on('close', () => {
        isLeft = true
      })
      response.writeHead(200, { 'content-type': 'text/event-stream' }).write(chunk({ content: 'I ' }))
    }
    const stream = await openai.chat.completions.create({ model: 'default', messages: asks, stream: true })
    for await (const _ of stream) break
    await expect.poll(() => isLeft).toBe(true)
    await expect(end()).rejects.toMatchObject({ name: 'AbortError' })
  })

  it('is understood though the server has compressed it unasked, within the same bounds', async () => {
    const ask = (stream: boolean) => openai.chat.completions.create({ model: 'default', messages: asks, stream })
    const compressed = (encoding: string, type: string, body: Buffer, status = 200): void => {
      upstream.behave = (response) =>
        response.writeHead(status, { 'content-type': type, 'content-encoding': encoding }).end(body)
    }
    const choices = [{ index: 0, finish_reason: 'stop', message: { role: 'assistant', content: 'Good.' } }]
    const whole = JSON.stringify({ id: 'c', object: 'chat.completion', created: 1, model: 'gpt', choices })
    compressed('gzip', 'application/json', gzipSync(whole))
    expect(await ask(false)).toMatchObject({ choices })
    compressed(
      'br',
      'text/event-stream',
      brotliCompressSync([chunk({ content: 'Good.' }), chunk({}, 'stop'), DONE].join('')),
    )
    const [first] = await all((await ask(true)) as AsyncIterable<OpenAI.ChatCompletionChunk>)
    expect(first?.choices[0]?.delta.content).toBe('Good.')
    compressed('gzip', 'application/json', gzipSync('{"error":{"message":"no such model"}}'), 400)
    await expect(ask(false)).rejects.toThrow('no such model')
    compressed('gzip', 'application/json', gzipSync(whole).subarray(0, -12))
    await expect(ask(false)).rejects.toThrow('unexpected end of file')
    compressed('gzip', 'application/json', gzipSync(Buffer.alloc(64 << 20)))
    await expect(ask(false)).rejects.toThrow('more than 33554432 bytes')
    compressed('compress', 'application/json', Buffer.from(whole))
    await expect(ask(false)).rejects.toThrow('its answer has the content-encoding "compress", which nobody asked for')
  })

  it('takes no answer that is too large, hangs, or is no stream where one was asked for', async () => {
    upstream.behave = (response) => {
      response.writeHead(200, { 'content-type': 'application/json' })
      const piece = Buffer.alloc(1 << 20, 32)
      const write = () => void (response.writable && response.write(piece, write))
      write()
    }
    await expect(ask('default')).rejects.toThrow('more than 33554432 bytes')
    upstream.behave = (response) => response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders()
    await expect(ask('late', true)).rejects.toThrow('nothing came within 100 ms')
    upstream.behave = says({ choices: [] })
    await expect(ask('default', true)).rejects.toThrow('was asked for a stream, and gave none')
  })
})

describe('a stream', () => {
  const spoken = [
    { dialect: 'chat', route: 'default', asked: { messages: asks }, end: DONE },
    { dialect: 'responses', route: 'responses', asked: { input: 'Good day.' }, end: 'event: response.completed' },
    { dialect: 'messages', route: 'messages', asked: { messages: asks, max_tokens: 9 }, end: 'event: message_stop' },
    // Told in other words than the vendor's.
    { dialect: 'chat', route: 'messages', asked: { messages: asks }, end: DONE },
    { dialect: 'messages', route: 'default', asked: { messages: asks, max_tokens: 9 }, end: 'event: message_stop' },
  ] as const

  it.each(spoken)('of $dialect over $route says that it is whole when that is recorded', async (one) => {
    const { dialect, route, asked, end } = one
    upstream.behave = (response, request) => {
      const pieces = {
        '/v1/chat/completions': [
          chunk({ role: 'assistant', content: 'I say.' }),
          chunk({}, 'stop'),
          chunkOfUsage,
          DONE,
        ],
        '/v1/responses': responseEvents([message('I say.')]),
        '/v1/messages': messageEvents([{ type: 'text', text: 'I say.' }], 'end_turn'),
      }[request.path]
      streams(...(pieces ?? []))(response, request)
    }
    const read = async (recorded: () => Promise<void>) => {
      const { answer, done } = await models.relay(route, {
        ...{ dialect, body: { model: route, stream: true, ...asked }, idempotencyKey: 'run-1/1', recorded },
        signal: new AbortController().signal,
      })
      if ('whole' in answer) throw new Error('no stream')
      let text = ''
      for await (const events of answer.stream) {
        expect(text).not.toContain(end)
        text += events
      }
      await done
      return text
    }
    let isRecorded = false
    const text = await read(async () => {
      await new Promise(setImmediate)
      isRecorded = true
    })
    expect(isRecorded).toBe(true)
    expect(text).toContain(end)
    const broken = await read(() => Promise.reject(new MusterError('journal.fenced', 'it is not held here')))
    expect(broken).toContain('it is not held here')
    expect(broken).not.toContain(end)
  })
})
