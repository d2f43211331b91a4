import type { Message } from '@muster/journal'
import {
  type ApprovalRule,
  areApart,
  type Decision,
  type EntryOf,
  isEditable,
  isForPerson,
  type Json,
  joinCounts,
  type Label,
  MusterError,
  type NewEntry,
} from '@muster/protocol'
import type { ActiveRun } from '../run/active-run.ts'
import { approvalsOf, editedShown, shownText } from '../run/shown.ts'
import { versionWith, waitingText } from './entry-text.ts'
import { redactCome } from './redacting.ts'
import { type StepState, type Waiting, waitingFor } from './step.ts'
import { endDenied, endFailed, giveBack } from './step-end.ts'

/**
 * Steps that wait for people. What is shown is bound by its digest: an answer holds for exactly that, and where the
 * step's input is another by then, they are asked anew.
 */

export interface Question {
  for: 'approval' | 'doubt'
  role: string
  rule: ApprovalRule | undefined
  decision?: Decision
  /** When the wait ends by itself, ms since the epoch. */
  until?: number | undefined
}

/** The step is shown, and waits for an answer. */
export function askPeople(
  run: ActiveRun,
  step: StepState,
  question: Question,
  input: Json,
  labels: readonly Label[],
): void {
  const { for: reason, role, rule, decision } = question
  const now = run.services.clock()
  const until = rule?.expiresMs === undefined ? question.until : now + rule.expiresMs
  const shown = shownText(step, input, labels)
  const people = reason === 'doubt' ? [] : peopleOf(step, shown, role)
  const given = people.length === 0 ? undefined : people
  const text = waitingText(step, now, labels, { for: reason, decision, role, rule, given, until })
  run.appendText(text, shown, rule || given ? 3 : versionWith(decision))
  giveBack(run, step)
  // Given back once.
  step.tokens = 0
  run.noteAsked()
  run.wait(step, waitingFor(reason, { role, rule, shown: run.lastDigest, shownText: shown, since: now, until }))
}

type Answer = Extract<Message, { type: 'approval' }>

/** A person has answered. Whatever came of it is journaled: also that it did not count, and why. */
export function receiveApproval(run: ActiveRun, answer: Answer): void {
  const at = run.services.clock()
  const { verdict, shown, by, role, as } = answer
  const step = run.steps.get(answer.step)
  const waiting = step?.waiting
  const why = whyNot(run, step, answer)
  if (!step || !waiting || why) {
    run.append({ type: 'message.ignored', at, about: 'approval', why: why ?? 'late', step: answer.step, by })
    return
  }
  const isEdited = answer.input !== undefined
  const { value, found } = redactCome(run.redactor, { reason: answer.reason ?? null, input: answer.input ?? null })
  const content = value as { reason: Json; input: Json } // the shape stays
  if (isEdited) {
    try {
      const { prepare, reveals } = step.spec.operation
      prepare?.(reveals && run.redactor ? run.redactor.restore(content.input, reveals) : content.input)
    } catch {
      run.append({ type: 'message.ignored', at, about: 'approval', why: 'invalid', step: answer.step, by })
      return
    }
    step.edited = JSON.stringify(content.input)
  }
  const shownText = isEdited ? editedShown(waiting.shownText ?? '{}', content.input) : waiting.shownText
  const doubt = waiting.for === 'doubt'
  step.verdicts = [...step.verdicts, { verdict, role, by: by.user, hands: by.hands, shownText, doubt }]
  // An edit is another question, which the policies decide on anew.
  const more = verdict === 'deny' || isEdited || doubt ? 0 : missing(step, waiting)
  const redacted = joinCounts(answer.redacted, found)
  const entry: Omit<EntryOf<'approval.given'>, 'v' | 'seq' | 'content'> = {
    ...{ type: 'approval.given', at, step: answer.step, verdict, shown, by, role },
    ...(as === undefined ? {} : { as }),
    ...(more > 0 ? { more } : {}),
    ...(isEdited ? { edited: true } : {}),
    ...(redacted ? { redacted } : {}),
  }
  if (answer.reason === undefined && !isEdited) run.append(entry)
  else
    run.append(entry, {
      ...(answer.reason === undefined ? {} : { reason: content.reason }),
      ...(isEdited ? { input: content.input } : {}),
    })
  if (more === 0) run.resume(step)
}

/** So many people more must approve what is shown. */
function missing(step: StepState, { rule, shownText, role = '' }: Waiting): number {
  return Math.max((rule?.people ?? 1) - peopleOf(step, shownText, role).length, 0)
}

/** Different people who have approved exactly what is shown, for this role. */
function peopleOf(step: StepState, shown: string | undefined, role: string): string[] {
  return [...new Set(approvalsOf(step, shown).flatMap((one) => (one.role === role ? [one.by] : [])))]
}

/** Why an answer does not count. The server has said so already, unless another answer came between. */
function whyNot(
  run: ActiveRun,
  step: StepState | undefined,
  { verdict, shown, by, input }: Answer,
): EntryOf<'message.ignored'>['why'] {
  const waiting = step?.waiting
  if (!step || !waiting || !isForPerson(waiting)) return 'late'
  if (waiting.shown !== shown) return 'mismatch'
  if (input !== undefined && (verdict === 'deny' || !isEditable(waiting.for, step.spec.operation.kind)))
    return 'invalid'
  // Whoever began it may still say no.
  if (verdict === 'deny') return undefined
  // What was on its way when the time was over may come before the wait is ended.
  if (waiting.until !== undefined && run.services.clock() >= waiting.until) return 'late'
  if (waiting.rule?.requester === false && !areApart(by, run.created.by)) return 'requester'
  const given = approvalsOf(step, waiting.shownText).filter(({ role }) => role === waiting.role)
  return given.every((one) => areApart(by, { user: one.by, hands: one.hands })) ? undefined : 'repeated'
}

/** When something is to happen though nobody has answered, ms since the epoch; undefined for never. */
export function dueAt({ rule, escalated, since, until }: Waiting): number | undefined {
  if (!rule?.escalate || escalated) return until
  return Math.min(since + rule.escalate.afterMs, until ?? Number.POSITIVE_INFINITY)
}

/** Nobody has answered in time: another role may as well, or nobody any more. */
export function endPatience(run: ActiveRun, step: StepState, waiting: Waiting, now: number): void {
  const { rule, role, until = Number.POSITIVE_INFINITY, shownText = '{}' } = waiting
  const { id, operation } = step.spec
  if (now < until) {
    if (!rule?.escalate || waiting.escalated || now < waiting.since + rule.escalate.afterMs) return
    const entry: NewEntry = { type: 'approval.escalated', at: now, step: id, role: rule.escalate.role }
    run.append(entry)
    run.waitOn(step, { ...waiting, escalated: true })
    return
  }
  if ('wait' in operation.action) {
    const message = `step "${id}" has waited for an answer by ${role} in vain`
    endFailed(run, step, new MusterError('step.timeout', message), [], true)
    return
  }
  const { input, labels }: { input: Json; labels: Label[] } = JSON.parse(shownText)
  const error = new MusterError(
    'approval.expired',
    `${operation.target} waited for an approval by ${role} until ${new Date(until).toISOString()}`,
  )
  endDenied(run, step, error, labels, input)
}
