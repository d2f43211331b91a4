import { type ExportFinding, verifyExport } from '@muster/verify'
import { describe, expect, it } from 'vitest'
import { tamperOften } from './campaign.ts'
import { kinds } from './kinds.ts'

describe('an export that was tampered with', () => {
  it('is found to be, and what was done is named, whatever it was', async () => {
    const { tallies, misses } = await tamperOften({ seed: 1, count: kinds.length * 2 })
    expect(misses).toEqual([])
    expect(tallies.map(({ kind, ...counts }) => counts)).toEqual(kinds.map(() => ({ count: 2, found: 2, named: 2 })))
  })

  it('is told by its seed where a verifier overlooks it, or names something else', async () => {
    const seed = kinds.findIndex(({ name }) => name === 'a journal is written anew from an entry on')
    const one = { seed, count: 1 }
    expect((await tamperOften(one)).misses).toEqual([])
    const blind = await tamperOften({ ...one, verify: withFindings((all) => all.slice(all.length)) })
    expect(blind.misses).toMatchObject([{ seed, kind: kinds[seed]?.name, findings: [] }])
    const vague = await tamperOften({
      ...one,
      verify: withFindings((all) => all.map((finding) => ({ ...finding, file: 'somewhere' }))),
    })
    expect(vague.tallies[seed]).toMatchObject({ count: 1, found: 1, named: 0 })
    expect(vague.misses).toMatchObject([{ seed }])
  })
})

function withFindings(change: (findings: ExportFinding[]) => ExportFinding[]): typeof verifyExport {
  return (folder, options) => {
    const result = verifyExport(folder, options)
    const findings = change(result.findings)
    return { ...result, findings, ok: findings.length === 0 }
  }
}
