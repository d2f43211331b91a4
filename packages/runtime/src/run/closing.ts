import type { Message } from '@muster/journal'
import { type EntryOf, isForPerson, type Label, type RedactCounts, type StepError } from '@muster/protocol'
import { settleFunds } from '../limits/afford.ts'
import { endedText, endedVersion } from '../step/entry-text.ts'
import type { StepState } from '../step/step.ts'
import { addUsage } from '../step/step-end.ts'
import type { ActiveRun } from './active-run.ts'
import { cancelChild } from './child.ts'
import { noteEnded } from './past.ts'
import { runEvent, waitingEvent } from './webhook-event.ts'

/** What a run writes last: its end, or that it is parked, and who is told of that. */

export interface Ending {
  status: 'succeeded' | 'failed' | 'cancelled'
  labels: readonly Label[]
  error?: StepError
  /** JSON text. */
  output?: string
  redacted?: RedactCounts | undefined
}

export function writeEnd(run: ActiveRun, { status, labels, error, output, redacted }: Ending): void {
  const { clock, telemetry } = run.services
  for (const step of run.steps.values()) {
    const begun = step.intended || step.inDoubt || step.waiting !== undefined
    if (step.outcome || !begun) continue
    cancelChild(run, step)
    settleFunds(run, step, 'all')
    // Its effect may still happen outside; the journal says that nobody waited for it.
    writeCancelled(run, step)
  }
  const { inputTokens, outputTokens, cachedTokens, costUsd, steps } = run.totals
  const entry = {
    type: 'run.ended' as const,
    at: clock(),
    status,
    labels: [...labels],
    steps,
    usage: { inputTokens, outputTokens, cachedTokens },
    costUsd,
    ...(error ? { error } : {}),
    ...(redacted ? { redacted } : {}),
  }
  run.appendEncoded(entry, output)
  const { parent } = run.created
  run.noteAnswered()
  run.close({
    op: 'end',
    status,
    summary: { costUsd, steps, endedAt: clock(), ...(error ? { error } : {}) },
    parent: parent && parent.until !== 'started' ? noticeTo(parent, run.id) : undefined,
    event: runEvent(run, `run.${status}`, error && { error: { code: error.code } }),
  })
  telemetry.run(run, status, error)
}

/** @param wakeAt ms since the epoch; infinite where no time ends its waiting */
export function writePark(run: ActiveRun, waiting: readonly StepState[], wakeAt: number): void {
  run.append({ type: 'run.parked', at: run.services.clock(), waiting: waiting.map((step) => step.spec.id) })
  const { parent } = run.created
  const forPerson = waiting.some((step) => step.waiting && isForPerson(step.waiting))
  if (!forPerson) run.noteAnswered()
  run.close({
    op: 'park',
    status: 'waiting',
    summary: { costUsd: run.totals.costUsd, steps: run.totals.steps },
    parent: parent?.until === 'parked' && forPerson ? noticeTo(parent, run.id) : undefined,
    wakeAt: wakeAt === Number.POSITIVE_INFINITY ? undefined : wakeAt,
    event: forPerson ? waitingEvent(run, waiting) : undefined,
  })
}

/** Nobody waits for the step any more. What it has used until now is its run's. */
export function writeCancelled(run: ActiveRun, step: StepState): void {
  const at = run.services.clock()
  const { usage, costUsd, model, via } = step.call?.used ?? {}
  const rest = { usage, costUsd, model, via }
  step.call = undefined
  addUsage(run, usage, costUsd)
  run.appendText(endedText(step, at, [], 'cancelled', rest), undefined, endedVersion(step, rest))
  noteEnded(run, step, at, { status: 'cancelled', error: undefined })
}

function noticeTo(
  parent: NonNullable<EntryOf<'run.created'>['parent']>,
  child: string,
): { run: string; message: string } {
  const message: Message = { type: 'child', step: parent.step, run: child }
  return { run: parent.run, message: JSON.stringify(message) }
}
