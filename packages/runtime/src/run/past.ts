import { History, type StepEvent } from '@muster/governance'
import { type Json, type Label, nameOf, type StepError } from '@muster/protocol'
import type { Outcome, StepState } from '../step/step.ts'
import { resolveInput } from '../step/step-input.ts'
import type { ActiveRun } from './active-run.ts'
import type { Recorded } from './recorded.ts'
import { type Reserved, SessionPast } from './session-past.ts'
import { approvalsOf, shownText } from './shown.ts'

/** What a run has done, for policies that ask: noted as it is journaled, and from the journal when it is taken up again. */

/** The run's past up to its last checkpoint, and that of its session. */
export async function openPast(run: ActiveRun, { past: state }: Pick<Recorded, 'past'>): Promise<void> {
  const { memory, log } = run.services
  const { history: terms } = run.policy
  const { tenant, id } = run
  const { session } = run.created
  if (!terms) return
  const isOther = state !== undefined && state.key !== terms.key
  if (isOther) log.warn({ run: id }, 'policies ask another history now: what came before the checkpoint is not known')
  run.past = new History(terms, isOther ? undefined : state)
  if (!terms.ofSession || session === undefined) return
  run.sessionPast = new SessionPast(run.past, memory.pasts, log, {
    tenant,
    session,
    run: id,
    subject: run.created.subject,
  })
  await run.sessionPast.open()
}

/** It is known that it was allowed, and not whether it has happened. */
export function isUnsure(error: Pick<StepError, 'code'> | undefined): boolean {
  return error?.code === 'step.timeout' || error?.code === 'step.in_doubt'
}

/** `reserved` is called once the step may begin: at once, where no policy counts it in its session. */
export function noteBegun(run: ActiveRun, step: StepState, reserved: Reserved): void {
  note(run, step, { what: 'begun', at: step.beganAt }, undefined, reserved)
}

export function noteEnded(
  run: ActiveRun,
  step: StepState,
  at: number,
  { status, error }: Pick<Outcome, 'status' | 'error'>,
  more: { outcome?: Outcome; retry?: boolean } = {},
): void {
  if (status === 'skipped') return
  const { outcome, retry } = more
  note(run, step, { what: 'ended', at, status, retry, unsure: isUnsure(error) }, outcome)
}

/** What happened to a step, with what it was about: worked out from the step, so that it is the same live and on replay. */
export function note(
  run: ActiveRun,
  step: StepState,
  event: Pick<StepEvent, 'what' | 'at' | 'status' | 'retry' | 'unsure' | 'copied'>,
  outcome?: Outcome,
  reserved?: Reserved,
): void {
  const { past, sessionPast } = run
  const watched = past && eventOf(run, step, event, outcome)
  if (!past || !watched) {
    reserved?.told(true)
    return
  }
  const forSession = sessionPast && past.forSession(watched)
  const isTold = forSession === undefined || sessionPast?.has(watched) === true
  const isThere = isTold && (forSession !== undefined || watched.copied === true)
  past.add(watched, sessionPast !== undefined && isThere)
  const waits = !isTold && past.terms.of(watched.kind, watched.target)?.isTaken ? reserved : undefined
  if (!isTold) sessionPast?.tell(forSession, waits)
  if (!waits) reserved?.told(true)
}

/** Undefined where no policy asks for it. */
function eventOf(
  run: ActiveRun,
  step: StepState,
  event: Pick<StepEvent, 'what' | 'at' | 'status' | 'retry' | 'unsure' | 'copied'>,
  outcome: Outcome | undefined,
): StepEvent | undefined {
  // Undoing a payment is not a payment.
  if (step.undoes !== undefined) return undefined
  const { kind, target } = step.spec.operation
  const name = kind === 'agent' ? nameOf(target) : target
  if (!run.past?.terms.of(kind, name)) return undefined
  const { input, labels } = inputOf(run, step)
  const people = step.verdicts.length === 0 ? [] : approvalsOf(step, shownText(step, input, labels)).map(({ by }) => by)
  return {
    ...{ ...event, step: step.spec.id, kind, target: name, input, people: [...new Set(people)] },
    ...(outcome?.status === 'ok' ? { output: outcome.output } : {}),
  }
}

/** Nothing where a reference leads nowhere: such a step has failed before it began. */
function inputOf(run: ActiveRun, step: StepState): { input: Json; labels: readonly Label[] } {
  try {
    return resolveInput(run, step)
  } catch {
    return { input: null, labels: [] }
  }
}
