import { percentile, type Task } from './subject.ts'

/** Time from one step of a run to its next, taken where the load is open: what a step costs in latency. */
export class Gaps<Run> {
  readonly #last = new Map<Run, number>()
  #ms: number[] | undefined

  /** A sample begins. */
  reset(task: Task): void {
    this.#last.clear()
    this.#ms = task.runsPerS === undefined ? undefined : []
  }

  /** A step of the run is executed now. */
  step(run: Run): void {
    if (!this.#ms) return
    const now = performance.now()
    const last = this.#last.get(run)
    if (last !== undefined) this.#ms.push(now - last)
    this.#last.set(run, now)
  }

  /** What goes into the sample's work; nothing where the load was closed. */
  figures(): { figures?: Record<string, number> } {
    const ms = this.#ms
    return ms ? { figures: { p50Ms: percentile(ms, 0.5), p99Ms: percentile(ms, 0.99) } } : {}
  }
}
