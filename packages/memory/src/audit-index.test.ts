import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { type AuditFilter, type AuditHit, newId } from '@muster/protocol'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { type Memory, openMemory } from './memory.ts'
import { hasJava, startDynalite, startLocal, type TestServer } from './test-server.ts'

const HOUR_MS = 3_600_000

let memory: Memory

/** All pages, each of which says where the next begins. */
async function searched(tenant: string, filter: AuditFilter, limit: number): Promise<AuditHit[]> {
  const hits: AuditHit[] = []
  for (let cursor: string | undefined; ; ) {
    const page = await memory.auditIndex.search(tenant, filter, { limit, cursor })
    expect(page.hits.length).toBeLessThanOrEqual(limit)
    hits.push(...page.hits)
    cursor = page.cursor
    if (cursor === undefined) return hits
  }
}

const idOf = ({ run, seq }: AuditHit) => `${run}/${seq}`

/** The order that pages promise. */
function newestFirst(a: AuditHit, b: AuditHit): number {
  const hours = Math.floor(b.at / HOUR_MS) - Math.floor(a.at / HOUR_MS)
  return hours || (a.run === b.run ? b.seq - a.seq : a.run < b.run ? 1 : -1)
}

/** The filter as its words say it, one word after the other: written apart from the index. */
function holds(hit: AuditHit, filter: AuditFilter): boolean {
  const tests: { [K in keyof AuditFilter]-?: (wanted: NonNullable<AuditFilter[K]>) => boolean } = {
    person: (user) => [hit.by, ...hit.approvers].includes(user),
    by: (user) => hit.by === user,
    approver: (user) => hit.approvers.includes(user),
    name: (name) => hit.name === name,
    tool: (tool) => hit.kind === 'tool' && hit.target === tool,
    resource: (target) => hit.kind !== 'run' && hit.target === target,
    decision: (effect) => hit.decisions.includes(effect),
    policy: (policy) => hit.policies.includes(policy),
    label: (label) => hit.labels.includes(label),
    error: (code) => hit.error === code,
    status: (status) => hit.status === status,
    field: () => true,
    min: (min) => (hit.amounts?.[filter.field ?? 'amount'] ?? Number.NaN) >= min,
    max: (max) => (hit.amounts?.[filter.field ?? 'amount'] ?? Number.NaN) <= max,
    since: (at) => hit.at >= at,
    until: (at) => hit.at < at,
  }
  return Object.entries(filter).every(([name, wanted]) => tests[name as keyof AuditFilter](wanted as never)) // each by its name
}

const some = <T>(...values: T[]) => fc.constantFrom(...values)
const at = fc.integer({ min: 1_700_000_000_000, max: 1_700_000_000_000 + 5 * HOUR_MS })
const amount = fc.integer({ min: 0, max: 5 })
const list = <T>(...values: T[]) => fc.uniqueArray(some(...values), { maxLength: 2 })
const step = fc.record({
  ...{ at, step: some('a', 'b'), kind: some('tool', 'model', 'run'), target: some('pay', 'look', 'a#b') },
  ...{ status: some('ok', 'failed', 'denied'), decisions: list<'allow' | 'deny' | 'ask'>('allow', 'deny', 'ask') },
  ...{ policies: list('p', 'q'), labels: list('pii', 'untrusted'), approvers: list('bob', 'cid') },
  amounts: fc.option(fc.record({ amount, other: amount }, { requiredKeys: [] }), { nil: undefined }),
  error: fc.option(some('tool.failed', 'policy.denied'), { nil: undefined }),
})
const runs = fc.array(
  fc.record({ by: some('ann', 'bob'), name: some('clerk', 'plan'), steps: fc.array(step, { maxLength: 25 }) }),
  {
    maxLength: 6,
  },
)
const filter = fc.record(
  {
    ...{
      person: some('ann', 'bob', 'cid'),
      by: some('ann', 'bob'),
      approver: some('bob', 'cid'),
      name: some('clerk', 'plan'),
    },
    ...{ tool: some('pay', 'a#b', 'none'), resource: some('pay', 'look'), policy: some('p', 'q') },
    ...{ decision: some('allow' as const, 'deny' as const, 'ask' as const), label: some('pii', 'untrusted') },
    ...{ error: some('tool.failed', 'policy.denied'), status: some('ok' as const, 'failed' as const) },
    ...{ field: some('amount', 'other'), min: amount, max: amount, since: at, until: at },
  },
  { requiredKeys: [] },
)

let tenants = 0

/** A tenant of its own with these runs, and their hits. */
async function filled(
  given: { by: string; name: string; steps: object[] }[],
): Promise<[tenant: string, hits: AuditHit[]]> {
  const tenant = `t${tenants++}`
  const all = given.map(({ by, name, steps }): AuditHit[] => {
    const run = newId()
    const hits = steps.map((step, i) => ({ run, seq: i + 1, version: '1', by, name, ...step }) as AuditHit)
    return JSON.parse(JSON.stringify(hits))
  })
  // As it comes while the runs go on, and what was slower than the rest.
  const half = all.map((hits) => hits.slice(0, hits.length / 2))
  for (const hits of half) await memory.auditIndex.put(tenant, hits)
  for (const parts of [all, [...half, ...all]]) {
    const done = await memory.auditIndex.putMany(parts.map((hits) => ({ tenant, hits })))
    expect(done.map(({ status }) => status)).toEqual(parts.map(() => 'fulfilled'))
  }
  return [tenant, all.flat()]
}

const servers = { dynalite: startDynalite, ...(hasJava() ? { 'DynamoDB Local': startLocal } : {}) }

describe.each(Object.entries(servers))('the audit index on %s', (_, start) => {
  let server: TestServer
  beforeAll(async () => {
    server = await start()
    memory = await openMemory({ table: 'audit', endpoint: server.endpoint })
  })
  afterAll(async () => {
    memory.close()
    await server.stop()
  })

  it('finds what a scan of everything finds, in the promised order, whatever the pages', async () => {
    await fc.assert(
      fc.asyncProperty(
        runs,
        fc.array(filter, { minLength: 3, maxLength: 6 }),
        fc.integer({ min: 1, max: 9 }),
        async (given, filters, limit) => {
          const [tenant, hits] = await filled(given)
          for (const one of [{}, ...filters]) {
            const wanted = hits.filter((hit) => holds(hit, one)).sort(newestFirst)
            expect((await searched(tenant, one, limit)).map(idOf)).toEqual(wanted.map(idOf))
          }
        },
      ),
      { seed: 11, numRuns: 25 },
    )
  })

  it('has steps of times that no clock has told', async () => {
    const [tenant, hits] = await filled([
      {
        ...{ by: 'ann', name: 'clerk' },
        steps: [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER].map((at) => ({
          ...{ at, step: 'a', kind: 'tool', target: 'pay', status: 'ok' },
          ...{ decisions: [], policies: [], labels: [], approvers: [] },
        })),
      },
    ])
    expect((await searched(tenant, {}, 9)).map(idOf)).toEqual(hits.reverse().map(idOf))
  })

  it('says the same when it is written twice, and nothing to another tenant', async () => {
    const hit = {
      at: 1,
      step: 'a',
      kind: 'tool',
      target: 'pay',
      status: 'ok',
      decisions: ['allow'],
      policies: ['p'],
      labels: [],
      approvers: [],
    }
    const [tenant, hits] = await filled([{ by: 'ann', name: 'clerk', steps: [hit, hit] }])
    await memory.auditIndex.put(tenant, hits)
    expect((await searched(tenant, { tool: 'pay' }, 10)).map(({ seq }) => seq)).toEqual([2, 1])
    expect(await searched(`${tenant}x`, {}, 10)).toEqual([])
  })

  it('takes nothing back of what was put in place of it, and fails those alone that cannot be put', async () => {
    const step = { at: 1, step: 'a', kind: 'tool', target: 'pay', status: 'ok', approvers: [], amounts: { amount: 7 } }
    const lists = { decisions: [], policies: [], labels: [] }
    const [tenant, hits] = await filled([{ by: 'ann', name: 'clerk', steps: [{ ...step, ...lists }] }])
    const without = hits.map(({ amounts: _amounts, ...hit }) => hit)
    await memory.auditIndex.replace(tenant, without)
    const later = hits.map((hit) => ({ ...hit, run: newId() }))
    const done = await memory.auditIndex.putMany([
      { tenant, hits },
      { tenant: 'x'.repeat(3000), hits },
      { tenant, hits: later },
    ])
    expect(done).toMatchObject([
      { status: 'fulfilled' },
      { status: 'rejected', reason: { code: 'memory.too_large' } },
      { status: 'fulfilled' },
    ])
    expect(await searched(tenant, {}, 9)).toEqual([...later, ...without])
  })

  it('has no more than some requests under way, however many runs are put at once', async () => {
    const [tenant, [hit]] = await filled([
      {
        ...{ by: 'ann', name: 'clerk' },
        steps: [
          {
            ...{ at: 1, step: 'a', kind: 'tool', target: 'pay', status: 'ok', decisions: [], policies: [] },
            ...{ labels: [], approvers: [] },
          },
        ],
      },
    ])
    let [now, most] = [0, 0]
    const real = DynamoDBClient.prototype.send
    const send = vi.spyOn(DynamoDBClient.prototype, 'send')
    send.mockImplementation(async function (this: DynamoDBClient, ...args: unknown[]) {
      most = Math.max(most, ++now)
      return Reflect.apply(real, this, args).finally(() => now--)
    } as never)
    const puts = Array.from({ length: 40 }, () => ({ tenant, hits: hit ? [{ ...hit, run: newId() }] : [] }))
    await memory.auditIndex.putMany(puts)
    send.mockRestore()
    expect(most).toBe(32)
    expect(await searched(tenant, {}, 50)).toHaveLength(41)
  })

  it('looks at so many for a page, and says where to go on though it found nothing', async () => {
    const steps = Array.from({ length: 700 }, (_, i) => ({
      ...{ at: 1, step: `s${i}`, kind: 'tool', target: 'pay', status: 'ok', decisions: [], policies: [], labels: [] },
      ...{ approvers: [], amounts: { amount: i } },
    }))
    const [tenant] = await filled([{ by: 'ann', name: 'clerk', steps }])
    const first = await memory.auditIndex.search(tenant, { tool: 'pay', max: 0 }, { limit: 5 })
    expect(first).toMatchObject({ hits: [], scanned: 300, cursor: expect.any(String) })
    const second = await memory.auditIndex.search(tenant, { tool: 'pay', max: 0 }, { limit: 5, cursor: first.cursor })
    expect(second).toMatchObject({ hits: [], scanned: 300, cursor: expect.any(String) })
    const third = await memory.auditIndex.search(tenant, { tool: 'pay', max: 0 }, { limit: 5, cursor: second.cursor })
    expect(third).toMatchObject({ hits: [{ step: 's0' }], scanned: 100 })
    expect(third.cursor).toBeUndefined()
  })

  it('asks for no more items where a page takes long, and goes on from there', async () => {
    const steps = Array.from({ length: 60 }, (_, i) => ({
      ...{ at: i * HOUR_MS, step: `s${i}`, kind: 'tool', target: 'pay', status: 'ok', decisions: [], policies: [] },
      ...{ labels: [], approvers: [], amounts: { amount: i } },
    }))
    const [tenant] = await filled([{ by: 'ann', name: 'clerk', steps }])
    let now = 0
    const slow = await openMemory({ table: 'audit', endpoint: server.endpoint, clock: () => (now += 100) })
    const first = await slow.auditIndex.search(tenant, { tool: 'pay', max: 5 }, { limit: 9 })
    expect(first).toMatchObject({ hits: [], scanned: 50, cursor: expect.any(String) })
    const second = await slow.auditIndex.search(tenant, { tool: 'pay', max: 5 }, { limit: 9, cursor: first.cursor })
    expect(second.hits.map(({ step }) => step)).toEqual(['s5', 's4', 's3', 's2', 's1', 's0'])
    expect(second.cursor).toBeUndefined()
    slow.close()
    // What is not filtered is asked for once for a page, wherever the page before ended.
    const send = vi.spyOn(DynamoDBClient.prototype, 'send')
    let cursor: string | undefined
    for (let page = 1; page <= 4; page++) {
      const { hits, ...next } = await memory.auditIndex.search(tenant, { tool: 'pay' }, { limit: 9, cursor })
      expect([hits.length, send.mock.calls.length]).toEqual([9, page])
      cursor = next.cursor
    }
    send.mockRestore()
  })

  it('refuses a cursor that no page gave', async () => {
    await expect(memory.auditIndex.search('t', {}, { limit: 1, cursor: 'x' })).rejects.toMatchObject({
      code: 'request.invalid',
      issues: [{ path: '/cursor' }],
    })
  })

  it('takes names of any length: what is too long to be asked for is not found by them', async () => {
    const hit = {
      at: 1,
      step: 'a',
      kind: 'tool',
      target: 'x'.repeat(5000),
      status: 'ok',
      decisions: ['deny'],
      policies: [],
      labels: [],
      approvers: [],
    }
    const [tenant] = await filled([{ by: 'ann', name: 'clerk', steps: [hit] }])
    expect(await searched(tenant, { person: 'ann', decision: 'deny' }, 10)).toHaveLength(1)
  })
})
