import type { Actor, MusterError } from '@muster/protocol'
import type { StepSpec, StepState } from '../step/step.ts'
import { checkReplayed } from '../step/step-life.ts'
import type { ActiveRun } from './active-run.ts'
import { changed, stepLine } from './non-deterministic.ts'
import { note } from './past.ts'
import type { Recorded, RecordedEvent, RecordedStep } from './recorded.ts'

/** Those whom the journal's outcomes are given to. */
interface Players {
  /** The step of this name, where it was taken. */
  find(id: string): StepState | undefined
  /** It has its outcome. */
  tell(step: StepState): void
  /** Somebody asked to end the run. */
  cancel(by: Actor): void
  /** Reacts in promises, which are to run before the next. */
  asynchronous: boolean
}

/** What a run's journal tells of its steps: the driver takes each up again, and none once that is over. */
export class Replay {
  readonly #run: ActiveRun
  #steps: ReadonlyMap<string, RecordedStep> = new Map()
  /** What it tells of what the run has done, and policies do not know yet. */
  #untold: RecordedEvent[] = []
  /** Patches that the run's code has passed. */
  patches: Set<string> = new Set()

  constructor(run: ActiveRun) {
    this.#run = run
  }

  begin({ steps, patches, events = [] }: Recorded): void {
    this.#steps = steps
    this.#untold = events
    this.patches = patches
  }

  /** Whether it tells of steps that the plan has not taken yet. */
  get #isUnderWay(): boolean {
    for (const id of this.#steps.keys()) if (!this.#run.steps.has(id)) return true
    return false
  }

  /**
   * What it tells of a step that is taken now.
   *
   * @throws MusterError `plan.non_deterministic` where it has another step of this name
   */
  take({ id, operation }: StepSpec): RecordedStep | undefined {
    const recorded = this.#steps.get(id)
    if (recorded && (recorded.kind !== operation.kind || recorded.target !== operation.target))
      throw changed(`step "${id}" is another than before`, [stepLine(id, recorded)], [stepLine(id, operation)])
    return recorded
  }

  /** Whether a driver takes a step that it takes only at times: whether it did then, whatever is so now. */
  takes(step: string, now: () => boolean): boolean {
    if (this.#steps.has(step)) return true
    return !this.#isUnderWay && now()
  }

  /**
   * Whether the code of a running plan takes the way that a patch has opened: not where its journal tells of steps that
   * were taken without it.
   */
  patched(patch: string): boolean {
    if (this.patches.has(patch)) return true
    if (this.#isUnderWay) return false
    this.#run.append({ type: 'plan.patched', at: this.#run.services.clock(), patch })
    this.patches.add(patch)
    return true
  }

  /**
   * Gives the recorded outcomes in the order in which they happened.
   *
   * @throws MusterError `plan.non_deterministic` where the plan has not come by steps that it tells of
   */
  async play({ order, cancelled }: Recorded, { find, tell, cancel, asynchronous }: Players): Promise<void> {
    const run = this.#run
    const heedCancel = (after: number) => {
      if (cancelled?.after === after) cancel(cancelled.by)
    }
    for (const [i, id] of order.entries()) {
      if (asynchronous) await nextTick()
      if (run.over) return
      heedCancel(i)
      const step = find(id)
      const ended = this.#steps.get(id)?.ended
      if (!step || !ended) throw this.#notTaken([id])
      // Agents and plans as data make their inputs from what is recorded; code may have changed.
      if (asynchronous) checkReplayed(run, step)
      step.outcome = ended
      tell(step)
    }
    if (asynchronous) await nextTick()
    if (run.over) return
    heedCancel(order.length)
    const missing = [...this.#steps.keys()].filter((id) => !find(id))
    if (missing.length > 0) throw this.#notTaken(missing)
  }

  #notTaken(missing: readonly string[]): MusterError {
    const was = missing.flatMap((id) => {
      const step = this.#steps.get(id)
      return step ? [stepLine(id, step)] : []
    })
    const is: string[] = []
    for (const [id, { spec }] of this.#run.steps) if (!this.#steps.has(id)) is.push(stepLine(id, spec.operation))
    return changed(`the journal has step "${missing[0]}", which the plan did not take`, was, is)
  }

  /** Policies that ask what happened before are told. */
  recall(): void {
    for (const event of this.#untold.splice(0)) {
      const step = this.#run.steps.get(event.step)
      if (step) note(this.#run, step, event, this.#steps.get(event.step)?.ended)
    }
  }

  end(): void {
    this.recall()
    this.#steps = new Map()
  }
}

function nextTick(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
