import type {
  Decision,
  Effect,
  Entry,
  EntryOf,
  Json,
  Label,
  RedactCounts,
  RunEvent,
  StepStatus,
  Usage,
} from '@muster/protocol'
import { joinCounts } from '@muster/protocol'

/** Content that belongs to an entry: there, or erased since. */
export interface Held {
  digest: string
  /** Undefined where it was erased. */
  value: Json | undefined
}

export function heldOf({ entry, content }: RunEvent): Held | undefined {
  return entry.content === undefined ? undefined : { digest: entry.content, value: content }
}

/** A person's answer, and why it was given. */
export interface Answer {
  seq: number
  entry: EntryOf<'approval.given'>
  content: Held | undefined
}

/** One attempt of a step with all that the journal has of it. */
export interface Attempt {
  step: string
  kind: string
  target: string
  attempt: number
  status: StepStatus | 'running' | 'waiting'
  /** Places of its entries. */
  seqs: number[]
  began: number
  ended: number | undefined
  effect: Effect | undefined
  decision: Decision | undefined
  waits: EntryOf<'step.waiting'>[]
  answers: Answer[]
  /** Labels before it, and those that its outcome has. */
  labels: readonly Label[]
  outcome: readonly Label[]
  declassified: readonly Label[]
  redacted: RedactCounts
  costUsd: number
  model: string | undefined
  usage: Usage | undefined
  error: string | undefined
  input: Held | undefined
  output: Held | undefined
}

type StepEntry = EntryOf<'step.intent' | 'step.waiting' | 'step.ended'>

/** The attempts of a run's steps in the order in which they began. */
export function attemptsOf(events: readonly RunEvent[]): Attempt[] {
  const all: Attempt[] = []
  const open = new Map<string, Attempt>()
  const begin = (entry: StepEntry): Attempt => {
    const attempt = newAttempt(entry)
    all.push(attempt)
    open.set(entry.step, attempt)
    return attempt
  }
  for (const event of events) {
    const { entry } = event
    if (entry.type === 'approval.given') {
      const { seq } = event
      open.get(entry.step)?.answers.push({ seq, entry, content: heldOf(event) })
    } else if (isOfStep(entry)) {
      const before = open.get(entry.step)
      // After a wait the same attempt goes on; after a crash another begins.
      const goesOn = before && (entry.type !== 'step.intent' || before.status === 'waiting')
      take(goesOn ? before : begin(entry), event, entry)
      if (entry.type === 'step.ended') open.delete(entry.step)
    }
  }
  return all
}

function isOfStep(entry: Entry): entry is StepEntry {
  return entry.type === 'step.intent' || entry.type === 'step.waiting' || entry.type === 'step.ended'
}

function newAttempt(entry: StepEntry): Attempt {
  const { step, kind, target, attempt, labels, at } = entry
  const began = entry.type === 'step.ended' ? at - entry.durationMs : at
  return {
    ...{ step, kind, target, attempt, labels, began, status: 'running', seqs: [], waits: [], answers: [] },
    ...{ outcome: [], declassified: [], redacted: {}, costUsd: 0, ended: undefined, effect: undefined },
    ...{ decision: undefined, model: undefined, usage: undefined, error: undefined },
    ...{ input: undefined, output: undefined },
  }
}

function take(attempt: Attempt, event: RunEvent, entry: StepEntry): void {
  attempt.seqs.push(event.seq)
  attempt.decision = entry.decision ?? attempt.decision
  if (entry.type === 'step.waiting') {
    attempt.status = 'waiting'
    attempt.waits.push(entry)
    attempt.input ??= heldOf(event)
    return
  }
  attempt.redacted = joinCounts(attempt.redacted, entry.redacted) ?? {}
  if (entry.type === 'step.intent') {
    attempt.status = 'running'
    attempt.effect = entry.effect
    attempt.input = heldOf(event)
    return
  }
  attempt.status = entry.status
  attempt.ended = entry.at
  attempt.outcome = entry.labels
  attempt.declassified = entry.declassified ?? []
  attempt.costUsd = entry.costUsd ?? 0
  attempt.model = entry.model
  attempt.usage = entry.usage
  if (entry.error) attempt.error = `${entry.error.code}: ${entry.error.message}`
  // Of what was denied the content is the input.
  if (entry.status === 'denied') attempt.input = heldOf(event) ?? attempt.input
  else attempt.output = heldOf(event)
}
