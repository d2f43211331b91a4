import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Decimal } from './cedar/value.ts'
import { toolCall } from './fixture.ts'
import { Questions } from './question.ts'

describe('Questions', () => {
  it('round amounts to four digits exactly as they print', () => {
    const questions = new Questions(new Map())
    const double = fc.oneof(
      fc.double({ min: -9e11, max: 9e11, noNaN: true }),
      // Near the middle between two decimals, where a product rounds to the wrong side.
      fc.tuple(fc.integer({ min: -1e9, max: 1e9 }), fc.integer({ min: -3, max: 3 })).map(([n, ulps]) => {
        const middle = (n + 0.5) / 1e4
        return middle + ulps * Math.abs(middle) * Number.EPSILON
      }),
    )
    fc.assert(
      fc.property(double, (spentUsd) => {
        const question = questions.read(toolCall({ spentUsd }))
        const { spent } = typeof question === 'string' ? { spent: undefined } : question.context
        expect(spent).toEqual(new Decimal(Number(spentUsd.toFixed(4).replace('.', '')) + 0))
      }),
      { numRuns: 20_000, seed: 5 },
    )
  })
})
