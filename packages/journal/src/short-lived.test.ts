import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ShortLived } from './short-lived.ts'

test('holds what a map would, however often its table is made anew', () => {
  const id = fc.integer({ min: 0, max: 40 }).map(String)
  const change = fc.record({ id, goes: fc.boolean() })
  fc.assert(
    fc.property(fc.array(change, { minLength: 2000, maxLength: 4000 }), (changes) => {
      const [ours, plain] = [new ShortLived<string, number>(), new Map<string, number>()]
      for (const [i, { id, goes }] of changes.entries()) {
        for (const map of [ours, plain]) goes ? map.delete(id) : map.set(id, i)
        expect([ours.get(id), ours.has(id), ours.size]).toEqual([plain.get(id), plain.has(id), plain.size])
      }
      expect([...ours]).toEqual([...plain])
      expect([...ours.keys()]).toEqual([...plain.keys()])
      expect([...ours.values()]).toEqual([...plain.values()])
    }),
    { numRuns: 20 },
  )
})
