import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { COSTS_BY } from '@muster/protocol'
import { startRedis } from '@muster/stack'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { Journal } from './journal.ts'
import { type CostAmounts, type CostLine, RunCosts } from './run-costs.ts'

const dir = mkdtempSync(join(tmpdir(), 'muster-costs-'))
let redis: Awaited<ReturnType<typeof startRedis>>
let journals: Journal[]
let cases = 0

beforeAll(async () => {
  redis = await startRedis({ dir })
  journals = await Promise.all(
    Array.from({ length: 2 }, () => Journal.open({ url: redis.url, namespace: 'costs', partitions: 3 })),
  )
})
afterAll(async () => {
  await Promise.all(journals.map((journal) => journal.close()))
  await redis.stop()
  rmSync(dir, { recursive: true, force: true })
})

const days = ['2026-11-27', '2026-11-28', '2026-12-01']
const name = fc.constantFrom('a', 'b:c', 'model', '')
const amount = fc.integer({ min: 0, max: 1e12 })
const line: fc.Arbitrary<CostLine> = fc.record({
  day: fc.constantFrom(...days),
  names: fc.record({ model: name, provider: name, agent: name, user: name }),
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
        const ofDays = own.filter(({ day }) => asked.includes(day))
        const expected = new Map<string, CostAmounts>()
        for (const { names, day: _, ...amounts } of ofDays) {
          const sum = expected.get(names[by])
          expected.set(names[by], {
            nanoUsd: amounts.nanoUsd + (sum?.nanoUsd ?? 0),
            calls: amounts.calls + (sum?.calls ?? 0),
            inputTokens: amounts.inputTokens + (sum?.inputTokens ?? 0),
            outputTokens: amounts.outputTokens + (sum?.outputTokens ?? 0),
            cachedTokens: amounts.cachedTokens + (sum?.cachedTokens ?? 0),
          })
        }
        const isSomething = (sum: CostAmounts) => Object.values(sum).some((value) => value > 0)
        const found = await costs.by(by, prefix + tenant, asked)
        expect(found).toEqual(new Map([...expected].filter(([, sum]) => isSomething(sum))))
        // What goes on is counted beside them, and what was counted meanwhile is not counted again.
        const going = own.filter((_, i) => i % 2 === 0)
        const elsewhere = { run: `${prefix}-going`, lines: going }
        const counted = runs.flatMap(({ tenant: of, lines }, i) =>
          of === tenant && lines.length > 0 ? [{ run: `${prefix}-${i}`, lines }] : [],
        )
        const together = await costs.by(by, prefix + tenant, asked, [...counted, elsewhere])
        const total = (of: Map<string, CostAmounts>) => [...of.values()].reduce((sum, { calls }) => sum + calls, 0)
        const added = going.filter(({ day }) => asked.includes(day)).reduce((sum, { calls }) => sum + calls, 0)
        expect(total(together)).toBe(total(found) + added)
        const drawn = days.map((day) =>
          own.reduce((sum, one) => sum + (one.day === day && one.names.provider === 'a' ? one.nanoUsd : 0), 0),
        )
        expect(await costs.ofProvider('a', days, prefix + tenant)).toEqual(drawn)
      }
    }),
    { numRuns: 40 },
  )
})
