import { joinLabels } from '@muster/governance'
import type { StepError } from '@muster/protocol'
import type { StepState } from '../step/step.ts'
import { resolveInput } from '../step/step-input.ts'
import { undoStep } from '../step/steps.ts'
import type { ActiveRun } from './active-run.ts'

/**
 * Undoes what a failed plan did: waits until nothing of it is under way, then undoes one step after the other, the last
 * first (a saga: Garcia-Molina and Salem, 1987). Each undo is a step like any other: decided, journaled, retried, and
 * not repeated on replay. One that fails does not keep the others from being undone.
 */
export class Rollback {
  readonly error: StepError
  readonly #run: ActiveRun
  /** What is to be undone, in the order in which it ended. */
  readonly #done: StepState[] = []
  /** Steps of the plan that have not ended. */
  #open = 0
  readonly #failures: string[] = []
  #undoing = false

  constructor(run: ActiveRun, error: StepError) {
    this.#run = run
    this.error = error
    for (const step of run.ended) this.#take(step)
    for (const step of run.steps.values()) if (!step.outcome) this.#open++
  }

  /** A step that the plan has added since. */
  added(step: StepState): void {
    if (step.undoes === undefined) this.#open++
  }

  /** A step has ended. */
  ended(step: StepState): void {
    if (step.undoes === undefined) {
      this.#open--
      this.#take(step)
      return
    }
    const { outcome, undoes } = step
    const at = this.#done.findLastIndex(({ spec }) => spec.id === undoes)
    if (at >= 0) this.#done.splice(at, 1)
    this.#undoing = false
    if (outcome?.status !== 'ok')
      this.#failures.push(`"${undoes}" (${outcome?.error?.message ?? outcome?.status ?? 'no outcome'})`)
  }

  #take(step: StepState): void {
    if (step.outcome?.status === 'ok' && step.spec.operation.undo) this.#done.push(step)
  }

  /** On replay: the step of this name, where it undoes another. */
  replayed(id: string): StepState | undefined {
    const step = this.#done.find(({ spec }) => undoId(spec.id) === id)
    return step && this.#undo(step)
  }

  /** Undoes the next when nothing is under way; gives the error with which the run is to end when nothing is left. */
  next(): StepError | undefined {
    if (this.#open > 0 || this.#undoing) return undefined
    const step = this.#done.at(-1)
    if (step) {
      this.#undo(step)
      return undefined
    }
    if (this.#failures.length === 0) return this.error
    const message = `${this.error.message}; not undone: ${this.#failures.join(', ')}`
    return { code: this.error.code, message }
  }

  #undo(step: StepState): StepState | undefined {
    const { operation } = step.spec
    const { undo, reveals } = operation
    const { outcome } = step
    if (!undo || !outcome) return undefined
    const { redactor } = this.#run
    const outputOf = () => (redactor && reveals ? redactor.restore(outcome.output, reveals) : outcome.output)
    this.#undoing = true
    const { input, labels } = resolveInput(this.#run, step)
    const place = { id: undoId(step.spec.id), input, labels: joinLabels(labels, outcome.labels) }
    return this.#run.step(undoStep(operation, undo, outputOf, place), step.spec.id)
  }
}

function undoId(step: string): string {
  return `undo(${step})`
}
