import { hash } from 'node:crypto'
import type { InvocationResultMember, SessionState } from '@aws-sdk/client-bedrock-agent-runtime'
import { type Effect, MusterError, toMusterError } from '@muster/protocol'
import type { Step, Tool } from '@muster/sdk'
import { failureOf } from './client.ts'
import { functionName, inputOf } from './function-schema.ts'
import { type Answer, resultOf, type ToolUse, type Turn } from './turn.ts'

/** What an agent is told in one call: a text, or what tools have come to. */
interface Said {
  session: string
  text?: string
  /** Of both kinds of agent alike. */
  state?: Pick<SessionState, 'invocationId' | 'returnControlInvocationResults'>
}

/** One call to an agent. */
export type Ask = (said: Said, signal: AbortSignal) => Promise<Turn>

export interface AskOptions {
  /** That of an earlier answer, to go on with it. */
  session?: string
}

/** How often an agent may want tools called before it answers. */
const TURNS_MAX = 50
/** How long one call may take, ms. */
export const TIMEOUT_MS = 300_000

/** By what Bedrock finds a conversation: its ids have fewer characters than ours. */
export function sessionOf(idempotencyKey: string): string {
  return hash('sha256', idempotencyKey, 'hex')
}

/**
 * A conversation as steps of a plan: each call to the agent is one, each tool that it wants called another, decided on and
 * journaled as if the plan had called it. What a tool refuses or fails with the agent is told, and may try otherwise.
 */
export async function converse(
  { name, effect, tools, ask }: { name: string; effect: Effect; tools: readonly Tool[]; ask: Ask },
  step: Step,
  text: string,
  options: AskOptions,
): Promise<Answer> {
  const call = (said: Omit<Said, 'session'> & { session?: string }) =>
    step.run(
      name,
      async ({ signal, idempotencyKey, spent }) => {
        try {
          const turn = await ask({ ...said, session: said.session ?? sessionOf(idempotencyKey) }, signal)
          spent(turn.usage)
          return turn
        } catch (error) {
          throw failureOf(name, error, signal)
        }
      },
      { effect, timeoutMs: TIMEOUT_MS, attempts: effect === 'once' ? 1 : 3 },
    )
  let turn = await call({ text, ...options })
  const { trace, citations, usage } = turn
  for (let turns = 1; turn.calls.length > 0; turns++) {
    if (turns === TURNS_MAX) throw new MusterError('model.failed', `${name}: no answer after ${TURNS_MAX} turns`)
    const { session, invocation } = turn
    const results = await step.all(turn.calls.map((use) => callTool(step, tools, use)))
    turn = await call({ session, state: { invocationId: invocation, returnControlInvocationResults: results } })
    trace.push(...turn.trace)
    citations.push(...turn.citations)
    usage.inputTokens += turn.usage.inputTokens
    usage.outputTokens += turn.usage.outputTokens
  }
  return { text: turn.text, session: turn.session, trace, citations, usage }
}

async function callTool(step: Step, tools: readonly Tool[], use: ToolUse): Promise<InvocationResultMember> {
  const tool = tools.find(({ name }) => functionName(name) === use.tool)
  if (!tool) return resultOf(use, `there is no tool "${use.tool}"`)
  try {
    const output = await step.tool(tool, inputOf(tool, use.arguments))
    return resultOf(use, JSON.stringify(output))
  } catch (error) {
    const { code, message } = toMusterError(error)
    return resultOf(use, `${code}: ${message}`)
  }
}
