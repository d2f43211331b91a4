import { hash } from 'node:crypto'
import {
  type Effect,
  type Json,
  type JsonSchema,
  type Label,
  MusterError,
  type PeopleRule,
  type Pin,
  type PlanData,
  type PlanManifest,
  planData,
  planGraph,
  planSignals,
  type Waiting,
  zodIssues,
} from '@muster/protocol'
import { type InputOf, type OutputOf, type Tool, type ToolContext, toJsonSchema } from '@muster/tools'
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

/** Signals that a plan takes, by name, with the schemas of their payloads. */
export type Signals = Readonly<Record<string, z.ZodType>>

/** What a function in a plan is given when it runs as a step. */
export interface CodeContext {
  /** The same for every attempt: what the outside may use to recognise a repeat. */
  idempotencyKey: string
  /** See `ToolContext.fencingToken`. */
  fencingToken: number
  /** Aborts on cancel, on timeout and when the worker has lost the run. */
  signal: AbortSignal
  /** For a step that goes on outside; see `ToolContext.callback`. */
  callback: ToolContext['callback']
  /** Tells what it has used elsewhere; see `ToolContext.spent`. */
  spent: ToolContext['spent']
}

export interface CodeOptions<T> {
  /** What it does to the outside; `write` unless given, so that it may be repeated under its idempotency key. */
  effect?: Effect
  /** Attempts in all; 3 unless given. */
  attempts?: number
  /** Milliseconds that one attempt may take; 60,000 unless given. */
  timeoutMs?: number
  /** Takes back what it did, by its result, when a plan with `rollback` fails. It may be repeated under its idempotency key. */
  undo?: (result: T, context: Omit<CodeContext, 'callback'>) => void | Promise<void>
}

export interface WaitOptions extends StepOptions {
  /** Milliseconds after which the wait fails with `step.timeout`; without it the run waits as long as it takes. */
  timeoutMs?: number
}

/** Who approved. */
export interface Approved {
  approved: true
  /** Who gave the last approval that was needed. */
  by: string
  role: string
  /** All of them, where more than one was needed. */
  people?: string[]
}

/** What a code plan may do. Every call is a step: journaled, governed, and not repeated on replay. */
export interface Step<S extends Signals = Signals> {
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
  /** The same, but gives its id as soon as it is started: it goes on by itself, and is not cancelled with this run. */
  agent<A extends Agent>(
    agent: A,
    input: InputOf<A>,
    options: StepOptions & { until: 'started' },
  ): Promise<{ run: string }>
  /** Runs a function of the plan's own as a step: what reads a clock or a network, or does something outside. Its result is JSON. */
  run<T>(name: string, work: (context: CodeContext) => T | Promise<T>, options?: CodeOptions<T>): Promise<T>
  /** Waits so many milliseconds, or until a date: seconds or years, without a worker. */
  sleep(until: number | Date, options?: StepOptions): Promise<void>
  /** Waits for a signal that the plan declares in `signals`. Each is taken once, in the order in which they came; early ones are kept. */
  signal<N extends keyof S & string>(name: N, options?: WaitOptions): Promise<z.output<S[N]>>
  /**
   * Waits for a person with this role, or as many as `people` says, who are shown exactly this; rejects with
   * `approval.denied` when one of them refuses.
   */
  approval(show: Json, options: WaitOptions & PeopleRule & { role: string }): Promise<Approved>
  /** Waits for all; the same as `Promise.all`. */
  all<T extends readonly unknown[]>(steps: T): Promise<{ -readonly [I in keyof T]: Awaited<T[I]> }>
  /** Runs all branches, gives what the first that succeeds gives, and cancels the steps of the others. Rejects when all have failed. */
  any<B extends readonly (() => Promise<unknown>)[]>(branches: B): Promise<Awaited<ReturnType<B[number]>>>
  /**
   * For plans of very many steps: writes down what the plan goes on from, and forgets the steps before. When its run is
   * taken up again, the plan's code begins anew and finds the state in `restored`. No step may be under way, and what comes
   * later cannot refer to what came before.
   */
  checkpoint(state: Json): Promise<void>
  /** The state that was given last to `checkpoint`; undefined in a run that has made none. */
  restored<T extends z.ZodType>(schema: T): z.output<T> | undefined
  /**
   * Whether this run takes the way that a change of the plan's code has opened: true for new runs and for those that
   * have not come here yet, false for those that have gone past without it.
   */
  patched(patch: string): boolean
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
  /** When the run fails, what its steps did is undone, the last first, where their tools can: see `undo` of `tool()`. */
  rollback?: boolean
  /** `content` (unless given): only the code that began a run goes on with it. `version`: any code of its version does; see `step.patched`. */
  pin?: Pin
}

export type PlanOptions<
  Name extends string,
  Input extends z.ZodType,
  Output,
  S extends Signals = Signals,
> = CommonOptions<Name, Input> & { signals?: S } & (
    | { run: (step: Step<S>, input: z.output<Input>) => Promise<Output> }
    | { steps: PlanData['steps']; output?: Json; tools?: readonly Tool[]; agents?: readonly Agent[] }
  )

export interface Plan<Name extends string = string, Input extends z.ZodType = z.ZodType, Output = unknown> {
  readonly kind: 'plan'
  readonly name: Name
  readonly version: string
  readonly input: Input
  readonly signals: Signals
  readonly rollback: boolean
  readonly tools: readonly Tool[]
  readonly agents: readonly Agent[]
  /** Code, or the graph as data. */
  readonly body: { run: (step: Step<never>, input: never) => Promise<Output> } | { data: PlanData }
  readonly manifest: PlanManifest
}

/**
 * Defines a plan: as code (`run`), which must do all its work through `step` and be deterministic
 * between steps, or as data (`steps`).
 *
 * @throws MusterError `definition.invalid`, `plan.cycle` or `plan.unknown_reference` at definition time
 */
export function plan<
  const Name extends string,
  Input extends z.ZodType,
  Output = Json,
  const S extends Signals = Record<never, never>,
>(options: PlanOptions<Name, Input, Output, S>): Plan<Name, Input, Output> {
  checkName('plan', options.name, options.version)
  const asData =
    'steps' in options ? checkData(options.name, { steps: options.steps, output: options.output }) : undefined
  const about = {
    kind: 'plan' as const,
    name: options.name,
    version: options.version,
    input: toJsonSchema(options.input, 'input'),
    signals: { ...signalsOf(options.signals), ...(asData && planSignals(asData)) },
    inputLabels: [...(options.inputLabels ?? [])],
    limits: parseLimits(options.name, options.limits),
    ...(options.pin === undefined ? {} : { pin: options.pin }),
  }
  return {
    kind: 'plan',
    name: options.name,
    version: options.version,
    input: options.input,
    signals: options.signals ?? {},
    rollback: options.rollback ?? false,
    tools: 'steps' in options ? (options.tools ?? []) : [],
    agents: 'steps' in options ? (options.agents ?? []) : [],
    body: 'run' in options ? { run: options.run } : { data: asData ?? { steps: {} } },
    manifest: {
      ...about,
      hash: hash('sha256', JSON.stringify([about, 'run' in options ? String(options.run) : asData]), 'hex'),
      ...(asData && { data: JSON.parse(JSON.stringify(asData)) }),
    },
  }
}

function signalsOf(signals: Signals = {}): Record<string, JsonSchema> {
  return Object.fromEntries(Object.entries(signals).map(([name, schema]) => [name, toJsonSchema(schema, 'input')]))
}

function checkData(name: string, data: unknown): PlanData {
  const parsed = planData.safeParse(data)
  if (!parsed.success)
    throw new MusterError('definition.invalid', `plan "${name}" is not valid`, { issues: zodIssues(parsed.error) })
  planGraph(parsed.data)
  return parsed.data
}
