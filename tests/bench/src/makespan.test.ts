import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { makespanMs } from './makespan.ts'
import { randomOf } from './random.ts'
import { kindsOf, lowerBoundMs, shapes, workflow } from './workflows.ts'

describe('the makespan', () => {
  it('lies between what no schedule can beat and what no schedule without idle places exceeds', () => {
    const arbitrary = fc.record({
      shape: fc.constantFrom(...Object.values(shapes)),
      places: fc.integer({ min: 1, max: 200 }),
      order: fc.constantFrom('learned', 'hops', 'fifo'),
      seed: fc.nat(),
    })
    fc.assert(
      fc.property(arbitrary, ({ shape, places, order, seed }) => {
        const random = randomOf(seed)
        const means = kindsOf(random, 12)
        const [before, measured] = [workflow(shape, random, means), workflow(shape, random, means)]
        const ms = makespanMs(measured, places, order, before)
        const [path, work] = [lowerBoundMs(measured, Number.POSITIVE_INFINITY), lowerBoundMs(measured, 1)]
        expect(ms).toBeGreaterThanOrEqual(lowerBoundMs(measured, places) * (1 - 1e-9))
        // Graham, Bounds on multiprocessing timing anomalies, 1969.
        expect(ms).toBeLessThanOrEqual((work / places + (1 - 1 / places) * path) * (1 + 1e-9))
      }),
      { seed: 5, numRuns: 60 },
    )
  })
})
