import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { declassify, joinLabels } from './labels.ts'

const labels = fc
  .uniqueArray(fc.constantFrom('pii', 'secret', 'tenant:a', 'tenant:b', 'untrusted'))
  .map((set) => set.sort())
const check = (sets: fc.Arbitrary<string[][]>, predicate: (sets: string[][]) => void) =>
  fc.assert(fc.property(sets, predicate), { seed: 7 })

describe('joinLabels', () => {
  it('is the union: no label is lost, none is added, each stands once and in order', () => {
    check(fc.array(labels, { maxLength: 6 }), (sets) => {
      expect(joinLabels(...sets)).toEqual([...new Set(sets.flat())].sort())
    })
  })

  it('does not depend on order or grouping', () => {
    check(fc.array(labels, { minLength: 3, maxLength: 3 }), ([a, b, c]) => {
      expect(joinLabels(a, b)).toEqual(joinLabels(b, a))
      expect(joinLabels(joinLabels(a, b), c)).toEqual(joinLabels(a, joinLabels(b, c)))
      expect(joinLabels(a, a)).toEqual(a)
    })
  })

  it('leaves what it was given as it was', () => {
    const given = Object.freeze(['untrusted'])
    expect(joinLabels(given, ['pii'])).toEqual(['pii', 'untrusted'])
    expect(given).toEqual(['untrusted'])
  })
})

describe('declassify', () => {
  it('takes off exactly what is named, and says so', () => {
    check(fc.array(labels, { minLength: 2, maxLength: 2 }), ([on, by]) => {
      const { kept, removed } = declassify(on, by)
      expect(joinLabels(kept, removed)).toEqual(on)
      expect(kept.filter((label) => by.includes(label))).toEqual([])
      expect(removed.filter((label) => !by.includes(label))).toEqual([])
    })
  })
})
