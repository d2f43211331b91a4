import type { OrchestrationTrace, TracePart } from '@aws-sdk/client-bedrock-agent-runtime'
import { z } from 'zod'

/** One entry of Bedrock's trace. Prompts and raw answers of its models are left out: they repeat the conversation. */
export const traced = z.object({
  /** What happened: `rationale`, `model`, `tool`, `knowledge base`, `agent`, `code`, `guardrail`, `failure`, … */
  what: z.string(),
  /** Bedrock's id, by which AWS finds it. */
  id: z.string().optional(),
  /** Milliseconds since the epoch. */
  at: z.number().optional(),
  text: z.string().optional(),
  /** The agent that it tells of, where one has others that it asks. */
  agent: z.string().optional(),
  usage: z.object({ inputTokens: z.number(), outputTokens: z.number() }).optional(),
})
type Traced = z.infer<typeof traced>

/** Characters that are kept of a text. */
const TEXT_MAX = 2000

/** Undefined for what says nothing that is not elsewhere. */
export function readTrace({ trace, eventTime, collaboratorName }: TracePart): Traced | undefined {
  const found = readAny(trace)
  if (!found) return undefined
  const { text, ...rest } = found
  return {
    ...rest,
    ...(text === undefined ? {} : { text: text.slice(0, TEXT_MAX) }),
    ...(eventTime ? { at: eventTime.getTime() } : {}),
    ...(collaboratorName === undefined ? {} : { agent: collaboratorName }),
  }
}

function readAny(trace: TracePart['trace']): Traced | undefined {
  if (!trace) return undefined
  const { orchestrationTrace, preProcessingTrace, postProcessingTrace, guardrailTrace, failureTrace } = trace
  if (orchestrationTrace) return readOrchestration(orchestrationTrace)
  if (failureTrace) return of('failure', failureTrace.traceId, failureTrace.failureReason)
  if (guardrailTrace) return of('guardrail', guardrailTrace.traceId, guardrailTrace.action)
  const output = preProcessingTrace?.modelInvocationOutput ?? postProcessingTrace?.modelInvocationOutput
  if (!output) return undefined
  return { ...of(preProcessingTrace ? 'pre-processing' : 'post-processing', output.traceId), ...usageOf(output) }
}

function readOrchestration(trace: OrchestrationTrace): Traced | undefined {
  const { rationale, modelInvocationOutput: output, invocationInput: input } = trace
  if (rationale) return of('rationale', rationale.traceId, rationale.text)
  if (output) return { ...of('model', output.traceId), ...usageOf(output) }
  if (!input) return undefined
  const { traceId, actionGroupInvocationInput: action, knowledgeBaseLookupInput: lookup } = input
  const { agentCollaboratorInvocationInput: other, codeInterpreterInvocationInput: code } = input
  if (action) return of('tool', traceId, action.function ?? action.apiPath)
  if (lookup) return of('knowledge base', traceId, lookup.text)
  if (other) return of('agent', traceId, other.agentCollaboratorName)
  return code ? of('code', traceId, code.code) : undefined
}

function of(what: string, id?: string, text?: string): Traced {
  return { what, ...(id === undefined ? {} : { id }), ...(text === undefined ? {} : { text }) }
}

function usageOf({
  metadata,
}: {
  metadata?: { usage?: { inputTokens?: number | undefined; outputTokens?: number | undefined } | undefined } | undefined
}): Pick<Traced, 'usage'> {
  const usage = metadata?.usage
  return usage ? { usage: { inputTokens: usage.inputTokens ?? 0, outputTokens: usage.outputTokens ?? 0 } } : {}
}
