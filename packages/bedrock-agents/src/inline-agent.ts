import { InvokeInlineAgentCommand } from '@aws-sdk/client-bedrock-agent-runtime'
import type { Effect } from '@muster/protocol'
import type { Step, Tool } from '@muster/sdk'
import { clientOf, type Place } from './client.ts'
import { type Ask, type AskOptions, converse } from './conversation.ts'
import { functionOf } from './function-schema.ts'
import { type Answer, readTurn } from './turn.ts'

export interface InlineAgentOptions extends Place {
  /** As plans, policies and traces name it. */
  name: string
  /** Id or inference profile of a model of Bedrock. */
  model: string
  /** What it is to do; AWS wants 40 characters at least. */
  instruction: string
  /** What it may have called here. Their inputs are flat: Bedrock passes no objects. */
  tools?: readonly Tool[]
  knowledgeBases?: readonly { id: string; description: string }[]
  guardrail?: { id: string; version: string }
  /** What it does to the outside by itself; `read` unless given: its tools are called here, as steps of their own. */
  effect?: Exclude<Effect, 'pure'>
}

/** An agent that is defined with each call (InvokeInlineAgent); its tools are ours (return of control). */
export function inlineAgent(options: InlineAgentOptions): {
  ask(step: Step, text: string, options?: AskOptions): Promise<Answer>
} {
  const { name, model, instruction, tools = [], knowledgeBases = [], guardrail, effect = 'read' } = options
  const functions = tools.map(functionOf)
  const about = {
    ...{ foundationModel: model, instruction, enableTrace: true },
    ...(functions.length === 0
      ? {}
      : {
          actionGroups: [
            {
              actionGroupName: 'muster',
              actionGroupExecutor: { customControl: 'RETURN_CONTROL' as const },
              functionSchema: { functions },
            },
          ],
        }),
    ...(knowledgeBases.length === 0
      ? {}
      : { knowledgeBases: knowledgeBases.map(({ id, description }) => ({ knowledgeBaseId: id, description })) }),
    ...(guardrail
      ? { guardrailConfiguration: { guardrailIdentifier: guardrail.id, guardrailVersion: guardrail.version } }
      : {}),
  }
  const ask: Ask = async ({ session, text, state }, signal) => {
    const { completion, sessionId } = await clientOf(options).send(
      new InvokeInlineAgentCommand({ ...about, sessionId: session, inputText: text, inlineSessionState: state }),
      { abortSignal: signal },
    )
    return readTurn(sessionId ?? session, completion, signal)
  }
  return { ask: (step, text, how = {}) => converse({ name, effect, tools, ask }, step, text, how) }
}
