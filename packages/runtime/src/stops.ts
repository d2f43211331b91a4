import type { Stop } from '@muster/protocol'
import type { ActiveRun } from './active-run.ts'
import type { StepState } from './step.ts'

/** What stops a step: a stop of its tenant, of its run's agent or plan, or of the tool, model or agent that it calls. */
export function stopOf({ services, tenant, created }: ActiveRun, { spec }: StepState): Stop | undefined {
  const { controls } = services
  if (!controls.hasStops) return undefined
  const stops = controls.stops(tenant)
  if (!stops) return undefined
  const { kind, name } = created.definition
  const { kind: called, target } = spec.operation
  // An agent is called by name and version.
  const of = called === 'agent' ? target.slice(0, target.lastIndexOf('@')) : target
  return stops.get('tenant') ?? stops.get(`${kind}:${name}`) ?? stops.get(`${called}:${of}`)
}
