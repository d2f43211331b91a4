import type { Budget, BudgetAmounts, RunEvent } from '@muster/protocol'
import { describe, expect, it } from 'vitest'
import { TenantBudgets } from './tenant-budgets.ts'

const noon = Date.UTC(2026, 10, 28, 12)
const HOUR = 3_600_000
const DAY = 24 * HOUR

interface Call {
  at: number
  tokens?: number
  usd?: number
  kind?: string
  copied?: object
  run?: string
  worker?: string
  plan?: string
  user?: string
  durationMs?: number
  waits?: boolean
  /** What the run was begun by, besides a person. */
  begunBy?: object
}

/** What an auditor would read of these calls, each a run of its own unless it is said. */
function judged(
  calls: readonly Call[],
  set: readonly { at: number; name?: string; budget?: Budget; told?: object; by?: string }[],
  { stated, ...manifest }: { stated?: BudgetAmounts; scope?: object; missing?: string[]; exportedAt?: string } = {},
) {
  const budgets = stated ? [{ name: 'tenant', period: 'day', limits: stated }] : []
  const about = { exportedAt: new Date(noon + HOUR).toISOString(), scope: { kind: 'tenant' }, missing: [] }
  const found = new TenantBudgets({ ...about, budgets, ...manifest })
  for (const [i, { at, name = 'tenant', budget, told, by: key = 'w' }] of set.entries()) {
    const by = told ? { key, user: 'muster', service: true } : { key: 'k', user: 'ann' }
    const action = told ? 'policy.used' : budget ? 'budget.set' : 'budget.removed'
    const about = told ? { set: 's', budgets: told } : { name, ...(budget ? { budget } : {}) }
    const record = { v: 1, seq: i + 1, tenant: 'acme', at, by, action, about }
    found.record(JSON.stringify(record))
  }
  for (const [
    i,
    { run = `r${i}`, plan = 'p', user = 'ann', worker = 'w', at, kind = 'model', copied, durationMs = 10, ...used },
  ] of calls.entries()) {
    const subject = { step: `s${i}`, kind, target: 'm', attempt: 1, labels: [] }
    const usage = { inputTokens: used.tokens ?? 0, outputTokens: 0, cachedTokens: 0 }
    const ended = { type: 'step.ended', ...subject, status: 'ok', durationMs, usage, costUsd: used.usd ?? 0 }
    for (const entry of [
      {
        type: 'run.created',
        definition: { kind: 'plan', name: plan },
        by: { key: 'k', user, team: 'blue' },
        ...used.begunBy,
      },
      { type: 'run.activated', worker },
      { type: 'step.intent', ...subject, at },
      ...(used.waits ? [{ type: 'step.waiting', ...subject, for: 'callback' }] : []),
      { ...ended, at: at + durationMs, ...(copied ? { copied } : {}) },
    ])
      found.take(run, { seq: 1, hash: '', entry: { seq: 1, at, ...entry } } as unknown as RunEvent)
  }
  return found.findings()
}

const day = (limits: BudgetAmounts): Budget => ({ day: limits })
const calls = (count: number, call: Partial<Call> = {}, everyMs = 60_000): Call[] =>
  Array.from({ length: count }, (_, i) => ({ at: noon + i * everyMs, tokens: 10, usd: 0.1, ...call }))
const before = noon - DAY

describe('budgets of a tenant, worked out anew', () => {
  it('hold where they are used up, and one call in flight for each worker', () => {
    expect(judged(calls(10), [{ at: before, budget: day({ tokens: 100, usd: 1, steps: 10 }) }])).toEqual([])
    expect(judged(calls(11), [{ at: before, budget: day({ tokens: 100 }) }])).toEqual([])
    const two = calls(12).map((call, i) => ({ ...call, worker: `w${i % 2}` }))
    expect(judged(two, [{ at: before, budget: day({ tokens: 100 }) }])).toEqual([])
  })

  it.each<[string, BudgetAmounts, string]>([
    ['tokens', { tokens: 100 }, '120 of 100 tokens'],
    ['money', { usd: 1 }, '$1.2000 of $1 usd'],
    ['steps', { steps: 10 }, '12 of 10 steps'],
  ])('are broken by more: %s', (_, limits, said) => {
    const found = judged(calls(12), [{ at: before, budget: day(limits) }])
    expect(found).toEqual([{ run: 'r11', seq: 1, message: expect.stringContaining(said) }])
    expect(found[0]?.message).toContain("the day's budget of tenant (2026-11-28)")
  })

  it('begin anew with each day and month of UTC', () => {
    const days = [0, 1, 2].flatMap((n) => calls(5).map((call) => ({ ...call, at: call.at - n * DAY })))
    expect(judged(days, [{ at: before - 9 * DAY, budget: day({ tokens: 50 }) }])).toEqual([])
    const month = judged(days, [{ at: before - 9 * DAY, budget: { month: { tokens: 130 } } }])
    expect(month).toEqual([
      expect.objectContaining({ message: expect.stringContaining("month's budget of tenant (2026-11)") }),
    ])
    const border = Date.UTC(2026, 10, 28)
    const atBorder = calls(12).map((call, i) => ({ ...call, at: border - 3000 + 500 * i }))
    expect(judged(atBorder, [{ at: before - DAY, budget: day({ tokens: 10 }) }])).toEqual([])
  })

  it('hold from when they were set until they were removed', () => {
    const budget = day({ tokens: 10 })
    expect(judged(calls(12), [{ at: noon + DAY, budget }])).toEqual([])
    expect(judged(calls(12), [{ at: before, budget }, { at: noon - HOUR }])).toEqual([])
    expect(judged(calls(12), [{ at: noon + 6 * 60_000, budget }])).toMatchObject([{ run: 'r9' }])
    const raised = [
      { at: before, budget },
      { at: noon - HOUR, budget: day({ tokens: 120 }) },
    ]
    expect(judged(calls(12), raised)).toEqual([])
    expect(
      judged(
        calls(12),
        [...raised].reverse().map(({ budget }, i) => ({ at: before + i, budget })),
      ),
    ).toHaveLength(1)
  })

  it('are those of the agent or plan that spends', () => {
    const mixed = calls(24).map((call, i) => ({ ...call, plan: i % 2 ? 'p' : 'q' }))
    const of = (name: string, tokens: number) => judged(mixed, [{ at: before, name, budget: day({ tokens }) }])
    expect(of('plan:p', 120)).toEqual([])
    expect(of('plan:p', 90)).toMatchObject([{ message: expect.stringContaining('plan:p') }])
    expect(of('agent:p', 1)).toEqual([])
  })

  it('are those of the user, the key and the team that began what spends', () => {
    const mixed = calls(24).map((call, i) => ({ ...call, user: i % 2 ? 'bob' : 'ann' }))
    const budget = day({ tokens: 100 })
    expect(judged(mixed, [{ at: before, name: 'user:bob', budget }])).toMatchObject([{ run: 'r23' }])
    expect(judged(mixed, [{ at: before, name: 'user:cid', budget }])).toEqual([])
    for (const name of ['key:k', 'team:blue'])
      expect(judged(mixed, [{ at: before, name, budget }])).toMatchObject([{ run: 'r11' }])
  })

  it('of runs are broken by one more that was begun over the API, and not by those of schedules and other runs', () => {
    const set = (runs: number) => [{ at: before, budget: day({ runs }) }]
    expect(judged(calls(12), set(12))).toEqual([])
    const found = judged(calls(12), set(11))
    expect(found).toEqual([{ run: 'r11', seq: 1, message: expect.stringContaining('12 of 11 runs spent') }])
    for (const begunBy of [{ parent: { run: 'r', step: 's' } }, { schedule: { id: 'i', at: 1 } }])
      expect(judged(calls(12, { begunBy }), set(1))).toEqual([])
    // What was begun before there was a quota does not count.
    expect(judged(calls(12), [{ at: noon + 6.5 * 60_000, budget: day({ runs: 5 }) }])).toEqual([])
    expect(judged(calls(12), [{ at: noon + 6.5 * 60_000, budget: day({ runs: 4 }) }])).toMatchObject([{ run: 'r11' }])
  })

  it('of time are broken by a step that began long after others had used it up', () => {
    const set = [{ at: before, budget: day({ wallTimeMs: 100_000 }) }]
    const long = { durationMs: 30_000 }
    // One call in flight, and what a worker has set aside, may come on top.
    expect(judged(calls(5, long), set)).toEqual([])
    const found = judged(calls(12, long), set)
    expect(found).toEqual([{ run: 'r5', seq: 1, message: expect.stringContaining('150000 of 100000 wallTimeMs') }])
    // Those that were under way at the same time may all have begun while there was some left.
    expect(judged(calls(12, long, 1000), set)).toEqual([])
    expect(judged(calls(12, { ...long, waits: true }), set)).toEqual([])
    expect(judged(calls(12, { ...long, kind: 'agent' }), set)).toEqual([])
  })

  it('do not count twice what a child run cost, nor what a fork took over', () => {
    const set = [{ at: before, budget: day({ tokens: 20, usd: 0.2 }) }]
    expect(judged(calls(12, { kind: 'agent' }), set)).toEqual([])
    expect(judged(calls(12, { copied: { run: 'r', seq: 1 } }), set)).toEqual([])
  })

  it('of the deployment hold in the period of the export, and cannot be told for earlier ones', () => {
    expect(judged(calls(12), [], { stated: { tokens: 100 } })).toMatchObject([{ run: 'r11' }])
    const earlier = calls(12).map((call) => ({ ...call, at: call.at - DAY }))
    const found = judged(earlier, [], { stated: { tokens: 100 } })
    expect(found).toEqual([
      { unknown: true, message: "the day's budget of tenant in 2026-11-27: no record says what it was for w" },
    ])
    // Where the workers told of them, the record book does.
    const told = (budgets: object, stated?: BudgetAmounts) =>
      judged(earlier, [{ at: before, told: budgets }], stated ? { stated } : {})
    expect(told({ 'tenant:*': { day: { tokens: 100 } } })).toMatchObject([{ run: 'r11' }])
    expect(told({ 'tenant:acme': { day: { tokens: 120 } }, 'tenant:*': { day: { tokens: 1 } } })).toEqual([])
    expect(told({ 'plan:*': { day: { steps: 10 } } }, { tokens: 1 })).toMatchObject([{ run: 'r11' }])
    expect(told({}, { tokens: 1 })).toEqual([])
    expect(told({ 'tenant:*': { day: { tokens: -1 } } }, { tokens: 100 })).toEqual(found)
    // Where an operator set them, the record book tells.
    const set = [{ at: before - DAY, budget: day({ tokens: 100 }) }]
    expect(judged(earlier, set, { stated: { tokens: 100 } })).toMatchObject([{ run: 'r11' }])
  })

  it('of the deployment are of runs, too: as the workers around told, and else it is said what is not known', () => {
    const earlier = calls(12).map((call) => ({ ...call, at: call.at - DAY }))
    const quota = (runs?: number) => ({ 'tenant:*': { day: runs === undefined ? { usd: 99 } : { runs } } })
    const told = (...said: [at: number, runs?: number, by?: string][]) =>
      judged(
        earlier,
        said.map(([at, runs, by = 'w']) => ({ at, told: quota(runs), by })),
        { stated: { runs: 11 } },
      )
    expect(told([before - HOUR, 11])).toMatchObject([{ run: 'r11', message: expect.stringContaining('12 of 11 runs') }])
    expect(told([before - HOUR, 12])).toEqual([])
    // Servers may have begun with what was raised before a worker had a run to tell of it.
    expect(told([before - HOUR, 11], [before + DAY / 2, 12, 'v'])).toEqual([])
    expect(told([before - HOUR, 12], [before + 6.5 * 60_000, 11, 'v'])).toEqual([])
    expect(told([before - HOUR], [before + 6.5 * 60_000, 5, 'v'])).toEqual([])
    expect(told([before - 2 * HOUR, 12, 'v'], [before - HOUR, 11])).toMatchObject([{ run: 'r11' }])
    const unknown =
      "the day's budget of tenant, the runs begun in 2026-11-27: no record of then says how many the deployment allowed"
    expect(told()).toEqual([{ unknown: true, message: unknown }])
    expect(told([before + DAY / 2, 5])).toEqual([{ unknown: true, message: unknown }])
    // A quota that was lowered later the same day broke nothing before.
    const today = [{ at: noon - HOUR, told: quota(12) }]
    expect(judged(calls(12), today, { stated: { runs: 5 } })).toEqual([])
    expect(judged(calls(13), today, { stated: { runs: 5 } })).toMatchObject([{ run: 'r12' }])
  })

  it('cannot be told from a part of the runs, nor without the manifest', () => {
    const set = [{ at: before, budget: day({ tokens: 1 }) }]
    expect(judged(calls(12), set, { scope: { kind: 'range' } })).toMatchObject([{ unknown: true }])
    const missing = judged(calls(12), set, { missing: ['r'] })
    expect(missing.map(({ unknown }) => unknown)).toEqual([true, undefined])
    expect(new TenantBudgets(undefined).findings()).toMatchObject([{ unknown: true }])
    expect(judged(calls(12), [])).toEqual([])
  })

  it('bear what no run can have written', () => {
    const odd = [{ at: 8.6e15 }, { at: -1e300 }, { at: 1e300 }].map((call) => ({ tokens: 1, ...call }))
    expect(judged(odd, [{ at: before, budget: day({ tokens: 1 }) }])).toEqual([])
    const budgets = new TenantBudgets({})
    for (const bytes of ['', '{', 'null', '{"action":"budget.set"}']) budgets.record(bytes)
    expect(budgets.findings()).toMatchObject([{ unknown: true }])
  })
})
