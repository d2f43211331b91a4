import { isForPerson, type WebhookPayload } from '@muster/protocol'
import type { StepState } from '../step/step.ts'
import type { ActiveRun } from './active-run.ts'

/** Steps of which a webhook is told that they wait; a person who wants to see all reads the run. */
const SHOWN = 20

/** What webhooks are told of a run: no content. */
export function runEvent(
  run: ActiveRun,
  type: WebhookPayload['type'],
  more?: Partial<WebhookPayload['data']>,
): WebhookPayload {
  const { kind, name, version } = run.created.definition
  const timestamp = new Date(run.services.clock()).toISOString()
  return { type, timestamp, data: { run: run.id, kind, name, version, ...more } }
}

/** That a run waits for a person. */
export function waitingEvent(run: ActiveRun, steps: readonly StepState[]): WebhookPayload {
  const waiting = steps.flatMap(({ spec, waiting }) => {
    if (!waiting || !isForPerson(waiting)) return []
    const { role, rule, escalated, until } = waiting
    return [
      {
        step: spec.id,
        for: waiting.for,
        ...(role === undefined ? {} : { role }),
        ...(rule?.people === undefined ? {} : { people: rule.people }),
        ...(rule?.escalate && escalated ? { escalated: rule.escalate.role } : {}),
        ...(until === undefined ? {} : { until }),
      },
    ]
  })
  return runEvent(run, 'run.waiting', { waiting: waiting.slice(0, SHOWN) })
}
