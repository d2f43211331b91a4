import { joinLabels } from '@muster/governance'
import {
  atPointer,
  type Json,
  type Label,
  MusterError,
  parseReference,
  type RedactCounts,
  referenceOf,
  resolveReferences,
} from '@muster/protocol'
import type { ActiveRun } from '../run/active-run.ts'
import type { StepSpec, StepState } from './step.ts'

export interface StepInput {
  input: Json
  labels: readonly Label[]
  /** What was found in it that was in nothing before: a plan may have written it, or put it together. */
  redacted: RedactCounts | undefined
}

/** The input with references replaced, and the labels of what it is made of and what its condition was read from. */
export function resolveInput(run: ActiveRun, step: StepState): StepInput {
  const { spec } = step
  const { value: own, labels } = spec.operation.ofClient
    ? { value: spec.input, labels: spec.labels }
    : resolve(run, step, spec.input, isAllReferences(spec) ? [] : spec.labels)
  // What a person has put in its place goes by the labels of what they were shown.
  const value: Json = step.edited === undefined ? own : JSON.parse(step.edited)
  const { value: input, found: redacted } = run.redactor?.redact(value) ?? { value, found: undefined }
  return {
    input,
    redacted,
    labels: spec.when === undefined ? labels : resolve(run, step, spec.when, labels).labels,
  }
}

/** A value with references replaced, and `labels` joined with those of what they refer to. */
export function resolve(
  run: ActiveRun,
  { spec }: StepState,
  template: Json,
  from: readonly Label[],
): { value: Json; labels: readonly Label[] } {
  let labels = from
  const value = resolveReferences(template, (ref) => {
    const { step: on, pointer } = parseReference(ref)
    const outcome =
      on === undefined ? { status: 'ok', output: run.input, labels: run.created.labels } : run.steps.get(on)?.outcome
    if (outcome?.status !== 'ok') {
      // A step that does not need all before it may start without this one.
      if (spec.join !== undefined && spec.join !== 'all') return null
      throw new MusterError('plan.unknown_reference', `"${ref}" names no step that has an output`)
    }
    const value = atPointer(outcome.output, pointer)
    if (value === undefined) throw new MusterError('plan.unknown_reference', `"${ref}" names a field that is not there`)
    labels = joinLabels(labels, outcome.labels)
    return value
  })
  return { value, labels }
}

/**
 * Whether nothing in the input was written by who wrote the step: each top-level value is a reference, under a name
 * that the schema knows. An effect that takes nothing was still decided on by somebody, and an agent that a
 * conversation is handed to reads all of it.
 */
function isAllReferences({ input, operation: { effect, fields, action } }: StepSpec): boolean {
  if (input === null || typeof input !== 'object' || Array.isArray(input)) return false
  if ('child' in action && action.child.history) return false
  if (referenceOf(input) !== undefined) return true
  const keys = Object.keys(input)
  if (keys.length === 0) return effect === 'pure' || effect === 'read'
  return keys.every((key) => referenceOf(input[key] as Json) !== undefined && (!fields || fields.has(key)))
}
