import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { runCampaign } from './campaign.ts'
import { faults } from './faults.ts'

const broken = (what: string, env: NodeJS.ProcessEnv = {}) => ({
  env: { BROKEN: what, ...env },
  imports: [fileURLToPath(new URL('./broken-build.ts', import.meta.url))],
})

const only = (...names: string[]) => faults.filter(({ name }) => names.includes(name))

/** A checker that has never found anything says nothing: here it must. */
describe('a build that is broken on purpose', () => {
  it('without fencing: the account does not add up', async () => {
    // Long runs, and more than two workers may hold: whichever is stopped has some half done, which others go on with.
    const long = { plan: 'errand', input: { n: 40, ms: 80 }, expected: { output: 40, writes: 40, onces: 1 } }
    const sign = /journal|chain|entry/
    const found: string[] = []
    // On a machine that is busy with something else the stopped worker may have had nothing to write.
    for (const seed of [2, 5, 8]) {
      const { violations, faults: happened } = await runCampaign({
        ...broken('fencing', { MUSTER_CONCURRENCY: '3' }),
        ...{ seed, forMs: 5000, graceMs: 10_000, pauseMs: 200, everyMs: 200, unreliable: 0 },
        work: () => long,
        faults: only('stop a worker past its lock'),
      })
      expect(happened).toBeGreaterThan(0)
      found.push(...violations)
      if (found.some((one) => sign.test(one))) break
    }
    expect(found.join('\n')).toMatch(sign)
  })

  it('without the barrier: effects come before their intents', async () => {
    const { violations } = await runCampaign({
      ...broken('barrier'),
      seed: 3,
      forMs: 5000,
      faultsMin: 4,
      faults: only('kill -9 a worker', 'delay connections to Redis'),
    })
    expect(violations.join('\n')).toMatch(/came before its intent was in the journal/)
  })

  it('without the labels of what was done before a worker died: outcomes have too few', async () => {
    // Long enough that whoever is killed has some half done.
    const long = { plan: 'errand', input: { n: 20, ms: 50 }, expected: { output: 20, writes: 20, onces: 1 } }
    const { violations } = await runCampaign({
      ...broken('labels'),
      ...{ seed: 4, forMs: 5000, faultsMin: 4, pauseMs: 200, everyMs: 200 },
      work: () => long,
      faults: only('kill -9 a worker'),
    })
    expect(violations.join('\n')).toMatch(/has the labels \[\] and must have \[shelf\]/)
  })

  it('with budgets that forget, or keep too much: they are not what the journals say, and overspent', async () => {
    const office = { plan: 'office', input: { n: 3, ms: 0 }, expected: { output: 6, writes: 6, onces: 0 } }
    const foundOf = async (what: string, usd: number) => {
      const MUSTER_BUDGETS = JSON.stringify({ 'tenant:*': { month: { usd } } })
      const { violations } = await runCampaign({
        ...broken(what, { MUSTER_BUDGETS }),
        ...{ seed: 8, forMs: 4000, faultsMin: 0, faults: [], everyMs: 100 },
        work: () => office,
      })
      return violations.join('\n')
    }
    const forgotten = await foundOf('budgets that forget', 0.02)
    expect(forgotten).toMatch(/usd that were used the month's budget has counted 0$/m)
    expect(forgotten).toMatch(/usd that were used the month's budget had 0.02$/m)
    expect(await foundOf('budgets that keep', 1000)).toMatch(/usd .* has counted .*, and at most .* may be$/m)
  })

  it('with logs that say too much: secrets and content are found in them', async () => {
    const { violations } = await runCampaign({ ...broken('secrets'), seed: 6, forMs: 2000, faultsMin: 0, faults: [] })
    for (const what of ['MUSTER_SECRET', 'MUSTER_MODEL_API_KEY', 'content of runs'])
      expect(violations.join('\n')).toMatch(`${what} stands in `)
  })
})
