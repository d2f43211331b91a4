import { createModels } from '@muster/models'
import type { Limit } from '@muster/protocol'
import OpenAI, { type APIError, RateLimitError } from 'openai'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { price, ScriptedModel } from './fixtures/scripted-model.ts'
import { type Harness, runCli, startHarness, unhurried, until } from './harness.ts'

const policy = '@id("anybody") permit (principal == Plan::"gateway", action, resource);'
const model = new ScriptedModel()
/** Requests that the model has and has not answered. */
let open: (() => void)[] = []
let harness: Harness

beforeAll(async () => {
  const target = {
    model: 'scripted',
    baseUrl: await model.listen(),
    apiKey: 'sk-upstream',
    api: 'chat',
    price,
  } as const
  const keys = ['ann', 'bea', 'cid', 'dan', '*', '__proto__', 'zoë:{1}', 'ü'.repeat(123)]
  harness = await startHarness(unhurried, {
    gateway: {
      models: createModels({ routes: { default: target } }),
      policies: () => [{ file: 'gateway.cedar', text: policy }],
      ...{ lockMs: 60_000, limits: { 'user:bea': { concurrency: 1 } } },
    },
    keys: keys.map((user, i) => ({ id: `k${i}`, tenant: 'acme', user, roles: [] })),
  })
})
afterAll(async () => {
  await harness.close()
  model.close()
})
beforeEach(() => {
  open = []
  model.script = () => new Promise((resolve) => open.push(() => resolve({ text: 'at last' })))
})

const ask = (key: number) =>
  new OpenAI({ apiKey: harness.keys[`k${key}`] ?? '', baseURL: `${harness.url}/v1`, maxRetries: 0 }).chat.completions
    .create({ model: 'default', messages: [{ role: 'user', content: 'hi' }] })
    .then(
      () => 'answered',
      (error: APIError) => error,
    )
const asked = (count: number) =>
  until(
    () => open.length,
    (length) => length === count,
  )
const answer = () => {
  for (const go of open.splice(0)) go()
}

describe('a limit that an operator sets', () => {
  it('holds for requests under way, at once, and lets what waits through where it is raised or removed', async () => {
    const { limits } = harness.muster
    const first = [ask(0), ask(0)]
    await asked(2)
    await limits.set('user:ann', { concurrency: 2 })
    const late = await ask(0)
    expect(late).toBeInstanceOf(RateLimitError)
    expect(String(late)).toContain('limits of user:ann')
    const waiting = [ask(0)]
    await limits.set('user:ann', { concurrency: 3 })
    await asked(3)
    waiting.push(ask(0))
    await limits.remove('user:ann')
    await asked(4)
    answer()
    expect(new Set(await Promise.all([...first, ...waiting]))).toEqual(new Set(['answered']))
  })

  it('wins over that of the deployment with its name, which holds again when it is removed', async () => {
    const { limits } = harness.muster
    await limits.set('user:bea', { concurrency: 2 })
    await limits.set('user:*', { concurrency: 1 })
    const first = [ask(1), ask(1), ask(2)]
    await asked(3)
    await limits.remove('user:bea')
    const [own, others] = await Promise.all([ask(1), ask(2)])
    expect(String(own)).toContain('limits of user:bea')
    expect(String(others)).toContain('limits of user:cid')
    await limits.remove('user:*')
    answer()
    expect(await Promise.all(first)).toEqual(['answered', 'answered', 'answered'])
  })

  it('keeps what was used of a rate: raised or set anew it brings nothing at once', async () => {
    model.script = () => ({ text: 'at once' })
    const { limits } = harness.muster
    const rate = (requestsPerMinute: number) => ({ requestsPerMinute, burstMs: 120_000 })
    await limits.set('user:dan', rate(1))
    expect([await ask(3), await ask(3)]).toEqual(['answered', 'answered'])
    await limits.set('user:dan', rate(4))
    expect(String(await ask(3))).toContain('limits of user:dan')
    await limits.remove('user:dan')
    await limits.set('user:dan', rate(4))
    expect(String(await ask(3))).toContain('limits of user:dan')
    await limits.remove('user:dan')
  })

  it('holds for names of any kind, and for the tenant beside the rest', async () => {
    const { limits } = harness.muster
    const long = `user:${'ü'.repeat(123)}`
    const names = ['user:*', 'user:__proto__', 'user:zoë:{1}', long]
    for (const name of names) await limits.set(name, { concurrency: 1 })
    const users = [4, 5, 6, 7]
    const first = users.map(ask)
    await asked(4)
    const late = await Promise.all(users.map(ask))
    for (const [i, name] of names.entries()) expect(String(late[i])).toContain(`limits of ${name}`)
    await limits.set('tenant', { concurrency: 4 })
    expect(String(await ask(0))).toContain('limits of tenant')
    answer()
    expect(new Set(await Promise.all(first))).toEqual(new Set(['answered']))
    for (const name of [...names, 'tenant']) await limits.remove(name)
  })
})

describe('who may', () => {
  it('set limits: an operator, of its own tenant; each is in the record book', async () => {
    const { muster, people, stranger } = harness
    const wrong = async (work: Promise<unknown>) =>
      work.then(
        () => 'ok',
        ({ code }) => code,
      )
    expect(await wrong(people.ann.limits.set('user:ann', { concurrency: 1 }))).toBe('auth.forbidden')
    expect(await wrong(people.ann.limits.remove('user:ann'))).toBe('auth.forbidden')
    for (const name of ['tool:x', 'user:', 'tenant:acme', 'x', `user:${'x'.repeat(300)}`])
      expect(await wrong(muster.limits.set(name, { concurrency: 1 }))).toBe('request.invalid')
    const values: unknown[] = [{}, { burstMs: 5 }, { concurrency: 0 }, { requestsPerMinute: 1e99 }, { perDay: 5 }, []]
    for (const value of values)
      expect(await wrong(muster.limits.set('user:ann', value as Limit))).toBe('request.invalid')
    expect(await wrong(muster.limits.remove('user:nobody'))).toBe('limit.not_found')
    const limit = { tokensPerMinute: 5000 }
    await muster.limits.set('team:red', limit)
    expect(await people.ann.limits.list()).toMatchObject([{ name: 'team:red', limit, by: 'acme-user' }])
    expect(await stranger.limits.list()).toEqual([])
    await muster.limits.remove('team:red')
    const { records } = await muster.audit.records({ user: 'acme-user', limit: 2 })
    expect(records.map(({ action, about }) => [action, about])).toEqual([
      ['limit.removed', { name: 'team:red' }],
      ['limit.set', { name: 'team:red', limit }],
    ])
  })

  it('see and set them at the command line, and with a key that is made', async () => {
    const { muster, url, key, dir } = harness
    const cli = (...args: string[]) => runCli(args, { MUSTER_HOME: dir, MUSTER_URL: url, MUSTER_KEY: key }, dir)
    const limit = '{"requestsPerMinute":60,"concurrency":4}'
    expect((await cli('limit', 'set', 'user:*', limit)).out).toContain('60 requests a minute, 4 at once')
    expect((await cli('limits')).out).toContain('user:*')
    expect(await cli('limit', 'set', 'user:*', '{"rpm":1}')).toMatchObject({
      code: 1,
      err: expect.stringContaining('rpm'),
    })
    expect(await cli('limit', 'remove', 'user:*')).toMatchObject({ code: 0 })
    expect(await cli('limits')).toMatchObject({ code: 0, out: expect.stringContaining('no limit was set') })
    await cli('key', 'create', 'fast', '--user', 'ann', '--limit', limit)
    expect(await muster.keys.get('fast')).toMatchObject({ limit: JSON.parse(limit) })
    expect(await muster.limits.list()).toMatchObject([{ name: 'key:fast' }])
    expect((await cli('key', 'show', 'fast')).out).toContain('60 requests a minute, 4 at once')
  })
})
