import { Scheduler } from '@muster/scheduler'
import { type GraphShape, graphShape, type ShapeName } from '../graph-shape.ts'
import type { Subject } from '../subject.ts'
import { BareScheduler } from './bare-scheduler.ts'

export interface GraphOptions {
  /**
   * `all`: each run needs its tenant's resource, every fourth step a tool's places and a model's buckets; durations are
   * learned, one step of 100 is tried twice, half of the tenants have another weight. `plain`: no needs and no retries.
   * `bare`: see `BareScheduler`.
   */
  mode: 'all' | 'plain' | 'bare'
  /** The graph of each run. */
  shape: ShapeName
  /** Steps of a run. */
  steps: number
  /** Runs at once. */
  runs: number
  tenants: number
}

const CONCURRENCY = 1024
const KINDS = 8

/** Adds all steps of some runs and lets them all start and end. */
interface Round {
  /**
   * @param order gets the numbers of the steps as they end, run after run
   * @returns steps that ended
   */
  run(order?: number[]): number
  /** Bytes of its arrays for each step, when all were added. */
  readonly bytesPerStep: number
}

/** Rounds of graphs, one after the other, of one scheduler that lives on. A unit is a step added, started and settled. */
export async function graph({ mode, shape, steps, runs, tenants }: GraphOptions): Promise<Subject> {
  const roundOf = (edges: GraphShape, runs: number) =>
    mode === 'bare' ? new BareRound(edges, runs) : new MusterRound(edges, runs, tenants, mode === 'all')
  const small = graphShape(shape, Math.min(steps, 1000))
  const order: number[] = []
  roundOf(small, 3).run(order)
  check(small, order, 3)
  const edges = graphShape(shape, steps)
  const expected = edges.steps * runs
  const round = roundOf(edges, runs)
  return {
    async run({ ms }) {
      const began = performance.now()
      let units = 0
      let elapsedMs = 0
      do {
        const ended = round.run()
        if (ended !== expected) throw new Error(`${ended} of ${expected} steps have ended`)
        units += ended
        elapsedMs = performance.now() - began
      } while (elapsedMs < ms)
      return { units, elapsedMs, figures: { bytesPerStep: round.bytesPerStep } }
    },
    async close() {},
  }
}

/** Each step of so many runs ends once, after all that it comes after. */
function check({ steps, offsets, before }: GraphShape, order: readonly number[], runs: number): void {
  const ended = new Set<number>()
  for (const step of order) {
    const first = step - (step % steps)
    const from = before.subarray(offsets[step - first], offsets[step - first + 1])
    if (ended.has(step)) throw new Error(`step ${step} ends twice`)
    if (!from.every((on) => ended.has(first + on))) throw new Error(`step ${step} starts too early`)
    ended.add(step)
  }
  if (ended.size !== steps * runs) throw new Error(`${ended.size} of ${steps * runs} steps have ended`)
}

/**
 * Arrays of dependencies, used again by their length: an array that is emptied loses its memory, and to get it anew
 * took longer than the bare scheduler.
 */
class Lists {
  readonly #lists: number[][] = [[], [0], [0, 0], [0, 0, 0]]

  of(length: number): number[] {
    return this.#lists[length] ?? new Array<number>(length).fill(0)
  }
}

/** Steps started that are read before their array is emptied. */
const OUT_MAX = 10_000

class MusterRound implements Round {
  readonly #scheduler = new Scheduler({ concurrency: CONCURRENCY })
  readonly #edges: GraphShape
  readonly #runs: number
  readonly #tenants: { name: string; needs: number[] }[]
  readonly #kinds: number[]
  readonly #isAll: boolean
  readonly #handles: Float64Array
  readonly #lists = new Lists()
  #now = 0
  bytesPerStep = 0

  constructor(edges: GraphShape, runs: number, tenants: number, isAll: boolean) {
    this.#edges = edges
    this.#runs = runs
    this.#isAll = isAll
    this.#handles = new Float64Array(edges.steps)
    const scheduler = this.#scheduler
    this.#tenants = Array.from({ length: tenants }, (_, i) => {
      const name = `tenant-${i}`
      if (isAll && i % 2 === 1) scheduler.setWeight(name, 2)
      return { name, needs: isAll ? [scheduler.resource({ concurrency: CONCURRENCY })] : [] }
    })
    const tool = scheduler.resource({ concurrency: CONCURRENCY / 4 })
    const model = scheduler.resource({ requestsPerMinute: 6e9, tokensPerMinute: 6e12 })
    this.#kinds = Array.from({ length: KINDS }, (_, i) =>
      scheduler.kind({ ms: 2 ** i, needs: isAll && i % 4 === 0 ? [tool, model] : [] }),
    )
  }

  run(order?: number[]): number {
    const scheduler = this.#scheduler
    const names = order && new Map<number, number>()
    const runs = Array.from({ length: this.#runs }, (_, i) => this.#addRun(i, names))
    this.bytesPerStep = scheduler.bytes / (this.#edges.steps * this.#runs)
    const out: number[] = []
    let read = 0
    let ended = 0
    let started = 0
    let count: number
    do {
      if (read > OUT_MAX) read = out.length = 0
      count = scheduler.poll(++this.#now, out)
      while (read < out.length) {
        const step = out[read++]
        if (this.#isAll && ++started % 100 === 0) {
          scheduler.retry(step, this.#now + 1)
          continue
        }
        scheduler.settle(step)
        order?.push(names?.get(step) ?? -1)
        ended++
        if (this.#isAll && ended % 16 === 0) scheduler.learn(this.#kinds[ended % KINDS], ended % 128)
      }
    } while (count > 0 || scheduler.nextTimer < Number.POSITIVE_INFINITY)
    for (const run of runs) scheduler.closeRun(run)
    return ended
  }

  #addRun(index: number, names: Map<number, number> | undefined): number {
    const scheduler = this.#scheduler
    const { steps, offsets, before } = this.#edges
    const handles = this.#handles
    const tenant = this.#tenants[index % this.#tenants.length]
    const run = scheduler.openRun(tenant.name, 1, tenant.needs)
    for (let i = 0; i < steps; i++) {
      const from = offsets[i]
      const after = this.#lists.of(offsets[i + 1] - from)
      for (let j = 0; j < after.length; j++) after[j] = handles[before[from + j]]
      handles[i] = scheduler.addStep(run, after, this.#kinds[i % KINDS], 'all', 100)
      names?.set(handles[i], index * steps + i)
    }
    return run
  }
}

class BareRound implements Round {
  readonly #scheduler = new BareScheduler({ concurrency: CONCURRENCY })
  readonly #edges: GraphShape
  readonly #runs: number
  readonly #lists = new Lists()
  bytesPerStep = 0

  constructor(edges: GraphShape, runs: number) {
    this.#edges = edges
    this.#runs = runs
  }

  run(order?: number[]): number {
    const scheduler = this.#scheduler
    const { steps, offsets, before } = this.#edges
    scheduler.clear()
    for (let run = 0; run < this.#runs; run++) {
      const base = run * steps
      for (let i = 0; i < steps; i++) {
        const from = offsets[i]
        const after = this.#lists.of(offsets[i + 1] - from)
        for (let j = 0; j < after.length; j++) after[j] = base + before[from + j]
        scheduler.addStep(after)
      }
    }
    this.bytesPerStep = scheduler.bytes / (steps * this.#runs)
    const out: number[] = []
    let read = 0
    let ended = 0
    let count: number
    do {
      if (read > OUT_MAX) read = out.length = 0
      count = scheduler.poll(out)
      while (read < out.length) {
        const step = out[read++]
        scheduler.settle(step)
        order?.push(step)
      }
      ended += count
    } while (count > 0)
    return ended
  }
}
