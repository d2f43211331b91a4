import {
  type EntryOf,
  isForPerson,
  type Json,
  joinCounts,
  type Label,
  MusterError,
  toMusterError,
} from '@muster/protocol'
import type { ActiveRun } from '../run/active-run.ts'
import { askPeople, endPatience } from './approval.ts'
import { waitingText } from './entry-text.ts'
import { redactCome } from './redacting.ts'
import { type Signal, type StepState, type WaitSpec, waitingFor } from './step.ts'
import { endFailed, endOk } from './step-end.ts'

/**
 * Steps that only wait: for a time, a signal, a person. They do nothing outside, so no policy is asked, and the run
 * parks on them: it holds neither a worker's memory nor a job until what it waits for has come.
 */

/** Signals of one name: those that came early, and steps that wait for the next. One of the two is empty. */
export interface Mailbox {
  readonly early: Signal[]
  readonly waiting: StepState[]
}

export function beginWait(
  run: ActiveRun,
  step: StepState,
  spec: WaitSpec,
  input: Json,
  labels: readonly Label[],
): void {
  const { timeoutMs } = step.spec
  const now = step.beganAt
  const until = spec.for === 'timer' ? spec.until(input, now) : timeoutMs === undefined ? undefined : now + timeoutMs
  if (spec.for === 'timer' && until !== undefined && until <= now) {
    endOk(run, step, NOTHING, labels)
  } else if (spec.for === 'signal' && mailbox(run, step.spec.operation.target).early.length > 0) {
    awaitSignal(run, step)
  } else if (spec.for === 'approval') {
    const verdict = step.verdicts.at(-1)
    if (verdict?.verdict === 'approve') {
      const { by, role } = verdict
      const people = spec.rule?.people === undefined ? undefined : step.verdicts.map((one) => one.by)
      endOk(run, step, { text: JSON.stringify({ approved: true, by, role, people }) }, labels)
      return
    }
    askPeople(run, step, { for: 'approval', role: spec.role, rule: spec.rule, until }, input, labels)
  } else {
    run.appendText(waitingText(step, now, labels, { for: spec.for, until }))
    run.wait(step, waitingFor(spec.for, { until }))
    if (spec.for === 'signal') awaitSignal(run, step)
  }
}

const NOTHING = { text: 'null' }

/** The step takes the next signal of its name: one that came before it, else the next that comes. */
export function awaitSignal(run: ActiveRun, step: StepState): void {
  const { early, waiting } = mailbox(run, step.spec.operation.target)
  const signal = early.shift()
  if (signal) takeSignal(run, step, signal)
  else waiting.push(step)
}

/** A signal has come. It is journaled whether or not a step waits for it, so that none is lost. */
export function receiveSignal(
  run: ActiveRun,
  { name, by, labels, redacted: before }: Pick<EntryOf<'signal.received'>, 'name' | 'by' | 'labels' | 'redacted'>,
  given: Json,
): void {
  const { value: payload, found } = redactCome(run.redactor, given)
  const redacted = joinCounts(before, found)
  const at = run.services.clock()
  const seq = run.append({ type: 'signal.received', at, name, by, labels, ...(redacted ? { redacted } : {}) }, payload)
  const signal = { seq, text: JSON.stringify(payload), labels }
  const { early, waiting } = mailbox(run, name)
  for (let step = waiting.shift(); step; step = waiting.shift()) {
    // It may have timed out or been cancelled.
    if (step.waiting?.for !== 'signal' || step.outcome) continue
    takeSignal(run, step, signal)
    return
  }
  early.push(signal)
}

function takeSignal(run: ActiveRun, step: StepState, { seq, text, labels }: Signal): void {
  const { action } = step.spec.operation
  step.signal = seq
  let taken = text
  try {
    if ('wait' in action && action.wait.for === 'signal' && action.wait.take)
      taken = JSON.stringify(action.wait.take(JSON.parse(text)))
  } catch (error) {
    endFailed(run, step, toMusterError(error), labels)
    return
  }
  endOk(run, step, { text: taken, labels, isSignal: taken === text }, [])
}

function mailbox(run: ActiveRun, name: string): Mailbox {
  let box = run.mailboxes.get(name)
  if (!box) {
    box = { early: [], waiting: [] }
    run.mailboxes.set(name, box)
  }
  return box
}

/** The time of a waiting step has come, or that of an earlier wait of it. */
export function endWait(run: ActiveRun, step: StepState, now: number): void {
  const { waiting } = step
  if (run.over || !waiting) return
  if (isForPerson(waiting)) {
    endPatience(run, step, waiting, now)
    return
  }
  if (waiting.until === undefined || now < waiting.until) return
  if (waiting.for === 'timer') {
    endOk(run, step, NOTHING, [])
    return
  }
  const { id, operation } = step.spec
  const { target } = operation
  const what = waiting.for === 'signal' ? `signal "${target}"` : 'its callback'
  endFailed(run, step, new MusterError('step.timeout', `step "${id}" has waited for ${what} in vain`), [], true)
}
