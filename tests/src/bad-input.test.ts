import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Harness, startHarness } from './harness.ts'

let harness: Harness

beforeAll(async () => {
  harness = await startHarness()
  await harness.worker()
})
afterAll(() => harness.close())

async function post(
  body: unknown,
  headers: Record<string, string> = {},
  path = '/v1/runs',
): Promise<{ status: number; problem: Record<string, unknown>; type: string | null }> {
  const response = await fetch(harness.url + path, {
    method: 'POST',
    headers: { authorization: `Bearer ${harness.key}`, 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  })
  return {
    status: response.status,
    problem: (await response.json()) as Record<string, unknown>,
    type: response.headers.get('content-type'),
  }
}

describe('a bad request gets a problem that says what is wrong, where, and what to do', () => {
  const chain = { plan: 'chain', input: { n: 1, ms: 0 } }
  const cases: [
    what: string,
    body: unknown,
    status: number,
    code: string,
    path?: string,
    headers?: Record<string, string>,
  ][] = [
    ['no key', chain, 401, 'auth.missing_key', undefined, { authorization: '' }],
    ['a wrong key', chain, 401, 'auth.invalid_key', undefined, { authorization: 'Bearer mk_wrong' }],
    ['broken JSON', '{"plan": ', 400, 'request.invalid_json'],
    ['no body', '', 400, 'request.invalid_json'],
    ['an input of 10 MB', { plan: 'chain', input: { text: 'x'.repeat(10_000_000) } }, 413, 'request.too_large'],
    [
      'a plan of 100,001 steps',
      { plan: { steps: Object.fromEntries(Array.from({ length: 100_001 }, (_, i) => [i, { sleepMs: 0 }])) } },
      413,
      'request.too_large',
    ],
    ['a body of 2 MB', { plan: 'chain', input: { text: 'x'.repeat(2_000_000) } }, 413, 'request.too_large'],
    [
      'another content type',
      'plan=chain',
      415,
      'request.unsupported_media_type',
      undefined,
      { 'content-type': 'application/x-www-form-urlencoded' },
    ],
    [
      'JSON that is said to be a text',
      chain,
      415,
      'request.unsupported_media_type',
      undefined,
      { 'content-type': 'text/plain;charset=UTF-8' },
    ],
    ['a packed body', chain, 415, 'request.unsupported_media_type', undefined, { 'content-encoding': 'gzip' }],
    ['an unknown field', { ...chain, priority: 1 }, 400, 'request.invalid'],
    ['neither agent nor plan', { input: {} }, 400, 'request.invalid'],
    ['both agent and plan', { agent: 'actor', plan: 'chain' }, 400, 'request.invalid'],
    ['a body that is no object', [1], 400, 'request.invalid'],
    [
      'an input of lists in lists',
      `{"plan":"chain","input":${'['.repeat(100_000)}${']'.repeat(100_000)}}`,
      400,
      'request.invalid',
      '/input',
    ],
    ['an unknown agent', { agent: 'nobody' }, 404, 'definition.not_found', '/agent'],
    ['an unknown version', { ...chain, version: '9.9.9' }, 404, 'definition.not_found', '/plan'],
    ['an input that does not match', { plan: 'chain', input: { n: 'three', ms: 0 } }, 422, 'input.invalid', '/input/n'],
    ['an input that lacks a field', { plan: 'chain', input: { n: 3 } }, 422, 'input.invalid', '/input'],
    [
      'a plan with a cycle',
      { plan: { steps: { a: { tool: 'math.add', after: ['b'] }, b: { tool: 'math.add', after: ['a'] } } } },
      422,
      'plan.cycle',
      '/steps/a',
    ],
    [
      'a plan that refers to nothing',
      { plan: { steps: { a: { tool: 'math.add', input: { a: { $ref: '#/steps/z/output' } } } } } },
      422,
      'plan.unknown_reference',
      '/steps/a/input/a',
    ],
    [
      'a plan with an unknown tool',
      { plan: { steps: { a: { tool: 'no.such' } } } },
      422,
      'plan.invalid',
      '/plan/steps/a/tool',
    ],
    ['a plan without steps', { plan: { steps: {} } }, 422, 'plan.invalid', '/steps'],
    [
      'an idempotency key that is too long',
      chain,
      400,
      'request.invalid',
      undefined,
      { 'idempotency-key': 'x'.repeat(300) },
    ],
  ]
  it.each(cases)('%s', async (_, body, status, code, path, headers) => {
    const answer = await post(body, headers)
    expect(answer).toMatchObject({
      status,
      problem: { code, status, type: `urn:muster:error:${code}` },
      type: expect.stringContaining('application/problem+json'),
    })
    expect(answer.problem.detail).not.toBe('')
    expect(answer.problem.hint).not.toBe('')
    if (path !== undefined) expect(answer.problem.errors).toContainEqual(expect.objectContaining({ path }))
    expect(JSON.stringify(answer.problem)).not.toMatch(/at .*\.ts:\d+|node_modules/)
  })

  it('an unknown run, a bad run id, an unknown path, a bad query', async () => {
    const get = async (path: string) => {
      const response = await fetch(harness.url + path, { headers: { authorization: `Bearer ${harness.key}` } })
      return { status: response.status, ...((await response.json()) as { code: string }) }
    }
    expect(await get('/v1/runs/01a20f93-4fe0-7f7f-98b8-0a7737a7b138')).toMatchObject({
      status: 404,
      code: 'run.not_found',
    })
    expect(await get('/v1/runs/..%2f..%2fetc')).toMatchObject({ status: 404, code: 'run.not_found' })
    expect(await get('/v1/nothing')).toMatchObject({ status: 404, code: 'request.not_found' })
    expect(await get('/v1/runs?limit=100000')).toMatchObject({ status: 400, code: 'request.invalid' })
    expect(await get('/v1/runs?status=happy')).toMatchObject({ status: 400, code: 'request.invalid' })
    expect(await get('/v1/policies/nothing')).toMatchObject({ status: 400, code: 'request.invalid' })
    expect(await get(`/v1/policies/${'f'.repeat(64)}`)).toMatchObject({ status: 404, code: 'policy.not_found' })
    expect(await get('/v1/audit/search?limit=201')).toMatchObject({ status: 400, code: 'request.invalid' })
    expect(await get('/v1/audit/search?cursor=0%230')).toMatchObject({ status: 400, code: 'request.invalid' })
    // What is misspelt would find everything.
    expect(await get('/v1/audit/search?tol=ledger.pay')).toMatchObject({ status: 400, code: 'request.invalid' })
    for (const pages of ['runs', 'approvals', 'audit/removed'])
      expect(await get(`/v1/${pages}?cursor=~`), pages).toMatchObject({
        status: 400,
        errors: [{ path: 'querystring/cursor' }],
      })
    expect(await get('/v1/audit/search?since=1&until=0')).toMatchObject({ status: 200 })
    expect(await get('/v1/ledger')).toMatchObject({ status: 404, code: 'ledger.off' })
    expect(await get('/v1/ledger/tile/..%2f0/000')).toMatchObject({ status: 404 })
    expect(await get('/v1/ledger/consistency?from=-1')).toMatchObject({ status: 400, code: 'request.invalid' })
    expect(await get('/v1/models')).toMatchObject({ status: 404, error: { code: 'gateway_off' } })
    expect(await get('/v1/approvals?limit=101')).toMatchObject({ status: 400, code: 'request.invalid' })
    expect(await post({ answers: [] }, {}, '/v1/approvals')).toMatchObject({
      status: 400,
      problem: { code: 'request.invalid', errors: [{ path: '/answers' }] },
    })
    const answer = { run: 'r', step: 's', verdict: 'maybe', digest: 'f'.repeat(64), reason: ' ' }
    expect(await post({ answers: [answer] }, {}, '/v1/approvals')).toMatchObject({
      status: 400,
      problem: { errors: [{ path: '/answers/0/verdict' }, { path: '/answers/0/reason' }] },
    })
    expect(await post({}, {}, '/v1/runs/01a20f93-4fe0-7f7f-98b8-0a7737a7b138/cancel')).toMatchObject({
      status: 404,
      problem: { code: 'run.not_found' },
    })
  })
})

describe('the API describes itself', () => {
  it('as OpenAPI 3.1 with every route and a page to read it', async () => {
    const document = (await (await fetch(`${harness.url}/openapi.json`)).json()) as {
      openapi: string
      paths: Record<string, Record<string, { operationId: string; parameters?: object[]; responses: object }>>
    }
    expect(document.openapi).toBe('3.1.0')
    const references = new Set(JSON.stringify(document).match(/#\/components[^"]*/g))
    expect([...references].sort()).toEqual([
      '#/components/schemas/AnthropicError',
      '#/components/schemas/Json',
      '#/components/schemas/JsonInput',
      '#/components/schemas/OpenAiError',
      '#/components/schemas/Problem',
    ])
    for (const reference of references) {
      const steps = reference.slice(2).split('/')
      const found = steps.reduce<unknown>((at, step) => Reflect.get(Object(at), step), document)
      expect(found, reference).toBeInstanceOf(Object)
    }
    const operations = Object.values(document.paths).flatMap((methods) => Object.values(methods))
    expect(new Set(operations.map(({ operationId }) => operationId)).size).toBe(operations.length)
    for (const { operationId, responses } of operations)
      if (!operationId.endsWith('z')) expect(Object.keys(responses).join(), operationId).toMatch(/401|4XX/)
    expect(document.paths['/v1/ledger/tile/{path}']?.get?.parameters).toMatchObject([{ in: 'path', name: 'path' }])
    const routes = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method} ${path}`),
    )
    expect(routes.sort()).toEqual([
      'delete /v1/budgets/{name}',
      'delete /v1/holds/{id}',
      'delete /v1/keys/{id}',
      'delete /v1/limits/{name}',
      'delete /v1/responses/{id}',
      'delete /v1/schedules/{id}',
      'delete /v1/stops/{name}',
      'delete /v1/webhooks/{id}',
      'get /healthz',
      'get /readyz',
      'get /v1/approvals',
      'get /v1/audit/records',
      'get /v1/audit/records/stored',
      'get /v1/audit/removed',
      'get /v1/audit/search',
      'get /v1/budgets',
      'get /v1/commitments',
      'get /v1/costs',
      'get /v1/definitions',
      'get /v1/erasures',
      'get /v1/erasures/{id}',
      'get /v1/holds',
      'get /v1/keys',
      'get /v1/keys/{id}',
      'get /v1/ledger',
      'get /v1/ledger/checkpoint',
      'get /v1/ledger/consistency',
      'get /v1/ledger/tile/{path}',
      'get /v1/limits',
      'get /v1/me',
      'get /v1/models',
      'get /v1/models/{id}',
      'get /v1/policies',
      'get /v1/policies/{hash}',
      'get /v1/responses/{id}',
      'get /v1/responses/{id}/input_items',
      'get /v1/retention',
      'get /v1/runs',
      'get /v1/runs/{id}',
      'get /v1/runs/{id}/events',
      'get /v1/runs/{id}/journal',
      'get /v1/runs/{id}/receipt',
      'get /v1/schedules',
      'get /v1/schedules/{id}',
      'get /v1/stops',
      'get /v1/webhooks',
      'get /v1/webhooks/{id}',
      'get /v1/webhooks/{id}/deliveries',
      'get /v1/workers',
      'patch /v1/keys/{id}',
      'post /v1/approvals',
      'post /v1/callbacks',
      'post /v1/chat/completions',
      'post /v1/costs/rebuild',
      'post /v1/embeddings',
      'post /v1/erasures',
      'post /v1/holds',
      'post /v1/keys',
      'post /v1/keys/{id}/rotate',
      'post /v1/messages',
      'post /v1/messages/count_tokens',
      'post /v1/responses',
      'post /v1/responses/input_tokens',
      'post /v1/responses/{id}/cancel',
      'post /v1/runs',
      'post /v1/runs/actions',
      'post /v1/runs/batch',
      'post /v1/runs/{id}/approvals',
      'post /v1/runs/{id}/cancel',
      'post /v1/runs/{id}/fork',
      'post /v1/runs/{id}/messages',
      'post /v1/runs/{id}/pause',
      'post /v1/runs/{id}/restart',
      'post /v1/runs/{id}/resume',
      'post /v1/runs/{id}/signals/{name}',
      'post /v1/runs/{id}/terminate',
      'post /v1/schedules',
      'post /v1/schedules/{id}/backfill',
      'post /v1/schedules/{id}/pause',
      'post /v1/schedules/{id}/resume',
      'post /v1/schedules/{id}/trigger',
      'post /v1/webhooks',
      'post /v1/webhooks/{id}/replay',
      'post /v1/webhooks/{id}/rotate',
      'post /v1/webhooks/{id}/test',
      'put /v1/budgets/{name}',
      'put /v1/limits/{name}',
      'put /v1/schedules/{id}',
      'put /v1/stops/{name}',
      'put /v1/webhooks/{id}',
    ])
    const page = await fetch(`${harness.url}/reference/`)
    expect(page.status).toBe(200)
    expect(await page.text()).not.toMatch(/https:\/\/cdn/)
  })
})
