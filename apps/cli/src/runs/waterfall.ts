import {
  type Decision,
  type EntryOf,
  joinCounts,
  type Label,
  type RedactCounts,
  type RunEvent,
  type StepStatus,
  type Via,
  type Waiting,
} from '@muster/protocol'
import pc from 'picocolors'
import { dateOf, duration, money, plain } from '../output.ts'

/** One attempt of a step, as a trace shows it. */
export interface Span {
  step: string
  kind: string
  target: string
  attempt: number
  status: StepStatus | 'running' | 'waiting'
  /** Milliseconds after the run began. */
  startMs: number
  durationMs: number
  decision: Decision | undefined
  labels: readonly Label[]
  declassified: readonly Label[]
  costUsd: number
  /** Which of a route's targets answered, and why not those before it. */
  via: Via | undefined
  /** What a guardrail has found and masked. */
  guardrail: RedactCounts
  /** No model was asked: an identical call had its answer. */
  cached: boolean
  /** What was taken out of its input and output. */
  redacted: RedactCounts
  error: string | undefined
  /** A child run, the role that must approve, a signal, a time. */
  waitsFor: string | undefined
  /** What people have said of it: `approved by ann (finance): reason`. */
  answers: string[]
}

/** What a step waits for, in a few words. */
export function waitsFor({ for: reason, child, role, rule, target, until }: Waiting): string {
  const time = until === undefined ? '' : dateOf(until)
  if (reason === 'timer') return time
  if (reason === 'callback') return 'its callback'
  const what =
    reason === 'child'
      ? `run ${child}`
      : reason === 'signal'
        ? `signal ${target}`
        : `${people(rule)}${role} (${reason})`
  return time === '' ? what : `${what}, until ${time}`
}

function people(rule: Waiting['rule']): string {
  return rule?.people === undefined ? '' : `${rule.people} of `
}

/** Reads the attempts of a run's steps off its events. */
export function spansOf(events: readonly RunEvent[]): Span[] {
  const spans: Span[] = []
  const open = new Map<string, Span>()
  const began = events[0]?.entry.at ?? 0
  const start = (entry: EntryOf<'step.intent' | 'step.waiting' | 'step.ended'>, at: number): Span => {
    const { step, kind, target, attempt } = entry
    const span: Span = {
      ...{
        step,
        kind,
        target,
        attempt,
        status: 'running',
        startMs: Math.max(at - began, 0),
        durationMs: 0,
        decision: undefined,
      },
      ...{
        labels: entry.labels,
        declassified: [],
        costUsd: 0,
        via: undefined,
        cached: false,
        guardrail: {},
        redacted: {},
        error: undefined,
        waitsFor: undefined,
      },
      answers: [],
    }
    spans.push(span)
    open.set(step, span)
    return span
  }
  for (const { entry, content } of events) {
    switch (entry.type) {
      case 'step.intent': {
        const waited = open.get(entry.step)
        // After an approval the same step goes on; after a crash another attempt begins.
        const span = waited?.status === 'waiting' ? waited : start(entry, entry.at)
        span.status = 'running'
        span.decision = entry.decision
        span.redacted = joinCounts(span.redacted, entry.redacted) ?? {}
        break
      }
      case 'step.waiting': {
        const span = open.get(entry.step) ?? start(entry, entry.at)
        span.status = 'waiting'
        span.decision = entry.decision ?? span.decision
        span.waitsFor = waitsFor(entry)
        break
      }
      case 'approval.given': {
        open.get(entry.step)?.answers.push(answerText(entry, content))
        break
      }
      case 'step.ended': {
        const span = open.get(entry.step) ?? start(entry, entry.at - entry.durationMs)
        open.delete(entry.step)
        span.status = entry.status
        span.durationMs = Math.max(entry.at - began - span.startMs, 0)
        span.decision = entry.decision ?? span.decision
        span.labels = entry.labels
        span.declassified = entry.declassified ?? []
        span.costUsd = entry.costUsd ?? 0
        span.via = entry.via
        span.cached = entry.cached === true
        span.guardrail = entry.guardrail ?? {}
        span.redacted = joinCounts(span.redacted, entry.redacted) ?? {}
        if (entry.error) span.error = `${entry.error.code}: ${entry.error.message}`
        break
      }
      default:
    }
  }
  const end = (events.at(-1)?.entry.at ?? began) - began
  for (const span of open.values()) span.durationMs = Math.max(end - span.startMs, 0)
  return spans
}

function answerText(
  { verdict, by, role, as, edited }: EntryOf<'approval.given'>,
  content: RunEvent['content'],
): string {
  const { reason } = (content ?? {}) as { reason?: string } // see `approval.given`
  const done = verdict === 'deny' ? 'refused' : edited ? 'approved with other input' : 'approved'
  const who = `${by.user} (${as === undefined ? role : `${as} for ${role}`})`
  return plain(`${done} by ${who}${reason === undefined ? '' : `: ${reason}`}`)
}

/** What was taken out of all that a run has stored. */
export function redactedOf(events: readonly RunEvent[]): RedactCounts {
  let counts: RedactCounts | undefined
  for (const { entry } of events) if ('redacted' in entry) counts = joinCounts(counts, entry.redacted)
  return counts ?? {}
}

/** `redacted: 2 email, 1 secret`; empty for nothing. */
export function redactedText(counts: RedactCounts): string {
  const parts = Object.entries(counts).map(([kind, count]) => `${count} ${kind}`)
  return parts.length === 0 ? '' : `redacted: ${parts.join(', ')}`
}

const glyph = {
  ok: pc.green('✓'),
  failed: pc.red('✗'),
  denied: pc.yellow('⊘'),
  cancelled: pc.dim('∅'),
  skipped: pc.dim('↷'),
  running: pc.cyan('…'),
  waiting: pc.yellow('⧖'),
}

/** A run's trace as a waterfall for a terminal: a line per attempt, its bar in the run's time, who allowed it, what it cost. */
export function waterfall(spans: readonly Span[], width: number): string {
  const total = spans.reduce((most, span) => Math.max(most, span.startMs + span.durationMs), 1)
  const widthOf = (span: Span) => plain(span.step).length + (span.attempt > 1 ? 3 : 0)
  const nameWidth = spans.reduce((most, span) => Math.min(Math.max(most, widthOf(span)), 44), 4)
  const barWidth = Math.max(12, Math.min(36, width - nameWidth - 52))
  const lines = spans.map((span) => {
    const name = plain(span.step).slice(-nameWidth) + (span.attempt > 1 ? ` ×${span.attempt}` : '')
    const from = Math.min(Math.floor((span.startMs / total) * barWidth), barWidth - 1)
    const length = Math.max(1, Math.min(Math.round((span.durationMs / total) * barWidth), barWidth - from))
    const bar =
      pc.dim('·'.repeat(from)) + color(span)('█'.repeat(length)) + pc.dim('·'.repeat(barWidth - from - length))
    const notes = [
      decided(span),
      labelled(span),
      span.via && viaText(span.via),
      span.cached && 'cached',
      redactedText(span.redacted),
      redactedText(span.guardrail).replace('redacted', 'guardrail'),
      ...span.answers,
      span.waitsFor && `${span.status === 'waiting' ? 'waits' : 'waited'} for ${span.waitsFor}`,
      span.error && plain(span.error),
    ].filter(Boolean)
    return `${glyph[span.status]} ${name.padEnd(nameWidth)} ${bar} ${duration(span.durationMs).padStart(9)} ${money(span.costUsd).padStart(8)}  ${notes.join('  ')}`
  })
  return lines.join('\n')
}

function color(span: Span): (text: string) => string {
  if (span.status === 'failed') return pc.red
  if (span.status === 'denied' || span.status === 'waiting') return pc.yellow
  return span.kind === 'model' ? pc.magenta : pc.cyan
}

function decided({ decision }: Span): string {
  if (!decision) return ''
  const by = decision.policies.join(', ') || 'no policy permits'
  const text = `${decision.effect}: ${by}`
  const { trial } = decision
  const tried = trial
    ? `  ${pc.yellow(`log-only ${trial.effect}: ${trial.policies.join(', ') || 'no policy permits'}`)}`
    : ''
  const past = Object.entries(decision.history ?? {}).map(([name, value]) => `${name}=${JSON.stringify(value)}`)
  const known = past.length === 0 ? '' : pc.dim(` (${plain(past.join(', '))})`)
  return (decision.effect === 'allow' ? pc.dim(text) : pc.yellow(text)) + known + tried
}

/** `via bedrock eu-central-1 m (cheapest), before api.openai.com m, not api.openai.com n (rate.limited)` */
function viaText({ target, passed = [], region, order, sticky, hedged = [] }: Via): string {
  const how = [region, order, sticky && 'sticky'].filter(Boolean).join(', ')
  const others = passed.map((other) => `${other.target} (${other.code})`)
  const before = hedged.length === 0 ? '' : `, before ${hedged.join(', ')}`
  return plain(
    `via ${target}${how === '' ? '' : ` (${how})`}${before}${others.length === 0 ? '' : `, not ${others.join(', ')}`}`,
  )
}

function labelled({ labels, declassified }: Span): string {
  const marks = labels.map((label) => pc.yellow(`#${label}`))
  const removed = declassified.map((label) => pc.green(`−#${label}`))
  return [...marks, ...removed].join(' ')
}
