import type { Run } from '@muster/protocol'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { actor, fanOut, lead } from './fixtures/app.ts'
import { ended, type Harness, type Ran, runCli, startHarness, unhurried, until } from './harness.ts'

let harness: Harness
let muster: Harness['muster']

beforeAll(async () => {
  // A model whose price is known.
  harness = await startHarness({
    ...unhurried,
    MUSTER_MODEL: 'gpt-5-mini',
    MUSTER_BUDGETS: JSON.stringify({ 'plan:chain': { month: { runs: 2 } }, 'tenant:other': { day: { usd: 1 } } }),
  })
  muster = harness.muster
  await Promise.all([harness.worker(), harness.worker()])
})
afterEach(async () => {
  for (const name of ['tenant', 'agent:actor', 'plan:fan-out', 'plan:chain'])
    await muster.budgets.remove(name).catch(() => {})
  await heard()
})
afterAll(() => harness.close())

const add = { calls: [{ name: 'math_add', arguments: { a: 1, b: 2 } }] }
const turns = (count: number) => [...Array.from({ length: count }, () => add), { answer: 'done' }]
const over = async (runs: { get(): Promise<Run> }[]) => Promise.all(runs.map((run) => until(run.get, ended, 60_000)))
/** Longer than workers take to hear of a budget. */
const heard = () => new Promise((resolve) => setTimeout(resolve, 1000))
/** Sets a budget that workers know of. */
async function set(...budget: Parameters<typeof muster.budgets.set>): Promise<void> {
  await muster.budgets.set(...budget)
  await heard()
}
const stateOf = async (name: string) => (await muster.budgets.list()).find((one) => one.name === name)

describe('a budget of money', () => {
  it('holds for 64 runs in two workers: what is spent is what the runs cost, and not more than there is', async () => {
    await set('agent:actor', { day: { usd: 0.03 } })
    const runs = await Promise.all(Array.from({ length: 64 }, () => muster.runs.start(actor, { turns: turns(8) })))
    const states = await over(runs)
    const cost = states.reduce((sum, { costUsd }) => sum + costUsd, 0)
    const codes = new Set(states.flatMap(({ error }) => error?.code ?? []))
    const state = await until(
      () => stateOf('agent:actor'),
      (state) => state?.held.usd === 0,
    )
    expect(state?.spent.usd).toBeCloseTo(cost, 6)
    expect(cost).toBeGreaterThan(0)
    expect(cost).toBeLessThanOrEqual(0.03)
    // None failed but for want of money.
    expect([...codes]).toEqual(['budget.exceeded'])
  })

  it('of a run holds for all that it begins side by side', async () => {
    const limits = { usd: 0.013 }
    const ask = { name: 'ask_actor', arguments: { turns: turns(6) } }
    const input = { turns: [{ calls: Array.from({ length: 12 }, () => ask) }, { answer: 'all asked' }] }
    const { id } = await muster.request<Run>('POST', '/v1/runs', { agent: lead.name, input, limits })
    const [root] = await over([muster.runs.of(id)])
    const { runs } = await muster.runs.list({ name: 'actor', limit: 100 })
    const children = await over(runs.filter(({ parent }) => parent?.run === id).map(({ id }) => muster.runs.of(id)))
    expect(children).toHaveLength(12)
    const cost = children.reduce((sum, { costUsd }) => sum + costUsd, 0)
    expect(cost).toBeLessThanOrEqual(limits.usd)
    expect(root?.costUsd).toBeLessThanOrEqual(limits.usd)
    expect(children.some(({ error }) => error?.code === 'budget.exceeded')).toBe(true)
    const failed = children.find(({ error }) => error?.code === 'budget.exceeded')
    expect(failed?.error?.message).toMatch(/the budget of run|the run has cost/)
  })
})

describe('a budget of steps', () => {
  it('is used up to the last one, over all workers', async () => {
    await set('plan:fan-out', { day: { steps: 300 } })
    const runs = await Promise.all(Array.from({ length: 20 }, () => muster.runs.start(fanOut, { n: 30, ms: 0 })))
    const states = await over(runs)
    expect(new Set(states.flatMap(({ error }) => error?.code ?? []))).toEqual(new Set(['budget.exceeded']))
    const state = await until(
      () => stateOf('plan:fan-out'),
      (state) => state?.held.steps === 0,
      30_000,
    )
    expect(state?.spent.steps).toBe(300)
    const message = states.find(({ error }) => error)?.error?.message
    expect(message).toMatch(/the day's budget of plan:fan-out \(until .*T00:00:00.000Z\): 300 of 300 steps used/)
  })
})

describe('a quota of runs', () => {
  it('refuses the next until the period is over; what was begun before under the same key does not count', async () => {
    const post = (key: string) =>
      fetch(`${harness.url}/v1/runs`, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${harness.key}`,
          'content-type': 'application/json',
          'idempotency-key': key,
        },
        body: JSON.stringify({ plan: 'chain', input: { n: 1, ms: 0 } }),
      })
    expect((await post('a')).status).toBe(201)
    expect((await post('a')).status).toBe(200)
    expect((await post('b')).status).toBe(201)
    const refused = await post('c')
    expect(refused.status).toBe(429)
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
    expect(await refused.json()).toMatchObject({
      code: 'quota.exceeded',
      detail: expect.stringMatching(/^the month's budget of plan:chain \(until .*\): 2 of 2 runs begun$/),
    })
    const batch = await muster.request<{ results: { error?: { code: string } }[] }>('POST', '/v1/runs/batch', {
      runs: [{ plan: 'chain', input: { n: 1, ms: 0 } }],
    })
    expect(batch.results).toMatchObject([{ error: { code: 'quota.exceeded' } }])
    expect((await stateOf('plan:chain'))?.spent.runs).toBe(2)
  })
})

describe('who may', () => {
  it('set budgets: an operator of the tenant; others see their own', async () => {
    await expect(harness.people.ann.budgets.set('tenant', { day: { usd: 1 } })).rejects.toMatchObject({
      code: 'auth.forbidden',
    })
    await muster.budgets.set('tenant', { day: { usd: 5 }, month: { tokens: 1000 } })
    expect(await harness.stranger.budgets.list()).toMatchObject([
      { name: 'plan:chain', spent: { runs: 0 } },
      { name: 'tenant', limits: { usd: 1 } },
    ])
    expect((await harness.people.ann.budgets.list()).map(({ name, period }) => `${name} ${period}`)).toEqual([
      ...['plan:chain month', 'tenant day', 'tenant month'],
    ])
    await expect(muster.budgets.set('tool:x', { day: { usd: 1 } })).rejects.toMatchObject({ code: 'request.invalid' })
    await expect(muster.budgets.set('tenant', {} as never)).rejects.toMatchObject({ code: 'request.invalid' })
    await expect(muster.budgets.set('tenant', { day: { usd: -1 } })).rejects.toMatchObject({
      issues: [{ path: '/day/usd' }],
    })
    await expect(muster.budgets.remove('agent:nobody')).rejects.toMatchObject({ code: 'budget.not_found' })
  })

  it('see them at the command line', async () => {
    expect(await command('budget', 'set', 'agent:actor', '{"day":{"usd":2.5}}')).toMatchObject({ code: 0 })
    expect(await command('budgets')).toMatchObject({ code: 0, out: expect.stringContaining('$2.5000 a day') })
    expect(await command('budget', 'set', 'agent:actor', '{"day":{"eur":2.5}}')).toMatchObject({
      code: 1,
      err: expect.stringContaining('eur'),
    })
    expect(await command('budget', 'remove', 'agent:actor')).toMatchObject({ code: 0 })
    expect(JSON.parse((await command('budgets', '--json')).out)).toMatchObject({ budgets: [{ name: 'plan:chain' }] })
  })
})

function command(...args: string[]): Promise<Ran> {
  return runCli(args, { MUSTER_URL: harness.url, MUSTER_KEY: harness.key })
}
