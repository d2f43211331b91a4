import { type Json, MusterError } from '@muster/protocol'
import type { ModelMessage, ModelRequest, ModelSettings, Part } from './message.ts'
import { dataUrl, PDF } from './parts.ts'
import { type Answer, cutAt, type Provider, refusedAs } from './provider.ts'
import { chat } from './relay/chat.ts'
import { isObject, type JsonObject, objectOf, objectsOf, textOf } from './relay/json.ts'
import { answerTo, type Ended } from './relay/passthrough.ts'
import { type Upstream, VendorError } from './relay/upstream.ts'
import type { OpenAiTarget } from './target.ts'

/** OpenAI Chat Completions, and all that is compatible with it. */
export function openAiChat(target: OpenAiTarget, upstream: Upstream): Provider {
  /** The server does not stream, or does not tell what a streamed answer cost. */
  let plain = false

  async function completed(model: string, body: JsonObject, request: ModelRequest): Promise<Ended> {
    const { onDelta, idempotencyKey = crypto.randomUUID(), ...rest } = request
    const unwatched = { ...rest, idempotencyKey }
    const ask = (request: ModelRequest) => answerTo(chat, upstream, model, { dialect: 'chat', body }, request)
    if (!onDelta || plain) return ask(unwatched)
    try {
      const ended = await ask({ ...unwatched, onDelta })
      if (!ended.isStreamed) {
        plain = true
        return ended
      }
      const [choice] = objectsOf(ended.whole.choices)
      if (choice && choice.finish_reason == null)
        throw upstream.failure('model.unavailable', 'the stream ended before the answer did')
      // It must not look as if it had cost nothing: this was estimated, and the next call will tell.
      if (!isObject(ended.whole.usage)) plain = true
      return ended
    } catch (error) {
      if (!cannotStream(error)) throw error
      plain = true
      return ask(unwatched)
    }
  }

  return {
    settings: ['maxTokens', 'temperature', 'topP', 'stop', 'seed', 'toolChoice', 'parallelToolCalls', 'effort'],
    media: { urls: true, files: [PDF], results: false },
    async complete(model, request) {
      const ended = await completed(model, bodyOf(target, request), request)
      return answerOf(model, request, ended)
    },
  }
}

/** Whether a server has said that it does not stream. */
function cannotStream(error: unknown): boolean {
  if (!(error instanceof MusterError)) return false
  const { cause } = error
  return cause instanceof VendorError && cause.status === 400 && /stream/i.test(cause.message)
}

function bodyOf(target: OpenAiTarget, { messages, tools = [], output, settings = {} }: ModelRequest): JsonObject {
  const effort = settings.effort ?? target.effort
  return {
    messages: messages.map(toWire),
    // A schema is JSON, here and below.
    ...(tools.length > 0 ? { tools: tools.map((tool) => ({ type: 'function', function: tool as JsonObject })) } : {}),
    ...(output
      ? { response_format: { type: 'json_schema', json_schema: { strict: false, ...(output as JsonObject) } } }
      : {}),
    ...(effort === undefined ? {} : { reasoning_effort: effort }),
    ...settingsOf(target, settings),
  }
}

function settingsOf(
  { baseUrl }: OpenAiTarget,
  { maxTokens, temperature, topP, stop, seed, toolChoice, parallelToolCalls }: ModelSettings,
): JsonObject {
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

function toWire(message: ModelMessage): JsonObject {
  switch (message.role) {
    case 'tool':
      return { role: 'tool', tool_call_id: message.callId, content: toolText(message.content) }
    case 'assistant': {
      const { content, toolCalls = [] } = message
      const calls = toolCalls.map(({ id, name, arguments: args }) => ({
        ...{ id, type: 'function' },
        function: { name, arguments: args },
      }))
      return { role: 'assistant', content, ...(calls.length > 0 ? { tool_calls: calls } : {}) }
    }
    case 'user': {
      const { content } = message
      return { role: 'user', content: typeof content === 'string' ? content : content.map(partToWire) }
    }
    default:
      return message
  }
}

function partToWire(part: Part): JsonObject {
  if (part.type === 'text') return { type: 'text', text: part.text }
  if (part.type === 'image') return { type: 'image_url', image_url: { url: 'url' in part ? part.url : dataUrl(part) } }
  return { type: 'file', file: { filename: part.name, file_data: dataUrl(part) } }
}

/** Of a tool's result: there is nothing else in it, see `media`. */
function toolText(content: string | readonly Part[]): string {
  return typeof content === 'string' ? content : content.map((part) => (part.type === 'text' ? part.text : '')).join('')
}

function answerOf(model: string, request: ModelRequest, { whole, usage, model: answered }: Ended): Answer {
  const [choice] = objectsOf(whole.choices)
  if (!isObject(choice?.message)) throw new MusterError('model.failed', `${model} gave no answer`)
  const { content = null, refusal, tool_calls } = choice.message
  const text = textIn(content)
  const toolCalls = objectsOf(tool_calls).flatMap(({ id, function: called }) => {
    const { name, arguments: args } = objectOf(called)
    return typeof name === 'string' ? [{ id: textOf(id), name, arguments: textOf(args) }] : []
  })
  const is = refusal
    ? refusedAs(model, (text ?? '') + textOf(refusal), request)
    : { ...cutOf(model, choice.finish_reason ?? null, request), text }
  return { ...is, toolCalls, usage, model: answered }
}

/** Some give parts. */
function textIn(content: Json): string | null {
  if (!Array.isArray(content)) return typeof content === 'string' ? content : null
  return objectsOf(content)
    .map(({ text }) => textOf(text))
    .join('')
}

/** Some give no reason for an answer that is whole. */
function cutOf(model: string, reason: Json, request: ModelRequest): Pick<Answer, 'cut'> {
  switch (reason) {
    case null:
    case '':
    case 'stop':
    case 'tool_calls':
    case 'function_call':
      return {}
    case 'length':
      return cutAt(model, 'length', request)
    case 'content_filter':
      return cutAt(model, 'filter', request)
    default:
      throw new MusterError('model.failed', `${model} stopped: ${textOf(reason) || 'without a reason'}`)
  }
}
