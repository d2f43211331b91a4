import type { ServerResponse } from 'node:http'
import { ACCESS_KEY, API_KEY, bedrockServer, SECRET_KEY } from '@muster/stack/bedrock-server'
import { readSignature, sha256 } from '@muster/stack/sigv4'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { signatureOf } from './aws-signature.ts'
import { failure, watched } from './fixture.ts'
import { createModels } from './models.ts'
import type { RelayRequest } from './relay/request.ts'
import type { OpenAiTarget } from './target.ts'

const region = 'eu-central-1'
const messages = [{ role: 'user' as const, content: 'hello' }]
let server: Awaited<ReturnType<typeof bedrockServer>>
/** Addresses that do not have the model, and what they say of it. */
let refusals: Record<string, [status: number, message: string]>

beforeEach(async () => {
  vi.stubEnv('AWS_ACCESS_KEY_ID', ACCESS_KEY)
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', SECRET_KEY)
  refusals = {}
  server = await bedrockServer((response, { path, body }) => {
    const refusal = refusals[path.replace(/\/(?:chat\/completions|responses)$/, '')]
    if (refusal) json(response, refusal[0], { error: { message: refusal[1], type: 'invalid_request_error' } })
    else if (body.stream) {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      const event = { type: 'response.completed', sequence_number: 0, response: answer }
      response.end(`event: response.completed\ndata: ${JSON.stringify(event)}\n\n`)
    } else json(response, 200, path.endsWith('/responses') ? answer : completion)
  })
})
afterEach(() => {
  server.close()
  vi.unstubAllEnvs()
})

function json(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

const message = { type: 'message', role: 'assistant', content: [{ type: 'output_text', text: 'Good day.' }] }
const answer = {
  ...{ id: 'r', object: 'response', status: 'completed', model: 'openai.gpt-oss-120b', output: [message] },
  usage: { input_tokens: 10, output_tokens: 5 },
}
const completion = {
  ...{ id: 'c', object: 'chat.completion', model: 'openai.gpt-oss-120b' },
  choices: [{ index: 0, finish_reason: 'stop', message: { role: 'assistant', content: 'Good day.' } }],
  usage: { prompt_tokens: 10, completion_tokens: 5 },
}
const at = (api: OpenAiTarget['api'], apiKey = ''): OpenAiTarget => ({
  ...{ model: 'openai.gpt-oss-120b', apiKey, provider: 'bedrock' },
  ...(api === undefined ? {} : { api }),
  baseUrl: `${server.endpoint}/openai/v1`,
  aws: { region, elsewhere: [`${server.endpoint}/v1`] },
})
const modelsAt = (target: OpenAiTarget) => createModels({ routes: { default: target } })
const relayed = async (target: OpenAiTarget, request: Pick<RelayRequest, 'dialect' | 'body'>) =>
  (await modelsAt(target).relay('default', { ...request, signal: AbortSignal.timeout(20_000), idempotencyKey: 'i' }))
    .done
const paths = () => server.seen.map(({ path }) => path)

describe('models of Bedrock that speak as OpenAI does', () => {
  it.each(['chat', 'responses'] as const)(
    'are asked with a signature for %s, by agents and for clients',
    async (api) => {
      expect((await modelsAt(at(api)).invoke('default', { messages })).text).toBe('Good day.')
      const body: RelayRequest['body'] = api === 'chat' ? { messages } : { input: 'hello' }
      expect((await relayed(at(api), { dialect: api, body })).usage.inputTokens).toBe(10)
      const path = api === 'chat' ? '/openai/v1/chat/completions' : '/openai/v1/responses'
      expect(paths()).toEqual([path, path])
      expect((await modelsAt(at(api, API_KEY)).invoke('default', { messages })).text).toBe('Good day.')
      expect(server.seen[2]?.headers.authorization).toBe(`Bearer ${API_KEY}`)
    },
  )

  it('cost what the model that was asked for does there, whatever the answer calls it', async () => {
    const rates = { cachedUsd: 0, outputUsd: 0, since: '2026-01-01', source: 'test' }
    const prices = [
      { ...rates, model: 'openai.gpt-5.5', inputUsd: 11 },
      { ...rates, model: answer.model, inputUsd: 10 },
    ]
    const cost = async (model: string) =>
      (await createModels({ routes: { default: { ...at('chat'), model } }, prices }).invoke('default', { messages }))
        .costUsd
    expect(await cost('openai.gpt-5.5')).toBeCloseTo(110e-6, 12)
    expect(await cost('arn:aws:bedrock:eu-central-1:1:default-prompt-router/r')).toBeCloseTo(100e-6, 12)
  })

  it('are not asked with another signature, nor where there is nothing to sign with', async () => {
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'another')
    expect(await failure(modelsAt(at('chat')).invoke('default', { messages }))).toMatchObject({
      code: 'model.failed',
      message: expect.stringContaining('does not match'),
    })
    for (const name of ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY']) vi.stubEnv(name, undefined)
    for (const name of ['AWS_CONFIG_FILE', 'AWS_SHARED_CREDENTIALS_FILE']) vi.stubEnv(name, '/nowhere')
    vi.stubEnv('AWS_EC2_METADATA_DISABLED', 'true')
    const refused = modelsAt(at('responses'))
    expect(await failure(refused.invoke('default', { messages }))).toMatchObject({
      code: 'model.failed',
      message: expect.stringContaining('credentials'),
    })
    const request = { dialect: 'responses' as const, body: { input: 'x' } }
    expect((await failure(relayed(at('responses'), request))).code).toBe('model.failed')
    expect(server.seen).toEqual([])
  })

  it('are looked for at each address, and asked where they were found from then on', async () => {
    refusals['/openai/v1'] = [400, "model `openai.gpt-oss-120b` isn't supported on this route"]
    const models = modelsAt(at('responses'))
    expect((await models.invoke('default', { messages })).text).toBe('Good day.')
    expect((await watched(models, { messages })).reply.text).toBe('Good day.')
    expect(paths()).toEqual(['/openai/v1/responses', '/v1/responses', '/v1/responses'])
    refusals['/v1'] = [404, 'no such model']
    // Which of them is meant nobody knows: what is recommended is told.
    expect(await failure(modelsAt(at('responses')).invoke('default', { messages }))).toMatchObject({
      code: 'model.failed',
      message: expect.stringContaining("isn't supported on this route"),
    })
  })

  it('are told of as they were refused, where another address cannot be reached', async () => {
    refusals['/openai/v1'] = [400, 'the provided model identifier is invalid']
    const gone = await bedrockServer(() => {})
    gone.close()
    const target = { ...at('chat'), aws: { region, elsewhere: [`${gone.endpoint}/v1`] } }
    expect(await failure(modelsAt(target).invoke('default', { messages }))).toMatchObject({
      code: 'model.unavailable',
      message: expect.stringMatching(/identifier is invalid; and elsewhere .*ECONNREFUSED/),
    })
  })

  it('are asked once where it is the request that is refused', async () => {
    refusals['/openai/v1'] = [400, 'temperature must be at most 2']
    expect((await failure(modelsAt(at('chat')).invoke('default', { messages }))).message).toContain('at most 2')
    expect(paths()).toEqual(['/openai/v1/chat/completions'])
  })

  it('have tools of the vendor at the other address', async () => {
    const body = { input: 'hello', tools: [{ type: 'web_search' }] }
    expect((await relayed(at('responses'), { dialect: 'responses', body })).whole).toMatchObject({
      status: 'completed',
    })
    expect(paths()).toEqual(['/v1/responses'])
  })

  it('are signed for the service of the address', async () => {
    const sign = signatureOf(at('responses'))
    const url = new URL('https://bedrock-mantle.eu-central-1.api.aws/v1/responses')
    const headers = { host: url.host, ...(await sign?.(url, '{}')) }
    const signature = readSignature(headers)
    expect([signature.accessKey, signature.service]).toEqual([ACCESS_KEY, 'bedrock-mantle'])
    expect(signature.isOf(['POST', '/v1/responses', ''], sha256('{}'), SECRET_KEY)).toBe(true)
  })
})

describe('where a model answers', () => {
  const regionOf = (model: string, region?: string) => {
    const own = region === undefined ? {} : { region }
    const converse = { bedrock: { model, region: 'eu-central-1' }, ...own }
    const chat = { ...at('chat'), model, ...own }
    const [first, ...others] = [converse, chat].map(
      (target) => createModels({ routes: { default: target } }).targetsOf('default')[0]?.region,
    )
    for (const other of others) expect(other).toBe(first)
    return first
  }

  it.each([
    ['anthropic.claude-sonnet-4-20250514-v1:0', 'eu-central-1'],
    ['deepseek.v3.2', 'eu-central-1'],
    ['arn:aws:bedrock:eu-central-1::foundation-model/amazon.nova-lite-v1:0', 'eu-central-1'],
    ['arn:aws:bedrock:eu-central-1:123456789012:provisioned-model/abcdef123456', 'eu-central-1'],
    ['eu.anthropic.claude-sonnet-4-20250514-v1:0', 'eu'],
    ['global.anthropic.claude-sonnet-4-20250514-v1:0', 'global'],
    ['us-gov.anthropic.claude-sonnet-4-20250514-v1:0', 'us-gov'],
    ['arn:aws:bedrock:eu-central-1:123456789012:inference-profile/global.amazon.nova-2-lite-v1:0', 'global'],
    ['arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/abcdef123456', ''],
    ['arn:aws:bedrock:eu-central-1:123456789012:default-prompt-router/anthropic.claude:1', ''],
  ])('%s: %j', (model, region) => {
    expect(regionOf(model)).toBe(region)
    expect(regionOf(model, 'as said')).toBe('as said')
  })

  it('is not what a target says of its own model, where a client names another', () => {
    const target = { bedrock: { model: 'amazon.nova-lite-v1:0', region }, region }
    const models = createModels({ routes: { default: target } })
    expect(models.targetsOf('global.amazon.nova-lite-v1:0')[0]?.region).toBe('global')
  })
})
