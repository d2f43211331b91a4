import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Timers } from './timers.ts'

const NEVER = Number.POSITIVE_INFINITY

describe('Timers', () => {
  it('gives what is wanted once, the earliest first and ties in order of adding, in any mix of calls', () => {
    const operations = fc.array(
      fc.oneof(
        fc.record({ do: fc.constant('add' as const), n: fc.integer({ min: 0, max: 50 }) }),
        fc.record({ do: fc.constantFrom('take' as const, 'drop' as const), n: fc.nat() }),
      ),
      { maxLength: 900, size: 'max' },
    )
    fc.assert(
      fc.property(operations, (operations) => {
        const wanted = new Map<number, number>()
        const timers = new Timers((what) => wanted.has(what))
        const first = () => [...wanted].sort((a, b) => a[1] - b[1] || a[0] - b[0])[0]
        operations.forEach((operation, i) => {
          expect(timers.next).toBe(first()?.[1] ?? NEVER)
          if (operation.do === 'add') {
            timers.add(operation.n, i)
            wanted.set(i, operation.n)
          } else if (operation.do === 'take') {
            const due = (first()?.[1] ?? NEVER) <= operation.n % 60 ? first()?.[0] : undefined
            expect(timers.takeDue(operation.n % 60)).toBe(due ?? -1)
            if (due !== undefined) wanted.delete(due)
          } else if (wanted.size > 0) {
            wanted.delete([...wanted.keys()][operation.n % wanted.size] ?? -1)
          }
        })
      }),
      { seed: 11, numRuns: 300 },
    )
  })

  it('keeps no more dead timers than were alive at once, and a few', () => {
    const wanted = new Set<number>()
    const timers = new Timers((what) => wanted.has(what))
    for (let what = 0; what < 100_000; what++) {
      timers.add(1e6 - (what % 1000), what)
      wanted.add(what)
      if (what < 100) continue
      wanted.delete(what - 100)
      expect(timers.size).toBeLessThanOrEqual(2 * 100 + 66)
    }
  })
})
