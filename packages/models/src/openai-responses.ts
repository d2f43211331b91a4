import { type ErrorCode, MusterError } from '@muster/protocol'
import { APIConnectionError, APIError, APIUserAbortError } from 'openai'
import type {
  Response,
  ResponseCreateParamsNonStreaming,
  ResponseInputFile,
  ResponseInputImage,
  ResponseInputItem,
  ResponseInputText,
  ResponseOutputItem,
} from 'openai/resources/responses/responses'
import type { ModelMessage, ModelRequest, ModelSettings } from './message.ts'
import { RESPONSES } from './openai.ts'
import { openAiClient, openAiError, optionsOf } from './openai-client.ts'
import { dataUrl, type Part } from './parts.ts'
import { type Answer, cutAt, failure, type Provider } from './provider.ts'
import type { OpenAiTarget } from './target.ts'

/** OpenAI Responses, where nothing is kept at OpenAI: each request has the whole conversation, with the sealed thoughts. */
export function openAiResponses(target: OpenAiTarget): Provider {
  const { responses } = openAiClient(target)
  /** Models that do not think have nothing to seal, and refuse to be asked for it. */
  const thoughtless = new Set<string>()

  async function respond(body: ResponseCreateParamsNonStreaming, request: ModelRequest): Promise<Response> {
    const options = optionsOf(request)
    const { onDelta, signal } = request
    if (!onDelta) return responses.create(body, options)
    const stream = await responses.create({ ...body, stream: true }, options)
    const items: ResponseOutputItem[] = []
    try {
      for await (const event of stream) {
        if (event.type === 'response.output_text.delta') onDelta(event.delta)
        else if (event.type === 'response.output_item.done') items.push(event.item)
        else if (event.type === 'error') throw refused(target, body.model ?? '', event)
        else if ('response' in event && event.response.status !== 'in_progress' && event.response.status !== 'queued')
          return event.response.output?.length ? event.response : { ...event.response, output: items }
      }
    } catch (error) {
      if (error instanceof APIError || error instanceof MusterError) throw error
      throw new APIConnectionError({ message: String(error), ...(error instanceof Error ? { cause: error } : {}) })
    }
    // The client ends an aborted stream as if it had come to its end.
    if (signal?.aborted) throw new APIUserAbortError()
    throw new APIConnectionError({ message: 'the stream ended before the answer did' })
  }

  return {
    ...RESPONSES,
    async complete(model, request) {
      const by = `openai ${target.baseUrl ?? ''} ${model}`
      const { tools = [], output, settings = {} } = request
      const effort = settings.effort ?? target.effort
      const body: ResponseCreateParamsNonStreaming = {
        model,
        store: false,
        input: request.messages.flatMap((message) => toWire(message, by)),
        ...(tools.length > 0
          ? { tools: tools.map((tool) => ({ type: 'function' as const, strict: false, ...tool })) }
          : {}),
        ...(output ? { text: { format: { type: 'json_schema' as const, strict: false, ...output } } } : {}),
        ...(effort === undefined ? {} : { reasoning: { effort } }),
        ...settingsOf(settings),
      }
      try {
        if (thoughtless.has(model)) return answerOf(target, model, by, request, await respond(body, request))
        const sealed = { ...body, include: ['reasoning.encrypted_content' as const] }
        try {
          return answerOf(target, model, by, request, await respond(sealed, request))
        } catch (error) {
          if (!(error instanceof APIError && error.status === 400 && /encrypted/i.test(error.message))) throw error
          thoughtless.add(model)
          return answerOf(target, model, by, request, await respond(body, request))
        }
      } catch (error) {
        throw openAiError({ model, apiKey: target.apiKey }, error)
      }
    },
  }
}

function settingsOf({
  maxTokens,
  temperature,
  topP,
  toolChoice,
  parallelToolCalls,
}: ModelSettings): Partial<ResponseCreateParamsNonStreaming> {
  return {
    ...(maxTokens === undefined ? {} : { max_output_tokens: maxTokens }),
    ...(temperature === undefined ? {} : { temperature }),
    ...(topP === undefined ? {} : { top_p: topP }),
    ...(toolChoice === undefined
      ? {}
      : { tool_choice: typeof toolChoice === 'string' ? toolChoice : { type: 'function', ...toolChoice } }),
    ...(parallelToolCalls === undefined ? {} : { parallel_tool_calls: parallelToolCalls }),
  }
}

function toWire(message: ModelMessage, by: string): ResponseInputItem[] {
  if (message.role === 'tool')
    return [{ type: 'function_call_output', call_id: message.callId, output: contentToWire(message.content) }]
  if (message.role !== 'assistant') return [{ role: message.role, content: contentToWire(message.content) }]
  const { content, toolCalls = [], reasoning } = message
  return [
    // Nobody else can open them. They are as `answerOf` took them.
    ...(reasoning?.by === by ? (reasoning.items as unknown as ResponseInputItem[]) : []),
    ...(content ? [{ role: 'assistant' as const, content }] : []),
    ...toolCalls.map((call) => ({
      type: 'function_call' as const,
      call_id: call.id,
      name: call.name,
      arguments: call.arguments,
    })),
  ]
}

function contentToWire(
  content: string | readonly Part[],
): string | (ResponseInputText | ResponseInputImage | ResponseInputFile)[] {
  if (typeof content === 'string') return content
  return content.map((part) => {
    if (part.type === 'text') return { type: 'input_text', text: part.text }
    if (part.type === 'image')
      return { type: 'input_image', detail: 'auto', image_url: 'url' in part ? part.url : dataUrl(part) }
    return { type: 'input_file', filename: part.name, file_data: dataUrl(part) }
  })
}

function answerOf(target: OpenAiTarget, model: string, by: string, request: ModelRequest, response: Response): Answer {
  const { status, error, incomplete_details, output = [], usage } = response
  const isCut = status === 'incomplete'
  const cut = isCut ? cutAt(model, incomplete_details?.reason === 'content_filter' ? 'filter' : 'length', request) : {}
  if (error || (status !== 'completed' && !isCut))
    throw refused(target, model, error ?? { code: null, message: `ended as ${status ?? 'nothing'}` })
  let text: string | null = null
  const toolCalls: Answer['toolCalls'] = []
  const items: NonNullable<Answer['reasoning']>['items'] = []
  for (const item of output) {
    if (item.type === 'message') {
      for (const part of item.content) {
        if (part.type === 'refusal') throw new MusterError('model.failed', `${model} refused: ${part.refusal}`)
        text = (text ?? '') + part.text
      }
    } else if (item.type === 'function_call') {
      toolCalls.push({ id: item.call_id, name: item.name, arguments: item.arguments })
    } else if (item.type === 'reasoning') {
      const { id, summary, encrypted_content } = item
      if (encrypted_content)
        items.push({ type: 'reasoning', id, summary: summary.map((part) => ({ ...part })), encrypted_content })
    } else throw new MusterError('model.failed', `${model} gave what was not asked for: ${item.type}`)
  }
  if (text === null && toolCalls.length === 0 && !isCut)
    throw new MusterError('model.failed', `${model} gave no answer`)
  const reasoningTokens = usage?.output_tokens_details?.reasoning_tokens
  return {
    ...cut,
    text,
    toolCalls,
    ...(items.length > 0 ? { reasoning: { by, items } } : {}),
    usage: {
      inputTokens: usage?.input_tokens ?? 0,
      outputTokens: usage?.output_tokens ?? 0,
      cachedTokens: usage?.input_tokens_details?.cached_tokens ?? 0,
      ...(reasoningTokens ? { reasoningTokens } : {}),
    },
    model: response.model,
  }
}

/** Told in a stream that had begun well, or in a response that failed. */
function refused(
  { apiKey }: OpenAiTarget,
  model: string,
  { code, message }: { code: string | null; message: string },
): MusterError {
  const codes: Record<string, ErrorCode> = {
    rate_limit_exceeded: 'rate.limited',
    server_error: 'model.unavailable',
    vector_store_timeout: 'model.unavailable',
  }
  return failure(codes[code ?? ''] ?? 'model.failed', { model, apiKey }, message)
}
