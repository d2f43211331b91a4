import { describe, expect, it } from 'vitest'
import { runCampaign } from './campaign.ts'
import { faults } from './faults.ts'

describe('a campaign of faults', () => {
  it('loses nothing and does nothing twice', async () => {
    const report = await runCampaign({ seed: 1, forMs: 12_000, faultsMin: 6, faults })
    expect(report.violations).toEqual([])
    expect(report.runs).toBeGreaterThan(50)
    expect(report.effects).toBeGreaterThan(report.runs)
    expect(report.checkpoints).toBeGreaterThan(0)
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
