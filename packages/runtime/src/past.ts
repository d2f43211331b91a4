import { History, type StepEvent } from '@muster/governance'
import type { Json, Label, StepError } from '@muster/protocol'
import type { ActiveRun } from './active-run.ts'
import type { Recorded } from './recorded.ts'
import { approvalsOf, shownText } from './shown.ts'
import type { Outcome, StepState } from './step.ts'
import { resolveInput } from './step-input.ts'

/** What a run has done, for policies that ask: noted as it is journaled, and from the journal when it is taken up again. */

/** The run's past up to its last checkpoint, and that of its session as it was when those runs last parked or ended. */
export async function openPast(run: ActiveRun, { past: state }: Pick<Recorded, 'past'>): Promise<History | undefined> {
  const { policy, memory, log } = run.services
  const { history: terms } = policy
  if (!terms) return undefined
  const { session } = run.created
  const others = terms.ofSession && session !== undefined ? await memory.pasts.read(run.tenant, session) : []
  const earlier = others.flatMap(({ run: id, events }) =>
    // Written by `keepPast`; of two runs, steps may have one name.
    id === run.id ? [] : (events as unknown as StepEvent[]).map((event) => ({ ...event, step: `${id}/${event.step}` })),
  )
  if (state === undefined || state.key === terms.key) return new History(terms, state, earlier)
  log.warn({ run: run.id }, 'policies ask other history than before: what came before the last checkpoint is not known')
  return new History(terms, undefined, earlier)
}

/** Stores what the later runs of its session are to know of it, in place of what was stored before. */
export async function keepPast({ past, tenant, created, services, id }: ActiveRun): Promise<void> {
  const { session } = created
  if (!past || session === undefined) return
  await services.memory.pasts.put(tenant, session, id, past.log as unknown as Json[]) // plain JSON by construction
}

/** It is known that it was allowed, and not whether it has happened. */
export function isUnsure(error: Pick<StepError, 'code'> | undefined): boolean {
  return error?.code === 'step.timeout' || error?.code === 'step.in_doubt'
}

export function noteBegun(run: ActiveRun, step: StepState): void {
  note(run, step, { what: 'begun', at: step.beganAt })
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
): void {
  // Undoing a payment is not a payment.
  if (!run.past || step.undoes !== undefined) return
  const { kind, target } = step.spec.operation
  const name = kind === 'agent' ? target.slice(0, target.lastIndexOf('@')) : target
  if (!run.past.terms.of(kind, name)) return
  const { input, labels } = inputOf(run, step)
  const people = step.verdicts.length === 0 ? [] : approvalsOf(step, shownText(step, input, labels)).map(({ by }) => by)
  run.past.add({
    ...{ ...event, step: step.spec.id, kind, target: name, input, people: [...new Set(people)] },
    ...(outcome?.status === 'ok' ? { output: outcome.output } : {}),
  })
}

/** Nothing where a reference leads nowhere: such a step has failed before it began. */
function inputOf(run: ActiveRun, step: StepState): { input: Json; labels: readonly Label[] } {
  try {
    return resolveInput(run, step)
  } catch {
    return { input: null, labels: [] }
  }
}
