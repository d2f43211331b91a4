import { type Amounts, Journal, Spend, type SpendAccount } from '@muster/journal'
import fc from 'fast-check'
import { pino } from 'pino'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { stopRedis, theRedis } from '../fixture.ts'
import { type Advance, CallPurse } from './call-purse.ts'

const log = pino({ level: 'silent' })
let journals: Journal[]
let accounts = 0

beforeAll(async () => {
  const { url } = await theRedis()
  const opening = Array.from({ length: 2 }, () => Journal.open({ url, namespace: 'calls', partitions: 3 }))
  journals = await Promise.all(opening)
})
afterAll(async () => {
  await Promise.all(journals.map((journal) => journal.close()))
  await stopRedis()
})

const account = (usd: number, tokens = -1): SpendAccount => ({
  ...{ tenant: 't', name: `a${accounts++}`, keptS: 60 },
  limits: [usd, tokens, -1, -1, -1],
})
const spendOf = (i: number) => new Spend(journals[i % 2] as Journal)
const purseOf = (i: number, of: SpendAccount[]) => new CallPurse(of, { spend: spendOf(i), clock: Date.now, log })
const later = () => Date.now() + 60_000
const call = (usd: number) => ({ usd, tokens: usd })
const sum = (usd: number, tokens = usd): Amounts => [usd, tokens, 0, 0, 0]
/** Asked for often enough that it is filled. */
async function filled(purse: CallPurse, usd: number): Promise<void> {
  for (let i = 0; i < 8; i++) expect(purse.take(call(usd), later())).toBeUndefined()
  await purse.refill()
}

/** A call of a process, as it is taken: from its purse, else by itself; or one of its calls ends; or its purse is filled. */
const action = fc.oneof(
  { weight: 6, arbitrary: fc.record({ begin: fc.integer({ min: 1, max: 30 }), of: fc.nat(3) }) },
  { weight: 4, arbitrary: fc.record({ end: fc.nat(20), part: fc.double({ min: 0, max: 1, noNaN: true }) }) },
  { weight: 2, arbitrary: fc.record({ refill: fc.nat(3) }) },
)

it('is never overspent by several that are filled and used in any order, and all is settled in the end', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 100, max: 20_000 }),
      fc.array(action, { minLength: 50, maxLength: 300 }),
      async (limit, actions) => {
        const both = [account(-1), account(limit)]
        const purses = Array.from({ length: 4 }, (_, i) => purseOf(i, both))
        const exact = spendOf(0)
        const open: { by: number; from: Advance | string; usd: number }[] = []
        const filling: Promise<void>[] = []
        let used = 0
        const end = async (i: number, part: number) => {
          const [ended] = open.splice(i, 1)
          if (!ended) return
          const { by, from, usd } = ended
          const cost = Math.round(usd * part)
          used += cost
          if (typeof from === 'string') await exact.settle(both, from, sum(cost))
          else purses[by]?.give(from, call(usd), call(cost))
        }
        for (const [i, one] of actions.entries()) {
          if ('begin' in one) {
            const { begin: usd, of: by } = one
            const from = purses[by]?.take(call(usd), later())
            if (from) open.push({ by, from, usd })
            else {
              const reserve = { id: `c${i}`, until: later(), ask: sum(usd), need: sum(usd) }
              if ('granted' in (await exact.reserve(both, reserve))) open.push({ by, from: `c${i}`, usd })
            }
          } else if ('end' in one) await end(one.end % Math.max(open.length, 1), one.part)
          else filling.push(purses[one.refill]?.refill() ?? Promise.resolve())
          // Each may cost what it was thought to, and that is known to all.
          const known = await exact.read(both[1] as SpendAccount)
          const may = open.reduce((all, { usd }) => all + usd, used)
          expect(may).toBeLessThanOrEqual(known.spent[0] + known.held[0])
          expect(known.spent[0] + known.held[0]).toBeLessThanOrEqual(limit)
        }
        await Promise.all(filling)
        while (open.length > 0) await end(0, 1)
        for (const purse of purses) await purse.close()
        for (const one of both) expect(await exact.read(one)).toEqual({ spent: sum(used), held: sum(0) })
      },
    ),
    { numRuns: 25, endOnFailure: true },
  )
})

it('gives what calls need of what it has set aside, and gives the rest back when there are no more', async () => {
  const one = account(10_000)
  const purse = purseOf(0, [one])
  await filled(purse, 10)
  // Twice of what was asked for.
  expect(await spendOf(0).read(one)).toEqual({ spent: sum(0), held: sum(160) })
  const from = purse.take(call(10), later())
  expect(from).toBeDefined()
  // It may not last longer than that is set aside.
  expect(purse.take(call(10), Date.now() + 86_400_000)).toBeUndefined()
  await purse.refill()
  expect(await spendOf(0).read(one)).toEqual({ spent: sum(0), held: sum(10) })
  if (from) purse.give(from, call(10), call(7))
  await purse.refill()
  expect(await spendOf(0).read(one)).toEqual({ spent: sum(7), held: sum(0) })
})

it('leaves the end of a budget to those who ask for each call', async () => {
  const one = account(100)
  const purse = purseOf(0, [one])
  // A sixteenth of what is left is less than a call.
  await filled(purse, 10)
  expect(await spendOf(0).read(one)).toEqual({ spent: sum(0), held: sum(0) })
  expect(purse.take(call(10), later())).toBeUndefined()
})

it('counts what calls have used where it was told twice', async () => {
  const one = account(1000)
  const spend = spendOf(0)
  const first = { from: undefined, to: 'x', until: later(), used: sum(0), keep: sum(0), ask: sum(20), need: sum(10) }
  expect(await spend.refill([one], first)).toEqual(sum(20))
  const move = { ...first, from: 'x', to: 'y', used: sum(5), keep: sum(10) }
  expect(await spend.refill([one], move)).toEqual(sum(20))
  expect(await spend.refill([one], move)).toEqual(sum(20))
  expect(await spend.read(one)).toEqual({ spent: sum(5), held: sum(30) })
  expect(await spend.refill([one], { ...move, from: 'nobody', to: 'z' })).toBeUndefined()
})
