import { describe, expect, it } from 'vitest'
import { runCampaign } from './campaign.ts'
import { faults } from './faults.ts'

const LIMIT_USD = 0.08

describe('a campaign of faults', () => {
  it('loses nothing and does nothing twice', async () => {
    const report = await runCampaign({ seed: 1, forMs: 12_000, faultsMin: 6, faults })
    expect(report.violations).toEqual([])
    expect(report.runs).toBeGreaterThan(50)
    expect(report.effects).toBeGreaterThan(report.runs)
    expect(report.checkpoints).toBeGreaterThan(0)
  })

  it('overspends no budget that is used up', async () => {
    // What somebody who is killed has set aside is waited for; of these faults nobody dies.
    const only = ['stop a worker', 'restart Redis', 'cut', 'delay']
    const report = await runCampaign({
      ...{ seed: 7, forMs: 8000, faultsMin: 4, pauseMs: 300 },
      work: () => ({ plan: 'office', input: { n: 3, ms: 0 }, expected: { output: 6, writes: 6, onces: 0 } }),
      env: { MUSTER_BUDGETS: JSON.stringify({ 'tenant:*': { month: { usd: LIMIT_USD } } }) },
      faults: faults.filter(({ name }) => only.some((part) => name.startsWith(part))),
    })
    expect(report.violations).toEqual([])
    expect(report.byStatus.failed).toBeGreaterThan(0)
    // The rest is what calls might have cost of which nobody knows.
    expect(report.usedUsd).toBeGreaterThan(LIMIT_USD / 4)
  })

  it('neither forks the ledger nor loses or doubles a head, however sealers die, and several at once', async () => {
    const only = ['kill -9', 'throttle DynamoDB', 'stop DynamoDB', 'let the right']
    const report = await runCampaign({
      ...{ seed: 4, forMs: 12_000, faultsMin: 6, pauseMs: 200 },
      faults: faults.filter(({ name }) => only.some((part) => name.startsWith(part))),
    })
    expect(report.violations).toEqual([])
    expect(report.checkpoints).toBeGreaterThan(0)
  })
})
