import { COSTS_BY, type CostLine } from '@muster/protocol'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { CostBooks } from './cost-books.ts'
import type { CostAmounts } from './cost-count.ts'
import { journalsOf } from './fixture.ts'
import type { Journal } from './journal.ts'
import { RunCosts } from './run-costs.ts'
import { tenantPartition } from './tenant-partition.ts'

const journals = journalsOf('costs', 2)
let cases = 0

const days = ['2026-11-27', '2026-11-28', '2026-12-01']
const name = fc.constantFrom('a', 'b:c', 'model', '')
const amount = fc.integer({ min: 0, max: 1e12 })
const line: fc.Arbitrary<CostLine> = fc.record({
  day: fc.constantFrom(...days),
  names: fc.record({ model: name, provider: name, agent: name, user: name, team: name, key: name }),
  ...{ nanoUsd: amount, calls: amount, inputTokens: amount, outputTokens: amount, cachedTokens: amount },
})

it('counts each run once, to the last token and billionth of a dollar, by whatever it is asked', async () => {
  const run = fc.record({ tenant: fc.constantFrom('t', 'u'), lines: fc.array(line, { maxLength: 4 }) })
  await fc.assert(
    fc.asyncProperty(fc.array(run, { maxLength: 6 }), fc.constantFrom(...COSTS_BY), async (runs, by) => {
      const prefix = String(cases++)
      const tellers = journals.map((journal) => new RunCosts(journal))
      // Told by two at the same time, then again, and once more when it is archived.
      for (let i = 0; i < 2; i++)
        await Promise.all(
          runs.flatMap(({ tenant, lines }, i) =>
            tellers.map((costs) => costs.add(prefix + tenant, `${prefix}-${i}`, lines)),
          ),
        )
      const [costs] = tellers
      if (!costs) return
      for (const [i, { tenant, lines }] of runs.entries()) {
        await costs.forget(prefix + tenant, `${prefix}-${i}`, 0)
        await costs.add(prefix + tenant, `${prefix}-${i}`, lines)
      }
      for (const tenant of ['t', 'u']) {
        const asked = days.slice(0, 2)
        const own = runs.flatMap((run) => (run.tenant === tenant ? run.lines : []))
        const isSomething = (sum: CostAmounts) => Object.values(sum).some((value) => value > 0)
        const expected = asked.map((on) => {
          const sums = new Map<string, CostAmounts>()
          for (const { names, day, ...amounts } of own) {
            if (day !== on) continue
            const sum = sums.get(names[by])
            sums.set(names[by], {
              nanoUsd: amounts.nanoUsd + (sum?.nanoUsd ?? 0),
              calls: amounts.calls + (sum?.calls ?? 0),
              inputTokens: amounts.inputTokens + (sum?.inputTokens ?? 0),
              outputTokens: amounts.outputTokens + (sum?.outputTokens ?? 0),
              cachedTokens: amounts.cachedTokens + (sum?.cachedTokens ?? 0),
            })
          }
          return new Map([...sums].filter(([, sum]) => isSomething(sum)))
        })
        const found = await costs.by(by, prefix + tenant, asked)
        expect(found).toEqual(expected)
        // What goes on is counted beside them, and what was counted meanwhile is not counted again.
        const going = own.filter((_, i) => i % 2 === 0)
        const elsewhere = { run: `${prefix}-going`, lines: going }
        const counted = runs.flatMap(({ tenant: of, lines }, i) =>
          of === tenant && lines.length > 0 ? [{ run: `${prefix}-${i}`, lines }] : [],
        )
        const together = await costs.by(by, prefix + tenant, asked, [...counted, elsewhere])
        const total = (of: Map<string, CostAmounts>[]) =>
          of.flatMap((sums) => [...sums.values()]).reduce((sum, { calls }) => sum + calls, 0)
        const added = going.filter(({ day }) => asked.includes(day)).reduce((sum, { calls }) => sum + calls, 0)
        expect(total(together)).toBe(total(found) + added)
        const drawn = days.map((day) =>
          own.reduce((sum, one) => sum + (one.day === day && one.names.provider === 'a' ? one.nanoUsd : 0), 0),
        )
        expect(await costs.ofProvider('a', prefix + tenant, days)).toEqual(drawn)
      }
    }),
    { numRuns: 40 },
  )
})

it('has each run once in books that are made anew, whatever ends and is archived meanwhile', async () => {
  // Each letter is a step of a run of this number, or of who makes the books.
  const steps = fc.array(fc.nat({ max: 9 }), { minLength: 20, maxLength: 60 })
  await fc.assert(
    fc.asyncProperty(
      fc.array(line, { minLength: 4, maxLength: 7 }),
      steps,
      fc.boolean(),
      async (lines, steps, isLost) => {
        const tenant = `made-${cases++}`
        const [journal, other] = journals as [Journal, Journal]
        const costs = new RunCosts(journal)
        const makers = [new CostBooks(journal, tenant), new CostBooks(other, tenant)]
        const runs = lines.map((line, i) => ({
          run: `${i}`,
          lines: [{ ...line, day: days[0] ?? '', calls: 1 }],
          at: 0,
        }))
        const archive = new Set<string>()
        // It ends, is counted, perhaps again, is archived, and then told of no more.
        const goOn = async (one: (typeof runs)[number]) => {
          one.at++
          if (one.at === 2 || one.at === 3) await costs.add(tenant, one.run, one.lines)
          if (one.at === 4) archive.add(one.run)
          if (one.at === 5) await costs.forget(tenant, one.run, 0)
        }
        // One was archived before, and one only counted.
        for (const [i, one] of runs.entries()) while (one.at < ([5, 2][i] ?? 0)) await goOn(one)
        const { redis, keys } = tenantPartition(journal, tenant)
        if (isLost) await redis.unlink(keys.costs(tenant, days[0] ?? ''))
        let isDone = false
        const make = async (books: CostBooks) => {
          const making = await books.making()
          if (!making) return
          if (making.at.phase === 'runs') {
            for (const { run, lines, at } of runs) if (at > 0 && !archive.has(run)) await books.found(run, lines)
            return books.move(making, undefined)
          }
          const later = [...archive].sort().filter((run) => run > (making.at.run ?? ''))
          const next = later.slice(0, 2).map((run) => ({ run, lines: runs[Number(run)]?.lines ?? [] }))
          if (next.length > 0) await books.archived(making, next)
          else {
            await books.end(making)
            isDone = true
          }
        }
        await makers[0]?.begin('10000000-0000-4000-8000-000000000000')
        await makers[1]?.begin('20000000-0000-4000-8000-000000000000')
        for (const step of steps) {
          const one = runs[step]
          if (one) await goOn(one)
          else if (step === 9) await Promise.all(makers.map(make))
          else await make(makers[step % 2] as CostBooks) // of two
        }
        while (!isDone) await make(makers[0] as CostBooks)
        for (const one of runs) while (one.at < 5) await goOn(one)
        const sums = (await costs.by('model', tenant, days)).flatMap((of) => [...of.values()])
        const total = (amount: 'calls' | 'nanoUsd') => sums.reduce((sum, one) => sum + one[amount], 0)
        expect(total('calls')).toBe(runs.length)
        expect(total('nanoUsd')).toBe(lines.reduce((sum, { nanoUsd }) => sum + nanoUsd, 0))
        expect(await redis.exists(keys.booked(tenant), keys.costs(tenant, days[0] ?? ''))).toBe(0)
      },
    ),
    { numRuns: 40 },
  )
})
