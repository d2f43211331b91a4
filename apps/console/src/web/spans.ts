import type { Decision, Effect, EntryOf, Json, Label, RunEvent, StepStatus, Usage } from '@muster/protocol'

/** One attempt of a step, as the waterfall shows it. Times are milliseconds since the Unix epoch. */
export interface Span {
  /** Place of its first entry: names the span within its run. */
  seq: number
  step: string
  kind: string
  target: string
  attempt: number
  status: StepStatus | 'running' | 'waiting'
  from: number
  /** Undefined while it runs or waits. */
  to: number | undefined
  /** When a person was asked and when they answered; undefined while nobody has. */
  waits: { from: number; to: number | undefined }[]
  decision: Decision | undefined
  effect: Effect | undefined
  idempotencyKey: string | undefined
  request: string | undefined
  model: string | undefined
  usage: Usage | undefined
  costUsd: number
  labels: readonly Label[]
  declassified: readonly Label[]
  error: { code: string; message: string } | undefined
  retry: boolean
  child: string | undefined
  /** Who must answer, and what they are asked about. */
  asked: { role: string; doubt: boolean } | undefined
  verdict: { verdict: 'approve' | 'deny'; user: string; role: string } | undefined
  input: Json | undefined
  shown: Json | undefined
  output: Json | undefined
  /** Everything that the journal says of it. */
  events: RunEvent[]
}

type StepEntry = EntryOf<'step.intent' | 'step.waiting' | 'step.ended'>

/** Reads the attempts of a run's steps off its events, in the order in which they began. */
export function spansOf(events: readonly RunEvent[]): Span[] {
  const spans: Span[] = []
  const open = new Map<string, Span>()
  const spanOf = (event: RunEvent, entry: StepEntry, from: number): Span => {
    const known = open.get(entry.step)
    if (known) return known
    const { step, kind, target, attempt, labels } = entry
    const span: Span = { ...none, seq: event.seq, step, kind, target, attempt, labels, from, waits: [], events: [] }
    spans.push(span)
    open.set(step, span)
    return span
  }
  for (const event of events) {
    const { entry, content } = event
    if (!('step' in entry) || entry.step === undefined) continue
    let span = open.get(entry.step)
    switch (entry.type) {
      case 'step.intent':
        // After an approval the same attempt goes on; after a crash another begins.
        if (span && span.status !== 'waiting') {
          span.to = entry.at
          open.delete(entry.step)
        }
        span = spanOf(event, entry, entry.at)
        Object.assign(span, {
          status: 'running',
          attempt: entry.attempt,
          labels: entry.labels,
          decision: entry.decision,
        })
        Object.assign(span, { effect: entry.effect, idempotencyKey: entry.idempotencyKey, request: entry.request })
        span.input = content
        answered(span, entry.at)
        break
      case 'step.waiting':
        span = spanOf(event, entry, entry.at)
        span.status = 'waiting'
        span.decision = entry.decision ?? span.decision
        if (entry.for === 'child') span.child = entry.child
        else {
          span.waits.push({ from: entry.at, to: undefined })
          // Nobody is asked.
          if (entry.for !== 'approval' && entry.for !== 'doubt') break
          span.asked = { role: entry.role ?? 'operator', doubt: entry.for === 'doubt' }
          span.shown = content
        }
        break
      case 'approval.given':
        if (!span) break
        span.verdict = { verdict: entry.verdict, user: entry.by.user, role: entry.role }
        answered(span, entry.at)
        break
      case 'step.ended': {
        span = spanOf(event, entry, entry.at - entry.durationMs)
        open.delete(entry.step)
        const { status, labels, declassified = [], costUsd = 0, error, model, usage, retry = false } = entry
        Object.assign(span, { status, to: entry.at, labels, declassified, costUsd, error, model, usage, retry })
        span.decision = entry.decision ?? span.decision
        if (status === 'denied') span.input ??= content
        else span.output = content
        answered(span, entry.at)
        break
      }
      default:
    }
    span?.events.push(event)
  }
  return spans
}

const none = {
  ...{ status: 'running' as const, to: undefined, decision: undefined, effect: undefined, idempotencyKey: undefined },
  ...{ request: undefined, model: undefined, usage: undefined, costUsd: 0, declassified: [], error: undefined },
  ...{ retry: false, child: undefined, asked: undefined, verdict: undefined, input: undefined, shown: undefined },
  output: undefined,
}

function answered(span: Span, at: number): void {
  const wait = span.waits.at(-1)
  if (wait) wait.to ??= at
}
