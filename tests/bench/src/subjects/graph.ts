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
  /** @returns steps that ended */
  run(): number
  /** Bytes of its arrays for each step, when all were added. */
  readonly bytesPerStep: number
}

/** Rounds of graphs, one after the other, of one scheduler that lives on. A unit is a step added, started and settled. */
export async function graph({ mode, shape, steps, runs, tenants }: GraphOptions): Promise<Subject> {
  const edges = graphShape(shape, steps)
  const expected = edges.steps * runs
  const round = mode === 'bare' ? new BareRound(edges, runs) : new MusterRound(edges, runs, tenants, mode === 'all')
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

class MusterRound implements Round {
  readonly #scheduler = new Scheduler({ concurrency: CONCURRENCY })
  readonly #edges: GraphShape
  readonly #runs: number
  readonly #tenants: { name: string; needs: number[] }[]
  readonly #kinds: number[]
  readonly #isAll: boolean
  readonly #handles: Float64Array
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

  run(): number {
    const scheduler = this.#scheduler
    const runs = Array.from({ length: this.#runs }, (_, i) => this.#addRun(i))
    this.bytesPerStep = scheduler.bytes / (this.#edges.steps * this.#runs)
    const out: number[] = []
    let ended = 0
    let started = 0
    do {
      out.length = 0
      scheduler.poll(++this.#now, out)
      for (let i = 0; i < out.length; i++) {
        const step = out[i]
        if (this.#isAll && ++started % 100 === 0) {
          scheduler.retry(step, this.#now + 1)
          continue
        }
        scheduler.settle(step)
        ended++
        if (this.#isAll && ended % 16 === 0) scheduler.learn(this.#kinds[ended % KINDS], ended % 128)
      }
    } while (out.length > 0 || scheduler.nextTimer < Number.POSITIVE_INFINITY)
    for (const run of runs) scheduler.closeRun(run)
    return ended
  }

  #addRun(index: number): number {
    const scheduler = this.#scheduler
    const { steps, offsets, before } = this.#edges
    const handles = this.#handles
    const tenant = this.#tenants[index % this.#tenants.length]
    const run = scheduler.openRun(tenant.name, 1, tenant.needs)
    const after: number[] = []
    for (let i = 0, edge = 0; i < steps; i++) {
      after.length = 0
      for (; edge < offsets[i + 1]; edge++) after.push(handles[before[edge]])
      handles[i] = scheduler.addStep(run, after, this.#kinds[i % KINDS], 'all', 100)
    }
    return run
  }
}

class BareRound implements Round {
  readonly #scheduler = new BareScheduler({ concurrency: CONCURRENCY })
  readonly #edges: GraphShape
  readonly #runs: number
  bytesPerStep = 0

  constructor(edges: GraphShape, runs: number) {
    this.#edges = edges
    this.#runs = runs
  }

  run(): number {
    const scheduler = this.#scheduler
    const { steps, offsets, before } = this.#edges
    scheduler.clear()
    const after: number[] = []
    for (let run = 0; run < this.#runs; run++) {
      const base = run * steps
      for (let i = 0, edge = 0; i < steps; i++) {
        after.length = 0
        for (; edge < offsets[i + 1]; edge++) after.push(base + before[edge])
        scheduler.addStep(after)
      }
    }
    this.bytesPerStep = scheduler.bytes / (steps * this.#runs)
    const out: number[] = []
    let ended = 0
    do {
      out.length = 0
      scheduler.poll(out)
      for (let i = 0; i < out.length; i++) scheduler.settle(out[i])
      ended += out.length
    } while (out.length > 0)
    return ended
  }
}
