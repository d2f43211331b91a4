import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { MusterError, readConfig } from '@muster/protocol'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readModels, warnOfPrices } from './read-models.ts'

let asked: { path: string | undefined; key: string | string[] | undefined; model: string }[] = []
const server = createServer(async (request, response) => {
  let text = ''
  for await (const part of request) text += part
  asked.push({
    path: request.url,
    key: request.headers.authorization ?? request.headers['x-api-key'],
    model: JSON.parse(text).model,
  })
  response.writeHead(400, { 'content-type': 'application/json' }).end('{"message":"heard","error":{"message":"heard"}}')
})
let at: string
beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  at = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterAll(() => server.close())

const keys = { AZURE_KEY: 'a-key', BEDROCK_KEY: 'b-key' }
const read = (routes: unknown, env: Record<string, string> = {}) =>
  readModels(readConfig({ ...env, MUSTER_MODELS: typeof routes === 'string' ? routes : JSON.stringify(routes) }), {
    ...keys,
    ...env,
  })

function refusal(make: () => unknown): { message: string; paths: string[] | undefined } {
  try {
    make()
  } catch (error) {
    if (error instanceof MusterError && error.code === 'config.invalid')
      return { message: error.message, paths: error.issues?.map(({ path }) => path) }
    throw error
  }
  throw new Error('was not refused')
}

describe('MUSTER_MODELS', () => {
  it('leads each kind of target to its address, with its key', async () => {
    asked = []
    const region = 'eu-central-1'
    const models = read(
      {
        default: [{ openai: { model: 'm', baseUrl: `${at}/v1` } }],
        azure: [{ azure: { deployment: 'd', endpoint: `${at}/`, api: 'responses' }, key: 'AZURE_KEY' }],
        claude: [{ anthropic: { model: 'a', baseUrl: at }, key: 'AZURE_KEY' }],
        chat: [
          { bedrock: { model: 'openai.gpt-oss-120b-1:0', region, endpoint: at, api: 'chat' }, key: 'BEDROCK_KEY' },
        ],
        responses: [{ bedrock: { model: 'b', region, endpoint: at, api: 'responses' } }],
        converse: [{ bedrock: { model: 'c', region, endpoint: at }, key: 'BEDROCK_KEY' }],
      },
      { AWS_BEARER_TOKEN_BEDROCK: 'e-key' },
    )
    for (const route of ['default', 'azure', 'claude', 'chat', 'responses', 'converse', 'other'])
      await expect(models.invoke(route, { messages: [{ role: 'user', content: 'x' }] })).rejects.toThrow('heard')
    expect(asked).toEqual([
      { path: '/v1/chat/completions', key: 'Bearer none', model: 'm' },
      { path: '/openai/v1/responses', key: 'Bearer a-key', model: 'd' },
      { path: '/v1/messages', key: 'a-key', model: 'a' },
      { path: '/openai/v1/chat/completions', key: 'Bearer b-key', model: 'openai.gpt-oss-120b-1:0' },
      { path: '/openai/v1/responses', key: 'Bearer e-key', model: 'b' },
      { path: '/model/c/converse', key: 'Bearer b-key', model: undefined },
      // A route that is not named is a model at the first server of `default`.
      { path: '/v1/chat/completions', key: 'Bearer none', model: 'other' },
    ])
  })

  it('looks for what Bedrock has as OpenAI speaks at each of its addresses, and signs without a key', () => {
    const models = read({ default: [{ bedrock: { model: 'openai.gpt-5.5', region: 'us-east-2', api: 'responses' } }] })
    expect(JSON.parse(models.leadsTo('default'))).toMatchObject([
      [
        'openai.gpt-5.5',
        {
          baseUrl: 'https://bedrock-runtime.us-east-2.amazonaws.com/openai/v1',
          aws: {
            region: 'us-east-2',
            elsewhere: [
              'https://bedrock-mantle.us-east-2.api.aws/openai/v1',
              'https://bedrock-mantle.us-east-2.api.aws/v1',
            ],
          },
        },
      ],
    ])
  })

  it('may be a file, and leaves `default` to the other variables where it names none', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'models-'))
    try {
      asked = []
      const file = join(folder, 'models.json')
      writeFileSync(file, '{"fast":[{"openai":{"model":"small"},"key":"AZURE_KEY"}]}')
      const models = read(file, { MUSTER_MODEL_BASE_URL: `${at}/v1`, MUSTER_MODEL: 'own' })
      await expect(models.invoke('default', { messages: [{ role: 'user', content: 'x' }] })).rejects.toThrow('heard')
      expect(asked).toMatchObject([{ model: 'own' }])
      expect(refusal(() => read(file)).message).toMatch(/no route "default".*OPENAI_API_KEY or MUSTER_MODEL_BASE_URL/)
      writeFileSync(file, '{"fast":[]}')
      expect(refusal(() => read(file))).toMatchObject({ paths: ['/fast'] })
      expect(refusal(() => read(join(folder, 'none.json'))).message).toContain('is no JSON that can be read')
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  it.each([
    [{ bedrock: { model: 'm' } }, '/default/0/bedrock/region'],
    [{ bedrock: { model: 'm', region: 'eu/../x' } }, '/default/0/bedrock/region'],
    [{ bedrock: { model: 'm', region: 'eu', effort: 'high' } }, '/default/0/bedrock/effort'],
    [
      { bedrock: { model: 'm', region: 'eu', api: 'chat', guardrail: { id: 'g', version: '1' } }, key: 'K' },
      '/default/0/bedrock/guardrail',
    ],
    [{ azure: { deployment: 'd', endpoint: 'https://x.example' } }, '/default/0/key'],
    [{ anthropic: { model: 'm' } }, '/default/0/key'],
    [{ openai: { model: 'm', baseUrl: 'https://user:s3cret@x.example' } }, '/default/0/openai/baseUrl'],
    [{ openai: { model: 'm' }, key: 'sk-s3cret' }, '/default/0/key'],
    [{ openai: { model: 'm', temperature: 1 } }, 'temperature'],
    [{ openai: { model: 'm' }, promptCache: true }, '/default/0/promptCache'],
    [{ bedrock: { model: 'm', region: 'eu', api: 'responses' }, promptCache: false }, '/default/0/promptCache'],
    [{ anthropic: { model: 'm' }, key: 'AZURE_KEY', promptCache: 'yes' }, '/default/0/promptCache'],
    [{ openai: { model: 'm' }, azure: { deployment: 'd', endpoint: 'https://x.example' }, key: 'K' }, '/default/0 '],
    [{}, '/default/0 '],
  ])('refuses %j, and names what is wrong', (target, path) => {
    const { message } = refusal(() => read({ default: [target] }))
    expect(message).toContain(path)
    expect(message).not.toContain('s3cret')
  })

  const m = { openai: { model: 'm', baseUrl: 'http://x.example' } }
  it.each([
    [{ targets: [] }, '/default/targets '],
    [{ targets: [m, { ...m, weight: 0 }], order: 'weighted' }, '/default/targets/1/weight '],
    [{ targets: [m, { ...m, weight: 2 }] }, '/default/targets/1/weight only with `order` weighted'],
    [{ targets: [{ ...m, key: 'sk-s3cret' }] }, '/default/targets/0/key'],
    [{ targets: [m], order: 'random' }, '/default/order'],
    [{ targets: [m], sticky: true }, '/default/sticky'],
    [{ targets: [m], hedgeMs: 0 }, '/default/hedgeMs'],
    [{ targets: [m], breaker: { failures: 5 } }, '/default/breaker'],
    [{ targets: [{ ...m, when: { labels: {} } }] }, '/default/targets/0/when/labels'],
    [{ targets: [{ ...m, when: { minInputTokens: 2, maxInputTokens: 1 } }] }, '/default/targets/0/when'],
    ['m', '/default '],
  ])('refuses the route %j, and names what is wrong', (route, path) => {
    const { message } = refusal(() => read({ default: route }))
    expect(message).toContain(path)
    expect(message).not.toContain('s3cret')
  })

  it('takes a rule and prices', () => {
    const rule = { order: 'cheapest', sticky: true, hedgeMs: 800, breaker: false }
    const env = { MUSTER_PRICES: '[{"model":"m","inputUsd":1,"cachedUsd":0,"outputUsd":0}]' }
    const when = { labels: { without: ['pii'] }, maxInputTokens: 1000 }
    const models = read({ default: { targets: [m, { ...m, region: 'eu', when }], ...rule } }, env)
    const body = { input: 'x'.repeat(3_000_000 - 12) }
    expect(models.relayReserve('default', 'embeddings', body, JSON.stringify(body)).usd).toBeCloseTo(1, 5)
    expect(refusal(() => read({ default: [m] }, { MUSTER_PRICES: '[{"model":"m"}]' })).message).toContain('inputUsd')
  })

  it('warns of targets whose price nobody knows', () => {
    const known = { bedrock: { model: 'eu.anthropic.claude-sonnet-4-6', region: 'eu-central-1' } }
    const unknown = { bedrock: { model: 'amazon.nova-pro-v1:0', region: 'eu-central-1' } }
    const own = { inputUsd: 1, cachedUsd: 1, outputUsd: 1 }
    const models = read({
      default: [known, unknown],
      own: [{ ...m, price: own }],
      home: [{ ...m, free: true }],
      m: [m],
    })
    const said: object[] = []
    warnOfPrices(
      models,
      pino({ level: 'warn', base: null, timestamp: false }, { write: (line) => said.push(JSON.parse(line)) }),
    )
    expect(said).toMatchObject([
      { route: 'default', target: 'bedrock eu-central-1 amazon.nova-pro-v1:0' },
      { route: 'm', target: 'x.example m' },
    ])
    expect(said[0]).toMatchObject({ msg: expect.stringContaining('MUSTER_PRICES') })
  })

  it('names the variable with a key that is missing', () => {
    expect(refusal(() => read({ default: [{ openai: { model: 'm' } }] }))).toEqual({
      message: 'MUSTER_MODELS/default/0/key: there is no variable OPENAI_API_KEY with the key',
      paths: ['/MUSTER_MODELS/default/0/key'],
    })
  })
})
