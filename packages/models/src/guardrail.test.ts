import type { ServerResponse } from 'node:http'
import Anthropic from '@anthropic-ai/sdk'
import { ACCESS_KEY, bedrockServer, refuse, SECRET_KEY, type Seen } from '@muster/stack/bedrock-server'
import OpenAI from 'openai'
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { guarded } from './guardrail.ts'
import type { ModelMessage } from './message.ts'
import { Meter } from './meter.ts'
import { createModels, type Models } from './models.ts'
import {
  chunk,
  chunkOfUsage,
  DONE,
  functionCall,
  gateway,
  message,
  messageEvents,
  responseEvents,
  streams,
  vendor,
} from './relay/fixture.ts'

const MAIL = /[a-z]+@example\.com/g
let server: Awaited<ReturnType<typeof bedrockServer>>
let models: Models
/** What the model writes, and how the guardrail answers where it is not as usual. */
let says: object[] = []
let strange: ((response: ServerResponse) => void) | undefined

/** A guardrail that masks addresses of mail and blocks what is violent, as Bedrock's would say it. */
function guardrail(response: ServerResponse, seen: Seen): void {
  if (strange) strange(response)
  else answered(response, seen)
}

function answered(response: ServerResponse, { body }: Seen): void {
  const [{ text: { text = '' } = {} } = {}] = body.content as { text?: { text: string } }[]
  const mails = text.match(MAIL) ?? []
  const isViolent = text.includes('fight')
  const piiEntities = mails.map((match) => ({ match, type: 'EMAIL', action: 'ANONYMIZED', detected: true }))
  const filters = isViolent ? [{ type: 'VIOLENCE', confidence: 'HIGH', action: 'BLOCKED', detected: true }] : []
  const found = mails.length > 0 || isViolent
  const answer = {
    action: found ? 'GUARDRAIL_INTERVENED' : 'NONE',
    outputs: found ? [{ text: isViolent ? 'Blocked.' : text.replace(MAIL, '{EMAIL}') }] : [],
    assessments: [{ sensitiveInformationPolicy: { piiEntities, regexes: [] }, contentPolicy: { filters } }],
    usage: { topicPolicyUnits: 0 },
  }
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
}

beforeAll(async () => {
  vi.stubEnv('AWS_ACCESS_KEY_ID', ACCESS_KEY)
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', SECRET_KEY)
  server = await bedrockServer((response, seen) => {
    if (seen.path.startsWith('/guardrail/')) return guardrail(response, seen)
    const output = { message: { role: 'assistant', content: says } }
    const usage = { inputTokens: 10, outputTokens: 5, totalTokens: 15 }
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ output, stopReason: 'end_turn', usage }))
  })
  const { endpoint } = server
  const target = { bedrock: { model: 'nova', region: 'eu-central-1', endpoint }, free: true }
  const setting = { id: 'gr-1', version: '2', region: 'eu-central-1', endpoint }
  models = guarded(createModels({ routes: { default: target } }), setting)
})
beforeEach(() => {
  server.seen.length = 0
  strange = undefined
  says = [{ text: 'Fine.' }]
})
afterAll(() => {
  server.close()
  vi.unstubAllEnvs()
})

const user = (content: string): ModelMessage => ({ role: 'user', content })
const checks = () =>
  server.seen.filter(({ path }) => path === '/guardrail/gr-1/version/2/apply').map(({ body }) => body)
const asked = () => server.seen.filter(({ path }) => path.startsWith('/model/')).map(({ body }) => body)

it('masks what a model is sent and what it writes, counts it, and looks at a message once', async () => {
  says = [
    { text: 'Written to ben@example.com.' },
    { toolUse: { toolUseId: 'c1', name: 'send', input: { to: 'ann@example.com' } } },
  ]
  const messages = [{ role: 'system' as const, content: 'Help bob@example.com.' }, user('I am ann@example.com')]
  const deltas: string[] = []
  const reply = await models.invoke('default', { messages, onDelta: (text) => deltas.push(text) })
  expect(reply).toMatchObject({
    text: 'Written to {EMAIL}.',
    toolCalls: [{ arguments: '{"to":"{EMAIL}"}' }],
    guardrail: { 'pii.EMAIL': 3 },
    usage: { inputTokens: 10 },
  })
  expect(deltas).toEqual([])
  expect(asked()).toMatchObject([{ messages: [{ content: [{ text: 'I am {EMAIL}' }] }] }])
  expect(checks().map(({ source }) => source)).toEqual(['INPUT', 'OUTPUT', 'OUTPUT'])

  server.seen.length = 0
  says = [{ text: 'Fine.' }]
  const later = [...messages, { role: 'tool' as const, callId: 'c1', content: 'sent' }]
  expect(await models.invoke('default', { messages: later })).not.toHaveProperty('guardrail')
  expect(checks()).toMatchObject([{ content: [{ text: { text: 'sent' } }] }, { source: 'OUTPUT' }])
  expect(JSON.stringify(asked())).not.toContain('ann@')
  await models.invoke('default', { messages: [user('x'.repeat(50_000))] })
  expect(checks()).toHaveLength(2 + 3 + 1)
})

it.each([
  ['a word', `${'x '.repeat(9998)}ann@example.com and more ${'y'.repeat(30_000)}`],
  ['a line', `${'x '.repeat(9990)}\nMr Y and ann@example.com\n${'y '.repeat(9000)}`],
  ['a character', `${'x'.repeat(19_999)}😀 ann@example.com`],
])('cuts %s of a long text in two for no check', async (_, text) => {
  await models.invoke('default', { messages: [user(text)] })
  expect(asked()).toMatchObject([{ messages: [{ content: [{ text: text.replace(MAIL, '{EMAIL}') }] }] }])
  const pieces = checks().flatMap(({ content }) =>
    (content as { text: { text: string } }[]).map(({ text }) => text.text),
  )
  for (const piece of pieces) expect([piece.length <= 20_000, piece.isWellFormed()]).toEqual([true, true])
  if (text.includes('\n')) expect(pieces[0]).toBe(`${'x '.repeat(9990)}\n`)
})

it('passes on nothing that is blocked, and says what was found and not its text', async () => {
  const refused = await models
    .invoke('default', { messages: [user('a fight, ann@example.com')] })
    .catch((error) => error)
  expect(refused).toMatchObject({ code: 'model.blocked', message: expect.stringContaining('1 content.VIOLENCE') })
  expect(refused.message).not.toContain('ann')
  expect(asked()).toEqual([])
  says = [{ text: 'a fight' }]
  const meter = new Meter()
  await expect(models.invoke('default', { messages: [user('hello')], meter })).rejects.toMatchObject({
    code: 'model.blocked',
    message: expect.stringContaining('what the model wrote'),
  })
  // It was answered, and is paid for.
  expect(meter.spent).toMatchObject({ usage: { inputTokens: 10, outputTokens: 5 } })
})

it.each<[string, (response: ServerResponse) => void, string]>([
  ['is overloaded', (response) => refuse(response, 503, 'ServiceUnavailableException', 'busy'), 'model.unavailable'],
  ['throttles', (response) => refuse(response, 429, 'ThrottlingException', 'slow'), 'rate.limited'],
  ['refuses', (response) => refuse(response, 403, 'AccessDeniedException', 'no'), 'model.failed'],
  ['resets', (response) => response.destroy(), 'model.unavailable'],
  ['intervenes and does not say why', (response) => response.end('{"action":"GUARDRAIL_INTERVENED"}'), 'model.blocked'],
  ['says what nobody knows', (response) => response.end('{"action":"MAYBE"}'), 'model.blocked'],
])('asks no model where the guardrail %s', async (_, answer, code) => {
  strange = answer
  await expect(models.invoke('default', { messages: [user('hello')] })).rejects.toMatchObject({ code })
  expect(asked()).toEqual([])
})

it('lets no image by unseen', async () => {
  const image = { type: 'image' as const, mediaType: 'image/png', data: 'AAAA' }
  await expect(models.invoke('default', { messages: [{ role: 'user', content: [image] }] })).rejects.toMatchObject({
    code: 'model.unsupported',
  })
  expect(server.seen).toEqual([])
})

describe('clients of the gateway', () => {
  const KEY = 'sk-of-the-vendor'
  let upstream: Awaited<ReturnType<typeof vendor>>
  let gate: Awaited<ReturnType<typeof gateway>>
  let openai: OpenAI
  let anthropic: Anthropic

  beforeAll(async () => {
    upstream = await vendor()
    const common = { apiKey: KEY, free: true }
    const chat = { model: 'gpt', baseUrl: `${upstream.url}/v1`, ...common }
    const routes = {
      default: chat,
      responses: { ...chat, api: 'responses' as const },
      messages: { anthropic: { model: 'claude', baseUrl: upstream.url }, ...common },
      converse: { bedrock: { model: 'nova', region: 'eu-central-1', endpoint: server.endpoint }, free: true },
    }
    const setting = { id: 'gr-1', version: '2', region: 'eu-central-1', endpoint: server.endpoint }
    gate = await gateway(guarded(createModels({ routes }), setting))
    openai = new OpenAI({ baseURL: `${gate.url}/v1`, apiKey: 'of-the-client', maxRetries: 0 })
    anthropic = new Anthropic({ baseURL: gate.url, apiKey: 'of-the-client', maxRetries: 0 })
  })
  beforeEach(() => {
    upstream.asked.length = 0
    gate.ends.length = 0
    Object.assign(gate, { gate: undefined, responseId: undefined, kept: undefined })
  })
  afterAll(() => {
    upstream.close()
    gate.close()
  })

  const MAIL_SAID = 'Written to ben@example.com.'
  const hello = [{ role: 'user' as const, content: 'I am ann@example.com' }]
  const tool = { type: 'function' as const, function: { name: 'send', parameters: { title: 'of bob@example.com' } } }

  it('have all that they say looked at, and what is streamed is held, masked and told anew', async () => {
    upstream.behave = streams(
      chunk({ role: 'assistant', content: 'Written to ben@exam' }),
      chunk({ content: 'ple.com.' }),
      chunk({
        tool_calls: [{ index: 0, id: 'c1', type: 'function', function: { name: 'send', arguments: '{"to":"a' } }],
      }),
      chunk({ tool_calls: [{ index: 0, function: { arguments: 'nn@example.com"}' } }] }, 'tool_calls'),
      chunkOfUsage,
      DONE,
    )
    const gated: unknown[] = []
    gate.gate = async (call) => {
      gated.push(call.arguments)
      return { allow: true }
    }
    const messages = [{ role: 'system' as const, content: 'Help bob@example.com.' }, ...hello]
    const stream = openai.chat.completions.stream({ model: 'default', messages, tools: [tool] })
    const { choices } = await stream.finalChatCompletion()
    expect(choices[0]).toMatchObject({
      finish_reason: 'tool_calls',
      message: { content: 'Written to {EMAIL}.', tool_calls: [{ function: { arguments: '{"to":"{EMAIL}"}' } }] },
    })
    // What is decided on is what the client is given.
    expect(gated).toEqual(['{"to":"{EMAIL}"}'])
    const [{ body } = { body: {} }] = upstream.asked
    expect(body).toMatchObject({
      messages: [{ content: 'Help {EMAIL}.' }, { content: 'I am {EMAIL}' }],
      tools: [{ function: { parameters: { title: 'of {EMAIL}' } } }],
    })
    const end = await gate.ends[0]
    expect(end).toMatchObject({ guardrail: { 'pii.EMAIL': 5 }, usage: { inputTokens: 100 } })
    expect(JSON.stringify(end)).not.toContain('@example')
  })

  it('are streamed what is clean as it came, and what was clean before is looked at once', async () => {
    const pieces = responseEvents([message('Fine.')])
    upstream.behave = streams(...pieces)
    const ask = () => openai.responses.create({ model: 'responses', input: 'a clean question', stream: true })
    const types: string[] = []
    for await (const { type } of await ask()) types.push(type)
    expect(types.length).toBe(pieces.length)
    expect(checks()).toHaveLength(2)
    for await (const _ of await ask());
    expect(checks()).toHaveLength(2)
    upstream.behave = streams(...responseEvents([message(MAIL_SAID), functionCall('c', 'send', '{"to":"x"}')]))
    gate.gate = async () => ({ allow: false, message: 'Not allowed.' })
    Object.assign(gate, { responseId: 'resp_of_ours', kept: { store: true } })
    const told = await openai.responses.stream({ model: 'responses', input: 'x' }).finalResponse()
    expect(told.output_text).toBe('Written to {EMAIL}.Not allowed.')
    for (const { id } of told.output) expect(id).toMatch(/_of_ours$/)
  })

  it('are told of Messages, of a target that is translated, and of embeddings likewise', async () => {
    upstream.behave = streams(
      ...messageEvents(
        [
          { type: 'text', text: MAIL_SAID },
          { type: 'tool_use', id: 't', name: 'send', input: { to: ['ann@example.com'] } },
        ],
        'tool_use',
      ),
    )
    const ask = { model: 'messages', max_tokens: 9, messages: hello, system: 'Help bob@example.com.' }
    const whole = await anthropic.messages.stream(ask).finalMessage()
    expect(whole).toMatchObject({
      ...{ stop_reason: 'tool_use', usage: { output_tokens: 20 } },
      content: [{ text: 'Written to {EMAIL}.' }, { input: { to: ['{EMAIL}'] } }],
    })
    // What was decided on is what is delivered, however it was written.
    const [twice = '', ...more] = messageEvents([{ type: 'tool_use', id: 't', name: 'f', input: { a: 1 } }], 'tool_use')
    upstream.behave = streams(twice, ...more.map((event) => event.replace('":1}"', String.raw`":1,\"a\":2}"`)))
    let written = ''
    for await (const event of await anthropic.messages.create({ ...ask, stream: true }))
      if (event.type === 'content_block_delta' && event.delta.type === 'input_json_delta')
        written += event.delta.partial_json
    expect(written).toBe('{"a":2}')
    says = [{ text: MAIL_SAID }]
    const { content } = await anthropic.messages.create({ ...ask, model: 'converse' })
    expect(content).toMatchObject([{ text: 'Written to {EMAIL}.' }])
    expect(asked()).toMatchObject([{ messages: [{ content: [{ text: 'I am {EMAIL}' }] }] }])
    upstream.behave = (response) => response.end('{"data":[],"usage":{"prompt_tokens":1}}')
    await openai.embeddings.create({ model: 'default', input: ['ann@example.com', 'x'] })
    expect(upstream.asked.at(-1)?.body).toMatchObject({ input: ['{EMAIL}', 'x'] })
    // Nothing is sent to be counted either.
    const before = upstream.asked.length
    await anthropic.messages.countTokens({ model: 'messages', messages: hello })
    await openai.responses.inputTokens.count({ model: 'responses', input: 'ann@example.com' })
    expect(upstream.asked).toHaveLength(before)
  })

  it('have numbers passed on as they were written, beside what is masked too', async () => {
    upstream.behave = streams(chunk({ role: 'assistant', content: 'Fine.' }, 'stop'), chunkOfUsage, DONE)
    const numbers = '[9007199254740993,0.12345678901234567891,1e400]'
    const ask = (path: string, more: string) =>
      fetch(`${gate.url}/v1/${path}`, { method: 'POST', body: `{"model":"default","stream":true,${more}}` })
    const said = (content: string) => `"messages":[{"role":"user","content":"${content}","more":${numbers}}]`
    for (const title of ['clean', 'of bob@example.com'])
      await ask(
        'chat/completions',
        `${said(title)},"seed":9007199254740993,"tools":[{"enum":${numbers},"title":"${title}"}]`,
      )
    expect(upstream.asked.map(({ text }) => text)).toEqual(
      ['clean', 'of {EMAIL}'].map((title) => expect.stringContaining(`"enum":${numbers},"title":"${title}"`)),
    )
    for (const { text } of upstream.asked) {
      expect(text).toContain(`"more":${numbers}`)
      expect(text).toContain('"seed":9007199254740993')
    }
    expect(JSON.stringify(checks())).toContain('9007199254740993,0.12345678901234567891,1e400')
    // No more than any number is it a text.
    const before = checks().length
    await ask('chat/completions', '"messages":[{"role":"user","content":9007199254740993}],"seed":9007199254740993')
    expect(
      checks()
        .slice(before)
        .filter(({ source }) => source === 'INPUT'),
    ).toEqual([])
    const tokens = await ask('embeddings', '"input":[9007199254740993]')
    expect(await tokens.json()).toMatchObject({ error: { issues: [{ path: '/input' }] } })
  })

  it.each(['chat', 'responses', 'messages'] as const)(
    'hear while %s is held that it goes on, and how it ends',
    async (dialect) => {
      const setting = { id: 'gr-1', version: '2', region: 'eu-central-1', endpoint: server.endpoint }
      const target = { model: 'gpt', baseUrl: `${upstream.url}/v1`, apiKey: KEY, free: true }
      const default_ = {
        chat: target,
        responses: { ...target, api: 'responses' as const },
        messages: { anthropic: { model: 'claude', baseUrl: upstream.url }, apiKey: KEY, free: true },
      }[dialect]
      const held = await gateway(guarded(createModels({ routes: { default: default_ } }), setting, { keepAliveMs: 5 }))
      /** The guardrail answers about what the model wrote when the client has heard of it twice. */
      let heard = Promise.withResolvers<void>()
      let raw = ''
      const listen: typeof fetch = async (...asked) => {
        const response = await fetch(...asked)
        raw = ''
        const tap = new TransformStream<Uint8Array, Uint8Array>({
          transform(bytes, controller) {
            raw += new TextDecoder().decode(bytes)
            if (raw.split(dialect === 'messages' ? 'event: ping' : ': keep-alive').length > 2) heard.resolve()
            controller.enqueue(bytes)
          },
        })
        return new Response(response.body?.pipeThrough(tap), response)
      }
      const options = { apiKey: 'of-the-client', maxRetries: 0, fetch: listen }
      const [openai, anthropic] = [
        new OpenAI({ ...options, baseURL: `${held.url}/v1` }),
        new Anthropic({ ...options, baseURL: held.url }),
      ]
      const ask = async (): Promise<string> => {
        const [model, messages] = ['default', [{ role: 'user' as const, content: 'x' }]]
        if (dialect === 'chat') return String(await openai.chat.completions.stream({ model, messages }).finalContent())
        if (dialect === 'responses')
          return (await openai.responses.stream({ model, input: 'x' }).finalResponse()).output_text
        return anthropic.messages.stream({ model, messages, max_tokens: 9 }).finalText()
      }
      const answers = (text: string) =>
        streams(
          ...{
            chat: [chunk({ role: 'assistant', content: text }, 'stop'), chunkOfUsage, DONE],
            responses: responseEvents([message(text)]),
            messages: messageEvents([{ type: 'text', text }], 'end_turn'),
          }[dialect],
        )
      strange = (response) => {
        const [seen] = server.seen.slice(-1)
        if (seen?.body.source === 'OUTPUT') void heard.promise.then(() => answered(response, seen))
        else if (seen) answered(response, seen)
      }
      upstream.behave = answers(MAIL_SAID)
      expect(await ask()).toBe('Written to {EMAIL}.')
      heard = Promise.withResolvers()
      upstream.behave = answers('a fight')
      await expect(ask()).rejects.toThrow('blocked what the model wrote')
      expect(raw).not.toContain('a fight')
      held.close()
    },
  )

  it('are refused what is blocked, what nobody can look at, and all where the guardrail cannot be asked', async () => {
    const ask = (content: unknown, model = 'default') =>
      openai.chat.completions.create({ model, messages: [{ role: 'user', content }] as never })
    const blocked = { status: 422, error: { code: 'model.blocked' } }
    await expect(ask('a fight')).rejects.toMatchObject(blocked)
    await expect(openai.embeddings.create({ model: 'default', input: [1, 2] })).rejects.toMatchObject({
      error: { issues: [{ path: '/input' }] },
    })
    const image = { type: 'image_url', image_url: { url: 'data:image/png;base64,AAAA' } }
    await expect(ask([{ type: 'text', text: 'x' }, image])).rejects.toMatchObject({
      error: { code: 'model.unsupported', issues: [{ path: '/messages/0/content/1/image_url' }] },
    })
    strange = (response) => refuse(response, 403, 'AccessDeniedException', 'no')
    await expect(ask('never seen before')).rejects.toMatchObject({ error: { code: 'model.failed' } })
    expect(upstream.asked).toEqual([])
    strange = undefined
    upstream.behave = streams(chunk({ role: 'assistant', content: 'a fight' }, 'stop'), chunkOfUsage, DONE)
    const streamed = openai.chat.completions.create({ model: 'default', messages: hello, stream: true })
    await expect(streamed).rejects.toMatchObject({ ...blocked, message: expect.stringContaining('the model wrote') })
    upstream.behave = streams(chunk({ role: 'assistant', content: 'cut' }))
    await expect(
      openai.chat.completions.create({ model: 'default', messages: hello, stream: true }),
    ).rejects.toMatchObject({ status: 503 })
  })
})
