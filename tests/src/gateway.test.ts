import { type ChildProcess, fork } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual } from 'node:util'
import { createModels } from '@muster/models'
import { costs, type EntryOf, newId, type Run, type RunEvent } from '@muster/protocol'
import type { Muster } from '@muster/sdk'
import { freePort } from '@muster/stack'
import { ACCESS_KEY, bedrockServer, SECRET_KEY } from '@muster/stack/bedrock-server'
import { newLedgerKey } from '@muster/worker/settings'
import { Redis } from 'ioredis'
import OpenAI, {
  APIError,
  AuthenticationError,
  BadRequestError,
  NotFoundError,
  PermissionDeniedError,
  RateLimitError,
} from 'openai'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Asked, answerUsd, price, type Said, ScriptedModel, tokens } from './fixtures/scripted-model.ts'
import { ended, type Harness, runCli, startHarness, stopProcess, until } from './harness.ts'
import { provenEnd } from './receipts.ts'

const policy = `
@id("anybody") permit (principal == Plan::"gateway", action, resource);
@id("not-secret") @message("The model \\"secret\\" is for the board.") @contact("it@acme.example")
forbid (principal, action == Action::"model:invoke", resource == Model::"secret") unless { context has team && context.team == "board" };
@id("home") @message("Patients stay here.")
forbid (principal, action == Action::"model:invoke", resource) when { context.labels.contains("patient") && context.region != "eu" };
@id("asked") @ask("finance")
forbid (principal, action == Action::"model:invoke", resource == Model::"asked") unless { context.approvals.contains("finance") };
@id("no-rm") @message("Nothing is deleted.") @contact("sec@acme.example")
forbid (principal, action == Action::"gateway:tool", resource)
when { (context.input has cmd && context.input.cmd like "*rm -rf*") || (context.input has text && context.input.text like "*Delete File*") };
@id("own-mcp") @message("Only our own servers are asked.") @contact("sec@acme.example")
forbid (principal, action == Action::"gateway:tool", resource == ClientTool::"mcp")
unless { context.input.arguments like "*\\"https://mcp.acme.example/*" };
`

const model = new ScriptedModel()
const hi = [{ role: 'user' as const, content: 'hi' }]
const home = mkdtempSync(join(tmpdir(), 'muster-gateway-'))
let modelUrl: string
let harness: Harness

beforeAll(async () => {
  modelUrl = await model.listen()
  const target = (api: 'chat' | 'responses') => ({
    ...{ model: 'scripted', baseUrl: modelUrl, apiKey: 'sk-upstream', api, price },
  })
  const chat = target('chat')
  const about = { contextWindow: 9000, inputs: ['text'], efforts: ['low'] }
  const models = createModels({
    routes: {
      default: chat,
      chat,
      'gpt-r': target('responses'),
      secret: { ...chat, about },
      asked: chat,
      narrow: chat,
      wide: [
        { ...chat, region: 'us' },
        { ...chat, model: 'here', region: 'eu' },
      ],
      abroad: { ...chat, when: { labels: { without: ['pii'] } } },
    },
  })
  const limits = {
    'model:narrow': { concurrency: 1 },
    'user:busy': { requestsPerMinute: 3, burstMs: 40_000 },
    'key:*': { requestsPerMinute: 6000 },
  }
  const policies = [{ file: 'gateway.cedar', text: policy }]
  const keyFile = join(home, 'ledger.pem')
  writeFileSync(keyFile, newLedgerKey())
  harness = await startHarness(
    {
      MUSTER_BUDGETS: JSON.stringify({ 'user:spender': { day: { usd: 4.5 * answerUsd } } }),
      ...{ MUSTER_LEDGER_KEY_FILE: keyFile, MUSTER_LEDGER_HEADS_MS: '200', MUSTER_PARTITIONS: '2' },
    },
    {
      gateway: { models, policies: () => policies, lockMs: 1000, ledger: true, limits, places: 10 },
      keys: [
        { id: 'one', tenant: 'acme', user: 'spender', roles: [] },
        { id: 'two', tenant: 'acme', user: 'spender', roles: [] },
        { id: 'board', tenant: 'acme', user: 'chair', roles: [], team: 'board', gateway: { routes: ['se*'] } },
        { id: 'labelled', tenant: 'acme', user: 'nurse', roles: [], gateway: { labels: ['pii'] } },
        { id: 'far', tenant: 'far', user: 'far', roles: [] },
        { id: 'busy', tenant: 'acme', user: 'busy', roles: [] },
        { id: 'far-busy', tenant: 'far', user: 'busy', roles: [] },
        { id: 'teamed', tenant: 'acme', user: 'mate', roles: [], team: 'blue' },
        { id: 'laptop', tenant: 'acme', user: 'dora', roles: [] },
        { id: 'pipeline', tenant: 'acme', user: 'dora', roles: [] },
        { id: 'watcher', tenant: 'acme', user: 'rex', roles: ['auditor'] },
      ],
    },
  )
  await harness.worker()
})
afterAll(async () => {
  await harness.close()
  model.close()
  rmSync(home, { recursive: true })
})
beforeEach(() => {
  model.script = () => ({ text: 'a plain answer' })
  model.other = undefined
})

function clientOf(key: string, headers: Record<string, string> = {}): OpenAI {
  return new OpenAI({ apiKey: key, baseURL: `${harness.url}/v1`, defaultHeaders: headers, timeout: 20_000 })
}

async function eventsOf(run: string, muster: Muster = harness.muster): Promise<RunEvent[]> {
  const events: RunEvent[] = []
  for await (const event of muster.runs.stream(run)) events.push(event)
  return events
}

function stepsOf(events: readonly RunEvent[]): EntryOf<'step.ended'>[] {
  return events.flatMap(({ entry }) => (entry.type === 'step.ended' ? [entry] : []))
}

async function failure(work: PromiseLike<unknown>): Promise<APIError> {
  const error = await work.then(
    () => undefined,
    (error: unknown) => error,
  )
  if (error instanceof APIError) return error
  throw new Error(`no error of the API: ${error}`)
}

describe('a request', () => {
  it('is a run with decision, cost and proof; whole and streamed answers are the same to client and journal', async () => {
    const openai = clientOf(harness.key)
    const { data, response } = await openai.chat.completions.create({ model: 'chat', messages: hi }).withResponse()
    const id = response.headers.get('x-muster-run') ?? ''
    expect(data).toMatchObject({ id: `chatcmpl-${id}`, choices: [{ message: { content: 'a plain answer' } }] })
    const run = await harness.muster.runs.get(id)
    expect(run).toMatchObject({ status: 'succeeded', name: 'gateway', by: { user: 'acme-user' }, output: data })
    expect(run.costUsd).toBeCloseTo(answerUsd, 12)
    expect(run.input).toEqual({ dialect: 'chat', client: 'openai-sdk', body: { model: 'chat', messages: hi } })
    const events = await eventsOf(id)
    expect(events.map(({ entry }) => entry.type)).toEqual([
      ...['run.created', 'run.activated', 'step.intent', 'step.ended', 'run.ended'],
    ])
    expect(events[2]?.entry).toMatchObject({ decision: { effect: 'allow', policies: ['anybody'] } })
    expect(JSON.stringify(events)).not.toContain('sk-upstream')
    const cli = { MUSTER_URL: harness.url, MUSTER_KEY: harness.key }
    expect(await runCli(['verify', id], cli)).toMatchObject({ code: 0 })

    expect(await provenEnd(harness.muster, id)).toMatchObject({ run: id, state: 'ended' })

    const chat = await openai.chat.completions.create({
      ...{ model: 'chat', messages: hi, stream: true, stream_options: { include_usage: true } },
    })
    const chunks = await Array.fromAsync(chat)
    expect(chunks.map(({ choices }) => choices[0]?.delta.content ?? '').join('')).toBe('a plain answer')
    const streamed = await wholeRun(chunks[0]?.id.slice('chatcmpl-'.length) ?? '')
    expect(streamed).toMatchObject({
      status: 'succeeded',
      output: { choices: [{ message: { content: 'a plain answer' } }] },
    })
    expect(streamed.costUsd).toBeCloseTo(answerUsd, 12)

    const whole = await openai.responses.create({ model: 'gpt-r', input: 'hi' })
    const told = await Array.fromAsync(await openai.responses.create({ model: 'gpt-r', input: 'hi', stream: true }))
    const last = told.at(-1)
    if (last?.type !== 'response.completed') throw new Error(`the last event is ${last?.type}`)
    expect(whole.output_text).toBe('a plain answer')
    const journaled = await wholeRun(last.response.id.slice('resp_'.length))
    expect(journaled.output).toMatchObject({ id: last.response.id, output: last.response.output })
    expect(journaled.usage).toEqual({ inputTokens: 100, outputTokens: 30, cachedTokens: 40 })
  })

  it('lists models as its key may use them', async () => {
    const all = await Array.fromAsync(clientOf(harness.key).models.list())
    expect(all.map(({ id }) => id)).toContain('gpt-r')
    const { board = '' } = harness.keys
    expect((await Array.fromAsync(clientOf(board).models.list())).map(({ id }) => id)).toEqual(['secret'])
    const can = { context_window: 9000, input_modalities: ['text'], reasoning_efforts: ['low'] }
    expect(await clientOf(board).models.retrieve('secret')).toMatchObject({ id: 'secret', ...can })
    expect(await failure(clientOf(board).models.retrieve('chat'))).toBeInstanceOf(NotFoundError)
  })

  it('comes in Anthropic’s words too, with its key where Anthropic’s clients have it, and is refused in them', async () => {
    const post = async (body: object, key = harness.key, more = {}) => {
      const response = await fetch(`${harness.url}/v1/messages`, {
        method: 'POST',
        headers: { 'x-api-key': key, 'content-type': 'application/json', 'anthropic-version': '2023-06-01', ...more },
        body: JSON.stringify({ model: 'chat', max_tokens: 100, messages: hi, ...body }),
      })
      return { status: response.status, body: (await response.json()) as unknown, headers: response.headers }
    }
    const { status, body, headers } = await post({ system: 'Be kind.' })
    expect(body).toMatchObject({ role: 'assistant', content: [{ type: 'text', text: 'a plain answer' }] })
    expect(status).toBe(200)
    expect(model.asked.at(-1)?.body.messages).toMatchObject([{ role: 'system', content: 'Be kind.' }, hi[0] ?? {}])
    const run = await wholeRun(headers.get('x-muster-run') ?? '')
    expect(run).toMatchObject({ status: 'succeeded', output: { id: `msg_${run.id}` } })
    const error = (type: string) => ({ type: 'error', error: { type } })
    const wrong = await post({}, 'mk_wrong')
    expect(wrong).toMatchObject({ status: 401, body: error('authentication_error') })
    expect(wrong.headers.get('x-should-retry')).toBe('false')
    expect(await post({ model: 'nothing' })).toMatchObject({ status: 404, body: error('not_found_error') })
    expect(await post({ model: 'secret' })).toMatchObject({ status: 403, body: error('permission_error') })
    // As Claude Code shows it.
    for (const [model, why] of [
      ['nothing', 'The key may use: '],
      ['secret', 'Ask it@acme.example'],
    ])
      expect(await post({ model }, harness.key, { 'user-agent': 'claude-cli/2.1.197 (external, cli)' })).toMatchObject({
        status: 400,
        body: { type: 'error', error: { type: 'invalid_request_error', message: expect.stringContaining(why ?? '') } },
      })
  })

  it('for embeddings is one too', async () => {
    const data = [{ object: 'embedding', index: 0, embedding: [0.5, -1] }]
    model.other = () => ({ object: 'list', data, model: 'e', usage: { prompt_tokens: 7, total_tokens: 7 } })
    const { data: answer, response } = await clientOf(harness.key)
      .embeddings.create({ model: 'chat', input: 'hi', encoding_format: 'float' })
      .withResponse()
    expect(answer.data).toEqual(data)
    const run = await wholeRun(response.headers.get('x-muster-run') ?? '')
    expect(run).toMatchObject({ status: 'succeeded', usage: { inputTokens: 7, outputTokens: 0 } })
  })

  it('is in the costs of its key, to the last token, beside what others of its user have cost', async () => {
    const { laptop = '', pipeline = '', watcher = '' } = harness.keys
    const ask = (key: string) => clientOf(key).chat.completions.create({ model: 'chat', messages: hi })
    await Promise.all([laptop, laptop, pipeline, laptop].map(ask))
    const sum = (calls: number) => ({
      ...{ usd: Math.round(calls * answerUsd * 1e9) / 1e9, calls },
      inputTokens: tokens.input * calls,
      ...{ outputTokens: tokens.output * calls, cachedTokens: tokens.cached * calls },
    })
    const askCosts = (by: string, key: string) =>
      fetch(`${harness.url}/v1/costs?by=${by}`, { headers: { authorization: `Bearer ${key}` } })
    const of = async (by: string, names: string[]) => {
      const told = costs.parse(await (await askCosts(by, watcher)).json())
      return told.costs.filter(({ name }) => names.includes(name))
    }
    const each = [
      { name: 'laptop', ...sum(3) },
      { name: 'pipeline', ...sum(1) },
    ]
    await until(
      () => of('key', ['laptop', 'pipeline']),
      (told) => isDeepStrictEqual(told, each),
    )
    expect(await of('user', ['dora'])).toEqual([{ name: 'dora', ...sum(4) }])
    const all = await (await askCosts('key', watcher)).text()
    for (const key of Object.values(harness.keys)) expect(all).not.toContain(key)
    // Whose it is may not see it without a role.
    expect((await askCosts('key', laptop)).status).toBe(403)
  })

  it('of one conversation is of one session, which is its user’s alone', async () => {
    // As Codex and Claude Code tell it.
    for (const header of ['session-id', 'x-claude-code-session-id']) {
      const { response } = await clientOf(harness.key, { [header]: header })
        .responses.create({ model: 'gpt-r', input: 'hi' })
        .withResponse()
      const run = await harness.muster.runs.get(response.headers.get('x-muster-run') ?? '')
      expect(run.session).toBe(`acme-user/${header}`)
    }
  })
})

describe('a refusal', () => {
  const ask = (key: string, name = 'chat', body: object = {}, headers: Record<string, string> = {}) =>
    failure(clientOf(key, headers).chat.completions.create({ model: name, messages: hi, ...body }))

  it('is the typed error of the official client, and says what to do', async () => {
    const asked = model.asked.length
    const { key } = harness
    expect(await ask('mk_wrong')).toMatchObject({ constructor: AuthenticationError, code: 'invalid_api_key' })
    expect(await ask(key, 'nothing')).toMatchObject({
      constructor: NotFoundError,
      code: 'model_not_found',
      param: 'model',
    })
    expect(await ask(harness.keys.board ?? '')).toMatchObject({
      constructor: PermissionDeniedError,
      code: 'model_not_allowed',
      message: expect.stringMatching(/may not use the model .* The key may use: /),
    })
    expect(await ask(key, 'chat', { messages: 'hi' })).toMatchObject({
      constructor: BadRequestError,
      param: 'messages',
    })
    const functions = [{ name: 'x', parameters: {} }]
    expect(await ask(key, 'chat', { functions })).toMatchObject({
      ...{ constructor: BadRequestError, param: 'functions', message: expect.stringContaining('offer `tools`') },
    })
    let deep = {}
    for (let i = 0; i < 300; i++) deep = { deep }
    expect(await ask(key, 'chat', { metadata: deep })).toMatchObject({
      constructor: BadRequestError,
      param: 'metadata',
    })
    const large = [{ role: 'user', content: 'x'.repeat(33 * 1024 * 1024) }]
    expect(await ask(key, 'chat', { messages: large })).toMatchObject({ status: 413, code: 'request_too_large' })
    const unsupported = await failure(
      clientOf(key).responses.create({ model: 'gpt-r', input: 'hi', conversation: 'c' }),
    )
    expect(unsupported).toMatchObject({
      constructor: BadRequestError,
      code: 'unsupported_parameter',
      param: 'conversation',
    })
    const refused = { constructor: PermissionDeniedError, code: 'route_refused' }
    expect(await ask(key, 'abroad', {}, { 'x-muster-labels': 'internal, pii' })).toMatchObject(refused)
    const ofKey = await ask(harness.keys.labelled ?? '', 'abroad')
    expect(ofKey).toMatchObject({ ...refused, message: expect.stringContaining('labelled "pii"') })
    expect((await harness.muster.runs.get(ofKey.headers?.get('x-muster-run') ?? '')).labels).toEqual(['pii'])
    const long = { 'x-muster-labels': 'x'.repeat(65) }
    expect(await ask(key, 'abroad', {}, long)).toMatchObject({ constructor: BadRequestError })
    expect(model.asked.length).toBe(asked)
  })

  it('tells of what is not here in the words of the vendor that has it, and what is in its place', async () => {
    const openai = clientOf(harness.key)
    const absent = { constructor: NotFoundError, code: 'unknown_url' }
    const old = await failure(openai.completions.create({ model: 'chat', prompt: 'hi' }))
    expect(old).toMatchObject({ ...absent, message: expect.stringContaining('POST /v1/chat/completions') })
    const file = new File(['x'], 'x.wav')
    expect(await failure(openai.audio.transcriptions.create({ model: 'chat', file }))).toMatchObject(absent)
    expect(await failure(openai.chat.completions.list())).toMatchObject(absent)
    expect(await failure(openai.models.delete('chat'))).toMatchObject(absent)
    expect(await failure(clientOf('mk_wrong').files.list())).toBeInstanceOf(AuthenticationError)
    const anthropics = { 'x-api-key': harness.key, 'anthropic-version': '2023-06-01' }
    for (const path of ['messages/batches', 'models/nothing', 'complete']) {
      const response = await fetch(`${harness.url}/v1/${path}`, { headers: anthropics })
      expect(await response.json()).toMatchObject({ type: 'error', error: { type: 'not_found_error' } })
      expect(response.status).toBe(404)
    }
    const { id } = await openai.responses.create({ model: 'gpt-r', input: 'hi' })
    expect(await failure(clientOf(harness.people.ann.key).responses.delete(id))).toBeInstanceOf(NotFoundError)
    const kept = await failure(openai.responses.delete(id))
    expect(kept).toMatchObject({ constructor: PermissionDeniedError, code: 'response_kept' })
    expect(await openai.responses.retrieve(id)).toMatchObject({ id })
  })

  it('goes where policies let it, and the journal says why not elsewhere', async () => {
    const patient = { 'x-muster-labels': 'patient' }
    const { response } = await clientOf(harness.key, patient)
      .chat.completions.create({ model: 'wide', messages: hi })
      .withResponse()
    expect(model.asked.at(-1)?.body).toMatchObject({ model: 'here' })
    const events = await eventsOf(response.headers.get('x-muster-run') ?? '')
    const [us, eu] = ['us', 'eu'].map((region) => expect.objectContaining({ region }))
    expect(events[2]?.entry).toMatchObject({
      ...{ v: 3, type: 'step.intent' },
      decision: { effect: 'allow', policies: ['anybody'], targets: [us, eu] },
    })
    expect(stepsOf(events)[0]?.via).toMatchObject({ region: 'eu', passed: [{ code: 'policy.denied' }] })
    const denied = await ask(harness.key, 'chat', {}, patient)
    expect(denied).toMatchObject({ code: 'policy_denied', message: expect.stringContaining('Patients stay here.') })
  })

  it('is counted by tokens where it may go, without a run', async () => {
    const count = async (model: string, headers: Record<string, string> = {}, more: object = {}) => {
      const response = await fetch(`${harness.url}/v1/messages/count_tokens`, {
        method: 'POST',
        headers: { 'x-api-key': harness.key, 'content-type': 'application/json', ...headers },
        body: JSON.stringify({ model, messages: [{ role: 'user', content: 'how many are these?' }], ...more }),
      })
      return { status: response.status, body: (await response.json()) as { input_tokens?: number; error?: object } }
    }
    const asked = model.asked.length
    const runs = (await harness.muster.runs.list()).runs.length
    const { status, body } = await count('chat')
    expect({ status, isSome: (body.input_tokens ?? 0) > 5 }).toEqual({ status: 200, isSome: true })
    expect(await count('nothing')).toMatchObject({ status: 404, body: { type: 'error' } })
    expect(await count('chat', { 'x-api-key': harness.keys.board ?? '' })).toMatchObject({ status: 403 })
    expect(await count('secret')).toMatchObject({ status: 403, body: { error: { type: 'permission_error' } } })
    expect(await count('chat', { 'x-muster-labels': 'patient' })).toMatchObject({ status: 403 })
    expect(await count('chat', {}, { mcp_servers: [{ url: 'x' }] })).toMatchObject({ status: 400 })
    expect((await harness.muster.runs.list()).runs).toHaveLength(runs)
    expect(model.asked).toHaveLength(asked)
  })

  it('names the policy, what it says of itself, and whom to ask; for Codex it is one that Codex shows', async () => {
    const denied = await ask(harness.key, 'secret')
    expect(denied).toMatchObject({ constructor: PermissionDeniedError, code: 'policy_denied' })
    const run = denied.headers?.get('x-muster-run') ?? ''
    expect(denied.message).toContain(
      `Policy "not-secret" denies secret. The model "secret" is for the board. Ask it@acme.example, and name run ${run}.`,
    )
    const events = await eventsOf(run)
    expect(stepsOf(events)).toMatchObject([
      { status: 'denied', decision: { effect: 'deny', policies: ['not-secret'] } },
    ])
    expect(await ask(harness.key, 'asked')).toMatchObject({
      status: 403,
      message: expect.stringContaining('"finance"'),
    })
    const { data } = await clientOf(harness.keys.board ?? '')
      .chat.completions.create({ model: 'secret', messages: hi })
      .withResponse()
    expect(data.choices[0]?.message.content).toBe('a plain answer')
    const told = await ask(harness.key, 'secret', {}, { originator: 'codex_exec' })
    expect(told).toMatchObject({ status: 400, code: 'invalid_prompt', type: 'policy_denied' })
    expect(told.message).toContain('Ask it@acme.example')
  })

  it('is told when it is recorded, and not before', async () => {
    const redis = new Redis(harness.redisUrl)
    try {
      // Its limits have something in hand from now on: nothing but the record is left to be waited for.
      await ask(harness.key, 'secret')
      await redis.client('PAUSE', 60_000, 'WRITE')
      let isTold = false
      const refused = ask(harness.key, 'secret').finally(() => {
        isTold = true
      })
      await sleep(300)
      expect(isTold).toBe(false)
      await redis.client('UNPAUSE')
      const run = (await refused).headers?.get('x-muster-run')
      expect((await harness.muster.runs.list({ limit: 5 })).runs.map(({ id }) => id)).toContain(run)
    } finally {
      await redis.client('UNPAUSE')
      redis.disconnect()
    }
  })

  it('of the vendor is passed on: its words, how long to wait', async () => {
    const once = (said: Said, headers = {}) => {
      model.script = () => said
      return failure(
        clientOf(harness.key, headers).chat.completions.create({ model: 'chat', messages: hi }, { maxRetries: 0 }),
      )
    }
    const theirs = { message: 'no such thing', type: 'invalid_request_error', param: 'top_p', code: 'invalid_value' }
    expect(await once({ status: 400, error: theirs })).toMatchObject({ constructor: BadRequestError, param: 'top_p' })
    expect(await once({ status: 500, error: { message: 'broken' } })).toMatchObject({ status: 503 })
    const limited = await once({ status: 429, error: { message: 'slowly' }, headers: { 'retry-after-ms': '20' } })
    expect(limited).toMatchObject({ constructor: RateLimitError, code: 'rate_limit_exceeded' })
    expect(limited.headers?.get('retry-after-ms')).toBe('20')
    // The gateway's own key is nothing that the client could put right.
    const ofGateway = { status: 401, error: { message: 'Incorrect API key: sk-upstream', code: 'invalid_api_key' } }
    const refused = await once(ofGateway)
    expect(refused).toMatchObject({ status: 502, code: 'model_failed', message: expect.stringContaining('key of the') })
    expect(refused.message).not.toContain('sk-upstream')
    expect(refused.headers?.get('x-should-retry')).toBe('false')
    expect(await once(ofGateway, { originator: 'codex_exec' })).toMatchObject({ status: 400, code: 'invalid_prompt' })
  })

  it('is told how long to wait where its turn does not come, and goes on where it does', async () => {
    let go = () => {}
    model.script = () =>
      new Promise((resolve) => {
        go = () => resolve({ text: 'first' })
      })
    const before = model.asked.length
    const once = () =>
      new OpenAI({ apiKey: harness.key, baseURL: `${harness.url}/v1`, maxRetries: 0 }).chat.completions.create({
        ...{ model: 'narrow', messages: hi },
      })
    const first = once()
    await until(
      () => model.asked.length,
      (count) => count > before,
    )
    const late = await failure(once())
    expect(late).toMatchObject({ constructor: RateLimitError, code: 'rate_limit_exceeded' })
    expect(Number(late.headers?.get('retry-after'))).toBeGreaterThan(0)
    go()
    expect((await first).choices[0]?.message.content).toBe('first')
  })

  it('is told which limit of its user lets no more through; a user of that name elsewhere has one of their own', async () => {
    const { busy = '', teamed = '', 'far-busy': farBusy = '' } = harness.keys
    const once = (apiKey: string) =>
      new OpenAI({ apiKey, baseURL: `${harness.url}/v1`, maxRetries: 0 }).chat.completions.create({
        ...{ model: 'chat', messages: hi },
      })
    await once(busy)
    await once(busy)
    const [late, later] = await Promise.all([failure(once(busy)), failure(once(busy)), once(farBusy), once(teamed)])
    expect(late).toMatchObject({ constructor: RateLimitError, message: expect.stringContaining('limits of user:busy') })
    // When its limit lets one through: the third in a minute, some 20 s after the first.
    const [pause = 0, next = 0] = [late, later]
      .map(({ headers }) => Number(headers?.get('retry-after')))
      .sort((a, b) => a - b)
    expect(pause).toBeGreaterThan(8)
    expect(pause).toBeLessThanOrEqual(20)
    // And the fourth comes after it.
    expect(next - pause).toBeGreaterThanOrEqual(19)
  })

  it('is told to a tenant that holds as many places as are left, and not to another', async () => {
    // What was refused before has left its place.
    await until(
      () => harness.muster.runs.list({ name: 'gateway', status: 'running' }),
      ({ runs }) => runs.length === 0,
    )
    const open: (() => void)[] = []
    model.script = () => new Promise((resolve) => open.push(() => resolve({ text: 'at last' })))
    const once = (apiKey = harness.key) =>
      new OpenAI({ apiKey, baseURL: `${harness.url}/v1`, maxRetries: 0 }).chat.completions.create({
        ...{ model: 'chat', messages: hi },
      })
    const held = Array.from({ length: 5 }, () => once())
    await until(
      () => open.length,
      (count) => count === 5,
    )
    const more = await failure(once())
    expect(more).toMatchObject({ constructor: RateLimitError, code: 'rate_limit_exceeded' })
    expect(more.message).toContain('5 requests of "acme" are under way')
    held.push(once(harness.keys.far))
    await until(
      () => open.length,
      (count) => count === 6,
    )
    for (const go of open) go()
    expect((await Promise.all(held)).map(({ choices }) => choices[0]?.message.content)).toContain('at last')
    model.script = () => ({ text: 'a plain answer' })
    await until(
      () => once().catch(() => undefined),
      (answer) => answer !== undefined,
    )
  })

  it('is told to a tenant whose bodies are half of all that may be on their way', async () => {
    const { hostname, port } = new URL(harness.url)
    const slow = Array.from({ length: 8 }, () => connect(Number(port), hostname))
    for (const one of slow) {
      const about = `Host: x\r\nAuthorization: Bearer ${harness.key}\r\nContent-Type: application/json`
      one.write(`POST /v1/chat/completions HTTP/1.1\r\n${about}\r\nContent-Length: ${32 << 20}\r\n\r\n{`)
    }
    const large = { messages: [{ role: 'user' as const, content: 'x'.repeat(1 << 20) }], model: 'chat' }
    const once = (apiKey = harness.key) =>
      new OpenAI({ apiKey, baseURL: `${harness.url}/v1`, maxRetries: 0 }).chat.completions.create(large)
    const refused = await until(
      () => once().catch((error: unknown) => error),
      (error) => error instanceof RateLimitError,
    )
    expect(refused).toMatchObject({ message: expect.stringContaining('bytes of bodies of "acme"') })
    expect((await once(harness.keys.far)).choices[0]?.message.content).toBe('a plain answer')
    for (const one of slow) one.destroy()
    await until(
      () => once().catch(() => undefined),
      (answer) => answer !== undefined,
    )
  })

  it('is a stop, with its reason; what is under way is cut off', async () => {
    model.script = () => new Promise(() => {})
    const before = model.asked.length
    const cut = ask(harness.key)
    await until(
      () => model.asked.length,
      (count) => count > before,
    )
    await harness.muster.stops.set('model:chat', { reason: 'too dear' })
    try {
      const stopped = await ask(harness.key)
      expect(stopped).toMatchObject({ status: 403, code: 'stopped', message: expect.stringContaining('too dear') })
      const under = await cut
      expect(under).toMatchObject({ status: 403, code: 'stopped', message: expect.stringContaining('too dear') })
      const run = await wholeRun(under.headers?.get('x-muster-run') ?? '')
      expect(run).toMatchObject({ status: 'failed', error: { code: 'stop.active' } })
    } finally {
      await harness.muster.stops.lift('model:chat')
    }
  })

  it('is a budget: of a user over all their keys, and of a team that an operator sets one for', async () => {
    const spent = async (key: string) => {
      for (let n = 0; n < 20; n++) {
        const error = await clientOf(key)
          .chat.completions.create({ model: 'chat', messages: hi, max_completion_tokens: 10 })
          .then(
            () => undefined,
            (error: unknown) => error,
          )
        if (error) return { n, error }
      }
      throw new Error('nothing was refused')
    }
    const { one = '', two = '', teamed = '' } = harness.keys
    await clientOf(one).chat.completions.create({ model: 'chat', messages: hi, max_completion_tokens: 10 })
    const { n, error } = await spent(two)
    // The one that was under way when it was used up is the last.
    expect(n).toBe(4)
    expect(error).toMatchObject({ constructor: RateLimitError, code: 'insufficient_quota' })
    expect((error as APIError).message).toMatch(/user:spender.* Ask who operates Muster for more\.$/)
    expect((error as APIError).headers?.get('x-should-retry')).toBe('false')
    expect(await ask(one, 'chat', { max_completion_tokens: 10 })).toMatchObject({ code: 'insufficient_quota' })
    await harness.muster.budgets.set('team:blue', { day: { tokens: 1 } })
    await clientOf(teamed).chat.completions.create({ model: 'chat', messages: hi })
    expect(await ask(teamed)).toMatchObject({
      code: 'insufficient_quota',
      message: expect.stringContaining('team:blue'),
    })
  })
})

describe('a call that the model wants the client to make', () => {
  it('is decided before it is delivered, and journaled; in place of one that is denied stands why', async () => {
    model.script = () => ({
      calls: [
        { name: 'exec_command', arguments: { cmd: 'ls' } },
        { name: 'exec_command', arguments: { cmd: 'rm -rf /' } },
        { name: 'apply_patch', text: '*** Delete File: a.txt' },
        // A text that looks like the JSON of a function is one nevertheless.
        { name: 'apply_patch', text: '{"patch":"*** Delete File: b.txt"}' },
        // What is done with the rest is up to who reads it.
        { name: 'shell', arguments: '{"of":[{"cmd":"rm -rf /","\\u0063md":"ls"}]}' },
        { name: 'shell', arguments: '{"cmd":"rm -rf /",}' },
        { name: 'shell', arguments: '{"n":[1.5,-12345678901234567890]}' },
        { name: 'now', arguments: '' },
      ],
    })
    const openai = clientOf(harness.key)
    for (const stream of [false, true]) {
      const response = stream
        ? await openai.responses.stream({ model: 'gpt-r', input: 'hi' }).finalResponse()
        : await openai.responses.create({ model: 'gpt-r', input: 'hi' })
      const text = JSON.stringify(response)
      expect(text).not.toContain('rm -rf')
      expect(text).not.toContain('Delete File')
      expect(response.output.filter(({ type }) => type === 'function_call')).toMatchObject([
        { arguments: '{"cmd":"ls"}' },
        { name: 'now', arguments: '' },
      ])
      expect(text).toContain('no-rm')
      expect(text).toContain('Ask sec@acme.example')
      const run = await wholeRun(response.id.slice('resp_'.length))
      const steps = stepsOf(await eventsOf(run.id)).filter(({ kind }) => kind === 'tool')
      expect(steps).toMatchObject([
        { target: 'exec_command', status: 'ok', decision: { effect: 'allow', policies: ['anybody'] } },
        { target: 'exec_command', status: 'denied', decision: { effect: 'deny', policies: ['no-rm'] } },
        { target: 'apply_patch', status: 'denied', decision: { policies: ['no-rm'] } },
        { target: 'apply_patch', status: 'denied', decision: { policies: ['no-rm'] } },
        { target: 'shell', status: 'failed', error: { message: expect.stringContaining('"cmd" twice') } },
        { target: 'shell', status: 'failed', error: { message: expect.stringContaining('no JSON object') } },
        { target: 'shell', status: 'failed', error: { message: expect.stringContaining('-12345678901234567890') } },
        { target: 'now', status: 'ok' },
      ])
    }
  })
})

describe('what the vendor is to do by itself', () => {
  it('is decided before it is asked, and journaled; where it is denied nothing is asked', async () => {
    const openai = clientOf(harness.key)
    const mcp = (server_url: string) => ({ type: 'mcp' as const, server_label: 'crm', server_url })
    const ask = (...tools: OpenAI.Responses.Tool[]) =>
      openai.responses.create({ model: 'gpt-r', input: 'hi', tools }).withResponse()
    const runOf = (headers?: Headers) => wholeRun(headers?.get('x-muster-run') ?? '')
    const { response } = await ask({ type: 'web_search' }, mcp('https://mcp.acme.example/crm'))
    const { id, status } = await runOf(response.headers)
    expect(status).toBe('succeeded')
    expect(model.asked.at(-1)?.body.tools).toHaveLength(2)
    expect(stepsOf(await eventsOf(id))).toMatchObject([
      { kind: 'tool', target: 'web_search', status: 'ok', decision: { effect: 'allow', policies: ['anybody'] } },
      { kind: 'tool', target: 'mcp', status: 'ok' },
      { kind: 'model', status: 'ok' },
    ])
    const asked = model.asked.length
    const denied = await failure(
      ask({ type: 'web_search' }, mcp('https://mcp.evil.example/'), mcp('https://other.example')),
    )
    expect(denied).toMatchObject({ constructor: PermissionDeniedError, code: 'policy_denied' })
    expect(denied.message).toContain(
      'Policy "own-mcp" denies mcp. Only our own servers are asked. Ask sec@acme.example',
    )
    const run = await runOf(denied.headers)
    expect(run).toMatchObject({ status: 'failed', error: { code: 'policy.denied' }, costUsd: 0 })
    expect(stepsOf(await eventsOf(run.id)).find(({ status }) => status === 'denied')).toMatchObject({ target: 'mcp' })
    const many = Array.from({ length: 129 }, (_, at) => mcp(`https://mcp.acme.example/${at}`))
    expect(await failure(ask(...many))).toMatchObject({ constructor: BadRequestError, code: 'invalid_value' })
    expect(model.asked).toHaveLength(asked)
  })

  it('is let in by what it alone is told', async () => {
    const secret = 'token-of-the-crm'
    const crm = { type: 'mcp', server_label: 'crm', server_url: 'https://mcp.acme.example/', require_approval: 'never' }
    const tools = [{ ...crm, authorization: secret, headers: { 'x-key': secret } }]
    for (const stream of [false, true]) {
      const response = await fetch(`${harness.url}/v1/responses`, {
        method: 'POST',
        headers: { authorization: `Bearer ${harness.key}`, 'content-type': 'application/json' },
        body: JSON.stringify({ model: 'gpt-r', input: 'hi', tools, stream }),
      })
      expect(await response.text()).not.toContain(secret)
      expect(model.asked.at(-1)?.body.tools).toEqual(tools)
      const { id, ...run } = await wholeRun(response.headers.get('x-muster-run') ?? '')
      const shown = { ...crm, authorization: '[hidden]', headers: '[hidden]' }
      expect(run).toMatchObject({ status: 'succeeded', input: { body: { tools: [shown] } } })
      expect(JSON.stringify([run, await eventsOf(id)])).not.toContain(secret)
    }
  })
})

describe('responses', () => {
  it('are gone on from by their ids, by the same user alone, and not where they are not to be stored', async () => {
    const openai = clientOf(harness.key)
    model.script = ({ body }) => ({ text: `heard ${JSON.stringify(body.input)}` })
    const first = await openai.responses.create({ model: 'gpt-r', input: 'one' })
    const second = await openai.responses.create({
      ...{ model: 'gpt-r', input: [{ role: 'user', content: 'two' }], previous_response_id: first.id },
    })
    const input = model.asked.at(-1)?.body.input as { role?: string; content: unknown }[]
    expect(input).toMatchObject([
      { role: 'user', content: 'one' },
      { type: 'message' },
      { role: 'user', content: 'two' },
    ])
    expect(second).toMatchObject({ store: true, background: false, previous_response_id: first.id })
    expect(await openai.responses.retrieve(second.id)).toMatchObject({ id: second.id, output: second.output })
    const translated = await openai.responses
      .stream({ model: 'chat', input: 'on', previous_response_id: second.id })
      .finalResponse()
    expect(translated).toMatchObject({ store: true, previous_response_id: second.id })
    const third = await openai.responses.create({ model: 'gpt-r', input: 'three', previous_response_id: second.id })
    expect(model.asked.at(-1)?.body.input).toHaveLength(5)
    const others = clientOf(harness.people.ann.key)
    expect(await failure(others.responses.retrieve(third.id))).toBeInstanceOf(NotFoundError)
    expect(
      await failure(others.responses.create({ model: 'gpt-r', input: 'x', previous_response_id: third.id })),
    ).toMatchObject({ status: 404, code: 'response_not_found' })
    const kept = await openai.responses.create({ model: 'gpt-r', input: 'one', store: false })
    expect(await failure(openai.responses.retrieve(kept.id))).toBeInstanceOf(NotFoundError)
    expect((await harness.muster.runs.get(kept.id.slice('resp_'.length))).output).toMatchObject({ id: kept.id })
  })

  it('are referred to item by item, by the same user alone', async () => {
    const openai = clientOf(harness.key)
    const ask = (body: { model: string; input: OpenAI.Responses.ResponseInput }, stream: boolean, more = {}) =>
      stream
        ? openai.responses.stream({ ...body, ...more }).finalResponse()
        : openai.responses.create({ ...body, ...more })
    const ways = [
      ['gpt-r', false],
      ['gpt-r', true],
      ['chat', true],
    ] as const
    for (const [route, stream] of ways) {
      model.script = () => ({ text: 'I look.', calls: [{ name: 'look', arguments: { of: 'it' } }] })
      const labelled = await clientOf(harness.key, { 'x-muster-labels': 'pii' })
        .responses.stream({ model: route, input: 'hi' })
        .finalResponse()
      model.script = () => ({ text: 'Seen.' })
      const { output, id } = await openai.responses.retrieve(labelled.id)
      const run = id.slice('resp_'.length)
      const [said, call] = output
      if (call?.type !== 'function_call') throw new Error(`no call: ${JSON.stringify(output)}`)
      expect([said?.id, call.id]).toEqual([expect.stringMatching(run), expect.stringMatching(run)])
      const result = { type: 'function_call_output' as const, call_id: call.call_id, output: 'a thing' }
      const refer = (ids: (string | undefined)[]) => ids.map((id = '') => ({ type: 'item_reference' as const, id }))
      const input = [...hi, ...refer([said?.id, call.id]), result]
      const second = await ask({ model: 'gpt-r', input }, stream)
      // As the model has written them, under the ids that it gave them.
      const own = (id = '') => id.slice(0, -run.length - 1)
      const sent = [hi[0], { ...said, id: own(said?.id) }, { ...call, id: own(call.id) }, result]
      expect(model.asked.at(-1)?.body.input).toEqual(sent)
      expect((await wholeRun(second.id.slice('resp_'.length))).labels).toEqual(['pii'])
      await ask({ model: 'gpt-r', input: [...hi, ...(output as OpenAI.Responses.ResponseInput), result] }, stream)
      expect(model.asked.at(-1)?.body.input).toEqual(sent)
      const answer = { type: 'mcp_approval_response' as const, approval_request_id: call.id ?? '', approve: true }
      await ask({ model: 'gpt-r', input: [answer] }, stream, { previous_response_id: id })
      expect(model.asked.at(-1)?.body.input).toMatchObject([
        ...[{ role: 'user' }, {}, { id: own(call.id) }, { approval_request_id: own(call.id) }],
      ])
      // So it is for who goes on from it, and for who asks what it was made from.
      await ask({ model: 'chat', input: hi }, stream, { previous_response_id: second.id })
      expect(model.asked.at(-1)?.body.messages).toMatchObject([
        ...[{ role: 'user' }, { role: 'assistant', content: 'I look.', tool_calls: [{ id: call.call_id }] }],
        ...[{ role: 'tool', content: 'a thing' }, { role: 'assistant', content: 'Seen.' }, { role: 'user' }],
      ])
      const listed = await Array.fromAsync(openai.responses.inputItems.list(second.id, { order: 'asc' }))
      expect(listed.slice(1, 3)).toEqual(output)

      const before = model.asked.length
      for (const id of [`msg_1_${run}`, `msg_1_${newId()}`])
        expect(await failure(ask({ model: 'gpt-r', input: refer([id]) }, stream))).toMatchObject({
          ...{ constructor: NotFoundError, code: 'response_not_found', param: 'input[0]' },
          message: expect.stringContaining(`There is no item "${id}"`),
        })
      const others = clientOf(harness.people.ann.key)
      expect(await failure(others.responses.create({ model: 'gpt-r', input }))).toBeInstanceOf(NotFoundError)
      expect(model.asked).toHaveLength(before)
      // However often it is said.
      const often = refer(Array.from({ length: 1000 }, () => said?.id))
      model.script = () => ({ text: 'x'.repeat(100_000) })
      const large = await openai.responses.create({ model: 'gpt-r', input: 'hi' })
      const tooLong = refer(Array.from({ length: 1000 }, () => large.output[0]?.id))
      expect((await ask({ model: 'gpt-r', input: often }, stream)).status).toBe('completed')
      expect(await failure(ask({ model: 'gpt-r', input: tooLong }, stream))).toMatchObject({
        ...{ constructor: BadRequestError, message: expect.stringContaining('has become too long') },
      })
      // Of what is not stored nothing can be referred to.
      const unstored = await openai.responses.create({ model: route, input: 'hi', store: false })
      expect(JSON.stringify(unstored.output)).not.toContain(unstored.id.slice('resp_'.length))
    }
  })

  it('tell what they were made from, page by page, to the same user alone', async () => {
    const openai = clientOf(harness.key)
    const said = (role: 'user' | 'developer', content: string) => ({ role, content })
    const first = await openai.responses.create({ model: 'gpt-r', input: 'one' })
    const input = [said('developer', 'Be brief.'), said('user', 'two'), said('user', 'three')]
    const second = await openai.responses.create({ model: 'chat', input, previous_response_id: first.id })
    const list = (query: OpenAI.Responses.InputItemListParams, id = second.id) =>
      openai.responses.inputItems.list(id, query)
    const items = await Array.fromAsync(list({ limit: 2, order: 'asc' }))
    const message = (role: string, text: string) => ({
      ...{ id: expect.stringMatching(/^msg_/), type: 'message', role, status: 'completed' },
      content: [{ type: 'input_text', text }],
    })
    expect(items).toEqual([
      message('user', 'one'),
      ...first.output,
      ...input.map(({ role, content }) => message(role, content)),
    ])
    // The latest first, unless it is asked for otherwise; what is asked for besides is there as it is.
    expect(await Array.fromAsync(list({ limit: 1, include: ['reasoning.encrypted_content'] }))).toEqual(
      items.toReversed(),
    )
    const page = await (
      await fetch(`${harness.url}/v1/responses/${second.id}/input_items?limit=2&order=asc`, {
        headers: { authorization: `Bearer ${harness.key}` },
      })
    ).json()
    const [one, two] = items
    expect(page).toEqual({ object: 'list', data: [one, two], first_id: one?.id, last_id: two?.id, has_more: true })
    expect((await list({ order: 'asc' }, first.id)).data).toEqual([one])

    const invalid = { constructor: BadRequestError, code: 'invalid_value' }
    expect(await failure(list({ after: 'msg_nothing' }))).toMatchObject({ ...invalid, param: 'after' })
    for (const limit of [0, 101, 1.5])
      expect(await failure(list({ limit }))).toMatchObject({ ...invalid, param: 'limit' })
    const unknown = 'reasoning.all' as OpenAI.Responses.ResponseIncludable // what is no such thing
    for (const include of [[unknown], ['message.output_text.logprobs' as const, unknown]])
      expect(await failure(list({ include }))).toMatchObject({
        ...{ ...invalid, param: 'include[]', message: expect.stringContaining('reasoning.encrypted_content') },
      })
    const before = { before: items[1]?.id } as OpenAI.Responses.InputItemListParams // older clients have it
    expect(await failure(list(before))).toMatchObject({ ...invalid, param: 'before' })

    const absent = { constructor: NotFoundError, code: 'response_not_found' }
    const ids = ['resp_nothing', `resp_${newId()}`, second.id.slice('resp_'.length)]
    for (const id of ids) expect(await failure(list({}, id))).toMatchObject(absent)
    const unstored = await openai.responses.create({ model: 'gpt-r', input: 'one', store: false })
    expect(await failure(list({}, unstored.id))).toMatchObject(absent)
    for (const key of [harness.people.ann.key, harness.keys.far ?? '']) {
      const theirs = await failure(clientOf(key).responses.inputItems.list(second.id))
      const none = await failure(clientOf(key).responses.inputItems.list(ids[1] ?? ''))
      expect(theirs).toMatchObject(absent)
      expect(theirs.message.replace(second.id, ids[1] ?? '')).toBe(none.message)
    }

    // Clients delete none; what was erased is there no more, nor what went on from it.
    expect(await failure(openai.responses.delete(second.id))).toBeInstanceOf(PermissionDeniedError)
    expect(await Array.fromAsync(list({ order: 'asc' }))).toEqual(items)
    const { id } = await harness.muster.erasures.request({ run: first.id.slice('resp_'.length), reason: 'a test' })
    await until(
      () => harness.muster.erasures.get(id),
      ({ state }) => state === 'done',
      60_000,
    )
    for (const id of [first.id, second.id]) expect(await failure(list({}, id))).toMatchObject(absent)
  })

  it('are counted before they are asked for, as what the model would then be sent', async () => {
    const openai = clientOf(harness.key)
    const { id } = await openai.responses.create({ model: 'gpt-r', input: 'one' })
    const asked = { model: 'gpt-r', input: 'two', instructions: 'Be brief.', previous_response_id: id }
    const runs = (await harness.muster.runs.list()).runs.length
    let counted: { input?: object } = {}
    model.other = (path, text) => {
      counted = JSON.parse(text)
      return { object: 'response.input_tokens', input_tokens: path === '/v1/responses/input_tokens' ? tokens.input : 0 }
    }
    expect(await openai.responses.inputTokens.count(asked)).toEqual({
      ...{ object: 'response.input_tokens', input_tokens: tokens.input },
    })
    model.other = undefined
    // Where the server cannot count, it is estimated.
    const estimated = await openai.responses.inputTokens.count(asked)
    const alone = await openai.responses.inputTokens.count({ model: 'gpt-r', input: 'two' })
    expect(estimated.input_tokens).toBeGreaterThan(alone.input_tokens)
    expect((await openai.responses.inputTokens.count({ ...asked, model: 'chat' })).input_tokens).toBe(
      estimated.input_tokens,
    )
    expect((await harness.muster.runs.list()).runs).toHaveLength(runs)
    const { usage } = await openai.responses.create(asked)
    expect(usage?.input_tokens).toBe(tokens.input)
    const { input, instructions } = model.asked.at(-1)?.body ?? {}
    expect(counted).toEqual({ model: 'scripted', input, instructions })

    const count = (body: OpenAI.Responses.InputTokenCountParams, key = harness.key, headers = {}) =>
      failure(clientOf(key, headers).responses.inputTokens.count(body))
    expect(await count({ input: 'x' })).toMatchObject({ constructor: BadRequestError, param: 'model' })
    expect(await count({ ...asked, model: 'nothing' })).toMatchObject({ constructor: NotFoundError, param: 'model' })
    expect(await count({ ...asked, conversation: 'c' })).toMatchObject({ status: 400, param: 'conversation' })
    expect(await count({ ...asked, model: 'secret' })).toMatchObject({ status: 403, code: 'policy_denied' })
    expect(await count(asked, harness.people.ann.key)).toMatchObject({ status: 404, code: 'response_not_found' })
    const ofPatient = await openai.responses.create(
      { model: 'gpt-r', input: 'of a patient' },
      { headers: { 'x-muster-labels': 'pii' } },
    )
    expect(await count({ ...asked, model: 'abroad', previous_response_id: ofPatient.id })).toMatchObject({
      ...{ status: 403, code: 'route_refused' },
    })
  })

  it('are not compacted: it is said what there is in its place', async () => {
    const before = model.asked.length
    const refused = await failure(clientOf(harness.key).responses.compact({ model: 'gpt-r', input: 'long' }))
    expect(refused).toMatchObject({
      ...{ constructor: NotFoundError, code: 'unknown_url' },
      message: expect.stringMatching(
        /no POST \/v1\/responses\/compact .* asked for a summary; agents compact by themselves/,
      ),
    })
    expect(model.asked).toHaveLength(before)
  })

  it('keep the labels of what they go on from', async () => {
    const labelled = (labels: string) => ({ headers: { 'x-muster-labels': labels } })
    const openai = clientOf(harness.key)
    const first = await openai.responses.create({ model: 'gpt-r', input: 'of a patient' }, labelled('pii'))
    const asked = { model: 'gpt-r', input: 'and?', previous_response_id: first.id }
    const second = await openai.responses.create(asked, labelled('internal'))
    const { labels } = await harness.muster.runs.get(second.id.slice('resp_'.length))
    expect(labels).toEqual(['internal', 'pii'])
    const away = openai.responses.create({ ...asked, model: 'abroad', previous_response_id: second.id })
    expect(await failure(away)).toMatchObject({ status: 403, code: 'route_refused' })
  })

  it('in the background are answered at once, read when they are whole, and cancelled', async () => {
    const openai = clientOf(harness.key)
    let go = () => {}
    model.script = () =>
      new Promise((resolve) => {
        go = () => resolve({ text: 'later' })
      })
    const queued = await openai.responses.create({ model: 'gpt-r', input: 'hi', background: true })
    expect(queued).toMatchObject({ status: 'queued', background: true })
    await until(
      () => openai.responses.retrieve(queued.id),
      ({ status }) => status === 'in_progress',
    )
    // However late it is read, in seconds.
    await sleep(1100)
    expect((await openai.responses.retrieve(queued.id)).created_at).toBe(queued.created_at)
    go()
    const done = await until(
      () => openai.responses.retrieve(queued.id),
      ({ status }) => status === 'completed',
    )
    expect(done).toMatchObject({ output_text: 'later', background: true })
    const streamed = openai.responses.retrieve(queued.id, { stream: true })
    expect(await failure(streamed)).toMatchObject({ status: 400, param: 'stream' })
    const unread = openai.responses.create({ model: 'gpt-r', input: 'hi', background: true, store: false })
    expect(await failure(unread)).toMatchObject({ status: 400, param: 'store' })
    const other = await openai.responses.create({ model: 'gpt-r', input: 'hi', background: true })
    expect(await openai.responses.cancel(other.id)).toMatchObject({ status: 'cancelled' })
    go()
  })
})

describe('what goes wrong', () => {
  it('a client that vanishes ends its run, and the call to the vendor', async () => {
    const gone = Promise.withResolvers<void>()
    let come: (asked: Asked) => void = () => {}
    const asked = new Promise<Asked>((resolve) => {
      come = resolve
    })
    model.script = (one) => {
      come(one)
      return new Promise(() => {})
    }
    const left = new AbortController()
    const call = clientOf(harness.people.bob.key)
      .chat.completions.create({ model: 'chat', messages: hi }, { signal: left.signal })
      .catch(() => gone.resolve())
    await asked
    left.abort()
    await call
    const runs = await until(
      async () => (await harness.muster.runs.list({ name: 'gateway', status: 'cancelled' })).runs,
      (runs) => runs.length > 0,
    )
    const events = await eventsOf(runs[0]?.id ?? '')
    expect(events.at(-1)?.entry).toMatchObject({ status: 'cancelled', error: { code: 'run.cancelled' } })
  })

  it('a client that vanishes while what it goes on from is waited for has its run ended too', async () => {
    let go = () => {}
    model.script = () =>
      new Promise((resolve) => {
        go = () => resolve({ text: 'at last' })
      })
    const openai = clientOf(harness.people.bob.key)
    const first = openai.responses.create({ model: 'gpt-r', input: 'first' })
    const running = { name: 'gateway', status: 'running' as const }
    const runOf = async () => (await harness.muster.runs.list(running)).runs
    const [run] = await until(runOf, (runs) => runs.length > 0)
    const left = new AbortController()
    const asked = { model: 'gpt-r', input: 'second', previous_response_id: `resp_${run?.id}` }
    const second = openai.responses.create(asked, { signal: left.signal }).catch(() => {})
    // Behind it.
    await openai.models.list()
    left.abort()
    await second
    await openai.models.list()
    go()
    await first
    const ofSecond = async () =>
      (await harness.muster.runs.list({ name: 'gateway' })).runs.find(({ id }) => id > (run?.id ?? ''))
    const ended = await until(ofSecond, (one) => one !== undefined && one.status !== 'running')
    expect(ended).toMatchObject({ status: 'cancelled' })
  })

  it('a stream that breaks off at the vendor is told as such, and its run fails', async () => {
    model.script = () => ({ cut: true })
    const openai = clientOf(harness.people.bob.key)
    const stream = await openai.responses.create({ model: 'gpt-r', input: 'hi', stream: true })
    const told: string[] = []
    const failed = await (async () => {
      for await (const event of stream) told.push(event.type)
    })().catch((error: unknown) => error)
    expect(told).not.toContain('response.completed')
    expect(failed instanceof Error || told.at(-1) === 'response.failed' || told.at(-1) === 'error').toBe(true)
    const { runs } = await until(
      () => harness.muster.runs.list({ name: 'gateway', error: 'model.unavailable' }),
      ({ runs }) => runs.length > 0,
    )
    expect(runs[0]).toMatchObject({ status: 'failed' })
  })

  it('a server that closes takes nothing new and lets end what is under way; its guardrail sees all', async () => {
    const guardrail = await bedrockServer((response, { body }) => {
      const [{ text: { text = '' } = {} } = {}] = body.content as { text?: { text: string } }[]
      const action = text.includes('fight') ? 'BLOCKED' : 'ANONYMIZED'
      const isFound = text.includes('fight') || text.includes('time')
      response.end(
        JSON.stringify({
          action: isFound ? 'GUARDRAIL_INTERVENED' : 'NONE',
          outputs: isFound ? [{ text: text.replace('time', '{WHEN}') }] : [],
          assessments: isFound ? [{ wordPolicy: { managedWordLists: [{ type: 'PROFANITY', action }] } }] : [],
        }),
      )
    })
    const setting = { id: 'g', version: '1', region: 'eu-central-1', endpoint: guardrail.endpoint }
    const server = await startServer({
      MUSTER_GUARDRAIL: JSON.stringify(setting),
      ...{ AWS_ACCESS_KEY_ID: ACCESS_KEY, AWS_SECRET_ACCESS_KEY: SECRET_KEY },
    })
    const openai = new OpenAI({ apiKey: harness.people.cid.key, baseURL: `${server.url}/v1`, maxRetries: 0 })
    model.script = () => ({ text: 'a fight back' })
    const paid = await failure(openai.chat.completions.create({ model: 'chat', messages: hi }))
    const [blockedStep] = stepsOf(await eventsOf(paid.headers?.get('x-muster-run') ?? ''))
    expect(blockedStep).toMatchObject({ status: 'failed', error: { code: 'model.blocked' } })
    // It was answered, and is paid for.
    expect(blockedStep?.usage?.outputTokens).toBeGreaterThan(0)
    let go = () => {}
    model.script = () =>
      new Promise((resolve) => {
        go = () => resolve({ text: 'just in time' })
      })
    const before = model.asked.length
    const blocked = await failure(
      openai.chat.completions.create({ model: 'chat', messages: [{ role: 'user', content: 'a fight' }] }),
    )
    expect(blocked).toMatchObject({ constructor: BadRequestError, code: 'content_filter' })
    const { error } = await wholeRun(blocked.headers?.get('x-muster-run') ?? '')
    expect(error).toMatchObject({ code: 'model.blocked', message: expect.stringContaining('1 word.PROFANITY') })
    const last = openai.chat.completions.create({ model: 'chat', messages: hi }).withResponse()
    await until(
      () => model.asked.length,
      (count) => count > before,
    )
    const exit = new Promise((resolve) => server.child.once('exit', resolve))
    server.child.kill('SIGTERM')
    const late = await until(
      () => failure(openai.chat.completions.create({ model: 'nothing', messages: hi })),
      ({ status }) => status !== 404,
    )
    expect(late).toMatchObject({ status: 503, code: 'gateway_closing' })
    go()
    const { data, response } = await last
    expect(data.choices[0]?.message.content).toBe('just in {WHEN}')
    expect(await exit).toBe(0)
    const [step] = stepsOf(await eventsOf(response.headers.get('x-muster-run') ?? ''))
    expect(step).toMatchObject({ status: 'ok', guardrail: { 'word.PROFANITY': 1 } })
    guardrail.close()
  })

  it('a server that is killed: its requests end as interrupted, and no model is asked again', async () => {
    const server = await startServer()
    const before = model.asked.length
    model.script = () => new Promise(() => {})
    const openai = new OpenAI({ apiKey: harness.people.cid.key, baseURL: `${server.url}/v1`, maxRetries: 0 })
    const asked = { model: 'chat', messages: hi, web_search_options: {} }
    const cut = failure(openai.chat.completions.create(asked))
    await until(
      () => model.asked.length,
      (count) => count > before,
    )
    await stopProcess(server.child, 'SIGKILL')
    await cut
    const [found] = await until(
      async () => (await harness.muster.runs.list({ error: 'gateway.interrupted' })).runs,
      (runs) => runs.length > 0,
      40_000,
    )
    const run = await harness.muster.runs.get(found?.id ?? '')
    expect(run).toMatchObject({ status: 'failed', by: { user: 'cid' }, epoch: 2 })
    expect(model.asked.length).toBe(before + 1)
    expect(stepsOf(await eventsOf(run.id))).toMatchObject([
      { kind: 'tool', target: 'web_search', status: 'ok' },
      { kind: 'model', status: 'cancelled' },
    ])
    expect(await runCli(['verify', run.id], { MUSTER_URL: harness.url, MUSTER_KEY: harness.key })).toMatchObject({
      code: 0,
    })
  })
})

async function wholeRun(id: string): Promise<Run> {
  return until(() => harness.muster.runs.get(id), ended)
}

/** A server with a gateway in a process of its own. */
async function startServer(more: NodeJS.ProcessEnv = {}): Promise<{ child: ChildProcess; url: string }> {
  const cli = fileURLToPath(new URL('../../apps/cli/src/main.ts', import.meta.url))
  const file = join(harness.dir, 'gateway.cedar')
  writeFileSync(file, policy)
  const env = {
    ...{ ...process.env, ...harness.env, MUSTER_GATEWAY: 'on', MUSTER_POLICY: file, MUSTER_LOCK_MS: '1000' },
    ...{ MUSTER_PORT: String(await freePort()), MUSTER_LOG: 'error', MUSTER_MODEL_BASE_URL: modelUrl },
    MUSTER_MODELS: JSON.stringify({ chat: [{ openai: { model: 'scripted', baseUrl: modelUrl }, price }] }),
    ...more,
  }
  const child = fork(cli, ['server'], { env, stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  return new Promise((resolve, reject) => {
    child.once('message', (message: { ready?: boolean; url?: string; detail?: string }) =>
      message.ready ? resolve({ child, url: message.url ?? '' }) : reject(new Error(message.detail)),
    )
    child.once('exit', (code) => reject(new Error(`server ended: ${code}`)))
  })
}
