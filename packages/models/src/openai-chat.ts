import { MusterError } from '@muster/protocol'
import type OpenAI from 'openai'
import { APIConnectionError, APIError, APIUserAbortError, OpenAIError } from 'openai'
import type {
  ChatCompletion,
  ChatCompletionContentPart,
  ChatCompletionCreateParamsNonStreaming,
  ChatCompletionMessageParam,
} from 'openai/resources/chat/completions'
import type { CompletionUsage } from 'openai/resources/completions'
import type { ModelMessage, ModelSettings } from './message.ts'
import { CHAT } from './openai.ts'
import { openAiClient, openAiError, optionsOf } from './openai-client.ts'
import { dataUrl, type Part } from './parts.ts'
import { cutAt, type Provider } from './provider.ts'
import type { OpenAiTarget } from './target.ts'

/** OpenAI Chat Completions, and all that is compatible with it. */
export function openAiChat(target: OpenAiTarget): Provider {
  const { completions } = openAiClient(target).chat
  /** The server does not stream, or does not tell what a streamed answer cost. */
  let plain = false

  async function completed(
    body: ChatCompletionCreateParamsNonStreaming,
    onDelta: ((text: string) => void) | undefined,
    options: OpenAI.RequestOptions,
  ): Promise<ChatCompletion> {
    if (!onDelta || plain) return completions.create(body, options)
    try {
      const stream = completions.stream({ ...body, stream: true, stream_options: { include_usage: true } }, options)
      stream.on('content', onDelta)
      const completion = await stream.finalChatCompletion()
      if (completion.usage) return completion
      // It must not look as if it had cost nothing; the next call will tell.
      plain = true
      return { ...completion, usage: estimated(body, completion) }
    } catch (error) {
      if (!cannotStream(error)) {
        // It broke off: as when a connection does, another try may do better.
        const isCut = error instanceof OpenAIError && !(error instanceof APIError)
        throw isCut ? new APIConnectionError({ message: error.message, cause: error }) : error
      }
      plain = true
      return completions.create(body, options)
    }
  }

  return {
    ...CHAT,
    async complete(model, request) {
      const { settings = {} } = request
      const effort = settings.effort ?? target.effort
      const body: ChatCompletionCreateParamsNonStreaming = {
        model,
        messages: request.messages.map(toWire),
        ...(request.tools?.length
          ? { tools: request.tools.map((tool) => ({ type: 'function' as const, function: tool })) }
          : {}),
        ...(request.output
          ? { response_format: { type: 'json_schema' as const, json_schema: { strict: false, ...request.output } } }
          : {}),
        ...(effort === undefined ? {} : { reasoning_effort: effort }),
        ...settingsOf(target, settings),
      }
      try {
        const completion = await completed(body, request.onDelta, optionsOf(request))
        // A server that is on its way down may answer with nothing at all.
        if (!Array.isArray(completion.choices)) throw new APIConnectionError({ message: 'the answer is none' })
        const choice = completion.choices[0]
        const message = choice?.message
        if (!message) throw new MusterError('model.failed', `${model} gave no answer`)
        if (message.refusal) throw new MusterError('model.failed', `${model} refused: ${message.refusal}`)
        const by = choice.finish_reason === 'length' ? 'length' : choice.finish_reason === 'content_filter' && 'filter'
        const cut = by ? cutAt(model, by, request) : {}
        const reasoningTokens = completion.usage?.completion_tokens_details?.reasoning_tokens
        return {
          ...cut,
          text: message.content,
          toolCalls: (message.tool_calls ?? []).flatMap((call) =>
            call.type === 'function'
              ? [{ id: call.id, name: call.function.name, arguments: call.function.arguments }]
              : [],
          ),
          usage: {
            inputTokens: completion.usage?.prompt_tokens ?? 0,
            outputTokens: completion.usage?.completion_tokens ?? 0,
            cachedTokens: completion.usage?.prompt_tokens_details?.cached_tokens ?? 0,
            ...(reasoningTokens ? { reasoningTokens } : {}),
          },
          model: completion.model,
        }
      } catch (error) {
        throw openAiError({ model, apiKey: target.apiKey }, error)
      }
    },
  }
}

/** Whether a server has said, by an error or by answering with something else than a stream, that it does not stream. */
function cannotStream(error: unknown): boolean {
  if (error instanceof APIUserAbortError || error instanceof APIConnectionError) return false
  if (error instanceof APIError) return error.status === 400 && /stream/i.test(error.message)
  return error instanceof OpenAIError && /stream ended without|request ended without/.test(error.message)
}

/** What an answer may have cost whose server does not say: about three bytes to a token, as `reserveUsd` has it. */
function estimated(body: object, { choices }: ChatCompletion): CompletionUsage {
  const tokens = (value: unknown) => Math.ceil(Buffer.byteLength(JSON.stringify(value)) / 3)
  const prompt_tokens = tokens(body)
  const completion_tokens = tokens(choices[0]?.message)
  return { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens }
}

function settingsOf(
  { baseUrl }: OpenAiTarget,
  { maxTokens, temperature, topP, stop, seed, toolChoice, parallelToolCalls }: ModelSettings,
): Partial<ChatCompletionCreateParamsNonStreaming> {
  // OpenAI's newer models refuse the old name, and other servers do not know the new one.
  const isVendor = baseUrl === undefined || /\.(azure|amazonaws)\.com$/.test(new URL(baseUrl).hostname)
  return {
    ...(maxTokens === undefined ? {} : { [isVendor ? 'max_completion_tokens' : 'max_tokens']: maxTokens }),
    ...(temperature === undefined ? {} : { temperature }),
    ...(topP === undefined ? {} : { top_p: topP }),
    ...(stop === undefined ? {} : { stop }),
    ...(seed === undefined ? {} : { seed }),
    ...(toolChoice === undefined
      ? {}
      : { tool_choice: typeof toolChoice === 'string' ? toolChoice : { type: 'function', function: toolChoice } }),
    ...(parallelToolCalls === undefined ? {} : { parallel_tool_calls: parallelToolCalls }),
  }
}

function toWire(message: ModelMessage): ChatCompletionMessageParam {
  switch (message.role) {
    case 'tool':
      return { role: 'tool', tool_call_id: message.callId, content: textOf(message.content) }
    case 'assistant':
      return {
        role: 'assistant',
        content: message.content,
        ...(message.toolCalls?.length
          ? {
              tool_calls: message.toolCalls.map(({ id, name, arguments: args }) => ({
                id,
                type: 'function' as const,
                function: { name, arguments: args },
              })),
            }
          : {}),
      }
    case 'user': {
      const { content } = message
      return { role: 'user', content: typeof content === 'string' ? content : content.map(partToWire) }
    }
    default:
      return message
  }
}

function partToWire(part: Part): ChatCompletionContentPart {
  if (part.type === 'text') return { type: 'text', text: part.text }
  if (part.type === 'image') return { type: 'image_url', image_url: { url: 'url' in part ? part.url : dataUrl(part) } }
  return { type: 'file', file: { filename: part.name, file_data: dataUrl(part) } }
}

/** Of a tool's result: there is nothing else in it, see `media`. */
function textOf(content: string | readonly Part[]): string {
  return typeof content === 'string' ? content : content.map((part) => (part.type === 'text' ? part.text : '')).join('')
}
