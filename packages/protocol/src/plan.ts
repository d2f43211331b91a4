import { z } from 'zod'
import { peopleRule } from './approval.ts'
import { conditionIssues } from './condition.ts'
import { type Json, type JsonSchema, json, jsonSchema, name } from './definition.ts'
import { type Issue, MusterError } from './errors.ts'
import { eachReference, parseReference } from './reference.ts'

const stepId = z
  .string()
  .min(1)
  .max(128)
  .regex(/^[a-zA-Z0-9][a-zA-Z0-9_-]*$/, 'letters, digits, "_" and "-" only')

const common = {
  /** Steps that must end first besides those that the input refers to. */
  after: z.array(stepId).max(1000).optional(),
  /**
   * Which ends of the steps before it let it start: all good ones (the default), any good one, so many good ones, or
   * all ends, good or not. Where not all are needed, a reference to a step that has no output gives null.
   */
  join: z.union([z.enum(['all', 'any', 'settled']), z.number().int().positive()]).optional(),
  /** A condition (see `conditionIssues`); where it does not hold the step is skipped. */
  when: json.optional(),
  /** `fail` (the default): the run fails with the step. `continue`: what needs it is skipped, and the run goes on. */
  onFailure: z.enum(['fail', 'continue']).optional(),
  /** Milliseconds that one attempt may take. */
  timeoutMs: z.number().int().positive().optional(),
  /** Milliseconds that it may take from its first attempt on, with all attempts and the pauses between. */
  deadlineMs: z.number().int().positive().optional(),
}

/** The longest wait: 100 years. */
export const WAIT_MS_MAX = 100 * 365.25 * 86_400_000

/** Whether a step only waits, so that a run may park on it. */
const waits = {
  ...common,
  /** Milliseconds that it waits at most; then it fails with `step.timeout`. */
  timeoutMs: z.number().int().positive().max(WAIT_MS_MAX).optional(),
}

const planStep = z.union([
  z.strictObject({ tool: name, input: json.default({}), ...common }),
  z.strictObject({ model: z.string(), prompt: json, instructions: z.string().optional(), ...common }),
  z.strictObject({ agent: name, input: json.default({}), ...common }),
  /** Waits so long: up to years. */
  z.strictObject({ sleepMs: z.number().int().nonnegative().max(WAIT_MS_MAX), ...common }),
  /** Waits for a signal of this name; its output is the payload. */
  z.strictObject({ signal: name, ...waits }),
  /** Waits for a person with this role, or as many as it says, who are shown `show`; fails with `approval.denied` when they refuse. */
  z.strictObject({ approval: z.string().min(1).max(128), show: json.default({}), ...peopleRule.shape, ...waits }),
])
export type PlanStep = z.infer<typeof planStep>

export const PLAN_STEPS_MAX = 100_000

/** A plan as data: what a client or a model sends. */
export const planData = z.strictObject({
  steps: z.record(stepId, planStep),
  /** What the run gives; by default an object of the outputs of the steps that nothing depends on. */
  output: json.optional(),
  /** When the run fails, what its steps did is undone, the last first, where their tools can. */
  rollback: z.boolean().optional(),
  /** JSON Schemas of the signals' payloads, by name; one that is not here takes any JSON. */
  signals: z.record(name, jsonSchema).optional(),
})
export type PlanData = z.infer<typeof planData>

/** What a plan step takes, references and all. */
export function stepInput(step: PlanStep): Json {
  if ('model' in step) return step.prompt
  if ('approval' in step) return step.show
  return 'input' in step ? step.input : null
}

/** The signals that a plan's steps wait for, with the schemas of their payloads; any JSON where it gives none. */
export function planSignals({ steps, signals = {} }: PlanData): Record<string, JsonSchema> {
  const taken = Object.values(steps).flatMap((step) => ('signal' in step ? [step.signal] : []))
  return Object.fromEntries(taken.map((name) => [name, signals[name] ?? {}]))
}

/** Where in a plan step its input stands. */
function inputField(step: PlanStep): string {
  return 'model' in step ? 'prompt' : 'approval' in step ? 'show' : 'input'
}

/**
 * Checks a plan's graph and gives each step's dependencies. Steps come in topological order
 * (Kahn 1962), so that every dependency stands before its dependents.
 *
 * @throws MusterError `plan.unknown_reference`, `plan.cycle` (naming the cycle) or `plan.invalid`
 */
export function planGraph(plan: PlanData): { id: string; step: PlanStep; after: string[] }[] {
  const ids = Object.keys(plan.steps)
  if (ids.length === 0)
    throw new MusterError('plan.invalid', 'The plan has no steps', {
      issues: [{ path: '/steps', message: 'at least one step' }],
    })
  if (ids.length > PLAN_STEPS_MAX) {
    throw new MusterError('plan.invalid', `The plan has ${ids.length} steps`, {
      issues: [{ path: '/steps', message: `at most ${PLAN_STEPS_MAX} steps` }],
    })
  }
  const issues: Issue[] = []
  const shape: Issue[] = []
  const after = new Map<string, Set<string>>()
  const dependents = new Map<string, string[]>(ids.map((id) => [id, []]))
  const depend = (id: string | undefined, on: string, path: string) => {
    const to = dependents.get(on)
    if (!to) issues.push({ path, message: `no step "${on}"` })
    else if (id !== undefined && !after.get(id)?.has(on)) {
      after.get(id)?.add(on)
      to.push(id)
    }
  }
  const visit = (id: string | undefined, base: string) => (ref: string, path: string) => {
    const { step } = parseReference(ref, base + path)
    if (step !== undefined) depend(id, step, base + path)
  }
  for (const [id, step] of Object.entries(plan.steps)) {
    after.set(id, new Set())
    eachReference(stepInput(step), visit(id, `/steps/${id}/${inputField(step)}`))
    for (const [i, on] of (step.after ?? []).entries()) depend(id, on, `/steps/${id}/after/${i}`)
    if (step.when !== undefined) {
      eachReference(step.when, visit(id, `/steps/${id}/when`))
      shape.push(...conditionIssues(step.when, `/steps/${id}/when`))
    }
    const count = after.get(id)?.size ?? 0
    if (typeof step.join === 'number' && step.join > count)
      shape.push({ path: `/steps/${id}/join`, message: `the step comes after ${count} others` })
  }
  if (plan.output !== undefined) eachReference(plan.output, visit(undefined, '/output'))
  if (issues.length > 0)
    throw new MusterError('plan.unknown_reference', 'The plan refers to steps that do not exist', { issues })
  if (shape.length > 0) throw new MusterError('plan.invalid', 'The plan is not valid', { issues: shape })

  const open = new Map(ids.map((id) => [id, after.get(id)?.size ?? 0]))
  const ready = ids.filter((id) => open.get(id) === 0)
  for (let i = 0; i < ready.length; i++) {
    for (const next of dependents.get(ready[i] ?? '') ?? []) {
      const left = (open.get(next) ?? 0) - 1
      open.set(next, left)
      if (left === 0) ready.push(next)
    }
  }
  if (ready.length < ids.length) {
    const cycle = findCycle(after, ids.find((id) => (open.get(id) ?? 0) > 0) ?? '', new Set(ready))
    const message = cycle.join(' → ')
    throw new MusterError('plan.cycle', `Steps wait for each other: ${message}`, {
      issues: [{ path: `/steps/${cycle[0]}`, message }],
    })
  }
  return ready.map((id) => ({ id, step: plan.steps[id] as PlanStep, after: [...(after.get(id) ?? [])] }))
}

/** Follows unfinished dependencies from `start` until a step comes again; every one of them has another. */
function findCycle(after: Map<string, Set<string>>, start: string, done: Set<string>): string[] {
  const path = new Set<string>()
  let at = start
  while (!path.has(at)) {
    path.add(at)
    at = [...(after.get(at) ?? [])].find((id) => !done.has(id)) ?? at
  }
  const steps = [...path]
  return [...steps.slice(steps.indexOf(at)), at]
}
