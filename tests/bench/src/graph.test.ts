import { describe, expect, it } from 'vitest'
import { graphShape, type ShapeName } from './graph-shape.ts'
import { graph } from './subjects/graph.ts'

const shapes: readonly ShapeName[] = ['chain', 'fan-out', 'random DAG', 'diamond lattice']

describe.each(shapes)('a %s', (shape) => {
  it('is a graph whose steps come after earlier ones alone', () => {
    const { steps, offsets, before } = graphShape(shape, 900)
    expect(steps).toBe(900)
    for (let i = 0; i < steps; i++) {
      expect(offsets[i + 1]).toBeGreaterThanOrEqual(offsets[i])
      for (const on of before.subarray(offsets[i], offsets[i + 1])) expect(on).toBeLessThan(i)
    }
    expect(offsets[steps]).toBe({ chain: 899, 'fan-out': 1796, 'random DAG': 3 * 899, 'diamond lattice': 1740 }[shape])
  })

  it.each(['all', 'plain', 'bare'] as const)('comes to its end as %s, with all its steps', async (mode) => {
    const subject = await graph({ mode, shape, steps: 900, runs: 3, tenants: 2 })
    // It throws when a round has ended other than with all of its steps.
    const { units, figures } = await subject.run({ ms: 0 }, { begin() {}, end() {} })
    expect(units).toBe(2700)
    expect(figures?.bytesPerStep).toBeGreaterThan(0)
  })
})
