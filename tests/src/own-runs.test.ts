import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createModels } from '@muster/models'
import { newId, type PlanData, type Run } from '@muster/protocol'
import { createMuster, type Muster } from '@muster/sdk'
import type { ApiKey } from '@muster/server'
import { newLedgerKey } from '@muster/worker/settings'
import { Redis } from 'ioredis'
import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { actor, chain, parent } from './fixtures/app.ts'
import { price, ScriptedModel } from './fixtures/scripted-model.ts'
import { ended, type Harness, runCli, startHarness, until } from './harness.ts'
import { provenEnd } from './receipts.ts'

/**
 * Who may use each route:
 * - roles: keys with one of them, and no other;
 * - `any role`: keys with a role, whichever it is;
 * - `own run`: any key; one without a role on runs of its own user;
 * - `let in`: any key; one without a role is given nothing of others';
 * - `no key`: nobody's key is asked for.
 *
 * A route that is not here fails the tests: say in its `config` who may use it, and here.
 */
const ROUTES: Record<string, readonly string[] | 'any role' | 'own run' | 'let in' | 'no key'> = {
  'POST /v1/chat/completions': 'let in',
  'POST /v1/embeddings': 'let in',
  'POST /v1/messages': 'let in',
  'POST /v1/messages/count_tokens': 'let in',
  'POST /v1/responses': 'let in',
  'POST /v1/responses/input_tokens': 'let in',
  'GET /v1/responses/{id}': 'let in',
  'GET /v1/responses/{id}/input_items': 'let in',
  'DELETE /v1/responses/{id}': 'let in',
  'POST /v1/responses/{id}/cancel': 'let in',
  'GET /v1/models': 'let in',
  'GET /v1/models/{id}': 'let in',
  'GET /v1/definitions': 'let in',
  'GET /v1/me': 'let in',
  'GET /v1/policies': 'let in',
  'GET /v1/policies/{hash}': 'let in',
  'GET /v1/ledger': 'let in',
  'GET /v1/ledger/checkpoint': 'let in',
  'GET /v1/ledger/consistency': 'let in',
  'GET /v1/ledger/tile/{path}': 'let in',
  'GET /v1/budgets': 'let in',
  'GET /v1/limits': 'let in',
  'GET /v1/stops': 'let in',
  'POST /v1/runs': 'let in',
  'POST /v1/runs/batch': 'let in',
  'GET /v1/runs': 'let in',
  'POST /v1/runs/actions': 'let in',
  'GET /v1/runs/{id}': 'own run',
  'GET /v1/runs/{id}/events': 'own run',
  'GET /v1/runs/{id}/journal': 'own run',
  'GET /v1/runs/{id}/receipt': 'own run',
  'POST /v1/runs/{id}/approvals': 'own run',
  'POST /v1/runs/{id}/cancel': 'own run',
  'POST /v1/runs/{id}/fork': 'own run',
  'POST /v1/runs/{id}/messages': 'own run',
  'POST /v1/runs/{id}/pause': 'own run',
  'POST /v1/runs/{id}/restart': 'own run',
  'POST /v1/runs/{id}/resume': 'own run',
  'POST /v1/runs/{id}/signals/{name}': 'own run',
  'POST /v1/runs/{id}/terminate': 'own run',
  'GET /v1/approvals': 'any role',
  'POST /v1/approvals': 'any role',
  'GET /v1/audit/records': 'any role',
  'GET /v1/audit/records/stored': 'any role',
  'GET /v1/audit/removed': 'any role',
  'GET /v1/audit/search': 'any role',
  'PUT /v1/budgets/{name}': ['operator'],
  'DELETE /v1/budgets/{name}': ['operator'],
  'GET /v1/commitments': ['operator', 'auditor'],
  'GET /v1/costs': ['operator', 'auditor'],
  'POST /v1/costs/rebuild': ['operator'],
  'GET /v1/erasures': ['eraser', 'auditor'],
  'POST /v1/erasures': ['eraser'],
  'GET /v1/erasures/{id}': ['eraser', 'auditor'],
  'GET /v1/holds': ['eraser', 'auditor'],
  'POST /v1/holds': ['eraser'],
  'DELETE /v1/holds/{id}': ['eraser'],
  'GET /v1/keys': ['admin', 'auditor'],
  'POST /v1/keys': ['admin'],
  'GET /v1/keys/{id}': ['admin', 'auditor'],
  'PATCH /v1/keys/{id}': ['admin'],
  'DELETE /v1/keys/{id}': ['admin'],
  'POST /v1/keys/{id}/rotate': ['admin'],
  'PUT /v1/limits/{name}': ['operator'],
  'DELETE /v1/limits/{name}': ['operator'],
  'GET /v1/retention': ['eraser', 'auditor', 'operator'],
  'GET /v1/schedules': 'any role',
  'POST /v1/schedules': 'any role',
  'GET /v1/schedules/{id}': 'any role',
  'PUT /v1/schedules/{id}': 'any role',
  'DELETE /v1/schedules/{id}': 'any role',
  'POST /v1/schedules/{id}/backfill': 'any role',
  'POST /v1/schedules/{id}/pause': 'any role',
  'POST /v1/schedules/{id}/resume': 'any role',
  'POST /v1/schedules/{id}/trigger': 'any role',
  'PUT /v1/stops/{name}': ['operator'],
  'DELETE /v1/stops/{name}': ['operator'],
  'GET /v1/webhooks': 'any role',
  'POST /v1/webhooks': 'any role',
  'GET /v1/webhooks/{id}': 'any role',
  'PUT /v1/webhooks/{id}': 'any role',
  'DELETE /v1/webhooks/{id}': 'any role',
  'GET /v1/webhooks/{id}/deliveries': 'any role',
  'POST /v1/webhooks/{id}/replay': 'any role',
  'POST /v1/webhooks/{id}/rotate': 'any role',
  'POST /v1/webhooks/{id}/test': 'any role',
  'GET /v1/workers': 'any role',
  'POST /v1/callbacks': 'no key',
}

const keyed = Object.entries(ROUTES).filter(([, who]) => who !== 'no key')
/** Those that do not let in every key. */
const closed = Object.entries(ROUTES).flatMap(([route, who]) =>
  typeof who === 'object' || who === 'any role' ? [[route, who] as const] : [],
)
const ROLES = ['admin', 'auditor', 'eraser', 'operator', 'finance']

const model = new ScriptedModel()
const policies = [{ file: 'own.cedar', text: '@id("all") permit (principal == Plan::"gateway", action, resource);' }]
const home = mkdtempSync(join(tmpdir(), 'muster-own-'))
const asked: Omit<ApiKey, 'sha256'>[] = [
  { id: 'una-laptop', tenant: 'acme', user: 'una', roles: [], team: 'red' },
  { id: 'una-desk', tenant: 'acme', user: 'una', roles: [] },
  { id: 'vic-laptop', tenant: 'acme', user: 'vic', roles: [], team: 'blue' },
  { id: 'backend', tenant: 'acme', user: 'shop', service: true, roles: [] },
  { id: 'guest', tenant: 'acme', user: 'gus', roles: ['guest'] },
  { id: 'far', tenant: 'far', user: 'una', roles: [] },
  ...[...ROLES, '*'].map((role) => ({ id: `only-${role}`, tenant: 'acme', user: role, roles: [role] })),
]
let harness: Harness
let una: Muster
let vic: Muster
/** Each has an agent's run, one that waits for a signal, one for an approval, one of the gateway, and one that left Redis. */
let theirs: Record<'una' | 'vic', Runs>
type Runs = Record<'agent' | 'signal' | 'approval' | 'gateway' | 'archived', string>

const of = (id: string): Muster => createMuster({ url: harness.url, key: harness.keys[id] ?? '' })
const plan = (steps: object) => ({ steps }) as PlanData
const waits = plan({ wait: { signal: 'go' } })
const code = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'ok',
    (error) => error.code,
  )
const idsOf = async (muster: Muster, filter = {}): Promise<string[]> =>
  (await muster.runs.list({ limit: 200, ...filter })).runs.map(({ id }) => id)

/** What OpenAPI says of a route. */
interface Operation {
  description?: string
  responses: Record<string, object>
}

interface Answer {
  status: number
  text: string
}

/** What a route answers, as far as it is there at once: a stream of events has no end. */
async function call(id: string, method: string, path: string, body?: unknown): Promise<Answer> {
  const stop = new AbortController()
  const response = await fetch(harness.url + path, {
    method,
    signal: stop.signal,
    headers: {
      authorization: `Bearer ${harness.keys[id] ?? ''}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const { status } = response
  if (response.headers.get('content-type')?.startsWith('text/event-stream')) {
    stop.abort()
    return { status, text: '' }
  }
  return { status, text: await response.text() }
}

function codeOf({ text }: Answer): string {
  const { code, error }: { code?: string; error?: { code?: string } } = JSON.parse(text)
  return code ?? error?.code ?? ''
}

async function parked(muster: Muster, what: PlanData): Promise<string> {
  const { id } = await muster.runs.start(what, {})
  await until(
    () => muster.runs.get(id),
    ({ status }) => status === 'waiting',
  )
  return id
}

/** Takes an ended run out of Redis, once the archive has it. */
async function leaveRedis(run: string): Promise<void> {
  const redis = new Redis(harness.redisUrl)
  const at = (kind: string) => `{${harness.namespace}0}:${kind}:${run}`
  try {
    await until(
      () => redis.ttl(at('log')),
      (ttl) => ttl !== -1,
    )
    await redis.del(at('log'), at('run'))
  } finally {
    redis.disconnect()
  }
}

async function runsOf(muster: Muster, key: string): Promise<Runs> {
  const agent = await muster.runs.start(actor, { turns: [{ answer: 'mine' }] })
  await agent.result()
  const openai = new OpenAI({ apiKey: key, baseURL: `${harness.url}/v1`, timeout: 20_000 })
  const { response } = await openai.chat.completions
    .create({ model: 'chat', messages: [{ role: 'user', content: 'my prompt' }] })
    .withResponse()
  const archived = await muster.runs.start(chain, { n: 1, ms: 0 })
  await archived.result()
  await leaveRedis(archived.id)
  return {
    ...{ agent: agent.id, archived: archived.id, gateway: response.headers.get('x-muster-run') ?? '' },
    signal: await parked(muster, waits),
    approval: await parked(muster, plan({ ask: { approval: 'finance', show: { amount: 1 } } })),
  }
}

beforeAll(async () => {
  const chat = { model: 'scripted', baseUrl: await model.listen(), apiKey: 'sk-upstream', api: 'chat' as const, price }
  const models = createModels({ routes: { default: chat, chat, responses: { ...chat, api: 'responses' } } })
  const keyFile = join(home, 'ledger.pem')
  writeFileSync(keyFile, newLedgerKey())
  harness = await startHarness(
    { MUSTER_LEDGER_KEY_FILE: keyFile, MUSTER_LEDGER_HEADS_MS: '200' },
    { gateway: { models, policies: () => policies, lockMs: 10_000, ledger: true }, keys: asked },
  )
  await harness.worker()
  una = of('una-laptop')
  vic = of('vic-laptop')
  theirs = {
    una: await runsOf(una, harness.keys['una-laptop'] ?? ''),
    vic: await runsOf(vic, harness.keys['vic-laptop'] ?? ''),
  }
})
afterAll(async () => {
  await harness.close()
  model.close()
  rmSync(home, { recursive: true })
})

/** A path with this for its `{id}`, and something for the rest. */
const pathOf = (route: string, id: string = newId()) => {
  const [method = '', path = ''] = route.split(' ')
  return [method, path.replace('{id}', id).replaceAll(/\{\w+\}/g, 'x')] as const
}
const bodyOf = (method: string, body = {}) => (method === 'GET' ? undefined : body)
const named = (roles: readonly string[]) => roles.map((role) => `"${role}"`).join(' or ')

describe('every route', () => {
  it('is thought of, and the API’s description says who may use it', async () => {
    const document = await (await fetch(`${harness.url}/openapi.json`)).json()
    const { paths } = document as { paths: Record<string, Record<string, Operation>> } // OpenAPI's
    const routes = Object.entries(paths).flatMap(([path, operations]) =>
      Object.entries(operations).map(([method, about]) => [`${method.toUpperCase()} ${path}`, about] as const),
    )
    const ours = routes.filter(([route]) => route.includes(' /v1/'))
    expect(ours.map(([route]) => route).sort()).toEqual(Object.keys(ROUTES).sort())
    for (const [route, { description = '', responses }] of ours) {
      const who = ROUTES[route]
      if (who === 'no key') expect(description, route).not.toContain(' let')
      else if (who === 'let in') expect(description, route).toMatch(/(^| )Any key is let in\.$/)
      else if (who === 'own run')
        expect(description, route).toMatch(/Any key is let in; to one without a role .* alone\.$/)
      else {
        const role = who === 'any role' ? 'Any role' : `The role ${named(who ?? [])}`
        expect(description, route).toMatch(new RegExp(`(^| )${role} lets in\\.$`))
        expect(Object.keys(responses), route).toContain('403')
      }
    }
  })

  it.each(keyed)('%s: lets in who has its role, and tells any other which it needs', async (route, who) => {
    const letIn = typeof who === 'string' ? ROLES : who
    const [method, path] = pathOf(route)
    for (const role of [...ROLES, '*']) {
      const { status, text } = await call(`only-${role}`, method, path, bodyOf(method))
      if (role === '*' || letIn.includes(role)) {
        expect(status, role).not.toBe(403)
        expect(status, role).toBeLessThan(500)
      } else {
        const refused = { status: 403, code: 'auth.forbidden', detail: `This needs the role ${named(letIn)}` }
        expect({ status, ...JSON.parse(text) }, role).toMatchObject(refused)
      }
    }
  })
})

describe('at every route a key without a role', () => {
  const routesOf = (what: string) => Object.keys(ROUTES).filter((route) => ROUTES[route] === what)

  it.each(closed)('%s: is refused, and told who lets it in', async (route, who) => {
    const [method, path] = pathOf(route)
    const refused = await call('una-laptop', method, path, bodyOf(method))
    const role = who === 'any role' ? who : `the role ${named(who)}`
    expect([refused.status, codeOf(refused)]).toEqual([403, 'auth.forbidden'])
    expect(JSON.parse(refused.text).detail).toContain(`: ${role} lets in here, and who has "admin" can give it`)
  })

  it.each(routesOf('own run'))('%s: is for the runs of its own user; others do not exist', async (route) => {
    const answers = new Set<string>()
    const far = await createMuster({ url: harness.url, key: harness.keys.far ?? '' }).runs.start(waits, {})
    for (const id of [
      ...Object.values(theirs.vic),
      newId(),
      far.id,
      'x',
      '..%2F',
      encodeURIComponent('é'.repeat(70)),
    ]) {
      const [method, path] = pathOf(route, id)
      const { status, text } = await call('una-laptop', method, path, bodyOf(method))
      expect(status).toBe(404)
      answers.add(text.replace(decodeURIComponent(id).slice(0, 64), '<id>'))
    }
    expect(answers.size).toBe(1)
    expect(codeOf({ status: 404, text: [...answers][0] ?? '' })).toBe('run.not_found')
    // Of its own, by whichever key of the user; what is wrong is what is sent.
    const own = await parked(una, waits)
    const [method, path] = pathOf(route, own)
    const { status, text } = await call('una-desk', method, path, bodyOf(method))
    expect(text).not.toMatch(/run\.not_found|auth\.forbidden/)
    expect(status).toBeLessThan(500)
    await una.runs.cancel(own).catch(() => {})
  })

  it.each(routesOf('let in'))('%s: is let in', async (route) => {
    const [method, path] = pathOf(route)
    const { status, text } = await call('una-laptop', method, path, bodyOf(method))
    expect(status).toBeLessThan(500)
    expect(text).not.toMatch(/run\.not_found|auth\.forbidden|A key without a role/)
  })

  it('is refused what is not there as any other is, and by no other way of writing a path', async () => {
    expect(await call('una-laptop', 'GET', '/v1/nothing')).toEqual(await call('guest', 'GET', '/v1/nothing'))
    expect(codeOf(await call('una-laptop', 'POST', '/v1/files'))).toBe('unknown_url')
    expect((await call('una-laptop', 'HEAD', '/v1/audit/search')).status).toBe(403)
    expect((await call('guest', 'HEAD', '/v1/erasures')).status).toBe(403)
    expect((await call('una-laptop', 'HEAD', `/v1/runs/${theirs.vic.agent}`)).status).toBe(404)
    expect((await call('una-laptop', 'HEAD', `/v1/runs/${theirs.una.agent}`)).status).toBe(200)
    for (const path of ['/%761/workers', '/v%31/workers', '/v1/%77orkers']) {
      expect((await call('una-laptop', 'GET', path)).status).toBe(403)
      expect((await call('nobody', 'GET', path)).status).toBe(401)
    }
    expect((await call('guest', 'GET', '/%761/erasures')).status).toBe(403)
    await until(
      () => code(of('guest').ledger.head()),
      (is) => is === 'ok',
    )
    const entries = await call('una-laptop', 'GET', '/v1/ledger/tile/entries%2F000.p%2F1')
    expect([entries.status, codeOf(entries)]).toEqual([403, 'auth.forbidden'])
    expect((await call('guest', 'GET', '/v1/ledger/tile/entries/000.p/1')).status).toBe(200)
    expect((await call('una-laptop', 'GET', '/v1/ledger/tile/0/000.p/1')).status).toBe(200)
  })
})

describe('of two users of a tenant', () => {
  it('each sees their own runs, live or archived, and a key with a role sees all', async () => {
    const mine = Object.values(theirs.una)
    const others = Object.values(theirs.vic)
    for (const key of ['una-laptop', 'una-desk']) {
      const seen = await idsOf(of(key))
      expect(seen).toEqual(expect.arrayContaining(mine))
      for (const id of others) expect(seen).not.toContain(id)
    }
    const all = await idsOf(of('guest'))
    expect(all).toEqual(expect.arrayContaining([...mine, ...others]))
    expect(await idsOf(of('backend'))).toEqual([])
    expect(await idsOf(of('far'))).not.toEqual(expect.arrayContaining(mine))
    for (const id of mine) {
      expect(await of('una-desk').runs.get(id)).toMatchObject({ id, by: { user: 'una' } })
      expect(await of('guest').runs.get(id)).toMatchObject({ id })
      for (const path of ['journal', 'events']) {
        expect((await call('una-desk', 'GET', `/v1/runs/${id}/${path}`)).status).toBe(200)
        expect((await call('vic-laptop', 'GET', `/v1/runs/${id}/${path}`)).status).toBe(404)
      }
    }
    for (const status of ['succeeded', 'waiting'])
      for (const id of await idsOf(vic, { status })) expect((await of('guest').runs.get(id)).by.user).toBe('vic')
    expect(await idsOf(una, { name: 'gateway' })).toEqual([theirs.una.gateway])
  })

  it('neither moves a run of the other, by itself or with all of a filter', async () => {
    const before = await Promise.all(Object.values(theirs.vic).map((id) => of('guest').runs.get(id)))
    const own = [await parked(una, waits), await parked(of('una-desk'), waits)]
    expect(await code(una.runs.signal(theirs.vic.signal, 'go', null))).toBe('run.not_found')
    expect(await code(una.runs.of(theirs.vic.archived).fork())).toBe('run.not_found')
    expect(await code(una.runs.of(theirs.vic.agent).say('hello'))).toBe('run.not_found')
    const moved: string[] = []
    for await (const { run, error } of una.runs.act('cancel')) {
      // One that was cancelled just before.
      expect([undefined, 'run.ended']).toContain(error?.code)
      moved.push(run.id)
    }
    expect(moved).toEqual(expect.arrayContaining(own))
    for (const id of Object.values(theirs.vic)) expect(moved).not.toContain(id)
    await Promise.all(
      moved.map((id) =>
        until(
          () => una.runs.get(id),
          (run) => run.status === 'cancelled',
        ),
      ),
    )
    expect(await Promise.all(before.map(({ id }) => of('guest').runs.get(id)))).toEqual(before)
    await vic.runs.signal(theirs.vic.signal, 'go', null)
    await until(
      () => vic.runs.get(theirs.vic.signal),
      (run) => run.status === 'succeeded',
    )
    // What una was not shown is not recorded as read by her.
    const { records } = await harness.muster.audit.records({ action: 'content.read', user: 'una' })
    expect(records).toEqual([])
  })

  it('neither answers an approval, nor is shown which there are; who has its role is', async () => {
    const { approval } = theirs.vic
    const questions = await Array.fromAsync(of('guest').approvals.list())
    const { step = '', digest = '' } = questions.find(({ run }) => run === approval) ?? {}
    expect(digest).not.toBe('')
    const answer = { step, digest, verdict: 'approve' as const }
    expect(await code(una.runs.approve(approval, answer))).toBe('run.not_found')
    await expect(vic.runs.approve(approval, answer)).rejects.toThrow('This approval needs the role "finance"')
    await expect(Array.fromAsync(vic.approvals.list())).rejects.toThrow('A key without a role')
    await harness.people.ann.runs.approve(approval, answer)
    await until(
      () => vic.runs.get(approval),
      (run) => run.status === 'succeeded',
    )
  })

  it('has lists whose pages are whole and whose cursors lose nothing, whatever lies between', async () => {
    const una = of('una-laptop')
    for (let i = 0; i < 6; i++) {
      await (i % 3 === 0 ? una : vic).runs.start(waits, {})
      if (i === 2) {
        const run = await una.runs.start(chain, { n: 1, ms: 0 })
        await run.result()
        await leaveRedis(run.id)
      }
    }
    const guest = of('guest')
    for (const status of ['queued', 'running'])
      await until(
        () => idsOf(guest, { status }),
        (found) => found.length === 0,
      )
    const all = await idsOf(guest)
    const owners = await Promise.all(all.map(async (id) => (await guest.runs.get(id)).by.user))
    for (const [muster, user] of [
      [una, 'una'],
      [vic, 'vic'],
    ] as const) {
      const own = all.filter((_, i) => owners[i] === user)
      for (const limit of [1, 2, 5]) {
        const found: string[] = []
        let cursor: string | undefined
        do {
          const page = await muster.runs.list({ limit, ...(cursor === undefined ? {} : { cursor }) })
          found.push(...page.runs.map(({ id }) => id))
          cursor = page.cursor
          expect(page.runs.length === limit || cursor === undefined).toBe(true)
        } while (cursor !== undefined)
        expect(found).toEqual(own)
      }
      // A page of actions ends where the next begins, and has none of others'.
      const dry: string[] = []
      let cursor: string | undefined
      do {
        const page: { results: { run: Run }[]; cursor?: string } = await muster.request('POST', '/v1/runs/actions', {
          ...{ action: 'cancel', dryRun: true, limit: 2 },
          ...(cursor === undefined ? {} : { cursor }),
        })
        dry.push(...page.results.map(({ run }) => run.id))
        cursor = page.cursor
      } while (cursor !== undefined)
      expect(dry).toEqual(await idsOf(muster, { status: 'waiting' }))
    }
  })

  it('neither is given a run by an idempotency key that the other has sent', async () => {
    const same = { idempotencyKey: 'the same' }
    const run = await vic.runs.start(chain, { n: 1, ms: 0 }, same)
    const refusals = await Promise.all(
      [1, 2].map((n) => una.runs.start(chain, { n, ms: 0 }, same).catch((error) => error.toProblem())),
    )
    expect(refusals[0]).toMatchObject({ status: 409, code: 'idempotency.conflict' })
    // Whether the other's was the same is not told.
    expect(refusals[0]).toEqual(refusals[1])
    expect((await vic.runs.start(chain, { n: 1, ms: 0 }, same)).id).toBe(run.id)
    expect((await of('guest').runs.start(chain, { n: 1, ms: 0 }, same)).id).toBe(run.id)
    const batch = { runs: [{ plan: 'chain', input: { n: 1, ms: 0 }, idempotencyKey: 'the same' }] }
    const results = (muster: Muster) => muster.request<{ results: object[] }>('POST', '/v1/runs/batch', batch)
    expect(await results(una)).toMatchObject({ results: [{ error: refusals[0] }] })
    expect(await results(vic)).toEqual({ results: [{ id: run.id, created: false }] })
    expect(await results(of('guest'))).toEqual({ results: [{ id: run.id, created: false }] })
    await run.result()
    await leaveRedis(run.id)
    expect(await code(una.runs.start(chain, { n: 1, ms: 0 }, same))).toBe('idempotency.conflict')
    // A fork has a key as well.
    const forks = (muster: Muster, of: string) => muster.runs.of(of).fork({ idempotencyKey: 'a fork' })
    const fork = await forks(vic, theirs.vic.archived)
    expect((await forks(vic, theirs.vic.archived)).id).toBe(fork.id)
    expect(await code(forks(una, theirs.una.archived))).toBe('idempotency.conflict')
  })

  it('each has what their runs begin: children and forks, but not what another begins from them', async () => {
    const run = await una.runs.start(parent, { turns: [{ answer: 'from below' }] })
    await run.result()
    const child = (await una.runs.list({ name: 'actor', limit: 1 })).runs[0]
    expect(child?.parent?.run).toBe(run.id)
    expect(await una.runs.get(child?.id ?? '')).toMatchObject({ by: { user: 'una' }, output: { answer: 'from below' } })
    expect(await code(vic.runs.get(child?.id ?? ''))).toBe('run.not_found')
    const own = await una.runs.of(theirs.una.archived).fork()
    expect(await own.get()).toMatchObject({ by: { user: 'una' }, origin: { run: theirs.una.archived } })
    const others = await of('guest').runs.of(theirs.una.archived).fork()
    expect(await others.get()).toMatchObject({ by: { user: 'gus' } })
    expect(await code(una.runs.get(others.id))).toBe('run.not_found')
  })

  it('neither goes on with a session of the other, in which an agent is told what was said', async () => {
    const say = (muster: Muster, session: string) =>
      muster.runs.start(actor, { turns: [{ answer: 'heard' }] }, { session }).then((run) => run.result())
    expect(await say(vic, 'talk')).toEqual({ answer: 'heard' })
    expect(await code(say(una, 'talk'))).toBe('auth.forbidden')
    const batch = { runs: [{ agent: 'actor', input: { turns: [] }, session: 'talk' }] }
    expect(await una.request('POST', '/v1/runs/batch', batch)).toMatchObject({
      results: [{ error: { code: 'auth.forbidden', detail: expect.stringContaining('"talk"') } }],
    })
    // Who has a role goes on with any, and takes none away by that.
    await say(of('guest'), 'talk')
    await say(vic, 'talk')
    expect(await code(say(una, 'talk'))).toBe('auth.forbidden')
    await say(una, 'another talk')
    await say(of('una-desk'), 'another talk')
  })

  it('each is told the budgets and limits that bear on them', async () => {
    const { budgets, limits } = harness.muster
    const names = ['tenant', 'user:una', 'user:vic', 'team:red', 'team:blue', 'key:una-laptop', 'key:vic-laptop']
    for (const name of names) {
      await budgets.set(name, { day: { usd: 100 } })
      await limits.set(name, { requestsPerMinute: 6000 })
    }
    await limits.set('user:*', { requestsPerMinute: 6000 })
    const own = ['key:una-laptop', 'team:red', 'tenant', 'user:una']
    const sorted = (found: { name: string }[]) => found.map(({ name }) => name).sort()
    expect(sorted(await una.budgets.list())).toEqual(own)
    expect(sorted(await una.limits.list())).toEqual([...own.slice(0, 3), 'user:*', 'user:una'])
    expect(sorted(await of('una-desk').limits.list())).toEqual(['tenant', 'user:*', 'user:una'])
    expect(sorted(await of('guest').budgets.list())).toEqual(expect.arrayContaining(names))
    expect(sorted(await of('guest').limits.list())).toEqual(expect.arrayContaining(names))
    for (const name of names) {
      await budgets.remove(name)
      await limits.remove(name)
    }
    await limits.remove('user:*')
  })

  it('each reads their responses, and proves their runs', async () => {
    const client = (id: string) =>
      new OpenAI({ apiKey: harness.keys[id] ?? '', baseURL: `${harness.url}/v1`, timeout: 20_000 })
    const { id } = await client('una-laptop').responses.create({ model: 'responses', input: 'hi' })
    expect(await client('una-desk').responses.retrieve(id)).toMatchObject({ id })
    await expect(client('vic-laptop').responses.retrieve(id)).rejects.toMatchObject({ status: 404 })
    const made = (key: string) => Array.fromAsync(client(key).responses.inputItems.list(id))
    expect(await made('una-desk')).toMatchObject([{ content: [{ type: 'input_text', text: 'hi' }] }])
    for (const key of ['vic-laptop', 'far', 'guest']) await expect(made(key)).rejects.toMatchObject({ status: 404 })
    expect(await provenEnd(una, theirs.una.gateway)).toMatchObject({ run: theirs.una.gateway, state: 'ended' })
    const cli = (...args: string[]) =>
      runCli(args, { MUSTER_HOME: home, MUSTER_URL: harness.url, MUSTER_KEY: harness.keys['una-laptop'] }, home)
    for (const command of ['trace', 'verify', 'receipt'])
      expect(await cli(command, theirs.una.agent), command).toMatchObject({ code: 0 })
    const list = await cli('runs')
    expect(list.code).toBe(0)
    expect((await cli('trace', theirs.vic.agent)).err).toContain(`There is no run ${theirs.vic.agent}`)
    expect((await cli('audit', 'search')).err).toContain('any role lets in here')
  })
})

describe('a key whose last role is taken away', () => {
  it('sees others’ runs no more, nor goes on to follow them; its own it does', async () => {
    const { keys } = harness.muster
    const { key, id } = await keys.create({ user: 'wil', roles: ['guest'] })
    const wil = createMuster({ url: harness.url, key })
    const [other, own] = [await parked(vic, waits), await parked(wil, waits)]
    const follow = async (run: string) => {
      const seen: string[] = []
      for await (const { entry } of wil.runs.stream(run)) seen.push(entry.type)
      return seen
    }
    const followed = follow(other)
    followed.catch(() => {})
    const mine = follow(own)
    expect(await code(wil.runs.get(other))).toBe('ok')
    await keys.change(id, { roles: [] })
    // The stream is cut off, and who follows is told when they come again.
    expect(await code(followed)).toBe('run.not_found')
    expect(await code(wil.runs.get(other))).toBe('run.not_found')
    expect(await idsOf(wil)).toEqual([own])
    expect(await code(wil.audit.search())).toBe('auth.forbidden')
    await wil.runs.signal(own, 'go', null)
    expect((await mine).at(-1)).toBe('run.ended')
    await keys.change(id, { roles: ['guest'] })
    await until(
      () => code(wil.runs.get(other)),
      (is) => is === 'ok',
    )
    const run = await harness.muster.runs.get(other)
    expect(ended(run)).toBe(false)
  })
})
