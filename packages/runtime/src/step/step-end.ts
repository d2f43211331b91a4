import { declassify, joinLabels } from '@muster/governance'
import {
  type Json,
  joinCounts,
  type Label,
  type MusterError,
  type RedactCounts,
  type StepError,
  toMusterError,
  type Usage,
} from '@muster/protocol'
import { NOTHING, settleFunds, type Used } from '../limits/afford.ts'
import type { ActiveRun } from '../run/active-run.ts'
import { type ChildReport, childResult } from '../run/child.ts'
import { noteEnded } from '../run/past.ts'
import { endedText, endedVersion } from './entry-text.ts'
import { redactError, redactOutput } from './redacting.ts'
import { retryAfterMs } from './retry.ts'
import { type Executed, Outcome, type StepState } from './step.ts'

/** Characters of a signal that is not journaled again as what its step gives: it may have images and files. */
const TOLD_MIN = 4096

/** The ends of a step: what it gave or why it failed is journaled, counted and handed on. */
export function endOk(run: ActiveRun, step: StepState, executed: Executed, inputLabels: readonly Label[]): void {
  if (run.over || step.outcome) return
  step.call = undefined
  const { usage, costUsd, model, via, cached, guardrail, isSignal = false } = executed
  let { text } = executed
  let redacted: RedactCounts | undefined
  if (run.redactor) {
    try {
      ;({ text, redacted } = redactOutput(run.redactor, step.spec.operation, text))
    } catch (error) {
      // It has happened, so trying it again would not help; what is not redacted is not stored.
      endFailed(run, step, toMusterError(error), inputLabels, true)
      return
    }
  }
  const { kept, removed } = declassify(
    joinLabels(inputLabels, executed.labels ?? []),
    step.spec.operation.declassifies ?? [],
  )
  run.totals.steps++
  addUsage(run, usage, costUsd)
  const { kinds, clock } = run.services
  const at = clock()
  // What a tool has used elsewhere is paid there, and told of there.
  const isElsewhere = step.spec.operation.kind === 'tool'
  settleFunds(run, step, isElsewhere ? usedBy(step, at) : usedBy(step, at, usage, costUsd))
  kinds.ended(kinds.of(step.spec.operation), run.needs, step.tokens, at - step.beganAt, usage)
  const declassified = removed.length > 0 ? removed : undefined
  const rest = { usage, costUsd, model, via, guardrail, cached, declassified, redacted }
  const outcome = new Outcome('ok', text, kept)
  const isTold = isSignal && text === executed.text && text.length > TOLD_MIN
  const version = isTold ? 4 : endedVersion(step, rest)
  run.appendText(endedText(step, at, kept, 'ok', rest), isTold ? undefined : text, version)
  noteEnded(run, step, at, outcome, { outcome })
  step.intended = false
  run.services.telemetry.step(run, step, 'ok', isElsewhere ? { text } : executed)
  run.settle(step, outcome)
}

/** How long a model is left alone that asks for it and does not say how long, ms. */
const PAUSE_MS = 1000

/** What a tool says when it fails is as much its output as what it gives. `final`: it is not tried again, however many attempts it has. */
export function endFailed(
  run: ActiveRun,
  step: StepState,
  error: MusterError,
  inputLabels: readonly Label[],
  final = false,
): void {
  if (run.over || step.outcome) return
  const { clock, random, scheduler, kinds } = run.services
  const { operation } = step.spec
  const labels = joinLabels(inputLabels, operation.labels ?? [])
  const now = clock()
  const at = now + retryAfterMs(operation, step.attempt, error, random)
  // Whoever asks to wait means all who come.
  if (error.code === 'rate.limited' || (error.code === 'model.unavailable' && error.retryAfterMs !== undefined))
    kinds.close(kinds.of(operation), now + (error.retryAfterMs ?? PAUSE_MS))
  const retry = !final && at < deadlineOf(step)
  const failure = endUnsuccessfully(run, step, error, labels, 'failed', retry)
  if (retry && step.handle !== undefined) {
    scheduler.retry(step.handle, at)
    run.services.pump()
    return
  }
  run.settle(step, new Outcome('failed', 'null', labels, failure))
}

/** The journal keeps what was denied: an auditor asks for it more often than for what was allowed. */
export function endDenied(
  run: ActiveRun,
  step: StepState,
  error: MusterError,
  labels: readonly Label[],
  input: Json,
): void {
  const failure = endUnsuccessfully(
    run,
    step,
    error,
    labels,
    'denied',
    false,
    step.spec.operation.keepInput ? JSON.stringify(input) : undefined,
  )
  run.settle(step, new Outcome('denied', 'null', labels, failure))
}

function endUnsuccessfully(
  run: ActiveRun,
  step: StepState,
  error: MusterError,
  labels: readonly Label[],
  status: 'failed' | 'denied',
  retry: boolean,
  content?: string,
): StepError {
  // Cut after it, so that nothing is cut in two.
  const told = run.redactor ? redactError(run.redactor, error) : { error, redacted: undefined }
  const failure = { code: error.code, message: told.error.message.slice(0, 4096) }
  const redacted = joinCounts(told.redacted, content === undefined ? undefined : step.redacted)
  const isCut = step.decision !== undefined && (error.code === 'step.timeout' || error.code === 'stop.active')
  const at = run.services.clock()
  const { usage, costUsd, model, via } = step.call?.used ?? {}
  // What a tool has used elsewhere was paid there.
  const isOwn = step.spec.operation.kind === 'model'
  settleFunds(run, step, isCut ? 'all' : isOwn ? usedBy(step, at, usage, costUsd) : usedBy(step, at))
  step.call = undefined
  giveBack(run, step)
  if (!retry) run.totals.steps++
  addUsage(run, usage, costUsd)
  const rest = { usage, costUsd, model, via, error: failure, retry: retry || undefined, redacted }
  run.appendText(endedText(step, at, labels, status, rest), content, endedVersion(step, rest))
  noteEnded(run, step, at, { status, error: failure }, { retry })
  step.intended = false
  run.services.telemetry.step(run, step, status, undefined, failure)
  return failure
}

/** The child run of a step has ended, or waits for a person and the step wanted to know. */
export function childEnded(run: ActiveRun, step: StepState, report: ChildReport): void {
  const { action } = step.spec.operation
  const until = 'child' in action ? action.child.until : 'ended'
  const { labels } = report
  const executed: Executed = {
    text: JSON.stringify(until === 'parked' ? childResult(report) : report.output),
    labels,
    costUsd: report.costUsd,
    usage: report.usage,
  }
  if (until === 'parked' || report.status === 'succeeded') {
    endOk(run, step, executed, [])
    return
  }
  const { usage, costUsd } = report
  addUsage(run, usage, costUsd)
  const error = report.error ?? { code: 'internal', message: `child run ${report.run} is ${report.status}` }
  run.totals.steps++
  const at = run.services.clock()
  const rest = { usage, costUsd, error }
  run.appendText(endedText(step, at, labels, 'failed', rest), undefined, endedVersion(step, rest))
  noteEnded(run, step, at, { status: 'failed', error })
  step.intended = false
  run.settle(step, new Outcome('failed', 'null', labels, error))
}

/** What a step has used that was begun and is over. The time of a child run is the child's. */
function usedBy({ spec, beganAt }: StepState, now: number, usage?: Usage, costUsd = 0): Used {
  const ms = spec.operation.kind === 'agent' ? 0 : Math.max(now - beganAt, 0)
  return { steps: 1, ms, costUsd, usage }
}

/** The step had a place and tokens, and has used none of these that anybody knows of. */
export function giveBack(run: ActiveRun, step: StepState): void {
  settleFunds(run, step, NOTHING)
  const { kinds } = run.services
  if (step.tokens > 0) kinds.correct(kinds.of(step.spec.operation), run.needs, -step.tokens)
}

/** What a step has used is its run's. */
export function addUsage(run: ActiveRun, usage: Usage | undefined, costUsd = 0): void {
  run.totals.costUsd += costUsd
  run.totals.inputTokens += usage?.inputTokens ?? 0
  run.totals.outputTokens += usage?.outputTokens ?? 0
  run.totals.cachedTokens += usage?.cachedTokens ?? 0
}

/** When the step has to be over, ms since the epoch. */
export function deadlineOf({ spec, firstAt }: StepState): number {
  return firstAt + (spec.deadlineMs ?? spec.operation.deadlineMs ?? Number.POSITIVE_INFINITY)
}
