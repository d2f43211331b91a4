import { hash } from 'node:crypto'
import { joinLabels } from '@muster/governance'
import type { NewRun } from '@muster/journal'
import {
  childRunId,
  isEnded,
  type Json,
  type Label,
  type Limits,
  MusterError,
  type Run,
  RunView,
  type Usage,
} from '@muster/protocol'
import { toEvents, withBlobs } from '../archive/content.ts'
import type { Services } from '../services.ts'
import type { Call, ChildSpec, StepState } from '../step/step.ts'
import type { ActiveRun } from './active-run.ts'

/** The id that a step's child run always has, so that starting it again starts nothing. */
export function childId(run: string, step: string): string {
  return childRunId(run, hash('sha256', `${run}/${step}`, 'hex'))
}

/** Starts a step's child run, once however often it is called. */
export async function startChild(
  services: Services,
  { by, subject }: Pick<NewRun, 'by' | 'subject'>,
  spec: ChildSpec,
  call: Call,
  { limits, shares }: { limits: Limits; shares: NonNullable<NewRun['shares']> },
): Promise<string> {
  const agent = services.app.agents.get(spec.agent)
  if (!agent) throw new MusterError('definition.not_found', `this worker carries no agent "${spec.agent}"`)
  const { manifest } = agent
  const id = childId(call.run, call.step)
  await services.journal.create(
    {
      run: id,
      tenant: call.tenant,
      definition: { kind: 'agent', name: manifest.name, version: manifest.version, hash: manifest.hash },
      by,
      parent: { run: call.run, step: call.step, until: spec.until },
      labels: [...joinLabels(call.labels, manifest.inputLabels)],
      limits,
      ...(shares.length === 0 ? {} : { shares }),
      ...(subject === undefined ? {} : { subject }),
    },
    { input: call.input, ...(spec.history ? { history: [...spec.history] } : {}) },
    { offload: services.memory.blobs.put },
  )
  return id
}

/** The child run of a step that nobody waits for any more is not to go on; one that has ended needs no cancelling. */
export function cancelChild({ id, created, services }: ActiveRun, { spec }: StepState): void {
  if (!('child' in spec.operation.action)) return
  services.journal.post(childId(id, spec.id), { type: 'cancel', by: created.by }).catch(() => {})
}

/** How a child run stands, for the step that waits for it. */
export interface ChildReport {
  run: string
  status: Run['status']
  output: Json
  error: { code: string; message: string } | undefined
  waiting: { step: string; for: string; target: string; role?: string }[]
  costUsd: number
  usage: Usage
  labels: readonly Label[]
}

/** Reads a child's journal, or the archive where it has left Redis. */
export async function readChild(services: Services, tenant: string, id: string): Promise<ChildReport> {
  const { journal, memory } = services
  const view = new RunView()
  let labels: readonly Label[] = []
  for await (const event of toEvents(withBlobs(journal.read(id), { tenant, run: id }, memory))) {
    view.add(event)
    if ('labels' in event.entry) labels = joinLabels(labels, event.entry.labels)
  }
  const run = view.run ?? (await memory.archive.get(tenant, id))
  if (!run) throw new MusterError('run.not_found', `child run ${id} is gone`)
  return {
    run: id,
    status: run.status,
    output: run.output ?? null,
    error:
      run.error ??
      (isEnded(run.status) && run.status !== 'succeeded'
        ? { code: 'run.cancelled', message: `child run ${id} was ${run.status}` }
        : undefined),
    waiting: run.waiting.map(({ step, for: reason, target, role }) => ({
      step,
      for: reason,
      target,
      ...(role === undefined ? {} : { role }),
    })),
    costUsd: run.costUsd,
    usage: run.usage,
    labels: isEnded(run.status) ? run.labels : labels,
  }
}

/** A child's report as the output of a step that waits `until: 'parked'`. */
export function childResult(report: ChildReport): Json {
  const { run, costUsd } = report
  if (report.status === 'succeeded') return { status: 'succeeded', run, output: report.output, costUsd }
  if (report.error)
    return { status: report.status === 'cancelled' ? 'cancelled' : 'failed', run, error: report.error, costUsd }
  return { status: 'waiting', run, waiting: report.waiting, costUsd }
}
