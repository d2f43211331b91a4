import type { Json } from '@muster/protocol'
import type { ModelMessage, ModelRequest, ModelSettings, Part, ToolCall } from '../message.ts'
import { markOf } from './item-ids.ts'
import { type JsonObject, objectOf, textOf } from './json.ts'
import { eventText } from './sse.ts'
import { BESIDE, fileOf, functionOf, imageOf, schemaOutput } from './translate-chat.ts'
import {
  effortOf,
  newId,
  type Said,
  sealed,
  settingsOf,
  type Teller,
  type TellerOptions,
  type Translation,
  type Unsaid,
  unsealed,
} from './translation.ts'

/** OpenAI Responses, spoken by a client whose model is asked otherwise. */
export const responsesTranslation: Translation = {
  said: '/input',
  paths: {
    ...{ maxTokens: '/max_output_tokens', temperature: '/temperature', topP: '/top_p', stop: '/stop', seed: '/seed' },
    ...{ toolChoice: '/tool_choice', parallelToolCalls: '/parallel_tool_calls', effort: '/reasoning/effort' },
  },
  read,
  teller: (options) => new ResponsesTeller(options),
}

const KNOWN = new Set([
  ...BESIDE,
  ...['input', 'instructions', 'tools', 'tool_choice', 'parallel_tool_calls', 'text', 'max_output_tokens'],
  ...['temperature', 'top_p', 'reasoning', 'include', 'truncation'],
  // Codex tells who it is.
  'client_metadata',
  // Who relays has put the conversation into the input.
  ...['previous_response_id', 'conversation', 'background'],
])
/** How much is told of what a model thinks: it is given back sealed or not at all. */
const OF_REASONING = new Set(['effort', 'summary', 'generate_summary'])

function read(body: JsonObject, unsaid: Unsaid): ModelRequest {
  unsaid.only(body, '', KNOWN)
  for (const [at, name] of unsaid.list(body.include, '/include').entries())
    if (name !== 'reasoning.encrypted_content') unsaid.refuse(`/include/${at}`, 'cannot be said to this target')
  if (body.truncation === 'auto') unsaid.refuse('/truncation', 'must be disabled')
  const { format, ...ofText } = objectOf(body.text)
  unsaid.only(ofText, '/text', ofText.verbosity === 'medium' ? new Set(['verbosity']) : new Set())
  const reasoning = objectOf(body.reasoning)
  unsaid.only(reasoning, '/reasoning', OF_REASONING)
  const { type = 'text', ...schema } = objectOf(format)
  const { instructions = null } = body
  if (instructions !== null && typeof instructions !== 'string') unsaid.refuse('/instructions', 'must be a text')
  const tools = unsaid.list(body.tools, '/tools').flatMap((tool, at) => {
    const { type, ...given } = objectOf(tool)
    if (type === 'function') return [functionOf(given, `/tools/${at}`, unsaid)]
    unsaid.refuse(`/tools/${at}`, 'only functions can be offered to this target')
    return []
  })
  return {
    messages: [
      ...(instructions ? [{ role: 'system' as const, content: textOf(instructions) }] : []),
      ...conversationOf(body.input, unsaid),
    ],
    ...(tools.length > 0 ? { tools } : {}),
    ...schemaOutput(textOf(type), schema, '/text/format', unsaid),
    ...settingsOf(
      {
        maxTokens: unsaid.number(body, 'max_output_tokens'),
        temperature: unsaid.number(body, 'temperature'),
        topP: unsaid.number(body, 'top_p'),
        toolChoice: choiceOf(body.tool_choice, unsaid),
        parallelToolCalls: body.parallel_tool_calls === false ? false : undefined,
        ...effortOf(reasoning.effort, '/reasoning/effort', unsaid),
      },
      tools,
    ),
  }
}

/** Of items, with what says nothing to the model: how they came about, and in which phase. */
const OF_ITEM: Record<string, ReadonlySet<string>> = {
  message: new Set(['type', 'id', 'status', 'role', 'content', 'phase']),
  function_call: new Set(['type', 'id', 'status', 'call_id', 'name', 'arguments', 'caller']),
  function_call_output: new Set(['type', 'id', 'status', 'call_id', 'output', 'name', 'caller']),
}

type Assistant = Extract<ModelMessage, { role: 'assistant' }>

/** Items of the assistant that stand together are one message: what was thought, what was said, what was called. */
function conversationOf(input: Json | undefined, unsaid: Unsaid): ModelMessage[] {
  if (typeof input === 'string') return [{ role: 'user', content: input }]
  const messages: ModelMessage[] = []
  const assistant = (isNew: (last: Assistant) => boolean): Assistant => {
    const last = messages.at(-1)
    if (last?.role === 'assistant' && !isNew(last)) return last
    const message: Assistant = { role: 'assistant', content: null }
    messages.push(message)
    return message
  }
  for (const [at, one] of unsaid.list(input, '/input').entries()) {
    const path = `/input/${at}`
    const item = objectOf(one)
    const type = textOf(item.type ?? 'message')
    const known = OF_ITEM[type]
    if (known) unsaid.only(item, path, known)
    switch (type) {
      case 'message':
        if (item.role === 'assistant') {
          const content = unsaid.text(saidIn(item.content), `${path}/content`, ['output_text', 'input_text', 'text'])
          assistant(({ content, toolCalls }) => content !== null || toolCalls !== undefined).content = content
        } else messages.push(...messageOf(item, path, unsaid))
        break
      case 'function_call': {
        const call: ToolCall = { id: textOf(item.call_id), name: textOf(item.name), arguments: textOf(item.arguments) }
        const message = assistant(() => false)
        message.toolCalls = [...(message.toolCalls ?? []), call]
        break
      }
      case 'function_call_output': {
        const types = ['input_text', 'output_text']
        const content = unsaid.content(item.output, `${path}/output`, { types, partOf: mediaOf, isResult: true })
        messages.push({ role: 'tool', callId: textOf(item.call_id), content })
        break
      }
      case 'reasoning': {
        // What another model thought, nobody but that can open.
        const reasoning = unsealed(item.encrypted_content)
        if (reasoning) assistant((last) => last.reasoning !== undefined).reasoning = reasoning
        break
      }
      default:
        unsaid.refuse(path, `an item ${type} cannot be said to this target`)
    }
  }
  return messages
}

/** A refusal is what the assistant said, too. */
function saidIn(content: Json | undefined): Json | undefined {
  if (!Array.isArray(content)) return content
  return content.map((part) => {
    const { type, refusal } = objectOf(part)
    return type === 'refusal' ? { type: 'output_text', text: textOf(refusal) } : part
  })
}

function messageOf(item: JsonObject, path: string, unsaid: Unsaid): ModelMessage[] {
  const types = ['input_text', 'text']
  if (item.role === 'user')
    return [{ role: 'user', content: unsaid.content(item.content, `${path}/content`, { types, partOf: mediaOf }) }]
  const content = unsaid.text(item.content, `${path}/content`, types)
  if (item.role === 'system' || item.role === 'developer') return [{ role: 'system', content }]
  unsaid.refuse(`${path}/role`, 'must be system, developer, user or assistant')
  return []
}

/** Those that are kept at the vendor (`file_id`) are nowhere else; how closely to look (`detail`) is left to the model. */
function mediaOf(part: JsonObject): Part | undefined {
  if (part.type === 'input_image') return imageOf(part.image_url)
  return part.type === 'input_file' ? fileOf(part) : undefined
}

function choiceOf(choice: Json | undefined, unsaid: Unsaid): ModelSettings['toolChoice'] {
  if (choice === undefined || choice === null) return undefined
  if (choice === 'auto' || choice === 'none' || choice === 'required') return choice
  const { type, name } = objectOf(choice)
  if (type === 'function' && typeof name === 'string') return { name }
  unsaid.refuse('/tool_choice', 'must be auto, none, required or a function')
  return undefined
}

class ResponsesTeller implements Teller {
  readonly #base: JsonObject
  readonly #mark: string
  readonly #messageId: string
  /** Of the items of the answer, in their order. */
  readonly #ids: string[] = []
  #next = 0
  #text: string | undefined

  constructor({ body, model, responseId, kept }: TellerOptions) {
    this.#mark = markOf({ responseId, kept })
    this.#messageId = newId('msg_') + this.#mark
    const { instructions = null, metadata = {}, parallel_tool_calls = true, temperature = null, top_p = null } = body
    const { tool_choice = 'auto', tools = [], text = { format: { type: 'text' } }, reasoning = null } = body
    this.#base = {
      ...{ id: responseId ?? newId('resp_'), object: 'response', created_at: Math.floor(Date.now() / 1000), model },
      ...{ instructions, metadata, parallel_tool_calls, temperature, top_p, tool_choice, tools, text, reasoning },
      ...{ error: null, incomplete_details: null, max_output_tokens: body.max_output_tokens ?? null, store: false },
      ...kept,
    }
  }

  #event(type: string, value: JsonObject): string {
    return eventText(type, { type, sequence_number: this.#next++, ...value })
  }

  begins(): string {
    const response = { ...this.#base, status: 'in_progress', output: [], usage: null }
    return this.#event('response.created', { response }) + this.#event('response.in_progress', { response })
  }

  delta(text: string): string {
    let begun = ''
    if (this.#text === undefined) {
      const item = { id: this.#messageId, type: 'message', status: 'in_progress', role: 'assistant', content: [] }
      begun =
        this.#event('response.output_item.added', { output_index: 0, item }) +
        this.#event('response.content_part.added', { ...this.#where, part: partOf('') })
    }
    this.#text = (this.#text ?? '') + text
    return begun + this.#event('response.output_text.delta', { ...this.#where, delta: text, logprobs: [] })
  }

  get #where(): JsonObject {
    return { item_id: this.#messageId, output_index: 0, content_index: 0 }
  }

  ends(said: Said): string {
    const output = this.#output({ ...said, text: this.#text ?? null })
    let events = ''
    for (const [output_index, item] of output.entries()) {
      if (item.type === 'message') {
        const text = this.#text ?? ''
        events += this.#event('response.output_text.done', { ...this.#where, text, logprobs: [] })
        events += this.#event('response.content_part.done', { ...this.#where, part: partOf(text) })
      } else {
        const begun = item.type === 'function_call' ? { ...item, status: 'in_progress', arguments: '' } : item
        events += this.#event('response.output_item.added', { output_index, item: begun })
      }
      if (item.type === 'function_call') {
        const { id = '', arguments: args = '', name = '' } = item
        const where = { item_id: id, output_index }
        events += this.#event('response.function_call_arguments.delta', { ...where, delta: args })
        events += this.#event('response.function_call_arguments.done', { ...where, name, arguments: args })
      }
      events += this.#event('response.output_item.done', { output_index, item })
    }
    const response = this.#response(said, output)
    return events + this.#event(`response.${textOf(response.status)}`, { response })
  }

  whole(said: Said): JsonObject {
    return this.#response(said, this.#output(said))
  }

  #output({ text, reasoning, toolCalls }: Said): JsonObject[] {
    const idOf = (at: number, prefix: string) => (this.#ids[at] ??= newId(prefix) + this.#mark)
    const message = { id: this.#messageId, type: 'message', status: 'completed', role: 'assistant' }
    return [
      ...(text ? [{ ...message, content: [partOf(text)] }] : []),
      ...(reasoning
        ? [{ id: idOf(0, 'rs_'), type: 'reasoning', summary: [], encrypted_content: sealed(reasoning) }]
        : []),
      ...toolCalls.map(({ id, name, arguments: args }, at) => ({
        ...{ id: idOf(at + 1, 'fc_'), type: 'function_call', status: 'completed', call_id: id, name, arguments: args },
      })),
    ]
  }

  #response({ usage, cut }: Said, output: JsonObject[]): JsonObject {
    const { inputTokens, outputTokens, cachedTokens, reasoningTokens = 0 } = usage
    return {
      ...this.#base,
      ...(cut
        ? {
            status: 'incomplete',
            incomplete_details: { reason: cut === 'length' ? 'max_output_tokens' : 'content_filter' },
          }
        : { status: 'completed' }),
      output,
      usage: {
        ...{ input_tokens: inputTokens, output_tokens: outputTokens, total_tokens: inputTokens + outputTokens },
        input_tokens_details: { cached_tokens: cachedTokens },
        output_tokens_details: { reasoning_tokens: reasoningTokens },
      },
    }
  }

  broken(message: string): string {
    const response = {
      ...this.#base,
      status: 'failed',
      output: [],
      usage: null,
      error: { code: 'server_error', message },
    }
    return this.#event('response.failed', { response })
  }
}

function partOf(text: string): JsonObject {
  return { type: 'output_text', text, annotations: [], logprobs: [] }
}
