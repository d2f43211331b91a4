import type { ModelReply, ModelRequest } from '@muster/models'
import type { Json, JsonSchema, Label } from '@muster/protocol'
import { MusterError } from '@muster/protocol'
import type { Agent, CodeOptions } from '@muster/sdk'
import { checked, LATER, type Text, type Tool } from '@muster/tools'
import type { ActiveRun } from '../run/active-run.ts'
import { answered } from './answer-cache.ts'
import { DeltaFeed } from './deltas.ts'
import { redactRequest } from './redacting.ts'
import type { Call, ChildSpec, Executed, Operation, StepSpec, StepState, Undo } from './step.ts'

/** Where a step stands in the graph: its name, its input, and what else it waits for. */
export interface Place {
  id: string
  input: Json
  /** Labels of what in the input is not a reference. */
  labels: readonly Label[]
  after?: readonly StepState[]
}

const toolOperations = new WeakMap<Tool, Operation>()

function toolOperation(tool: Tool): Operation {
  const known = toolOperations.get(tool)
  if (known) return known
  const { reconcile, labels, undo } = tool
  const operation: Operation = {
    kind: 'tool',
    target: tool.name,
    effect: tool.effect,
    attempts: tool.attempts,
    timeoutMs: tool.timeoutMs,
    deadlineMs: tool.deadlineMs,
    retries: tool.retries,
    labels,
    declassifies: tool.declassifies,
    reveals: tool.reveals,
    fields: fieldsOf(tool.manifest.input),
    keepInput: true,
    prepare: tool.prepare,
    undo,
    policy: { action: 'tool:call', resource: { type: 'Tool', name: tool.name, effect: tool.effect } },
    action: {
      execute(call) {
        const ended = (text: Text) => (text === LATER ? call.later : { text, labels, ...call.used })
        const text = tool.execute(call.prepared, call)
        return text instanceof Promise ? text.then(ended) : ended(text)
      },
      receive: (output) => ({ text: tool.receive(output), labels }),
      reconcile:
        reconcile &&
        (async (call) => {
          const output = await reconcile(call)
          return output === undefined ? undefined : { text: JSON.stringify(output), labels }
        }),
    },
  }
  toolOperations.set(tool, operation)
  return operation
}

function fieldsOf({ properties }: JsonSchema): ReadonlySet<string> {
  return new Set(Object.keys(properties ?? {}))
}

/** A call of a tool. */
export function toolStep(tool: Tool, { id, input, labels, after }: Place): StepSpec {
  return { id, operation: toolOperation(tool), input, labels, after }
}

/** Undoes what a step did: asked of the policy as that step was, on the same input. */
export function undoStep(operation: Operation, undo: Undo, outputOf: () => Json, place: Place): StepSpec {
  return {
    ...place,
    operation: {
      ...operation,
      effect: 'write',
      attempts: Math.max(operation.attempts, UNDO_ATTEMPTS),
      retries: undefined,
      deadlineMs: undefined,
      declassifies: [],
      undo: undefined,
      action: {
        execute: async (call) => {
          await undo(call.prepared, outputOf(), call)
          return { text: 'null' }
        },
      },
    },
  }
}

const UNDO_ATTEMPTS = 5
const CODE_ATTEMPTS = 3
const CODE_TIMEOUT_MS = 60_000

/** A function of a plan's own. */
export function codeStep(
  name: string,
  plan: string,
  work: (call: Call) => unknown,
  { effect = 'write', attempts = CODE_ATTEMPTS, timeoutMs = CODE_TIMEOUT_MS, undo }: CodeOptions<never>,
  place: Place,
): StepSpec {
  return {
    ...place,
    operation: {
      kind: 'code',
      target: name,
      effect,
      attempts,
      timeoutMs,
      keepInput: false,
      // What the function gave, as JSON.
      undo: undo && (async (_, output, call) => undo(output as never, call)),
      policy: { action: 'code:run', resource: { type: 'Code', name: `${plan}/${name}`, effect } },
      action: {
        execute: async (call) => {
          const output = await work(call)
          return output === LATER ? call.later : { text: JSON.stringify(output) ?? 'null', ...call.used }
        },
        receive: (output) => ({ text: JSON.stringify(output) }),
      },
    },
  }
}

const MODEL_ATTEMPTS = 6
const MODEL_TIMEOUT_MS = 180_000

/** A model call; its output is `{text, toolCalls}`, with the model's `reasoning` where it is to be given back. The request is made when it is sent, from the outcomes before it. */
export function modelStep(
  run: ActiveRun,
  route: string,
  place: Place,
  made: (call: Pick<Call, 'input'>) => ModelRequest,
  /** Whether who watches the run is shown what it writes, and how long its answer is good for an identical call, ms. */
  { isShown = true, cacheMs }: { isShown?: boolean; cacheMs?: number | undefined } = {},
): StepSpec {
  const { models } = run.services
  const { redactor } = run
  const request = redactor ? (call: Pick<Call, 'input'>) => redactRequest(redactor, made(call)) : made
  const operation: Operation = {
    kind: 'model',
    target: route,
    effect: 'read',
    attempts: MODEL_ATTEMPTS,
    timeoutMs: MODEL_TIMEOUT_MS,
    keepInput: place.input !== null,
    policy: { action: 'model:invoke', resource: { type: 'Model', name: route } },
    reserveUsd: (input) => models.reserveUsd(route, request({ input })),
    reserveTokens: (input) => models.reserveTokens(request({ input })),
    request: (input) => JSON.stringify(request({ input })),
    action: {
      execute: (call) => {
        if (cacheMs === undefined) return ask(call)
        return answered({ run, operation, request: request(call), ttlMs: cacheMs }, () => ask(call))
      },
    },
  }

  async function ask(call: Call): Promise<Executed> {
    const deltas = new DeltaFeed(run.services.live, run.id, { step: call.step, attempt: call.attempt })
    const reply: ModelReply = await models
      .invoke(route, {
        ...request(call),
        signal: call.signal,
        idempotencyKey: call.idempotencyKey,
        labels: call.labels,
        refused: call.refused,
        meter: call.meter,
        stickyKey: run.created.session ?? run.id,
        // A piece of a text does not show what it is a piece of.
        ...(redactor || !isShown ? {} : { onDelta: (text) => deltas.push(text) }),
      })
      .finally(() => deltas.end())
    const { text, toolCalls, usage, costUsd, model, via, guardrail } = reply
    // Sealed or signed, nothing can be taken out of it.
    const reasoning = redactor ? undefined : reply.reasoning
    return { text: JSON.stringify({ text, toolCalls, reasoning }), usage, costUsd, model, via, guardrail }
  }

  return { ...place, operation }
}

/** Runs an agent as a child run, with a journal of its own; `history`: the conversation that it goes on with. */
export function agentStep(agent: Agent, until: ChildSpec['until'], place: Place, history?: readonly Json[]): StepSpec {
  const { name, version } = agent
  const operation: Operation = {
    kind: 'agent',
    target: `${name}@${version}`,
    effect: 'write',
    attempts: 1,
    timeoutMs: Number.MAX_SAFE_INTEGER,
    keepInput: true,
    // Its model reads the names of all fields that it is given.
    fields: fieldsOf(agent.manifest.input),
    // Told to who asks, before there is a child run that could only fail.
    prepare: (input) => checked(agent.input, input, 'input.invalid', `the input of ${name}`),
    policy: { action: 'agent:delegate', resource: { type: 'Agent', name } },
    action: { child: { agent: `${name}@${version}`, until, history } },
  }
  return { ...place, operation }
}

const MEMORY_TIMEOUT_MS = 30_000

/** One operation on memory: reads are `read`, what changes it is `write` and idempotent by the step. */
export function memoryStep(
  operation: MemoryOperation,
  resource: string,
  place: Place,
  execute: (call: Call) => Promise<{ output: Json; labels?: readonly Label[] }>,
): StepSpec {
  const reads = operation === 'find' || operation === 'session.read'
  return {
    ...place,
    operation: {
      kind: 'memory',
      target: operation,
      effect: reads ? 'read' : 'write',
      attempts: 5,
      timeoutMs: MEMORY_TIMEOUT_MS,
      keepInput: true,
      policy: { action: reads ? 'memory:read' : 'memory:write', resource: { type: 'Memory', name: resource } },
      action: {
        execute: async (call) => {
          const { output, labels } = await execute(call)
          return { text: JSON.stringify(output), labels }
        },
      },
    },
  }
}

export type MemoryOperation = 'find' | 'save' | 'session.read' | 'session.append'

/** Gives the agent's fact memory's step for a call by the model: `memory.find` or `memory.save`. */
export function factStep(run: ActiveRun, agent: Agent, operation: 'find' | 'save', place: Place): StepSpec {
  const { facts } = run.services.memory
  const kinds = agent.manifest.memory.facts
  const kindOf = (input: Json): string => {
    const kind = input !== null && typeof input === 'object' && !Array.isArray(input) ? input.kind : undefined
    return typeof kind === 'string' ? kind : ''
  }
  return memoryStep(
    operation,
    kindOf(place.input),
    place,
    async ({ input, tenant, step, labels }): Promise<{ output: Json; labels?: readonly Label[] }> => {
      const kind = kindOf(input)
      const { subject, value } = input as { subject?: Json; value?: Json } // an object, or kindOf gave ''
      if (!kinds.includes(kind)) throw new MusterError('input.invalid', `kind must be one of ${kinds.join(', ')}`)
      if (typeof subject !== 'string' || subject === '')
        throw new MusterError('input.invalid', 'subject must be a text')
      if (operation === 'find') {
        const fact = await facts.find(tenant, kind, subject)
        return { output: { value: fact?.value ?? null }, labels: fact?.labels ?? [] }
      }
      if (value === undefined) throw new MusterError('input.invalid', 'value is missing')
      const fact = { kind, subject, value, run: run.id, step, labels: [...labels] }
      await facts.put(tenant, fact, run.created.subject)
      return { output: { saved: true } }
    },
  )
}
