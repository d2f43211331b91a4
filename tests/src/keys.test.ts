import { hash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openMemory } from '@muster/memory'
import { createModels } from '@muster/models'
import type { MadeKey, PlanData } from '@muster/protocol'
import { createMuster, type Muster } from '@muster/sdk'
import { type ApiKey, createServer, newApiKey, readKeys } from '@muster/server'
import { startDynamo } from '@muster/stack'
import OpenAI, { AuthenticationError } from 'openai'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { price, ScriptedModel } from './fixtures/scripted-model.ts'
import { type Harness, runCli, startHarness, until } from './harness.ts'

const model = new ScriptedModel()
const policies = [{ file: 'keys.cedar', text: '@id("all") permit (principal == Plan::"gateway", action, resource);' }]
const hi = [{ role: 'user' as const, content: 'hi' }]
const home = mkdtempSync(join(tmpdir(), 'muster-keys-'))
const soon = () => Date.now() + 3_600_000
const limited: Omit<ApiKey, 'sha256'>[] = [
  { id: 'admin', tenant: 'acme', user: 'ada', roles: ['admin'] },
  { id: 'both', tenant: 'acme', user: 'bea', roles: ['admin', 'operator'] },
  {
    ...{ id: 'narrow', tenant: 'acme', user: 'nell', roles: ['admin'], expires: new Date(soon()).toISOString() },
    gateway: { routes: ['gpt-5*', 'local'], labels: ['pii'] },
  },
  { id: 'machine', tenant: 'acme', user: 'terraform', service: true, roles: ['admin'] },
  { id: 'over', tenant: 'acme', user: 'ona', roles: ['*'], expires: '2026-01-31T09:00:00+01:00' },
  { id: 'chief', tenant: 'acme', user: 'cleo', roles: ['*'] },
  { id: 'auditor', tenant: 'acme', user: 'aud', roles: ['auditor'] },
  { id: 'theirs', tenant: 'other', user: 'eve', roles: ['*'] },
]

let harness: Harness
let modelUrl: string
const servers: { url: string; close(): Promise<void> }[] = []
const of = (id: string, url = harness.url): Muster => createMuster({ url, key: harness.keys[id] ?? '' })
const by = ({ key }: MadeKey, url = harness.url): Muster => createMuster({ url, key })
const openAi = ({ key }: MadeKey, url: string) => new OpenAI({ apiKey: key, baseURL: `${url}/v1`, timeout: 20_000 })
const code = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'ok',
    (error) => error.code,
  )
const gateway = () => {
  const chat = { model: 'scripted', baseUrl: modelUrl, apiKey: 'sk-upstream', api: 'chat' as const, price }
  return { models: createModels({ routes: { default: chat, chat } }), policies: () => policies, lockMs: 10_000 }
}

/** Another server on the same Redis, and on the same table unless another is given. */
async function another(endpoint = harness.dynamoEndpoint, namespace = harness.namespace): Promise<string> {
  const memory = await openMemory({ table: 'muster', endpoint })
  const keys = readKeys(harness.env.MUSTER_KEYS_FILE ?? '')
  const server = await createServer({ redisUrl: harness.redisUrl, namespace, memory, keys, gateway: gateway() })
  const url = await server.listen('127.0.0.1', 0)
  const close = async () => {
    await server.close()
    memory.close()
  }
  servers.push({ url, close })
  return url
}

let second: string

beforeAll(async () => {
  modelUrl = await model.listen()
  harness = await startHarness({}, { gateway: gateway(), keys: limited })
  await harness.worker()
  second = await another()
})
afterAll(async () => {
  await Promise.all(servers.map((server) => server.close()))
  await harness.close()
  model.close()
  rmSync(home, { recursive: true })
})
beforeEach(() => {
  model.script = () => ({ text: 'a plain answer' })
})

describe('a key that an operator makes', () => {
  it('works on all servers at once and after a restart, and a revoked one nowhere, nor what streams under it', async () => {
    const gateway = { routes: ['ch*'], labels: ['internal'] }
    const made = await of('both').keys.create({ id: 'ann', user: 'ann', team: 'payments', gateway, note: 'her laptop' })
    expect(made).toMatchObject({ id: 'ann', state: 'active', from: 'api', createdBy: { key: 'both', user: 'bea' } })
    const openai = openAi(made, second)
    await openai.chat.completions.create({ model: 'chat', messages: hi })
    const { runs } = await by(made).runs.list({ name: 'gateway', limit: 1 })
    expect(await by(made).runs.get(runs[0]?.id ?? '')).toMatchObject({
      ...{ by: { key: 'ann', user: 'ann', team: 'payments' }, labels: ['internal'] },
    })
    expect(await code(openai.chat.completions.create({ model: 'default', messages: hi }))).toBe('model_not_allowed')
    await by(made, await another()).runs.list()

    const plan = { steps: { wait: { sleepMs: 600_000 } } } as PlanData
    const run = await by(made).runs.start(plan, {})
    const followed = (await by(made, second).open('GET', `/v1/runs/${run.id}/events`)).text()
    followed.catch(() => {})
    model.script = () => new Promise(() => {})
    const asked = openai.chat.completions.create({ model: 'chat', messages: hi, stream: true })
    asked.catch(() => {})
    await until(
      () => harness.muster.runs.list({ name: 'gateway', status: 'running' }),
      (found) => found.runs.length === 1,
    )

    await of('admin').keys.revoke('ann')
    expect(await code(by(made).runs.list())).toBe('auth.revoked_key')
    // What was under way is cut off, and OpenAI's client hears why when it tries again.
    await expect(asked).rejects.toBeInstanceOf(AuthenticationError)
    await expect(asked).rejects.toMatchObject({ status: 401, code: 'invalid_api_key' })
    await expect(followed).rejects.toThrow()
    await expect(openai.models.list()).rejects.toBeInstanceOf(AuthenticationError)
    await until(
      () => harness.muster.runs.list({ name: 'gateway', limit: 1 }),
      (found) => found.runs[0]?.status === 'cancelled',
    )
    // What it had begun goes on.
    expect((await harness.muster.runs.get(run.id)).status).toBe('waiting')
    await harness.muster.runs.cancel(run.id)
    await of('admin').keys.revoke('ann')
    expect(await of('admin').keys.get('ann')).toMatchObject({ state: 'revoked', revoked: { by: { user: 'ada' } } })
    expect(await code(of('admin').keys.create({ id: 'ann', user: 'ann' }))).toBe('key.exists')
    expect(await code(of('admin').keys.rotate('ann'))).toBe('key.revoked')
    expect(await code(of('admin').keys.change('ann', { note: 'x' }))).toBe('key.revoked')
  })

  it('expires by itself, under what it streams too, and can be given more time', async () => {
    expect(await code(of('over').runs.list())).toBe('auth.expired_key')
    const made = await of('admin').keys.create({ user: 'temp' })
    expect(made.id).toMatch(/^temp-[a-z0-9]{5}$/)
    const run = await by(made).runs.start({ steps: { wait: { sleepMs: 600_000 } } } as PlanData, {})
    const followed = (await by(made, second).open('GET', `/v1/runs/${run.id}/events`)).text()
    followed.catch(() => {})
    await of('admin').keys.change(made.id, { expiresAt: Date.now() + 4000 })
    await expect(followed).rejects.toThrow()
    expect(await code(by(made).runs.list())).toBe('auth.expired_key')
    expect(await of('auditor').keys.get(made.id)).toMatchObject({ state: 'expired' })
    await of('admin').keys.change(made.id, { expiresAt: soon() })
    await until(
      () => code(by(made, second).runs.list()),
      (is) => is === 'ok',
    )
    await harness.muster.runs.cancel(run.id)
  })

  it('has a new secret after a rotation, and the one before for its time of grace', async () => {
    const first = await of('admin').keys.create({ id: 'rotated', user: 'rob' })
    await by(first, second).runs.list()
    const turns = await Promise.allSettled([
      of('admin').keys.rotate('rotated', { graceMs: 600_000 }),
      of('admin', second).keys.rotate('rotated', { graceMs: 600_000 }),
    ])
    const won = turns.flatMap((turn) => (turn.status === 'fulfilled' ? [turn.value] : []))
    // Side by side one wins; one after the other both hold.
    for (const turn of turns) if (turn.status === 'rejected') expect(turn.reason.code).toBe('key.conflict')
    expect(won.length).toBeGreaterThan(0)
    for (const one of [first, ...won])
      for (const url of [harness.url, second]) expect(await code(by(one, url).runs.list())).toBe('ok')
    expect(await of('admin').keys.get('rotated')).toMatchObject({ oldUntil: expect.any(Number) })
    const last = await of('admin').keys.rotate('rotated', { graceMs: 0 })
    for (const one of [first, ...won])
      await until(
        () => code(by(one, second).runs.list()),
        (is) => is === 'auth.revoked_key',
      )
    expect(await code(by(last, second).runs.list())).toBe('ok')
  })

  it('is revoked for good by whoever rotates or changes it at the same time', async () => {
    for (let round = 0; round < 5; round++) {
      const made = await of('admin').keys.create({ user: 'race' })
      const [turned, , revoked] = await Promise.allSettled([
        of('admin').keys.rotate(made.id),
        of('admin').keys.change(made.id, { note: 'soon gone' }),
        of('admin', second).keys.revoke(made.id),
      ])
      expect(revoked.status).toBe('fulfilled')
      const secrets = [made, ...(turned.status === 'fulfilled' ? [turned.value] : [])]
      for (const one of secrets)
        await until(
          () => code(by(one).runs.list()),
          (is) => is === 'auth.revoked_key',
        )
    }
  })

  it('is one, where two make it at the same time', async () => {
    const asked = await Promise.allSettled([
      of('admin').keys.create({ id: 'twin', user: 'one' }),
      of('admin', second).keys.create({ id: 'twin', user: 'two' }),
    ])
    const made = asked.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
    const refused = asked.flatMap((one) => (one.status === 'rejected' ? [one.reason.code] : []))
    expect([made.length, refused]).toEqual([1, ['key.exists']])
    expect(await code(by(made[0] as MadeKey).runs.list())).toBe('ok')
    const { records } = await harness.muster.audit.records({ action: 'api_key.created', limit: 200 })
    expect(records.filter(({ about }) => about.id === 'twin')).toHaveLength(1)
  })
})

describe('who makes keys', () => {
  it('gives no more than they have, and needs the role for it', async () => {
    const refused = async (who: string, asked: Parameters<Muster['keys']['create']>[0], path: string) =>
      expect(of(who).keys.create(asked), `${who} ${path}`).rejects.toMatchObject({
        code: 'auth.forbidden',
        issues: [expect.objectContaining({ path })],
      })
    await refused('admin', { user: 'x', roles: ['operator'] }, '/roles/0')
    await refused('admin', { user: 'x', roles: ['admin', '*'] }, '/roles/1')
    const rights = { gateway: { routes: ['gpt-5.5'], labels: ['pii'] }, expiresAt: Date.now() + 60_000 }
    await refused('narrow', { user: 'x', ...rights, gateway: { labels: ['pii'] } }, '/gateway/routes')
    for (const route of ['*', 'gpt*', 'local*', 'gpt-4'])
      await refused(
        'narrow',
        { user: 'x', ...rights, gateway: { ...rights.gateway, routes: [route] } },
        '/gateway/routes/0',
      )
    await refused('narrow', { user: 'x', ...rights, gateway: { routes: ['gpt-5-mini*'] } }, '/gateway/labels')
    await refused('narrow', { user: 'x', ...rights, expiresAt: soon() + 60_000 }, '/expiresAt')
    await refused('narrow', { user: 'x', gateway: rights.gateway }, '/expiresAt')
    await refused('machine', { user: 'x' }, '/service')
    const child = await of('narrow').keys.create({ user: 'x', roles: ['admin'], ...rights })
    // Nor does their key give itself more.
    expect(await code(by(child).keys.change(child.id, { expiresAt: null }))).toBe('auth.forbidden')
    expect(await code(by(child).keys.change(child.id, { gateway: null }))).toBe('auth.forbidden')
    // A secret is as good as the rights: who may not give them may not have it. To end it they need none.
    const root = await harness.muster.keys.create({ user: 'root', roles: ['*'] })
    expect(await code(of('admin').keys.rotate(root.id))).toBe('auth.forbidden')
    expect(await code(of('admin').keys.change(root.id, { note: 'x' }))).toBe('auth.forbidden')
    expect(await code(of('admin').keys.revoke(root.id))).toBe('ok')
    // Roles of Muster do not come with each other.
    const budget = { day: { usd: 5 } }
    expect(await code(of('admin').keys.create({ id: 'poor', user: 'x', budget }))).toBe('auth.forbidden')
    const limit = { concurrency: 1 }
    expect(await code(of('admin').keys.create({ id: 'poor', user: 'x', limit }))).toBe('auth.forbidden')
    expect(await code(of('admin').keys.get('poor'))).toBe('key.not_found')
    expect(await of('both').keys.create({ id: 'poor', user: 'x', budget })).toMatchObject({
      budgets: [{ name: 'key:poor', period: 'day', limits: { usd: 5 } }],
    })
    for (const act of [
      (keys: Muster['keys']) => keys.create({ user: 'x' }),
      (keys: Muster['keys']) => keys.rotate('poor'),
      (keys: Muster['keys']) => keys.change('poor', { note: 'x' }),
      (keys: Muster['keys']) => keys.revoke('poor'),
    ])
      for (const keys of [of('auditor').keys, harness.people.ann.keys])
        expect(await code(act(keys))).toBe('auth.forbidden')
    expect(await code(harness.people.ann.keys.list())).toBe('auth.forbidden')
    expect((await of('auditor').keys.list()).keys.find(({ id }) => id === 'poor')).toMatchObject({ user: 'x' })
  })

  it('is not another person by a key that they have made or rotated', async () => {
    const make = (maker: Muster, user: string, ...roles: string[]) =>
      maker.keys.create({ id: `by-${user}`, user, roles })
    const chief = of('chief')
    const [dee, fay] = [await make(chief, 'dee', 'admin', 'finance'), await make(chief, 'fay', 'finance')]
    const [carol, bob] = [await make(by(dee), 'carol'), await make(by(dee), 'bob', 'finance')]
    expect(bob).toMatchObject({ hands: ['cleo', 'dee'] })
    const asked = async (who: Muster, people = 1) => {
      const rule = { show: null, requester: false as const, ...(people > 1 ? { people } : {}) }
      const run = await who.runs.start({ steps: { ask: { approval: 'finance', ...rule } } } as PlanData, {})
      const one = await until(
        () => run.get(),
        ({ status }) => status === 'waiting',
      )
      return { run: run.id, digest: one.waiting[0]?.digest ?? '' }
    }
    const answer = (who: Muster, { run, digest }: Awaited<ReturnType<typeof asked>>) =>
      code(who.runs.approve(run, { step: 'ask', verdict: 'approve', digest }))
    const ends = (run: string) =>
      until(
        () => harness.muster.runs.get(run),
        ({ status }) => status === 'succeeded',
      )

    const own = await asked(by(dee))
    expect(await answer(by(bob), own)).toBe('approval.by_requester')
    // Nor the other way round, nor by two of theirs; and who holds a key of the file is no other than whom they made one for.
    const theirs = await asked(by(carol))
    for (const who of [by(dee), by(bob), chief]) expect(await answer(who, theirs)).toBe('approval.by_requester')
    expect(await answer(by(fay), theirs)).toBe('ok')
    await ends(theirs.run)
    // A secret that they have not seen is another's, and one that they have is not, whoever made the first.
    const again = await chief.keys.rotate(bob.id)
    expect(await answer(by(bob), own)).toBe('approval.by_requester')
    expect(await answer(by(await by(dee).keys.rotate(fay.id)), own)).toBe('approval.by_requester')
    expect(await answer(by(again), own)).toBe('ok')
    await ends(own.run)

    // Nor are they two, also where both answers are on their way.
    const two = await asked(by(fay), 2)
    await Promise.all([answer(by(dee), two), answer(by(bob), two)])
    const { waiting } = await until(
      () => harness.muster.runs.get(two.run),
      ({ waiting: [one] }) => one?.approvals?.length === 1,
    )
    const [first] = waiting[0]?.approvals ?? []
    const late = first?.by === 'dee' ? bob : dee
    expect(await answer(by(late), two)).toBe('approval.repeated')
    const outsider = await make(chief, 'gil', 'finance')
    expect(await answer(by(outsider), two)).toBe('ok')
    await ends(two.run)
  })

  it('sees and touches none of another tenant, and none of the file', async () => {
    const made = await of('theirs').keys.create({ id: 'secret-project', user: 'eve' })
    const { keys } = of('admin')
    for (const act of [keys.get, keys.rotate, keys.revoke]) expect(await code(act(made.id))).toBe('key.not_found')
    expect(JSON.stringify(await keys.list({ limit: 200 }))).not.toContain('secret-project')
    expect(await code(by(made).runs.list())).toBe('ok')
    // The same id is free to each.
    expect(await code(keys.create({ id: 'secret-project', user: 'ann' }))).toBe('ok')
    expect(await code(keys.create({ id: 'auditor', user: 'ann' }))).toBe('key.exists')
    for (const act of [keys.rotate, keys.revoke]) expect(await code(act('auditor'))).toBe('key.in_file')
    expect(await keys.get('narrow')).toMatchObject({ from: 'file', expiresAt: expect.any(Number) })
    const [theirs, narrow] = [await by(made).keys.me(), await of('narrow').keys.me()]
    expect(theirs).toMatchObject({ key: 'secret-project', tenant: expect.any(String), user: 'eve', roles: [] })
    expect(narrow).toMatchObject({ key: 'narrow', expiresAt: expect.any(Number) })
    expect(theirs.tenant).not.toBe(narrow.tenant)
  })

  it('is told what is wrong with what they ask', async () => {
    const { keys } = of('admin')
    const wrong = (work: Promise<unknown>) =>
      work.catch((error) => error.issues?.map(({ path }: { path: string }) => path))
    expect(await wrong(keys.create({ id: '*', user: '' }))).toEqual(['/id', '/user'])
    expect(await wrong(keys.create({ user: 'x', expiresAt: 1 }))).toEqual(['/expiresAt'])
    expect(await wrong(keys.create({ user: 'x', budget: {} }))).toEqual(['/budget'])
    expect(await wrong(keys.rotate('x', { graceMs: -1 }))).toEqual(['/graceMs'])
    expect(await code(keys.get('no-such'))).toBe('key.not_found')
    expect(await code(of('admin').request('POST', '/v1/keys/no-such/rotate'))).toBe('key.not_found')
    expect(await code(keys.get('..%2f*'))).toBe('key.not_found')
    expect(await code(of('admin').request('GET', '/v1/keys?cursor=~'))).toBe('request.invalid')
  })

  it('is in the record book, and no secret and no hash of one is', async () => {
    const { keys } = of('both')
    const made = await keys.create({ id: 'told', user: 'tom', budget: { month: { usd: 9 } } })
    const turned = await keys.rotate('told', { graceMs: 0 })
    await keys.change('told', { team: 'red' })
    await keys.revoke('told')
    const { records } = await harness.muster.audit.records({ user: 'bea', limit: 5 })
    expect(records.map(({ action, about, by: { key } }) => [action, about, key])).toEqual([
      ['api_key.revoked', { id: 'told', user: 'tom' }, 'both'],
      ['api_key.changed', { id: 'told', user: 'tom', roles: [], team: 'red' }, 'both'],
      ['api_key.rotated', { id: 'told', user: 'tom', graceMs: 0 }, 'both'],
      ['budget.set', { name: 'key:told', budget: { month: { usd: 9 } } }, 'both'],
      ['api_key.created', { id: 'told', user: 'tom', roles: [] }, 'both'],
    ])
    const told = JSON.stringify([records, await keys.get('told'), await keys.list({ limit: 200 })])
    for (const { key } of [made, turned])
      for (const part of [key.slice(3, 40), hash('sha256', key, 'hex')]) expect(told).not.toContain(part)
  })
})

describe('where storage is away', () => {
  it('known keys go on, unknown ones are told to come again, and made-up ones ask nobody', async () => {
    const dynamo = await startDynamo({})
    const knows = await another(dynamo.endpoint, 'away')
    const knowsNot = await another(dynamo.endpoint, 'away')
    const made = await createMuster({ url: knows, key: harness.key }).keys.create({ user: 'ann' })
    const definitions = (url: string, key: string) => createMuster({ url, key }).request('GET', '/v1/definitions')
    await definitions(knows, made.key)
    await dynamo.stop()
    await definitions(knows, made.key)
    const status = async (url: string, key: string) =>
      (await fetch(`${url}/v1/definitions`, { headers: { authorization: `Bearer ${key}` } })).status
    expect(await status(knowsNot, made.key)).toBe(503)
    expect(await status(knowsNot, newApiKey({ id: 'x', tenant: 'acme', user: 'x', roles: [] }).key)).toBe(401)
    const other = made.key.endsWith('A') ? 'B' : 'A'
    expect(await status(knowsNot, made.key.slice(0, -1) + other)).toBe(401)
    expect(await status(knowsNot, harness.key)).toBe(200)
  })
})

describe('muster key', () => {
  const cli = (...args: string[]) =>
    runCli(['key', ...args], { MUSTER_HOME: home, MUSTER_URL: harness.url, MUSTER_KEY: harness.key }, home)

  it('makes, shows, changes, rotates and revokes one', async () => {
    const made = await cli(
      ...['create', 'dora', '--user', 'dora', '--team', 'payments', '--routes', 'gpt-5*,local', '--labels', 'internal'],
      ...['--expires', '90d', '--note', 'laptop', '--budget', '{"day":{"usd":5}}'],
    )
    expect(made.out).toMatch(/^made dora, for dora\nmk_[\w-]{52}\nshown only now/)
    const [, key = ''] = /^(mk_.*)$/m.exec(made.out) ?? []
    await createMuster({ url: harness.url, key }).runs.list()
    const shown = await until(
      async () => (await cli('show', 'dora')).out,
      (out) => !/last used +never/.test(out),
    )
    expect(shown).toMatch(
      /dora \(team payments\)[\s\S]*gpt-5\*, local[\s\S]*internal[\s\S]*\$0\.0000 of \$5 a day[\s\S]*laptop/,
    )
    expect(shown).not.toContain(key)
    const listed = (await cli('list')).out
    for (const part of ['dora', 'payments', 'gpt-5*', '$5 a day', 'in the file']) expect(listed).toContain(part)
    const changed = JSON.parse((await cli('change', 'dora', '--labels', 'pii', '--expires', 'never', '--json')).out)
    expect(changed.gateway).toEqual({ routes: ['gpt-5*', 'local'], labels: ['pii'] })
    expect(changed.expiresAt).toBeUndefined()
    expect((await cli('rotate', 'dora', '--grace', '0')).out).toMatch(/^mk_[\w-]{52}\n[\s\S]*refused from now on/)
    expect(await cli('revoke', 'dora')).toMatchObject({ code: 0 })
    expect((await cli('list')).out).toMatch(/and \d+ that were revoked: --all shows them/)
    expect(await cli('rotate', 'dora')).toMatchObject({ code: 1, err: expect.stringContaining('key.revoked') })
    expect(await cli('create', '--user', 'x', '--expires', 'soon')).toMatchObject({ code: 1, out: '' })
  })

  it('adds the first key to a file, of which servers start', async () => {
    const file = join(home, 'keys.json')
    const asked = ['new', 'first', '--file', file, '--tenant', 'acme', '--user', 'ops', '--expires', '30d', '--json']
    const { key } = JSON.parse((await cli(...asked)).out)
    const before = readFileSync(file, 'utf8')
    expect(await cli(...asked)).toMatchObject({ code: 1, err: expect.stringContaining('key.exists') })
    expect(readFileSync(file, 'utf8')).toBe(before)
    expect(readKeys(file)).toEqual([
      {
        ...{ id: 'first', tenant: 'acme', user: 'ops', roles: ['*'], sha256: hash('sha256', key, 'hex') },
        expires: expect.stringMatching(/Z$/),
      },
    ])
    expect(readFileSync(file, 'utf8')).not.toContain(key)
  })
})
