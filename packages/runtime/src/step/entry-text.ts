import type { Decision, EntryOf, EntryVersion, Label, NewEntry, RedactCounts, StepStatus } from '@muster/protocol'
import type { Operation, StepState } from './step.ts'

/**
 * The entries of a step, as JSON text put together from parts that are encoded once. Stringifying
 * them as objects would cost more than all that the scheduler does for the step.
 */

/** Fields of `step.intent` that only some steps have. */
type IntentRest = Pick<EntryOf<'step.intent'>, 'idempotencyKey' | 'request' | 'redacted'>

export function intentText(step: StepState, labels: readonly Label[], decision: Decision, rest: IntentRest): string {
  const { effect } = step.spec.operation
  return `"type":"step.intent","at":${step.beganAt},${subjectText(step, labels)},"effect":"${effect}",${membersOf(rest)},"decision":${decisionText(decision)}`
}

/** Fields of `step.ended` that only some steps have. */
type EndedRest = Partial<
  Pick<
    EntryOf<'step.ended'>,
    'usage' | 'costUsd' | 'model' | 'via' | 'cached' | 'guardrail' | 'error' | 'retry' | 'declassified' | 'redacted'
  >
>

/** Fields that may be there without a value. */
type Absent<Fields> = { [Field in keyof Fields]: Fields[Field] | undefined }

export function endedText(
  step: StepState,
  at: number,
  labels: readonly Label[],
  status: StepStatus,
  rest: Absent<EndedRest> = {},
): string {
  const durationMs = step.beganAt === 0 ? 0 : at - step.beganAt
  let text = `"type":"step.ended","at":${at},${subjectText(step, labels)},"status":"${status}","durationMs":${durationMs}`
  // Where an intent came before, the decision stands there.
  if (!step.intended && step.decision) text += `,"decision":${decisionText(step.decision)}`
  if (step.signal !== undefined) text += `,"signal":${step.signal}`
  for (const field in rest) {
    if (rest[field as keyof EndedRest] === undefined) continue
    return `${text},${membersOf(rest)}`
  }
  return text
}

/** Fields of `step.waiting` besides what it is about. */
type WaitingRest = {
  [Field in 'decision' | 'role' | 'rule' | 'given' | 'child' | 'until']?: EntryOf<'step.waiting'>[Field] | undefined
} & Pick<EntryOf<'step.waiting'>, 'for'>

export function waitingText(step: StepState, at: number, labels: readonly Label[], rest: WaitingRest): string {
  return `"type":"step.waiting","at":${at},${subjectText(step, labels)},${membersOf(rest)}`
}

function subjectText(step: StepState, labels: readonly Label[]): string {
  const { id, operation } = step.spec
  const marks = labels.length === 0 ? '[]' : JSON.stringify(labels)
  return `"step":${JSON.stringify(id)},${operationText(operation)},"attempt":${step.attempt || 1},"labels":${marks}`
}

function operationText({ kind, target }: Operation): string {
  return `"kind":"${kind}","target":${JSON.stringify(target)}`
}

/** The oldest version of the entries' format that knows what an entry with this decision says. */
export function versionWith(decision: Decision | undefined, redacted?: RedactCounts): EntryVersion {
  if (decision?.history || decision?.trial || decision?.unapproved || decision?.newDestination || decision?.targets)
    return 3
  return redacted ? 2 : 1
}

const NEW_IN_3: ReadonlySet<string> = new Set(['approval.escalated', 'run.stopped', 'run.lifted'])

/** The oldest version of the entries' format that knows what this one says. */
export function versionOf(entry: NewEntry, hasContent = true): EntryVersion {
  // What it gives is its signal.
  if (entry.type === 'step.ended' && entry.status === 'ok' && entry.signal !== undefined && !hasContent) return 4
  const isOfMany = entry.type === 'approval.given' && (entry.more !== undefined || entry.edited === true)
  if (isOfMany || NEW_IN_3.has(entry.type)) return 3
  return versionWith('decision' in entry ? entry.decision : undefined, 'redacted' in entry ? entry.redacted : undefined)
}

/** The same of how a step ended: where an intent came before, the decision stands there. */
export function endedVersion({ intended, decision }: StepState, rest: Absent<EndedRest> = {}): EntryVersion {
  const { via, guardrail, cached, usage, redacted } = rest
  if (via || guardrail || cached || usage?.reasoningTokens !== undefined) return 3
  return versionWith(intended ? undefined : decision, redacted)
}

const decisions = new WeakMap<Decision, string>()

function decisionText(decision: Decision): string {
  let text = decisions.get(decision)
  if (text === undefined) {
    text = JSON.stringify(decision)
    decisions.set(decision, text)
  }
  return text
}

/** An object's members as JSON, without its braces. */
function membersOf(value: object): string {
  return JSON.stringify(value).slice(1, -1)
}
