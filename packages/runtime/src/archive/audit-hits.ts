import type { AuditHit, EntryOf, Json, RunEvent } from '@muster/protocol'

/** Numbers of one input that are kept, and how long their names may be. */
const AMOUNTS_MAX = 16
const AMOUNT_NAME_MAX = 64
/** Policies, labels or people of one step that it is found by; what is longer cannot be searched for. */
const VALUES_MAX = 32
const TEXT_MAX = 256

/** What is known of a step before it has ended. */
type Open = Pick<AuditHit, 'decisions' | 'policies' | 'labels' | 'approvers'> & { amounts: AuditHit['amounts'] }

/** What the steps of a run came to, and the run itself, as they are searched for. */
export function auditHitsOf(events: readonly RunEvent[]): AuditHit[] {
  const created = events[0]?.entry
  if (created?.type !== 'run.created') return []
  const { run, by, definition } = created
  const of = { run, name: definition.name, version: definition.version, by: by.user }
  const steps = new Map<string, Open>()
  const hits: AuditHit[] = []
  for (const { seq, entry, content } of events) {
    switch (entry.type) {
      case 'step.intent':
      case 'step.waiting':
        note(opened(steps, entry.step), entry, inputOf(entry, content))
        break
      case 'approval.given':
        opened(steps, entry.step).approvers.push(entry.by.user)
        break
      case 'step.ended': {
        // What another run did is found there.
        if (entry.status === 'skipped' || entry.copied !== undefined) break
        const open = opened(steps, entry.step)
        note(open, entry, entry.status === 'denied' ? content : undefined)
        const { step, kind, target, status, error, at } = entry
        hits.push({
          ...of,
          seq,
          at,
          step,
          kind,
          target,
          status,
          ...told(open),
          ...(error ? { error: error.code } : {}),
        })
        // The next attempt is decided anew; who answered holds for it too.
        if (entry.retry) steps.set(step, { ...open, decisions: [], policies: [], labels: [] })
        else steps.delete(step)
        break
      }
      case 'run.ended': {
        const { at, status, labels, error } = entry
        hits.push({
          ...{ ...of, seq, at, kind: 'run', target: definition.name, status, labels: unique(labels) },
          ...{ decisions: [], policies: [], approvers: [], ...(error ? { error: error.code } : {}) },
        })
        break
      }
      default:
    }
  }
  return hits
}

function opened(steps: Map<string, Open>, step: string): Open {
  const open = steps.get(step) ?? { decisions: [], policies: [], labels: [], approvers: [], amounts: undefined }
  steps.set(step, open)
  return open
}

function note(
  open: Open,
  { decision, labels, kind }: EntryOf<'step.intent' | 'step.waiting' | 'step.ended'>,
  input: Json | undefined,
): void {
  open.labels.push(...labels)
  if (decision) {
    open.decisions.push(decision.effect)
    open.policies.push(...decision.policies)
  }
  // An edit comes with the intent, after what was shown.
  if (kind === 'tool') open.amounts = amountsOf(input) ?? open.amounts
}

function told({ decisions, policies, labels, approvers, amounts }: Open) {
  return {
    decisions: unique(decisions),
    policies: unique(policies),
    labels: unique(labels),
    approvers: unique(approvers),
    ...(amounts ? { amounts } : {}),
  }
}

/** The step's input: what waits shows it beside the rest. */
function inputOf({ type }: { type: string }, content: Json | undefined): Json | undefined {
  return type === 'step.waiting' ? isObject(content) && content.input : content
}

function amountsOf(input: Json | undefined): AuditHit['amounts'] {
  if (!isObject(input)) return undefined
  const numbers = Object.entries(input).filter(
    (field): field is [string, number] => typeof field[1] === 'number' && field[0].length <= AMOUNT_NAME_MAX,
  )
  return numbers.length === 0 ? undefined : Object.fromEntries(numbers.slice(0, AMOUNTS_MAX))
}

function isObject(value: Json | undefined): value is { [key: string]: Json } {
  return value !== null && typeof value === 'object' && !Array.isArray(value)
}

/** Each once; no more and no longer than an item can hold. */
function unique<T extends string>(values: readonly T[]): T[] {
  return [...new Set(values)].filter(({ length }) => length <= TEXT_MAX).slice(0, VALUES_MAX)
}
