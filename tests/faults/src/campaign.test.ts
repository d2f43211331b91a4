import { describe, expect, it } from 'vitest'
import { runCampaign } from './campaign.ts'
import { faults } from './faults.ts'

describe('a campaign of faults', () => {
  it('loses nothing and does nothing twice', async () => {
    const report = await runCampaign({ seed: 1, forMs: 12_000, faults })
    expect(report.violations).toEqual([])
    expect(report.runs).toBeGreaterThan(50)
    expect(report.faults).toBeGreaterThan(5)
    expect(report.effects).toBeGreaterThan(report.runs)
  })
})
