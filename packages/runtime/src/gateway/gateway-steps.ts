import type { ToolCall } from '@muster/models'
import { type Json, type Label, MusterError } from '@muster/protocol'
import type { ActiveRun } from '../run/active-run.ts'
import type { Operation, StepSpec } from '../step/step.ts'
import { ambiguityIn } from './ambiguity.ts'
import type { Exchange } from './exchange.ts'

/** A client may listen to an answer for this long, ms. */
const ANSWER_MS = 3_600_000
const DECISION_MS = 60_000

export type Verdict = { allow: true } | { allow: false; message: string }

/** What all steps of a client's request have in common: nobody is waited for, and nothing is tried again but by the client. */
const common = { attempts: 1, keepInput: false, ofClient: true } as const

/** The model call: asked once, in the client's words, and answered to the client as it comes. */
export function relayStep(
  run: ActiveRun,
  id: string,
  exchange: Exchange,
  gate: (call: ToolCall, signal: AbortSignal) => Promise<Verdict>,
): StepSpec {
  const { models } = run.services
  const { route, dialect, body, headers = {}, responseId, kept } = exchange.request
  let reserve: { usd: number; tokens: number } | undefined
  const reserved = () => {
    reserve ??= models.relayReserve(route, dialect, body, exchange.text)
    return reserve
  }
  const operation: Operation = {
    ...common,
    ...{ kind: 'model', target: route, effect: 'read', timeoutMs: ANSWER_MS, retries: { 'rate.limited': false } },
    policy: { action: 'model:invoke', resource: { type: 'Model', name: route } },
    reserveUsd: () => reserved().usd,
    reserveTokens: () => reserved().tokens,
    request: () => exchange.text,
    action: {
      execute: async (call) => {
        const { signal, idempotencyKey, labels, refused, meter } = call
        exchange.begin()
        try {
          const { answer, done } = await models.relay(route, {
            ...{ dialect, body, headers, signal, idempotencyKey, labels, refused, meter },
            stickyKey: run.created.session ?? run.id,
            ...(responseId === undefined ? {} : { responseId }),
            ...(kept === undefined ? {} : { kept }),
            gate: (call) => gate(call, signal),
            recorded: () => exchange.recorded,
          })
          // Whoever reads the answer may see it break off before this does.
          done.catch(() => {})
          // One text for the client and for the journal.
          const given = 'whole' in answer ? { text: JSON.stringify(answer.whole) } : answer
          exchange.answered(given)
          const { whole, usage, costUsd, model, via, guardrail } = await done
          const text = 'text' in given ? given.text : JSON.stringify(whole)
          return { text, usage, costUsd, model, via, guardrail }
        } catch (error) {
          exchange.failed(error)
          throw error
        }
      },
    },
  }
  return { id, operation, input: null, labels: run.created.labels }
}

/** The same where nobody is there any more to be answered. */
export function unansweredStep(id: string, input: Json): StepSpec {
  const operation: Operation = {
    ...common,
    ...{ kind: 'model', target: routeIn(input), effect: 'read', timeoutMs: ANSWER_MS },
    action: {
      execute: () => {
        throw new MusterError('gateway.interrupted', 'the client is gone')
      },
    },
  }
  return { id, operation, input: null, labels: [] }
}

/** A call that the model wants the client to make. Its output says what is called, for there is nothing else to know of it here. */
export function clientToolStep(
  id: string,
  { name, arguments: args, isText }: ToolCall,
  labels: readonly Label[],
): StepSpec {
  const given = isText ? undefined : objectIn(args.trim() === '' ? '{}' : args)
  const operation: Operation = {
    ...common,
    ...{ kind: 'tool', target: name, effect: 'pure', timeoutMs: DECISION_MS, keepInput: true },
    policy: { action: 'gateway:tool', resource: { type: 'ClientTool', name } },
    action: {
      execute: ({ input }) => {
        const doubt = isText ? undefined : given ? ambiguityIn(args) : 'what is no JSON object'
        if (doubt === undefined) return { text: JSON.stringify(input) }
        throw new MusterError('input.invalid', `${name} is called with ${doubt}: nobody can decide on that`)
      },
    },
  }
  // What policies look into.
  return { id, operation, input: given ?? { text: args }, labels }
}

function objectIn(args: string): Json | undefined {
  try {
    const value: Json = JSON.parse(args)
    return value !== null && typeof value === 'object' && !Array.isArray(value) ? value : undefined
  } catch {
    return undefined
  }
}

/** The route that a request names, as its run was given it. */
function routeIn(input: Json): string {
  const body = fieldOf(input, 'body')
  const model = fieldOf(body, 'model')
  return typeof model === 'string' ? model : ''
}

function fieldOf(value: Json | undefined, name: string): Json | undefined {
  return value !== null && typeof value === 'object' && !Array.isArray(value) ? value[name] : undefined
}
