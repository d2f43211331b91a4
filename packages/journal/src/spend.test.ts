import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { journalsOf } from './fixture.ts'
import type { Journal } from './journal.ts'
import { type Amounts, Spend, type SpendAccount } from './spend.ts'

const journals = journalsOf('spend', 4)
let accounts = 0

const NONE: Amounts = [-1, -1, -1, -1, -1]
const usd = (amount: number): Amounts => [amount, 0, 0, 0, 0]
const account = (limits: Amounts): SpendAccount => ({ tenant: 't', name: `a${accounts++}`, limits, keptS: 60 })
const later = () => Date.now() + 60_000
/** Who asks at the same time, over several connections as several processes would. */
const spenders = (count: number) => Array.from({ length: count }, (_, i) => new Spend(journals[i % 4] as Journal))

describe('64 spenders at once', () => {
  it('never use more than there is, whatever each call is thought to cost and costs', async () => {
    const calls = fc.array(fc.tuple(fc.integer({ min: 1, max: 50 }), fc.double({ min: 0, max: 1, noNaN: true })), {
      minLength: 1,
      maxLength: 6,
    })
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 50, max: 2000 }),
        fc.array(calls, { minLength: 64, maxLength: 64 }),
        async (limit, plans) => {
          const shared = account(usd(limit))
          const own = account(NONE)
          const all = spenders(64)
          let used = 0
          let most = 0
          await Promise.all(
            plans.map(async (plan, i) => {
              const spend = all[i] as Spend
              for (const [j, [ask, part]] of plan.entries()) {
                const id = `${i}/${j}`
                const reserve = { id, until: later(), ask: usd(ask), need: usd(ask) }
                const answer = await spend.reserve([own, shared], reserve)
                if ('refused' in answer) {
                  expect(answer.refused.account).toBe(shared)
                  continue
                }
                const cost = Math.round(ask * part)
                used += cost
                most = Math.max(most, used)
                await spend.settle([own, shared], id, usd(cost))
              }
            }),
          )
          expect(most).toBeLessThanOrEqual(limit)
          for (const one of [shared, own])
            expect(await (all[0] as Spend).read(one)).toEqual({ spent: usd(used), held: usd(0) })
        },
      ),
      { numRuns: 20 },
    )
  })

  it('overshoot by no more than the one call that turns out to use more than was thought', async () => {
    const shared = account([-1, 1000, -1, -1, -1])
    let used = 0
    await Promise.all(
      spenders(64).map(async (spend, i) => {
        for (let j = 0; ; j++) {
          const id = `${i}/${j}`
          const ask: Amounts = [0, 40, 0, 0, 0]
          const answer = await spend.reserve([shared], { id, until: later(), ask, need: [0, 1, 0, 0, 0] })
          if ('refused' in answer) {
            if (answer.refused.final) return
            continue
          }
          used += 40
          await spend.settle([shared], id, ask)
        }
      }),
    )
    expect(used).toBeGreaterThanOrEqual(1000)
    expect(used).toBeLessThanOrEqual(1000 + 40)
  })

  it('divide steps among them that each takes many of at once', async () => {
    const shared = account([-1, -1, 5000, -1, -1])
    let taken = 0
    await Promise.all(
      spenders(64).map(async (spend, i) => {
        for (let j = 0; ; j++) {
          const id = `${i}/${j}`
          const ask: Amounts = [0, 0, 10_000, 0, 0]
          const answer = await spend.reserve([shared], { id, until: later(), ask, need: [0, 0, 1, 0, 0], part: true })
          if ('refused' in answer) {
            if (answer.refused.final) return
            continue
          }
          expect(answer.granted[2]).toBeLessThanOrEqual(5000 / 16)
          taken += answer.granted[2]
          await spend.settle([shared], id, answer.granted)
        }
      }),
    )
    expect(taken).toBe(5000)
  })
})

describe('a reservation', () => {
  it('is in all accounts or in none', async () => {
    const [wide, narrow] = [account(usd(100)), account(usd(10))]
    const [spend] = spenders(1) as [Spend]
    const answer = await spend.reserve([wide, narrow], { id: 'x', until: later(), ask: usd(20), need: usd(20) })
    expect(answer).toEqual({ refused: { account: narrow, amount: 0, spent: 0, held: 0, final: true } })
    expect(await spend.read(wide)).toEqual({ spent: usd(0), held: usd(0) })
  })

  it('that is repeated sets nothing more aside; settled twice it counts once', async () => {
    const one = account(usd(100))
    const [spend] = spenders(1) as [Spend]
    const reserve = { id: 'x', until: later(), ask: usd(60), need: usd(60) }
    expect(await spend.reserve([one], reserve)).toEqual({ granted: usd(60) })
    expect(await spend.reserve([one], reserve)).toEqual({ granted: usd(60) })
    expect(await spend.read(one)).toEqual({ spent: usd(0), held: usd(60) })
    expect(await spend.reserve([one], { ...reserve, id: 'y' })).toMatchObject({ refused: { held: 60, final: false } })
    await spend.settle([one], 'x', usd(5))
    await spend.settle([one], 'x', usd(5))
    expect(await spend.read(one)).toEqual({ spent: usd(5), held: usd(0) })
  })

  it('that nobody settles counts in full once its time is over', async () => {
    const one = account(usd(100))
    const [spend] = spenders(1) as [Spend]
    await spend.reserve([one], { id: 'x', until: Date.now() - 1, ask: usd(60), need: usd(60) })
    expect(await spend.reserve([one], { id: 'y', until: later(), ask: usd(50), need: usd(50) })).toMatchObject({
      refused: { spent: 60, held: 0, final: true },
    })
    await spend.settle([one], 'x', usd(1))
    expect(await spend.read(one)).toEqual({ spent: usd(60), held: usd(0) })
  })

  it('counts what was used before, where less is known', async () => {
    const one = account(usd(100))
    const [spend] = spenders(1) as [Spend]
    await spend.atLeast([one], usd(30))
    await spend.atLeast([one], usd(20))
    expect(await spend.read(one)).toEqual({ spent: usd(30), held: usd(0) })
  })
})
