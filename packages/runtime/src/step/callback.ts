import type { Message } from '@muster/journal'
import { joinCounts, MusterError, toMusterError } from '@muster/protocol'
import { NOTHING, settleFunds } from '../limits/afford.ts'
import type { ActiveRun } from '../run/active-run.ts'
import { waitingText } from './entry-text.ts'
import { redactCome } from './redacting.ts'
import { type Later, type StepState, waitingFor } from './step.ts'
import { deadlineOf, endFailed, endOk } from './step-end.ts'
import { resolveInput } from './step-input.ts'

/**
 * Steps that go on outside when their tool is over, and end when the outside calls back with their token. Entries of
 * these are of version 2.
 */

/** The tool is over and has left the rest to the outside, which may have called back already. */
export function awaitCallback(run: ActiveRun, step: StepState, later: Later, labels: readonly string[]): void {
  if (run.over || step.outcome) return
  if (step.calledBack) {
    takeCallback(run, step)
    return
  }
  settleFunds(run, step, { ...NOTHING, steps: 1, ms: run.services.clock() - step.beganAt })
  const at = Math.min(later.until ?? Number.POSITIVE_INFINITY, deadlineOf(step))
  const until = at === Number.POSITIVE_INFINITY ? undefined : at
  run.appendText(waitingText(step, run.services.clock(), labels, { for: 'callback', until }), undefined, 2)
  run.wait(step, waitingFor('callback', { until }))
}

/** The outside has called back: journaled whether or not the step waits for it yet, so that it is not lost. */
export function receiveCallback(run: ActiveRun, step: StepState, told: Extract<Message, { type: 'callback' }>): void {
  const at = run.services.clock()
  const { id } = step.spec
  if (step.outcome || step.calledBack) {
    run.append({ type: 'message.ignored', at, about: 'callback', step: id })
    return
  }
  const { value, found } = redactCome(run.redactor, told.error?.message ?? told.output ?? null)
  const error = told.error && { code: told.error.code, message: String(value) }
  const text = error ? undefined : JSON.stringify(value)
  const redacted = joinCounts(told.redacted, found)
  const fields = JSON.stringify({ type: 'callback.received', at, step: id, error, redacted }).slice(1, -1)
  run.appendText(fields, text, 2)
  step.calledBack = error ? { error } : { text: text ?? 'null' }
  // It happened, then; a person who was asked whether it did need not answer.
  if (step.waiting?.for === 'callback' || step.waiting?.for === 'doubt') takeCallback(run, step)
}

/** The step ends as it was told. */
export function takeCallback(run: ActiveRun, step: StepState): void {
  const { calledBack } = step
  const { action } = step.spec.operation
  if (!calledBack) return
  const { labels } = resolveInput(run, step)
  try {
    if ('error' in calledBack) throw new MusterError('tool.failed', calledBack.error.message)
    const executed = 'execute' in action ? action.receive?.(JSON.parse(calledBack.text)) : undefined
    if (!executed) throw new MusterError('tool.failed', `step "${step.spec.id}" does not end by a callback`)
    endOk(run, step, executed, labels)
  } catch (error) {
    endFailed(run, step, toMusterError(error), labels, true)
  }
}
