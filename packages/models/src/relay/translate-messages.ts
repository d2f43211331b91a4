import type { Json } from '@muster/protocol'
import { exactObject } from '../exact-json.ts'
import type { ModelMessage, ModelRequest, ModelSettings, Part } from '../message.ts'
import { joined, partsOf } from '../parts.ts'
import { type JsonObject, objectOf, objectsOf, textOf } from './json.ts'
import { eventText } from './sse.ts'
import { schemaOf, stopsOf } from './translate-chat.ts'
import {
  effortOf,
  newId,
  type Said,
  saysSomething,
  sealed,
  settingsOf,
  type Teller,
  type TellerOptions,
  type Translation,
  type Unsaid,
  unsealed,
} from './translation.ts'

/** Anthropic's Messages, spoken by a client whose model is asked otherwise. */
export const messagesTranslation: Translation = {
  said: '/messages',
  paths: {
    ...{ maxTokens: '/max_tokens', temperature: '/temperature', topP: '/top_p', stop: '/stop_sequences' },
    ...{ seed: '/seed', toolChoice: '/tool_choice', effort: '/output_config/effort' },
    parallelToolCalls: '/tool_choice/disable_parallel_tool_use',
  },
  read,
  teller: (options) => new MessagesTeller(options),
}

const KNOWN = new Set([
  ...['model', 'stream', 'metadata', 'service_tier', 'cache_control', 'system', 'messages', 'max_tokens'],
  ...['stop_sequences', 'temperature', 'top_p', 'tools', 'tool_choice', 'thinking', 'output_config'],
  'context_management',
])
const OF_TOOL = new Set([
  'type',
  'name',
  'description',
  'input_schema',
  'cache_control',
  'strict',
  'eager_input_streaming',
])

/** Blocks are texts of their own, of which others know one. */
const BETWEEN = '\n\n'

function read(body: JsonObject, unsaid: Unsaid): ModelRequest {
  unsaid.only(body, '', KNOWN)
  const { type: thinks = 'disabled' } = objectOf(body.thinking)
  // How much it thinks by itself is left to it as well elsewhere.
  if (thinks !== 'disabled' && thinks !== 'adaptive') unsaid.refuse('/thinking', 'must be disabled or adaptive')
  const { edits, ...managed } = objectOf(body.context_management)
  unsaid.only(managed, '/context_management', new Set())
  for (const [at, edit] of unsaid.list(edits, '/context_management/edits').entries())
    if (!isKept(objectOf(edit))) unsaid.refuse(`/context_management/edits/${at}`, 'cannot be said to this target')
  const { format, effort, ...config } = objectOf(body.output_config)
  unsaid.only(config, '/output_config', new Set())
  const tools = unsaid.list(body.tools, '/tools').flatMap((tool, at) => toolOf(tool, `/tools/${at}`, unsaid))
  const given = unsaid.list(body.messages, '/messages')
  if (objectOf(given.at(-1)).role === 'assistant')
    unsaid.refuse(`/messages/${given.length - 1}`, 'an answer that is begun cannot be continued by this target')
  const choice = objectOf(body.tool_choice)
  const messages = [
    ...instructionsOf(body.system, '/system', unsaid),
    ...given.flatMap((message, at) => messagesOf(objectOf(message), `/messages/${at}`, unsaid)),
  ]
  const last = messages.at(-1)
  // A mark of the whole is one at its end.
  if (last && !last.cache) Object.assign(last, markOf(body, unsaid))
  return {
    messages,
    isMarked: true,
    ...(tools.length > 0 ? { tools } : {}),
    ...outputOf(format, unsaid),
    ...settingsOf(
      {
        maxTokens: unsaid.number(body, 'max_tokens'),
        temperature: unsaid.number(body, 'temperature'),
        topP: unsaid.number(body, 'top_p'),
        stop: stopsOf(body.stop_sequences, '/stop_sequences', unsaid),
        toolChoice: choiceOf(choice, unsaid),
        parallelToolCalls: choice.disable_parallel_tool_use === true ? false : undefined,
        ...effortOf(effort, '/output_config/effort', unsaid),
      },
      tools,
    ),
  }
}

/** Claude Code says that nothing is to be taken out of what was thought. */
function isKept({ type, keep }: JsonObject): boolean {
  return textOf(type).startsWith('clear_thinking') && keep === 'all'
}

function toolOf(given: Json, path: string, unsaid: Unsaid): NonNullable<ModelRequest['tools']> {
  const tool = objectOf(given)
  const { type = 'custom', name, description, input_schema, strict } = tool
  const parameters = schemaOf(input_schema)
  if ((type !== 'custom' && type !== null) || !parameters) {
    unsaid.refuse(path, 'only tools with an input_schema can be offered to this target')
    return []
  }
  unsaid.only(tool, path, OF_TOOL)
  const held = typeof strict === 'boolean' ? { strict } : {}
  return [{ name: textOf(name), description: textOf(description), parameters, ...held, ...markOf(tool, unsaid) }]
}

function markOf({ cache_control }: JsonObject, unsaid: Unsaid): Pick<ModelMessage, 'cache'> {
  const { type, ttl } = objectOf(cache_control)
  return unsaid.hasMarks && type === 'ephemeral' ? { cache: ttl === '1h' ? ttl : '5m' } : {}
}

function outputOf(format: Json | undefined, unsaid: Unsaid): Pick<ModelRequest, 'output'> {
  if (format === undefined || format === null) return {}
  const { type, schema } = objectOf(format)
  const given = schemaOf(schema)
  if (type === 'json_schema' && given) return { output: { name: 'answer', schema: given } }
  unsaid.refuse('/output_config/format', 'must be json_schema with its schema')
  return {}
}

function choiceOf({ type, name }: JsonObject, unsaid: Unsaid): ModelSettings['toolChoice'] {
  if (type === undefined) return undefined
  if (type === 'auto' || type === 'none') return type
  if (type === 'any') return 'required'
  if (type === 'tool' && typeof name === 'string') return { name }
  unsaid.refuse('/tool_choice', 'must be auto, any, none or a tool')
  return undefined
}

function instructionsOf(content: Json | undefined, path: string, unsaid: Unsaid): ModelMessage[] {
  const whole = unsaid.text(content, path, ['text'], BETWEEN)
  if (whole === '') return []
  if (!unsaid.hasMarks || !Array.isArray(content)) return [{ role: 'system', content: whole }]
  return objectsOf(content).map((block) => ({ role: 'system', content: textOf(block.text), ...markOf(block, unsaid) }))
}

function messagesOf({ role, content }: JsonObject, path: string, unsaid: Unsaid): ModelMessage[] {
  const blocks: Json[] =
    typeof content === 'string' ? [{ type: 'text', text: content }] : unsaid.list(content, `${path}/content`)
  const at = (i: number) => `${path}/content/${i}`
  if (role === 'assistant') return [assistantOf(blocks, at, unsaid)]
  if (role === 'system') return instructionsOf(content, `${path}/content`, unsaid)
  if (role !== 'user') unsaid.refuse(`${path}/role`, 'must be user or assistant')
  const messages: ModelMessage[] = []
  for (const [i, one] of blocks.entries()) {
    const block = objectOf(one)
    const last = messages.at(-1)
    if (block.type === 'tool_result') {
      const result = { types: ['text'], partOf, isResult: true, between: BETWEEN }
      const told = partsOf(unsaid.content(block.content, `${at(i)}/content`, result))
      // Others have no mark for a result that is an error.
      const marked: Part[] = block.is_error === true ? [{ type: 'text', text: 'Error: ' }, ...told] : [...told]
      const cache = Object.assign({}, ...[...objectsOf(block.content), block].map((each) => markOf(each, unsaid)))
      messages.push({ role: 'tool', callId: textOf(block.tool_use_id), content: joined(marked), ...cache })
      continue
    }
    const said = unsaid.part(one, at(i), { types: ['text'], partOf })
    if (last?.role === 'user' && !unsaid.hasMarks) last.content = joined([...partsOf(last.content), said], BETWEEN)
    else messages.push({ role: 'user', content: joined([said]), ...markOf(block, unsaid) })
  }
  return messages
}

/** A document may have a title, and marks for caches; anything else that it says cannot be said otherwise. */
function partOf({ type, source, title, citations, cache_control: _, ...rest }: JsonObject): Part | undefined {
  const { type: from, media_type, data, url } = objectOf(source)
  if (objectOf(citations).enabled || Object.values(rest).some(saysSomething)) return undefined
  const mediaType = textOf(media_type)
  if (type === 'image' && from === 'url') return { type: 'image', url: textOf(url) }
  if (type === 'image' && from === 'base64') return { type: 'image', mediaType, data: textOf(data) }
  if (type !== 'document' || (from !== 'base64' && from !== 'text')) return undefined
  const name = textOf(title) || 'document'
  return {
    type: 'file',
    name,
    mediaType,
    data: from === 'text' ? Buffer.from(textOf(data)).toString('base64') : textOf(data),
  }
}

function assistantOf(blocks: Json[], at: (i: number) => string, unsaid: Unsaid): ModelMessage {
  const message: Extract<ModelMessage, { role: 'assistant' }> = { role: 'assistant', content: null }
  for (const [i, one] of blocks.entries()) {
    const { type, text, id, name, input, data } = objectOf(one)
    Object.assign(message, markOf(objectOf(one), unsaid))
    if (type === 'text') message.content = (message.content ?? '') + textOf(text)
    else if (type === 'tool_use') {
      const call = { id: textOf(id), name: textOf(name), arguments: JSON.stringify(input ?? {}) }
      message.toolCalls = [...(message.toolCalls ?? []), call]
    } else if (type === 'redacted_thinking') {
      const reasoning = unsealed(data)
      if (reasoning) message.reasoning = reasoning
    } else if (type !== 'thinking') unsaid.refuse(at(i), `a block ${textOf(type)} cannot be said to this target`)
    // What another model thought, nobody but that can open.
  }
  return message
}

class MessagesTeller implements Teller {
  readonly #base: JsonObject
  #text: string | undefined

  constructor({ model, responseId }: TellerOptions) {
    this.#base = { id: responseId ?? newId('msg_'), type: 'message', role: 'assistant', model }
  }

  begins(): string {
    const usage = { input_tokens: 0, output_tokens: 0, cache_creation_input_tokens: 0, cache_read_input_tokens: 0 }
    const message = { ...this.#base, content: [], stop_reason: null, stop_sequence: null, usage }
    return eventOf({ type: 'message_start', message })
  }

  delta(text: string): string {
    const content_block = { type: 'text', text: '', citations: null }
    const begun = this.#text === undefined ? eventOf({ type: 'content_block_start', index: 0, content_block }) : ''
    this.#text = (this.#text ?? '') + text
    return begun + eventOf({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text } })
  }

  ends(said: Said): string {
    let events = ''
    for (const [index, block] of blocksOf({ ...said, text: this.#text ?? null }).entries()) {
      const { input, ...begun } = block
      if (block.type !== 'text') {
        const content_block = block.type === 'tool_use' ? { ...begun, input: {} } : block
        events += eventOf({ type: 'content_block_start', index, content_block })
      }
      if (block.type === 'tool_use') {
        const delta = { type: 'input_json_delta', partial_json: JSON.stringify(input) }
        events += eventOf({ type: 'content_block_delta', index, delta })
      }
      events += eventOf({ type: 'content_block_stop', index })
    }
    const delta = { stop_reason: stopOf(said), stop_sequence: null }
    return events + eventOf({ type: 'message_delta', delta, usage: usageOf(said) }) + eventOf({ type: 'message_stop' })
  }

  whole(said: Said): JsonObject {
    const content = blocksOf(said)
    return { ...this.#base, content, stop_reason: stopOf(said), stop_sequence: null, usage: usageOf(said) }
  }

  broken(message: string): string {
    return eventOf({ type: 'error', error: { type: 'api_error', message } })
  }
}

function eventOf(value: { type: string } & JsonObject): string {
  return eventText(value.type, value)
}

function blocksOf({ text, reasoning, toolCalls }: Said): JsonObject[] {
  return [
    ...(text ? [{ type: 'text', text, citations: null }] : []),
    ...(reasoning ? [{ type: 'redacted_thinking', data: sealed(reasoning) }] : []),
    ...toolCalls.map(({ id, name, arguments: args }) => ({ type: 'tool_use', id, name, input: inputOf(args) })),
  ]
}

/** What a tool is called with, which must be an object here. */
function inputOf(args: string): JsonObject {
  // What is none is told as it was written.
  return exactObject(args || '{}') ?? { arguments: args }
}

function stopOf({ toolCalls, cut }: Said): string {
  if (cut) return cut === 'length' ? 'max_tokens' : 'refusal'
  return toolCalls.length > 0 ? 'tool_use' : 'end_turn'
}

function usageOf({ usage }: Said): JsonObject {
  const { inputTokens, outputTokens, cachedTokens, cacheWriteTokens = 0, longCacheWriteTokens: long = 0 } = usage
  return {
    // Here cached tokens, and those that are from now on, are counted beside the input.
    input_tokens: Math.max(0, inputTokens - cachedTokens - cacheWriteTokens),
    cache_creation_input_tokens: cacheWriteTokens,
    cache_creation: { ephemeral_5m_input_tokens: cacheWriteTokens - long, ephemeral_1h_input_tokens: long },
    cache_read_input_tokens: cachedTokens,
    output_tokens: outputTokens,
  }
}
