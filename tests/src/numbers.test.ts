import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createModels } from '@muster/models'
import { bedrockServer } from '@muster/stack/bedrock-server'
import { newLedgerKey } from '@muster/worker/settings'
import fc from 'fast-check'
import OpenAI from 'openai'
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { price, ScriptedModel } from './fixtures/scripted-model.ts'
import { type Harness, runCli, startHarness, until } from './harness.ts'
import { provenEnd } from './receipts.ts'

/** Numbers that a double would change, each in its own way, as they are also sent on. */
const HARD = '{"id":9007199254740993,"rate":0.12345678901234567891,"list":[-1234567890123456789012,1e400,1e-400]}'
/** Those that can be said to Bedrock. */
const PLAIN = '{"id":9007199254740993,"rate":0.12345678901234567891}'

const model = new ScriptedModel()
const home = mkdtempSync(join(tmpdir(), 'muster-numbers-'))
let bedrock: Awaited<ReturnType<typeof bedrockServer>>
let harness: Harness
/** What any model server was asked last, to the byte. */
let sent = ''

beforeAll(async () => {
  vi.stubEnv('AWS_BEARER_TOKEN_BEDROCK', '')
  bedrock = await bedrockServer((response, { text }) => {
    sent = text
    const output = { message: { role: 'assistant', content: [{ text: 'Fine.' }] } }
    const usage = { inputTokens: 1, outputTokens: 1, totalTokens: 2 }
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ output, stopReason: 'end_turn', usage }))
  })
  const url = await model.listen()
  const openai = { model: 'scripted', baseUrl: url, apiKey: 'none', price }
  const policies = [{ file: 'all.cedar', text: 'permit (principal, action, resource);' }]
  const models = createModels({
    routes: {
      default: openai,
      chat: openai,
      responses: { ...openai, api: 'responses' },
      messages: { anthropic: { model: 'scripted', baseUrl: new URL(url).origin }, apiKey: 'none', price },
      nova: {
        bedrock: { model: 'nova', region: 'eu-central-1', endpoint: bedrock.endpoint },
        ...{ apiKey: 'bedrock-api-key-0123456789', price },
      },
    },
  })
  const keyFile = join(home, 'ledger.pem')
  writeFileSync(keyFile, newLedgerKey())
  harness = await startHarness(
    { MUSTER_LEDGER_KEY_FILE: keyFile, MUSTER_LEDGER_HEADS_MS: '200', MUSTER_PARTITIONS: '2' },
    { gateway: { models, policies: () => policies, lockMs: 1000, ledger: true } },
  )
  await harness.worker()
})
afterAll(async () => {
  await harness.close()
  model.close()
  bedrock.close()
  rmSync(home, { recursive: true })
  vi.unstubAllEnvs()
})
beforeEach(() => {
  sent = ''
  model.script = ({ text }) => {
    sent = text
    return { text: 'Fine.' }
  }
  model.other = (path, text) => {
    sent = text
    if (/\/(count|input)_tokens$/.test(path)) return { input_tokens: 7 }
    if (path.endsWith('/embeddings'))
      return { object: 'list', data: [], model: 'e', usage: { prompt_tokens: 7, total_tokens: 7 } }
    const usage = { input_tokens: 7, output_tokens: 7 }
    const content = [{ type: 'text', text: 'Fine.' }]
    return { id: 'm', type: 'message', role: 'assistant', model: 'm', content, stop_reason: 'end_turn', usage }
  }
})

async function post(path: string, text: string, headers: Record<string, string> = {}) {
  const response = await fetch(`${harness.url}/v1/${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${harness.key}`, 'content-type': 'application/json', ...headers },
    body: text,
  })
  return { status: response.status, text: await response.text(), run: response.headers.get('x-muster-run') ?? '' }
}

async function get(path: string): Promise<string> {
  const response = await fetch(`${harness.url}/v1/${path}`, { headers: { authorization: `Bearer ${harness.key}` } })
  return response.text()
}

/** What a run was asked, as its journal has it. */
async function journaled(run: string): Promise<string> {
  const [line = '{}'] = (await get(`runs/${run}/journal`)).split('\n')
  return JSON.parse(line).content
}

/** Every number of a text of JSON, as what it is exactly. */
function numbersIn(json: string): string[] {
  const bare = json.replaceAll(/"(?:[^"\\]|\\.)*"/g, '""')
  return [...bare.matchAll(/-?\d[\d.eE+-]*/g)].map(([number]) => {
    const [mantissa = '', power = '0'] = number.toLowerCase().split('e')
    const [whole = '', fraction = ''] = mantissa.split('.')
    let digits = BigInt(whole + fraction)
    let exponent = BigInt(power.replace('+', '')) - BigInt(fraction.length)
    if (digits === 0n) return '0'
    for (; digits % 10n === 0n; digits /= 10n) exponent++
    return `${digits}e${exponent}`
  })
}

const hi = '[{"role":"user","content":"hi"}]'
/** A request of each route with some JSON in it, which a model of its own dialect is asked. */
const REQUESTS: Record<string, (json: string, stream: boolean) => string> = {
  'chat/completions': (json, stream) =>
    `{"model":"chat","stream":${stream},"seed":18446744073709551615,"messages":${hi},"metadata":${json}}`,
  responses: (json, stream) => `{"model":"responses","stream":${stream},"input":${hi},"metadata":${json}}`,
  messages: (json) => `{"model":"messages","max_tokens":9,"messages":${hi},"metadata":${json}}`,
  'responses/input_tokens': (json) => `{"model":"responses","input":${hi},"tools":[${json}]}`,
  'messages/count_tokens': (json) => `{"model":"messages","messages":${hi},"metadata":${json}}`,
  embeddings: (json) => `{"model":"chat","input":"hi","more":${json}}`,
}

describe.each(Object.entries(REQUESTS))('%s', (path, request) => {
  it('passes on and journals numbers as they were written', async () => {
    for (const stream of path === 'chat/completions' || path === 'responses' ? [false, true] : [false]) {
      const { status, text, run } = await post(path, request(HARD, stream))
      expect(status, text).toBe(200)
      expect(sent).toContain(HARD)
      if (run !== '') expect(await journaled(run)).toContain(`"metadata":${HARD}`.replace('metadata', wordOf(path)))
    }
  })

  it('does so whatever the JSON', async () => {
    const number = fc.oneof(
      fc.integer().map(String),
      fc.bigInt({ min: -(10n ** 30n), max: 10n ** 30n }).map(String),
      fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
      fc.stringMatching(/^-?(0|[1-9]\d{0,20})(\.\d{1,30})?([eE][+-]?\d{1,4})?$/),
    )
    const { json } = fc.letrec<{ json: string }>((tie) => ({
      json: fc.oneof(
        { depthSize: 'small', withCrossShrink: true },
        number,
        fc.oneof(fc.string(), number).map((text) => JSON.stringify(text)),
        fc.array(tie('json'), { maxLength: 4 }).map((list) => `[${list.join(', ')}]`),
        fc
          .array(tie('json'), { maxLength: 4 })
          .map((list) => `{${list.map((one, at) => `"a${at}" :${one}`).join(',\n')}}`),
      ),
    }))
    await fc.assert(
      fc.asyncProperty(json, async (json) => {
        const asked = request(json, false)
        const { status, text } = await post(path, asked)
        expect(status, text).toBe(200)
        expect(numbersIn(sent)).toEqual(numbersIn(asked))
      }),
      { numRuns: 50 },
    )
  })
})

function wordOf(path: string): string {
  return path === 'embeddings' ? 'more' : 'metadata'
}

const schema = (numbers: string) => `{"type":"object","properties":{"id":{"enum":[${numbers}]}}}`
/** In each dialect a conversation with a call, a tool and a setting that have such numbers. */
const SAID = {
  'chat/completions': (route: string, numbers: string, temperature: string) =>
    `{"model":"${route}","temperature":${temperature},"messages":[{"role":"user","content":"hi"},{"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"pay","arguments":${JSON.stringify(numbers)}}}]},{"role":"tool","tool_call_id":"c","content":"paid"}],"tools":[{"type":"function","function":{"name":"pay","parameters":${schema(numbers)}}}]}`,
  responses: (route: string, numbers: string, temperature: string) =>
    `{"model":"${route}","temperature":${temperature},"input":[{"role":"user","content":"hi"},{"type":"function_call","call_id":"c","name":"pay","arguments":${JSON.stringify(numbers)}},{"type":"function_call_output","call_id":"c","output":"paid"}],"tools":[{"type":"function","name":"pay","parameters":${schema(numbers)}}]}`,
  messages: (route: string, numbers: string, temperature: string) =>
    `{"model":"${route}","temperature":${temperature},"max_tokens":99,"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"tool_use","id":"c","name":"pay","input":${numbers}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":"paid"}]}],"tools":[{"name":"pay","input_schema":${schema(numbers)}}]}`,
}

describe.each(Object.entries(SAID))('%s, translated', (path, request) => {
  it.each(['chat', 'responses', 'messages'])('tells %s numbers as they were written', async (route) => {
    const { status, text } = await post(path, request(route, HARD, '0.69999999999999996'))
    expect(status, text).toBe(200)
    expect(sent).toContain(`"enum":[${HARD}]`)
    expect(sent).toContain('"temperature":0.69999999999999996')
    // What a tool is called with is an object to Anthropic, and a text to OpenAI.
    expect(sent).toContain(route === 'messages' ? `"input":${HARD}` : `"arguments":${JSON.stringify(HARD)}`)
  })

  it('tells Bedrock those that can be said to it, and refuses others by their place', async () => {
    const { status, text } = await post(path, request('nova', PLAIN, '0.7'))
    expect(status, text).toBe(200)
    expect(sent).toContain(`"enum":[${PLAIN}]`)
    expect(sent).toContain(`"input":${PLAIN}`)
    sent = ''
    const warm = await post(path, request('nova', PLAIN, '0.69999999999999996'))
    expect(warm).toMatchObject({ status: 400, text: expect.stringContaining('/temperature: 0.69999999999999996') })
    const huge = await post(path, request('nova', '{"n":1e400}', '0.7'))
    expect(huge).toMatchObject({ status: 400, text: expect.stringMatching(/\/(messages|tools)\/.*1e400/) })
    expect(sent).toBe('')
  })
})

it('counts the tokens of a request with such numbers where it is counted here', async () => {
  const { status, text } = await post('messages/count_tokens', SAID.messages('chat', HARD, '0.5'))
  expect(status, text).toBe(200)
  expect(JSON.parse(text).input_tokens).toBeGreaterThan(50)
})

it('refuses one as the length of vectors where it cannot be said', async () => {
  const { status, text } = await post('embeddings', '{"model":"nova","input":"hi","dimensions":256.00000000000000001}')
  expect({ status, ...JSON.parse(text).error }).toMatchObject({ status: 400, param: 'dimensions' })
})

it('tells a client of Anthropic what a tool is called with as the model wrote it', async () => {
  model.script = () => ({ calls: [{ name: 'pay', arguments: '{"rate":0.12345678901234567891}' }] })
  const { text } = await post('messages', SAID.messages('chat', HARD, '0.5'))
  expect(text).toContain('"input":{"rate":0.12345678901234567891}')
})

it('OpenAI’s own client has its numbers passed on', async () => {
  const openai = new OpenAI({ apiKey: harness.key, baseURL: `${harness.url}/v1` })
  const parameters = { type: 'object', properties: { id: { maximum: JSON.rawJSON('18446744073709551615') } } }
  const stream = await openai.chat.completions.create({
    ...{ model: 'chat', stream: true, messages: [{ role: 'user', content: 'hi' }] },
    tools: [{ type: 'function', function: { name: 'pay', parameters } }],
  })
  for await (const _ of stream);
  expect(sent).toContain('"maximum":18446744073709551615')
})

describe('a conversation that is kept here', () => {
  it('goes on with the numbers of what was said before', async () => {
    const first = await post(
      'responses',
      `{"model":"responses","input":[{"role":"user","content":"hi","more":${HARD}}]}`,
    )
    const { id } = JSON.parse(first.text)
    const second = await post('responses', `{"model":"responses","previous_response_id":"${id}","input":"and?"}`)
    expect(second.status, second.text).toBe(200)
    expect(sent).toContain(HARD)
    expect(sent).toContain('and?')
  })

  it('is told with them, at once, in the background and by its id', async () => {
    const asked = `"model":"chat","input":"hi","metadata":${HARD}`
    for (const stream of [false, true]) {
      const { text, run } = await post('responses', `{${asked},"stream":${stream}}`)
      expect(text).toContain(`"metadata":${HARD}`)
      expect(await get(`responses/resp_${run}`)).toContain(`"metadata":${HARD}`)
    }
    let go = () => {}
    model.script = () =>
      new Promise((resolve) => {
        go = () => resolve({ text: 'Fine.' })
      })
    const { text, run } = await post('responses', `{${asked},"background":true}`)
    expect(text).toContain(`"metadata":${HARD}`)
    const read = () => get(`responses/resp_${run}`)
    const begun = await until(read, (text) => text.includes('"in_progress"'))
    expect(begun).toContain(`"metadata":${HARD}`)
    await until(
      async () => go(),
      () => true,
    )
    expect(await until(read, (text) => text.includes('"completed"'))).toContain(`"metadata":${HARD}`)
  })
})

it('a run that was asked so is verified and replayed as any other', async () => {
  model.script = () => ({ calls: [{ name: 'pay', arguments: '{"rate":0.12345678901234567891}' }] })
  const { run } = await post('chat/completions', SAID['chat/completions']('chat', HARD, '0.69999999999999996'))
  const cli = { MUSTER_URL: harness.url, MUSTER_KEY: harness.key, MUSTER_HOME: home }
  expect(await runCli(['verify', run], cli)).toMatchObject({ code: 0 })
  await provenEnd(harness.muster, run)
  const to = join(home, 'export')
  expect(await runCli(['audit', 'export', '--to', to, '--run', run], cli)).toMatchObject({ code: 0 })
  const verified = () => runCli(['audit', 'verify', to, '--replay', '--json'], cli)
  const { code, out } = await verified()
  expect(JSON.parse(out).conduct).toMatchObject({ decisions: 2, same: 2, breaches: [], notCheckable: [] })
  expect(code).toBe(0)
  // What is proven is each digit.
  const file = join(to, 'runs', `${run}.jsonl`)
  writeFileSync(file, readFileSync(file, 'utf8').replaceAll('9007199254740993', '9007199254740992'))
  expect(await verified()).toMatchObject({ code: 1 })
})

describe('a body with such a number', () => {
  const with_ = (more: string) => `{"model":"chat","messages":${hi},"seed":9007199254740993${more}}`

  it('is held to what any other is', async () => {
    const refused = async (text: string, headers = {}) => {
      const answer = await post('chat/completions', text, headers)
      return { status: answer.status, ...JSON.parse(answer.text).error }
    }
    for (const name of ['stream', 'model'])
      expect(await refused(with_(`,"${name}":9007199254740993`))).toMatchObject({
        ...{ status: 400, code: 'invalid_value', param: name },
        message: expect.stringContaining('received number'),
      })
    const invalid = { status: 400, code: 'invalid_json' }
    expect(await refused(with_(',"a":{"__proto__":{}}'))).toMatchObject(invalid)
    expect(await refused(with_(',"constructor":{"prototype":{}}'))).toMatchObject(invalid)
    expect(await refused(with_(','))).toMatchObject(invalid)
    expect(await refused('')).toMatchObject(invalid)
    expect(await refused(with_(''), { 'content-type': 'text/plain' })).toMatchObject({
      status: 415,
      code: 'request_unsupported_media_type',
    })
    const deep = `${'['.repeat(300_000)}1e400${']'.repeat(300_000)}`
    expect(await refused(with_(`,"deep":${deep}`))).toMatchObject({ status: 400, code: 'invalid_value', param: 'deep' })
    expect(sent).toBe('')
  })

  it('may begin with a mark of the order of its bytes', async () => {
    expect((await post('chat/completions', `\ufeff${with_('')}`)).status).toBe(200)
    expect(sent).toContain('"seed":9007199254740993')
  })
})
