import { hash } from 'node:crypto'
import {
  type Json,
  type Label,
  MusterError,
  type PlanData,
  type PlanManifest,
  planData,
  planGraph,
  type Waiting,
} from '@muster/protocol'
import { type InputOf, type OutputOf, type Tool, toJsonSchema, zodIssues } from '@muster/tools'
import type { z } from 'zod'
import type { Agent } from './agent.ts'
import { checkName, type LimitOptions, parseLimits } from './agent.ts'

/** An input in which any value may be a reference to an earlier output. `ref` already has the value's type. */
export interface StepOptions {
  /** The step's name within its scope; by default the tool's or agent's, numbered when it comes again. */
  name?: string
}

/** How a child run that was waited for `until: 'parked'` stands. */
export type ChildResult<Output> =
  | { status: 'succeeded'; run: string; output: Output; costUsd: number }
  | { status: 'failed' | 'cancelled'; run: string; error: { code: string; message: string }; costUsd: number }
  | { status: 'waiting'; run: string; waiting: Pick<Waiting, 'step' | 'for' | 'role' | 'target'>[]; costUsd: number }

/** Outcomes of a `map` that does not stop at the first failure. */
export interface Settled<T> {
  ok: T[]
  failed: { index: number; code: string; message: string }[]
}

/** What a code plan may do. Every call is a step: journaled, governed, and not repeated on replay. */
export interface Step {
  tool<T extends Tool>(tool: T, input: InputOf<T>, options?: StepOptions): Promise<OutputOf<T>>
  /** One model call without tools; gives its text. */
  model(route: string, prompt: Json, options?: StepOptions & { instructions?: string }): Promise<string>
  /** Runs an agent as a child run with a journal of its own. Rejects when it fails. */
  agent<A extends Agent>(agent: A, input: InputOf<A>, options?: StepOptions & { until?: 'ended' }): Promise<OutputOf<A>>
  /** The same, but gives how it stands as soon as it has ended or waits for a person. */
  agent<A extends Agent>(
    agent: A,
    input: InputOf<A>,
    options: StepOptions & { until: 'parked' },
  ): Promise<ChildResult<OutputOf<A>>>
  /** Calls `each` for every item, at most `concurrency` at once; each call's steps have a scope of their own. */
  map<T, R>(
    items: readonly T[],
    each: (item: T, index: number) => Promise<R>,
    options?: { concurrency?: number; settle?: false },
  ): Promise<R[]>
  map<T, R>(
    items: readonly T[],
    each: (item: T, index: number) => Promise<R>,
    options: { concurrency?: number; settle: true },
  ): Promise<Settled<R>>
}

interface CommonOptions<Name extends string, Input extends z.ZodType> {
  name: Name
  version: string
  input: Input
  limits?: LimitOptions
  inputLabels?: readonly Label[]
}

export type PlanOptions<Name extends string, Input extends z.ZodType, Output> = CommonOptions<Name, Input> &
  (
    | { run: (step: Step, input: z.output<Input>) => Promise<Output> }
    | { steps: PlanData['steps']; output?: Json; tools?: readonly Tool[]; agents?: readonly Agent[] }
  )

export interface Plan<Name extends string = string, Input extends z.ZodType = z.ZodType, Output = unknown> {
  readonly kind: 'plan'
  readonly name: Name
  readonly version: string
  readonly input: Input
  readonly tools: readonly Tool[]
  readonly agents: readonly Agent[]
  /** Code, or the graph as data. */
  readonly body: { run: (step: Step, input: never) => Promise<Output> } | { data: PlanData }
  readonly manifest: PlanManifest
}

/**
 * Defines a plan: as code (`run`), which must do all its work through `step` and be deterministic
 * between steps, or as data (`steps`).
 *
 * @throws MusterError `definition.invalid`, `plan.cycle` or `plan.unknown_reference` at definition time
 */
export function plan<const Name extends string, Input extends z.ZodType, Output = Json>(
  options: PlanOptions<Name, Input, Output>,
): Plan<Name, Input, Output> {
  checkName('plan', options.name, options.version)
  const about = {
    kind: 'plan' as const,
    name: options.name,
    version: options.version,
    input: toJsonSchema(options.input, 'input'),
    inputLabels: [...(options.inputLabels ?? [])],
    limits: parseLimits(options.name, options.limits),
  }
  const asData =
    'steps' in options ? checkData(options.name, { steps: options.steps, output: options.output }) : undefined
  return {
    kind: 'plan',
    name: options.name,
    version: options.version,
    input: options.input,
    tools: 'steps' in options ? (options.tools ?? []) : [],
    agents: 'steps' in options ? (options.agents ?? []) : [],
    body: 'run' in options ? { run: options.run } : { data: asData ?? { steps: {} } },
    manifest: {
      ...about,
      hash: hash('sha256', JSON.stringify([about, 'run' in options ? String(options.run) : asData]), 'hex'),
    },
  }
}

function checkData(name: string, data: unknown): PlanData {
  const parsed = planData.safeParse(data)
  if (!parsed.success)
    throw new MusterError('definition.invalid', `plan "${name}" is not valid`, { issues: zodIssues(parsed.error) })
  planGraph(parsed.data)
  return parsed.data
}
