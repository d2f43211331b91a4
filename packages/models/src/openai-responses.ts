import { type Json, MusterError } from '@muster/protocol'
import type { ModelMessage, ModelRequest, ModelSettings, Part } from './message.ts'
import { dataUrl, PDF } from './parts.ts'
import { type Answer, cutAt, type Provider, refusedAs } from './provider.ts'
import { isObject, type JsonObject, objectOf, objectsOf, textOf } from './relay/json.ts'
import { answerTo, type Ended } from './relay/passthrough.ts'
import { responses } from './relay/responses.ts'
import type { Upstream } from './relay/upstream.ts'
import type { OpenAiTarget } from './target.ts'
import { type Piece, piecesOf, reasoningOf } from './thoughts.ts'

/** OpenAI Responses, where nothing is kept at OpenAI: each request has the whole conversation, with the sealed thoughts. */
export function openAiResponses(target: OpenAiTarget, upstream: Upstream): Provider {
  return {
    settings: ['maxTokens', 'temperature', 'topP', 'toolChoice', 'parallelToolCalls', 'effort'],
    media: { urls: true, files: [PDF, 'text/plain', 'text/markdown', 'text/csv', 'text/html'], results: true },
    async complete(model, request) {
      const by = `openai ${target.baseUrl ?? ''} ${model}`
      const asked = { dialect: 'responses' as const, body: bodyOf(target, by, request) }
      const ended = await answerTo(responses, upstream, model, asked, request)
      return answerOf(model, by, request, ended)
    },
  }
}

function bodyOf(
  target: OpenAiTarget,
  by: string,
  { messages, tools = [], output, settings = {} }: ModelRequest,
): JsonObject {
  const effort = settings.effort ?? target.effort
  return {
    input: messages.flatMap((message) => toWire(message, by)),
    // A schema is JSON, here and below.
    ...(tools.length > 0
      ? { tools: tools.map((tool) => ({ type: 'function', strict: false, ...(tool as JsonObject) })) }
      : {}),
    ...(output ? { text: { format: { type: 'json_schema', strict: false, ...(output as JsonObject) } } } : {}),
    ...(effort === undefined ? {} : { reasoning: { effort } }),
    ...settingsOf(settings),
  }
}

function settingsOf({ maxTokens, temperature, topP, toolChoice, parallelToolCalls }: ModelSettings): JsonObject {
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

function toWire(message: ModelMessage, by: string): JsonObject[] {
  if (message.role === 'tool')
    return [{ type: 'function_call_output', call_id: message.callId, output: contentToWire(message.content) }]
  if (message.role !== 'assistant') return [{ role: message.role, content: contentToWire(message.content) }]
  return piecesOf(message, by, isThought).flatMap((piece): JsonObject[] => {
    // Nobody else can open them.
    if ('thought' in piece) return objectsOf([piece.thought])
    if ('text' in piece) return piece.text === '' ? [] : [{ role: 'assistant', content: piece.text }]
    const { id, name, arguments: args } = piece.call
    return [{ type: 'function_call', call_id: id, name, arguments: args }]
  })
}

function isThought(item: Json): boolean {
  return isObject(item) && item.type === 'reasoning'
}

function contentToWire(content: string | readonly Part[]): Json {
  if (typeof content === 'string') return content
  return content.map((part): JsonObject => {
    if (part.type === 'text') return { type: 'input_text', text: part.text }
    if (part.type === 'image')
      return { type: 'input_image', detail: 'auto', image_url: 'url' in part ? part.url : dataUrl(part) }
    return { type: 'input_file', filename: part.name, file_data: dataUrl(part) }
  })
}

function answerOf(model: string, by: string, request: ModelRequest, { whole, usage, model: answered }: Ended): Answer {
  const { status, incomplete_details, output } = whole
  const isCut = status === 'incomplete'
  if (!isCut && status !== 'completed')
    throw new MusterError('model.failed', `${model} ended as ${textOf(status) || 'nothing'}`)
  const reason = objectOf(incomplete_details).reason === 'content_filter' ? 'filter' : 'length'
  const cut = isCut ? cutAt(model, reason, request) : {}
  let text: string | null = null
  let refusal = ''
  const toolCalls: Answer['toolCalls'] = []
  const pieces: Piece[] = []
  for (const { type, ...item } of objectsOf(output)) {
    if (type === 'message') {
      for (const part of objectsOf(item.content)) {
        if (part.type === 'refusal') refusal += textOf(part.refusal)
        else {
          text = (text ?? '') + textOf(part.text)
          pieces.push({ text: textOf(part.text) })
        }
      }
    } else if (type === 'function_call') {
      const call = { id: textOf(item.call_id), name: textOf(item.name), arguments: textOf(item.arguments) }
      toolCalls.push(call)
      pieces.push({ call })
    } else if (type === 'reasoning') {
      const { id = '', summary = [], encrypted_content } = item
      if (encrypted_content) pieces.push({ thought: { type, id, summary, encrypted_content } })
    } else throw new MusterError('model.failed', `${model} gave what was not asked for: ${textOf(type)}`)
  }
  if (text === null && refusal === '' && toolCalls.length === 0 && !isCut && !request.mayBeCut)
    throw new MusterError('model.failed', `${model} gave no answer`)
  return {
    ...(refusal === '' ? { ...cut, text } : refusedAs(model, (text ?? '') + refusal, request)),
    toolCalls,
    ...reasoningOf(by, pieces),
    usage,
    model: answered,
  }
}
