import { InvokeAgentCommand } from '@aws-sdk/client-bedrock-agent-runtime'
import type { Effect, Label } from '@muster/protocol'
import { type Step, type Tool, tool } from '@muster/sdk'
import { z } from 'zod'
import { clientOf, failureOf, type Place } from './client.ts'
import { type Ask, type AskOptions, converse, sessionOf, TIMEOUT_MS } from './conversation.ts'
import { type Answer, answer, readTurn } from './turn.ts'

export interface BedrockAgentOptions<Name extends string> extends Place {
  /** As plans, policies and traces name it. */
  name: Name
  /** What it is for, for the model that may ask it. */
  description?: string
  /** Its id and the alias that is asked, as AWS has them. */
  agent: string
  alias: string
  /** What its own action groups do to the outside: `read` for one that only answers. Bedrock recognises no repeats. */
  effect: Exclude<Effect, 'pure'>
  /** What its action groups hand back to us, called `muster` or otherwise: see `ask`. */
  tools?: readonly Tool[]
  /** Marks on its answers; `untrusted` unless given, since nobody here knows what it has read. */
  labels?: readonly Label[]
}

const question = z.object({
  text: z.string().min(1),
  session: z.string().optional().describe('that of an earlier answer, to go on with it'),
})

export interface BedrockAgent<Name extends string = string> {
  /** It as a tool, which agents and plans may call. It calls none of our own tools. */
  readonly tool: Tool<Name, typeof question, typeof answer>
  /** Asks it in a plan as code, where it may call `tools`: each call of it or of them is a step of the plan. */
  ask(step: Step, text: string, options?: AskOptions): Promise<Answer>
}

/** An agent of Amazon Bedrock, by InvokeAgent. */
export function bedrockAgent<const Name extends string>(options: BedrockAgentOptions<Name>): BedrockAgent<Name> {
  const { name, description = '', effect, tools = [], labels = ['untrusted'], agent, alias } = options
  const ask: Ask = async ({ session, text, state }, signal) => {
    const { completion, sessionId } = await clientOf(options).send(
      new InvokeAgentCommand({
        ...{ agentId: agent, agentAliasId: alias, enableTrace: true },
        ...{ sessionId: session, inputText: text, sessionState: state },
      }),
      { abortSignal: signal },
    )
    return readTurn(sessionId ?? session, completion, signal)
  }
  return {
    tool: tool({
      ...{ name, description, effect, labels, input: question, output: answer, timeoutMs: TIMEOUT_MS },
      run: async ({ text, session }, { signal, idempotencyKey, spent }) => {
        try {
          const turn = await ask({ text, session: session ?? sessionOf(idempotencyKey) }, signal)
          spent(turn.usage)
          const { calls, invocation: _invocation, ...rest } = turn
          if (calls.length === 0) return rest
          const wanted = calls.map((call) => call.tool).join(', ')
          throw new Error(`it wants ${wanted} called, which only a plan can: use ask()`)
        } catch (error) {
          throw failureOf(name, error, signal)
        }
      },
    }),
    ask: (step, text, how = {}) => converse({ name, effect, tools, ask }, step, text, how),
  }
}
