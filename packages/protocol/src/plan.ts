import { z } from 'zod'
import { type Json, json, name } from './definition.ts'
import { type Issue, MusterError } from './errors.ts'

const stepId = z
  .string()
  .min(1)
  .max(128)
  .regex(/^[a-zA-Z0-9][a-zA-Z0-9_-]*$/, 'letters, digits, "_" and "-" only')

const common = {
  /** Steps that must end first besides those that the input refers to. */
  after: z.array(stepId).max(1000).optional(),
  timeoutMs: z.number().int().positive().optional(),
}

export const planStep = z.union([
  z.strictObject({ tool: name, input: json.default({}), ...common }),
  z.strictObject({ model: z.string(), prompt: json, instructions: z.string().optional(), ...common }),
  z.strictObject({ agent: name, input: json.default({}), ...common }),
])
export type PlanStep = z.infer<typeof planStep>

export const PLAN_STEPS_MAX = 100_000

/** A plan as data: what a client or a model sends. */
export const planData = z.strictObject({
  steps: z.record(stepId, planStep),
  /** What the run gives; by default an object of the outputs of the steps that nothing depends on. */
  output: json.optional(),
})
export type PlanData = z.infer<typeof planData>

/** A reference in a plan's input: `#/input/…` or `#/steps/<step>/output/…` (JSON Pointer, RFC 6901). */
export interface Reference {
  /** The step that it refers to; undefined for the run's own input. */
  readonly step: string | undefined
  readonly pointer: string
}

/** `{"$ref": "#/…"}` and nothing else is a reference. */
export function referenceOf(value: Json): string | undefined {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return undefined
  const ref = value.$ref
  return typeof ref === 'string' && Object.keys(value).length === 1 ? ref : undefined
}

/** Parsed references: those of a plan are the same in every run. Emptied when it is full. */
const known = new Map<string, Reference>()
const KNOWN_MAX = 10_000

/** Throws `plan.unknown_reference` where the text is not a reference. */
export function parseReference(ref: string, path = ''): Reference {
  let reference = known.get(ref)
  if (!reference) {
    reference = readReference(ref, path)
    if (known.size >= KNOWN_MAX) known.clear()
    known.set(ref, reference)
  }
  return reference
}

function readReference(ref: string, path: string): Reference {
  const input = /^#\/input(\/.*)?$/s.exec(ref)
  if (input) return { step: undefined, pointer: input[1] ?? '' }
  const output = /^#\/steps\/([^/]+)\/output(\/.*)?$/s.exec(ref)
  if (output?.[1]) return { step: unescapePointer(output[1]), pointer: output[2] ?? '' }
  const message = `"${ref.slice(0, 200)}" is not a reference`
  throw new MusterError('plan.unknown_reference', message, { issues: [{ path, message }] })
}

function unescapePointer(token: string): string {
  return token.includes('~') ? token.replaceAll('~1', '/').replaceAll('~0', '~') : token
}

/** The value at a JSON Pointer; undefined where there is none. */
export function atPointer(value: Json, pointer: string): Json | undefined {
  if (pointer === '') return value
  let at: Json | undefined = value
  for (const token of pointer.split('/').slice(1)) {
    if (at === null || typeof at !== 'object') return undefined
    const key = unescapePointer(token)
    // Enumerable, so that an array's length is not a member.
    at = Object.prototype.propertyIsEnumerable.call(at, key) ? (at as Record<string, Json>)[key] : undefined
  }
  return at
}

/** Calls `visit` for every reference in a value, with the JSON Pointer of where it stands. */
export function eachReference(value: Json, visit: (ref: string, path: string) => void, path = ''): void {
  const ref = referenceOf(value)
  if (ref !== undefined) visit(ref, path)
  else if (value !== null && typeof value === 'object') {
    for (const [key, child] of Object.entries(value)) {
      if (child !== undefined) eachReference(child, visit, `${path}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`)
    }
  }
}

/** The value with every reference replaced by what `lookup` gives for it; itself where it holds none. */
export function resolveReferences(value: Json, lookup: (ref: string) => Json): Json {
  if (value === null || typeof value !== 'object') return value
  const ref = referenceOf(value)
  if (ref !== undefined) return lookup(ref)
  if (Array.isArray(value)) {
    const items = value.map((item) => resolveReferences(item, lookup))
    return items.some((item, i) => item !== value[i]) ? items : value
  }
  let copy: { [key: string]: Json } | undefined
  for (const key of Object.keys(value)) {
    const child = value[key] as Json // its own key
    const resolved = resolveReferences(child, lookup)
    if (resolved === child) continue
    // A copy has every key as its own, so that none of them is a setter's name.
    copy ??= { ...value }
    copy[key] = resolved
  }
  return copy ?? value
}

/** What a plan step takes, references and all. */
export function stepInput(step: PlanStep): Json {
  return 'model' in step ? step.prompt : step.input
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
    eachReference(stepInput(step), visit(id, `/steps/${id}/${'model' in step ? 'prompt' : 'input'}`))
    for (const [i, on] of (step.after ?? []).entries()) depend(id, on, `/steps/${id}/after/${i}`)
  }
  if (plan.output !== undefined) eachReference(plan.output, visit(undefined, '/output'))
  if (issues.length > 0)
    throw new MusterError('plan.unknown_reference', 'The plan refers to steps that do not exist', { issues })

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
