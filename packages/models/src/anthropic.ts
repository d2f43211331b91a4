import { hash } from 'node:crypto'
import { type Json, MusterError } from '@muster/protocol'
import { exactObject } from './exact-json.ts'
import type { ModelMessage, ModelRequest, ModelSettings, Part } from './message.ts'
import { isWorded, PDF, partsOf, worded } from './parts.ts'
import { plainSchema } from './plain-schema.ts'
import { type Answer, cutAt, type Provider } from './provider.ts'
import { isObject, type JsonObject, objectsOf, textOf } from './relay/json.ts'
import { messages } from './relay/messages.ts'
import { answerTo, type Ended } from './relay/passthrough.ts'
import type { Upstream } from './relay/upstream.ts'
import type { AnthropicTarget } from './target.ts'
import { type Piece, piecesOf, reasoningOf } from './thoughts.ts'

/** Anthropic must be told a limit, not above the model's own: this is within that of each since Claude 3.5. */
const MAX_TOKENS = 8192

/** Anthropic's Messages. */
export function anthropic(target: AnthropicTarget, upstream: Upstream): Provider {
  return {
    settings: ['maxTokens', 'temperature', 'topP', 'stop', 'toolChoice', 'parallelToolCalls', 'effort'],
    media: { urls: true, files: [PDF, 'text/plain'], results: true },
    async complete(model, request) {
      const by = `anthropic ${target.anthropic.baseUrl ?? ''} ${model}`
      const asked = { dialect: 'messages' as const, body: bodyOf(by, request) }
      const ended = await answerTo(messages, upstream, model, asked, request)
      return answerOf(model, by, request, ended)
    },
  }
}

function bodyOf(by: string, request: ModelRequest): JsonObject {
  const { tools = [], output, settings = {} } = request
  const { maxTokens = MAX_TOKENS, temperature, topP, stop, effort } = settings
  const system = request.messages.flatMap((one) =>
    one.role === 'system' && isWorded(one.content) ? [{ type: 'text', text: one.content, ...markOf(one) }] : [],
  )
  const config: JsonObject = {
    // A schema is JSON, here and below.
    ...(output ? { format: { type: 'json_schema', schema: plainSchema(output.schema, '/output') as Json } } : {}),
    ...(effort ? { effort } : {}),
  }
  return {
    max_tokens: maxTokens,
    messages: toWire(request.messages, by),
    ...(system.length > 0 ? { system } : {}),
    ...(tools.length > 0
      ? {
          tools: tools.map(({ name, description, parameters, strict, cache }, at) => ({
            ...{ name, description, ...markOf({ cache }) },
            input_schema: (strict ? plainSchema(parameters, `/tools/${at}/parameters`) : parameters) as Json,
            ...(strict ? { strict } : {}),
          })),
        }
      : {}),
    ...choiceOf(settings),
    ...(Object.keys(config).length > 0 ? { output_config: config } : {}),
    ...(temperature === undefined ? {} : { temperature }),
    ...(topP === undefined ? {} : { top_p: topP }),
    ...(stop === undefined ? {} : { stop_sequences: stop }),
  }
}

function choiceOf({ toolChoice, parallelToolCalls }: ModelSettings): JsonObject {
  if (toolChoice === undefined && parallelToolCalls !== false) return {}
  const choice =
    typeof toolChoice === 'object'
      ? { type: 'tool', ...toolChoice }
      : { type: toolChoice === 'required' ? 'any' : (toolChoice ?? 'auto') }
  const isSingle = parallelToolCalls === false && toolChoice !== 'none'
  return { tool_choice: { ...choice, ...(isSingle ? { disable_parallel_tool_use: true } : {}) } }
}

/** Results of tools are the user's, those of one turn stand together, and nothing may be empty. */
function toWire(conversation: readonly ModelMessage[], by: string): JsonObject[] {
  const wire: { role: string; content: JsonObject[] }[] = []
  for (const message of conversation) {
    if (message.role === 'system') continue
    const role = message.role === 'assistant' ? 'assistant' : 'user'
    const content = blocksOf(message, by)
    Object.assign(content.at(-1) ?? {}, markOf(message))
    const last = wire.at(-1)
    if (last?.role === role) last.content.push(...content)
    else if (content.length > 0) wire.push({ role, content })
  }
  return wire
}

function markOf({ cache }: Pick<ModelMessage, 'cache'>): JsonObject {
  return cache ? { cache_control: { type: 'ephemeral', ...(cache === '5m' ? {} : { ttl: cache }) } } : {}
}

function blocksOf(message: ModelMessage, by: string): JsonObject[] {
  if (message.role === 'tool')
    return [{ type: 'tool_result', tool_use_id: wireId(message.callId), content: resultOf(message.content) }]
  if (message.role !== 'assistant') return worded(partsOf(message.content)).map(partToWire)
  return piecesOf(message, by, isThought).flatMap((piece): JsonObject[] => {
    // They are as `answerOf` took them.
    if ('thought' in piece) return objectsOf([piece.thought])
    if ('text' in piece) return isWorded(piece.text) ? [{ type: 'text', text: piece.text }] : []
    const { id, name, arguments: args } = piece.call
    return [{ type: 'tool_use', id: wireId(id), name, input: inputOf(args) }]
  })
}

function isThought(item: Json): boolean {
  return isObject(item) && (item.type === 'thinking' || item.type === 'redacted_thinking')
}

function resultOf(content: string | readonly Part[]): Json {
  return typeof content === 'string' ? content : worded(content).map(partToWire)
}

function partToWire(part: Part): JsonObject {
  if (part.type === 'text') return { type: 'text', text: part.text }
  if ('url' in part) return { type: 'image', source: { type: 'url', url: part.url } }
  const { mediaType, data } = part
  const source = { type: 'base64', media_type: mediaType, data }
  if (part.type === 'image') return { type: 'image', source }
  const text = { type: 'text', media_type: mediaType, data: Buffer.from(data, 'base64').toString() }
  return { type: 'document', title: part.name, source: mediaType === 'text/plain' ? text : source }
}

/** Ids that another vendor gave may hold what Anthropic refuses. */
function wireId(id: string): string {
  return /^[a-zA-Z0-9_-]{1,64}$/.test(id) ? id : hash('sha256', id, 'hex')
}

/** What a tool was called with, which must be an object here. */
function inputOf(args: string): Json {
  // It becomes the text of a request, and nothing else: see `answerTo`.
  const input = exactObject(args || '{}')
  return input ?? { arguments: args }
}

function answerOf(model: string, by: string, request: ModelRequest, { whole, usage, model: answered }: Ended): Answer {
  const cut = cutOf(model, textOf(whole.stop_reason), request)
  const pieces = objectsOf(whole.content).flatMap((block): Piece[] => {
    if (isThought(block)) return [{ thought: block }]
    const { type, text, id, name, input } = block
    if (type === 'text') return [{ text: textOf(text) }]
    if (type !== 'tool_use') return []
    return [{ call: { id: textOf(id), name: textOf(name), arguments: argumentsOf(input) } }]
  })
  const texts = pieces.flatMap((piece) => ('text' in piece ? [piece.text] : []))
  const toolCalls = pieces.flatMap((piece) => ('call' in piece ? [piece.call] : []))
  if (texts.length === 0 && toolCalls.length === 0 && !cut.cut && !request.mayBeCut)
    throw new MusterError('model.failed', `${model} gave no answer`)
  return {
    ...cut,
    text: texts.length > 0 ? texts.join('') : null,
    toolCalls,
    ...reasoningOf(by, pieces),
    usage,
    model: answered,
  }
}

/** One that was cut is as it was written. */
function argumentsOf(input: Json = {}): string {
  return typeof input === 'string' ? input : JSON.stringify(input)
}

function cutOf(model: string, reason: string, request: ModelRequest): Pick<Answer, 'cut'> {
  switch (reason) {
    case 'end_turn':
    case 'stop_sequence':
    case 'tool_use':
      return {}
    case 'max_tokens':
    case 'model_context_window_exceeded':
      return cutAt(model, 'length', request)
    case 'refusal':
      return cutAt(model, 'filter', request)
    default:
      throw new MusterError('model.failed', `${model} stopped: ${reason || 'without a reason'}`)
  }
}
