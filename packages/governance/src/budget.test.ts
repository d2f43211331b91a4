import { type Limits, MusterError } from '@muster/protocol'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { budgetsOf, checkBudget, type Spent, tightest } from './budget.ts'

const spent = (part: Partial<Spent> = {}): Spent => ({ usd: 0, tokens: 0, steps: 0, startedAt: 0, ...part })

function refusal(...args: Parameters<typeof checkBudget>): string | undefined {
  try {
    checkBudget(...args)
    return undefined
  } catch (error) {
    return error instanceof MusterError ? error.code : String(error)
  }
}

describe('checkBudget', () => {
  it('lets everything pass without limits', () => {
    expect(refusal({}, spent({ usd: 1e9, tokens: 1e9, steps: 1e6 }), 1e15)).toBeUndefined()
  })

  it.each<[string, Limits, Partial<Spent>, number, number, string | undefined]>([
    ['the last step', { steps: 3 }, { steps: 2 }, 0, 0, undefined],
    ['a step more', { steps: 3 }, { steps: 3 }, 0, 0, 'budget.exceeded'],
    ['the last token', { tokens: 10 }, { tokens: 9 }, 0, 0, undefined],
    ['a call after the last token', { tokens: 10 }, { tokens: 10 }, 0, 0, 'budget.exceeded'],
    ['a call that may just use up the money', { usd: 1 }, { usd: 0.5 }, 0, 0.5, undefined],
    ['a call that may cost more than is left', { usd: 1 }, { usd: 0.5 }, 0, 0.51, 'budget.exceeded'],
    ['the last millisecond', { wallTimeMs: 100 }, { startedAt: 50 }, 150, 0, undefined],
    ['a millisecond more', { wallTimeMs: 100 }, { startedAt: 50 }, 151, 0, 'run.deadline'],
  ])('judges %s', (_, limits, used, now, reserve, code) => {
    expect(refusal(limits, spent(used), now, reserve)).toBe(code)
  })

  it('never lets what was spent and reserved exceed the limit, whatever the calls cost up to their reservation', () => {
    const call = fc.record({
      reserve: fc.double({ min: 0, max: 2, noNaN: true }),
      part: fc.double({ min: 0, max: 1, noNaN: true }),
    })
    fc.assert(
      fc.property(fc.double({ min: 0.01, max: 5, noNaN: true }), fc.array(call), (usd, calls) => {
        const used = spent()
        for (const { reserve, part } of calls)
          if (refusal({ usd }, used, 0, reserve) === undefined) used.usd += reserve * part
        expect(used.usd).toBeLessThanOrEqual(usd)
      }),
      { seed: 3 },
    )
  })
})

describe('tightest', () => {
  const some = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined })
  const limit = some(fc.integer({ min: 1, max: 5 }))
  const limits = fc
    .record({ usd: limit, steps: limit, tokens: limit, wallTimeMs: limit })
    .map((of): Limits => Object.fromEntries(Object.entries(of).filter(([, value]) => value !== undefined)))

  it('allows nothing that either forbids, and forbids nothing that both allow', () => {
    const used = fc.record({ usd: fc.nat(6), tokens: fc.nat(6), steps: fc.nat(6), startedAt: fc.constant(0) })
    fc.assert(
      fc.property(limits, limits, used, fc.nat(6), (a, b, used, now) => {
        const both = refusal(a, used, now) === undefined && refusal(b, used, now) === undefined
        expect(refusal(tightest(a, b), used, now) === undefined).toBe(both)
        expect(tightest(a, b)).toEqual(tightest(b, a))
      }),
      { seed: 4, numRuns: 500 },
    )
  })
})

describe('budgetsOf', () => {
  const at = Date.UTC(2026, 11, 31, 23, 59)
  const names = ['tenant', 'agent:clerk']

  it('takes of what is configured and what was set the tighter, amount by amount', () => {
    const configured = {
      'tenant:*': { day: { usd: 5, steps: 10 } },
      'tenant:acme': { day: { usd: 9 } },
      'agent:*': { month: { tokens: 100 } },
    }
    const set = new Map([
      ['tenant', { day: { usd: 20, runs: 3 } }],
      ['agent:clerk', { day: { usd: 1 }, month: { tokens: 50 } }],
    ])
    const limits = (tenant: string) =>
      budgetsOf(configured, set, tenant, names, at).map(({ name, period, limits }) => [name, period, limits])
    expect(limits('acme')).toEqual([
      ['tenant', 'day', { usd: 9, runs: 3 }],
      ['agent:clerk', 'day', { usd: 1 }],
      ['agent:clerk', 'month', { tokens: 50 }],
    ])
    expect(limits('other')[0]).toEqual(['tenant', 'day', { usd: 5, steps: 10, runs: 3 }])
    expect(budgetsOf({}, undefined, 'acme', names, at)).toEqual([])
  })

  it('counts by the days and months of UTC', () => {
    const every = { 'tenant:*': { day: { usd: 1 }, month: { usd: 1 } } }
    expect(budgetsOf(every, undefined, 'acme', ['tenant'], at)).toMatchObject([
      { period: 'day', date: '2026-12-31', endsAt: Date.UTC(2027, 0, 1) },
      { period: 'month', date: '2026-12', endsAt: Date.UTC(2027, 0, 1) },
    ])
  })
})
