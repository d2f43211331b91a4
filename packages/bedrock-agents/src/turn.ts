import type {
  Attribution,
  InvocationResultMember,
  ReturnControlPayload,
  TracePart,
} from '@aws-sdk/client-bedrock-agent-runtime'
import { Cut } from '@muster/models/bedrock-error'
import { MusterError } from '@muster/protocol'
import { z } from 'zod'
import { citation, citationsOf } from './sources.ts'
import { readTrace, traced } from './trace.ts'

/** What an agent has answered: text with what it rests on, and what Bedrock tells of how it came to that. */
export const answer = z.object({
  text: z.string(),
  citations: z.array(citation),
  trace: z.array(traced),
  usage: z.object({ inputTokens: z.number(), outputTokens: z.number() }),
  /** To go on with the same conversation. */
  session: z.string(),
})
export type Answer = z.infer<typeof answer>

/** A tool that the agent wants called, with its arguments as text. */
export interface ToolUse {
  group: string
  tool: string
  arguments: Record<string, string>
}

/** An answer, or a part of one: it goes on when the tools have been called. */
export interface Turn extends Answer {
  calls: ToolUse[]
  invocation: string | undefined
}

interface Event {
  chunk?: { bytes?: Uint8Array | undefined; attribution?: Attribution | undefined } | undefined
  trace?: TracePart | undefined
  returnControl?: ReturnControlPayload | undefined
  files?: unknown
}

/** Entries of a trace that are kept of one answer. */
const TRACE_MAX = 200

/** Puts an answer together from its events; those of both kinds of agent are alike. */
export async function readTurn(
  session: string,
  events: AsyncIterable<Event> | undefined,
  signal: AbortSignal,
): Promise<Turn> {
  const turn: Turn = {
    ...{ text: '', citations: [], trace: [], usage: { inputTokens: 0, outputTokens: 0 }, session },
    ...{ calls: [], invocation: undefined },
  }
  let ended = false
  const decoder = new TextDecoder()
  for await (const { chunk, trace, returnControl, files } of events ?? []) {
    if (chunk) {
      turn.text += decoder.decode(chunk.bytes, { stream: true })
      turn.citations.push(...citationsOf(chunk.attribution?.citations))
      ended = true
    } else if (trace) {
      const read = readTrace(trace)
      if (read && turn.trace.length < TRACE_MAX) turn.trace.push(read)
      turn.usage.inputTokens += read?.usage?.inputTokens ?? 0
      turn.usage.outputTokens += read?.usage?.outputTokens ?? 0
    } else if (returnControl) {
      turn.invocation = returnControl.invocationId
      turn.calls.push(...callsOf(returnControl))
      ended = true
    } else if (files) throw new MusterError('model.failed', 'the agent gave files, which are not supported')
  }
  // The client ends an aborted stream as if it had come to its end.
  signal.throwIfAborted()
  if (!ended) throw new Cut('the stream ended before the answer did')
  return turn
}

function callsOf({ invocationInputs = [] }: ReturnControlPayload): ToolUse[] {
  return invocationInputs.map(({ functionInvocationInput: called }) => {
    if (!called?.function || !called.actionGroup)
      throw new MusterError('model.failed', 'the agent wants an API called: give its action group functions instead')
    const args = (called.parameters ?? []).map(({ name = '', value = '' }) => [name, value] as const)
    return { group: called.actionGroup, tool: called.function, arguments: Object.fromEntries(args) }
  })
}

/** What a call of a tool has come to, as the agent is told. */
export function resultOf({ group, tool }: ToolUse, text: string): InvocationResultMember {
  return { functionResult: { actionGroup: group, function: tool, responseBody: { TEXT: { body: text } } } }
}
