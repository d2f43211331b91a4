import { joinLabels } from '@muster/governance'
import {
  atPointer,
  type Json,
  type Label,
  MusterError,
  type PlanData,
  type PlanStep,
  parseReference,
  planGraph,
  resolveReferences,
  type StepError,
  stepInput,
} from '@muster/protocol'
import type { ActiveRun, Driver } from '../run/active-run.ts'
import type { StepSpec, StepState } from '../step/step.ts'
import { agentStep, modelStep, type Place, toolStep } from '../step/steps.ts'
import { approvalStep, signalStep, timerStep } from '../step/wait-steps.ts'

type Graph = ReturnType<typeof planGraph>

const graphs = new WeakMap<PlanData, Graph>()

/** The graph of a plan; worked out once for the plans that the worker carries. */
function graphOf(plan: PlanData): Graph {
  const known = graphs.get(plan)
  if (known) return known
  const graph = planGraph(plan)
  graphs.set(plan, graph)
  return graph
}

/** Drives a plan as data: the whole graph is known at the start, and the scheduler follows its edges. */
export function planDataDriver(run: ActiveRun, plan: PlanData, rollback = plan.rollback ?? false): Driver {
  const steps = new Map<string, StepState>()
  const leaves = new Set<string>()
  let open = 0

  function output(): { value: Json; labels: readonly Label[] } {
    let labels = run.created.labels.length > 0 && plan.output === undefined ? ([] as readonly Label[]) : []
    const template = plan.output ?? Object.fromEntries([...leaves].map((id) => [id, { $ref: `#/steps/${id}/output` }]))
    const value = resolveReferences(template, (ref) => {
      const { step, pointer } = parseReference(ref)
      const from = step === undefined ? { output: run.input, labels: run.created.labels } : steps.get(step)?.outcome
      labels = joinLabels(labels, from?.labels ?? [])
      return (from && atPointer(from.output, pointer)) ?? null
    })
    return { value, labels }
  }

  return {
    asynchronous: false,
    rollback,
    start() {
      const graph = graphOf(plan)
      open = graph.length
      for (const { id, step, after } of graph) {
        leaves.add(id)
        for (const on of after) leaves.delete(on)
        const place: Place = {
          id,
          input: 'sleepMs' in step ? { ms: step.sleepMs } : stepInput(step),
          labels: [],
          after: after.flatMap((on) => steps.get(on) ?? []),
        }
        const { join, when, timeoutMs, deadlineMs } = step
        const spec = specOf(run, step, place)
        const own = join !== undefined || when !== undefined || timeoutMs !== undefined || deadlineMs !== undefined
        steps.set(id, run.step(own ? { ...spec, join, when, timeoutMs, deadlineMs } : spec))
      }
    },
    ended(step) {
      const { status, error } = step.outcome ?? {}
      const well = status === 'ok' || status === 'skipped'
      if (!well && !(plan.steps[step.spec.id]?.onFailure === 'continue' && isItsOwn(error))) {
        const { code, message } = error ?? { code: 'internal', message: 'no outcome' }
        run.fail({ code, message: `step "${step.spec.id}": ${message}` })
      } else if (--open === 0) {
        const { value, labels } = output()
        run.finish(value, labels)
      }
    },
  }
}

/** Money and time are the run's: no step can go on without them. */
function isItsOwn(error: StepError | undefined): boolean {
  return error?.code !== 'budget.exceeded' && error?.code !== 'run.deadline'
}

function specOf(run: ActiveRun, step: PlanStep, place: Place): StepSpec {
  const { app } = run.services
  if ('tool' in step) {
    const tool = app.tools.get(step.tool)
    if (!tool)
      throw new MusterError('tool.not_found', `this worker carries no tool "${step.tool}"`, {
        issues: [{ path: `/steps/${place.id}/tool`, message: 'unknown tool' }],
      })
    return toolStep(tool, place)
  }
  if ('agent' in step) {
    const agent = app.agents.get(step.agent)
    if (!agent)
      throw new MusterError('definition.not_found', `this worker carries no agent "${step.agent}"`, {
        issues: [{ path: `/steps/${place.id}/agent`, message: 'unknown agent' }],
      })
    return agentStep(agent, 'ended', place)
  }
  if ('sleepMs' in step) return timerStep(place)
  if ('signal' in step) return signalStep(step.signal, place)
  if ('approval' in step) return approvalStep(step.approval, step, place)
  const { instructions } = step
  return modelStep(run, step.model, place, ({ input }) => ({
    messages: [
      ...(instructions === undefined ? [] : [{ role: 'system' as const, content: instructions }]),
      { role: 'user', content: typeof input === 'string' ? input : JSON.stringify(input) },
    ],
  }))
}
