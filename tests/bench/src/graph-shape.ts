import { randomOf } from './random.ts'

/** What comes after what: of step `i` the steps before it are `before[offsets[i]]` to `before[offsets[i + 1] - 1]`. */
export interface GraphShape {
  steps: number
  offsets: Int32Array
  before: Int32Array
}

export type ShapeName = 'chain' | 'fan-out' | 'random DAG' | 'diamond lattice'

/** Steps that each of a random DAG comes after. */
const RANDOM_EDGES = 3

/** Graphs that are made before they are measured. About `steps` steps; a lattice has the next smaller square. */
export function graphShape(name: ShapeName, steps: number): GraphShape {
  const before: number[] = []
  switch (name) {
    case 'chain':
      return shapeOf(steps, (i) => (i === 0 ? [] : [i - 1]))
    case 'fan-out':
      // One step, all others but the last after it, and the last after those.
      return shapeOf(steps, (i) => {
        if (i < steps - 1) return i === 0 ? [] : [0]
        return Array.from({ length: steps - 2 }, (_, j) => j + 1)
      })
    case 'random DAG': {
      const random = randomOf(steps)
      return shapeOf(steps, (i) => {
        before.length = 0
        for (let edge = 0; edge < RANDOM_EDGES && i > 0; edge++) before.push(Math.floor(random() * i))
        return before
      })
    }
    case 'diamond lattice': {
      const side = Math.floor(Math.sqrt(steps))
      return shapeOf(side * side, (i) => {
        before.length = 0
        if (i >= side) before.push(i - side)
        if (i % side > 0) before.push(i - 1)
        return before
      })
    }
  }
}

function shapeOf(steps: number, beforeOf: (step: number) => readonly number[]): GraphShape {
  const offsets = new Int32Array(steps + 1)
  let before = new Int32Array(1024)
  for (let i = 0; i < steps; i++) {
    const all = beforeOf(i)
    const from = offsets[i]
    if (from + all.length > before.length) {
      const larger = new Int32Array(2 * (from + all.length))
      larger.set(before)
      before = larger
    }
    before.set(all, from)
    offsets[i + 1] = from + all.length
  }
  return { steps, offsets, before }
}
