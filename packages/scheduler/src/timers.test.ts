import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Timers } from './timers.ts'

describe('Timers', () => {
  it('gives every timer once, the earliest first, in any mix of adding and taking', () => {
    const operations = fc.array(fc.oneof(fc.integer({ min: 0, max: 50 }), fc.constant('take' as const)), {
      maxLength: 600,
      size: 'max',
    })
    fc.assert(
      fc.property(operations, (operations) => {
        const timers = new Timers()
        const held = new Map<number, number>()
        operations.forEach((operation, handle) => {
          const earliest = Math.min(...held.values())
          expect(timers.next).toBe(earliest)
          expect(timers.size).toBe(held.size)
          if (operation !== 'take') {
            timers.add(operation, handle)
            held.set(handle, operation)
          } else if (held.size > 0) {
            const taken = timers.take()
            expect(held.get(taken)).toBe(earliest)
            held.delete(taken)
          }
        })
      }),
      { seed: 11, numRuns: 200 },
    )
  })

  it('sorts, with fractions and negative times too', () => {
    const times = fc.array(
      fc.double({ noNaN: true, noDefaultInfinity: true }).map((time) => time + 0),
      { maxLength: 300, size: 'max' },
    )
    fc.assert(
      fc.property(times, (times) => {
        const timers = new Timers()
        for (const [handle, time] of times.entries()) timers.add(time, handle)
        const taken: number[] = []
        while (timers.size > 0) taken.push(times[timers.take()])
        expect(taken).toEqual(times.toSorted((a, b) => a - b))
      }),
      { seed: 12, numRuns: 200 },
    )
  })

  it('has nothing next when it is empty', () => {
    const timers = new Timers()
    expect(timers.next).toBe(Number.POSITIVE_INFINITY)
    timers.add(5, 1)
    timers.take()
    expect(timers.next).toBe(Number.POSITIVE_INFINITY)
  })
})
