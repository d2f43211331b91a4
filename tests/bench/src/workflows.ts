/** A graph of steps as scientific workflows have them, with the time that each will last. */
export interface Workflow {
  /** In an order in which each comes after those before it. Kinds count from 0. */
  steps: readonly { after: readonly number[]; kind: number; ms: number }[]
  kinds: number
}

type Random = () => number

/** Exponents of Pareto's law: of the mean of a kind (most are short, few are very long), and around that mean. */
const ALPHA_KIND = 1.2
const ALPHA_STEP = 2.5
const MS_MAX = 10_000

/** At least 1; the smaller `alpha`, the heavier the tail. */
function pareto(random: Random, alpha: number): number {
  return (1 - random()) ** (-1 / alpha)
}

/** What kinds of steps take on average, ms. */
export function kindsOf(random: Random, count: number): number[] {
  return Array.from({ length: count }, () => Math.min(10 * pareto(random, ALPHA_KIND), MS_MAX))
}

class Builder {
  readonly steps: Workflow['steps'][number][] = []
  readonly #random: Random
  readonly #means: readonly number[]

  constructor(random: Random, means: readonly number[]) {
    this.#random = random
    this.#means = means
  }

  add(kind: number, after: readonly number[]): number {
    const ms = Math.min(this.#means[kind] * pareto(this.#random, ALPHA_STEP), MS_MAX)
    return this.steps.push({ after, kind, ms }) - 1
  }
}

type Shape = (builder: Builder, random: Random) => void

const times = <T>(count: number, make: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i))

/** Kinds that every shape may use. */
export const KINDS = 12

/** By name; about 1,000 to 2,000 steps each. */
export const shapes: Record<string, Shape> = {
  // Lanes of a sequencing pipeline: of different lengths, each stage a kind.
  pipelines(builder, random) {
    const ends = times(150, () => {
      let last = builder.add(0, [])
      for (let stage = 1, stages = 3 + Math.floor(random() * 9); stage < stages; stage++)
        last = builder.add(stage, [last])
      return last
    })
    builder.add(11, ends)
  },
  // Parts merged by fours until one is left.
  'fan-in tree'(builder) {
    let level = times(1024, (i) => builder.add(i % 4, []))
    for (let kind = 4; level.length > 1; kind++) {
      level = times(level.length / 4, (i) => builder.add(Math.min(kind, KINDS - 1), level.slice(4 * i, 4 * i + 4)))
    }
  },
  // Two rounds of maps and reduces; the reduces of the first are what the second maps.
  'map-reduce'(builder) {
    const split = builder.add(0, [])
    const maps = times(500, (i) => builder.add(1 + (i % 3), [split]))
    const reduces = times(40, (i) => builder.add(4 + (i % 3), maps))
    const again = times(400, (i) => builder.add(7 + (i % 2), [reduces[i % reduces.length]]))
    builder.add(
      10,
      times(20, (i) =>
        builder.add(
          9,
          again.filter((_, j) => j % 20 === i),
        ),
      ),
    )
  },
  // Any step after one to three of the hundred before it.
  irregular(builder, random) {
    for (let i = 0; i < 1500; i++) {
      const after = times(
        i < 20 ? 0 : 1 + Math.floor(random() * 3),
        () => i - 1 - Math.floor(random() * Math.min(i, 100)),
      )
      builder.add(Math.floor(random() * KINDS), after)
    }
  },
}

export function workflow(shape: Shape, random: Random, means: readonly number[]): Workflow {
  const builder = new Builder(random, means)
  shape(builder, random)
  return { steps: builder.steps, kinds: means.length }
}

/** No schedule on so many places can end earlier: the longest way, or the work shared evenly. */
export function lowerBoundMs({ steps }: Workflow, places: number): number {
  const ends: number[] = []
  let work = 0
  for (const { after, ms } of steps) {
    ends.push(ms + Math.max(0, ...after.map((on) => ends[on])))
    work += ms
  }
  return Math.max(work / places, ...ends)
}
