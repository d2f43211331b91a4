import { describe, expect, it } from 'vitest'
import { PoliciesUsed, recordOf } from './policies-used.ts'

const HOUR = 3_600_000
const [strict, lax] = ['a'.repeat(64), 'b'.repeat(64)]

function usedIn(...records: [worker: string, set: string, at: number][]): PoliciesUsed {
  const used = new PoliciesUsed()
  for (const [i, [key, set, at]] of records.entries()) {
    const by = { key, user: 'muster', service: true }
    const record = recordOf({ v: 1, seq: i + 1, tenant: 'acme', at, by, action: 'policy.used', about: { set } })
    if (record) used.record(record)
  }
  return used
}

describe('the policies that a worker decided by', () => {
  it('are those that it said, a little before or after', () => {
    const used = usedIn(['w', lax, 0], ['w', strict, HOUR])
    expect(used.whyNot('w', lax, 1)).toBeUndefined()
    expect(used.whyNot('w', lax, HOUR - 1)).toBeUndefined()
    expect(used.whyNot('w', lax, HOUR + 1000)).toBeUndefined()
    expect(used.whyNot('w', strict, HOUR - 1000)).toBeUndefined()
    expect(used.whyNot('w', strict, 99 * HOUR)).toBeUndefined()
    expect(usedIn().whyNot('w', lax, 0)).toBeUndefined()
  })

  it('are doubted where it had said others, or nothing', () => {
    const used = usedIn(['w', lax, 0], ['w', strict, HOUR])
    expect(used.whyNot('w', lax, 2 * HOUR)).toContain(`had said that it decides by the set ${strict}`)
    expect(used.whyNot('w', strict, 1)).toContain(`had said that it decides by the set ${lax}`)
    expect(used.whyNot('other', strict, HOUR)).toContain('has not said so')
  })
})
