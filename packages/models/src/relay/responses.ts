import { randomUUID } from 'node:crypto'
import type { Json } from '@muster/protocol'
import type { ToolCall } from '../message.ts'
import { cachedIn } from './cached.ts'
import { withoutCredentials } from './credentials.ts'
import { markItem, markItems, markOf } from './item-ids.ts'
import { isObject, type JsonObject, numberOf, objectOf, objectsOf, textOf } from './json.ts'
import { eventText, objectIn, type SseEvent } from './sse.ts'
import { type Gatekeeper, type Reader, type ReaderOptions, type SoFar, told, type Wire } from './wire.ts'

const SEALED = 'reasoning.encrypted_content'

/** OpenAI Responses, where nothing is kept at the vendor. */
export const responses: Wire = {
  path: '/responses',
  said: 'output',

  bodyOf({ previous_response_id: _, background: __, conversation: ___, ...body }, model) {
    const include = Array.isArray(body.include) ? body.include : []
    return { ...body, model, store: false, include: include.includes(SEALED) ? include : [...include, SEALED] }
  },

  lesser({ include: _, ...body }, message, { include: given }) {
    // Models that do not think have nothing to seal.
    if (!/encrypted/i.test(message) || (Array.isArray(given) && given.includes(SEALED))) return undefined
    return given === undefined ? body : { ...body, include: given }
  },

  usageOf({ usage }) {
    if (!isObject(usage)) return undefined
    const reasoningTokens = numberOf(objectOf(usage.output_tokens_details).reasoning_tokens)
    return {
      inputTokens: numberOf(usage.input_tokens),
      outputTokens: numberOf(usage.output_tokens),
      ...cachedIn(usage.input_tokens_details),
      ...(reasoningTokens ? { reasoningTokens } : {}),
    }
  },

  async judge(whole, gate) {
    if (Array.isArray(whole.output)) whole.output = await judged(whole.output, gate, new Map())
  },

  reader: (options) => new ResponsesReader(options),
}

/** Calls that the vendor makes itself. */
const HOSTED = new Set([
  'web_search_call',
  'file_search_call',
  'code_interpreter_call',
  'image_generation_call',
  'mcp_call',
])
/** Events that tell of a piece of a call that the client is to make. */
const OF_CALL = /^response\.(function_call|custom_tool_call|local_shell_call|shell_call|apply_patch_call|computer_call)/

/** What a piece says. */
const DELTA = /"delta": ?"((?:[^"\\]|\\.)*)"/

/** Whatever it is named: a call that is not known to be made by the vendor is made by the client. */
function isCall({ type, execution }: JsonObject): boolean {
  return typeof type === 'string' && type.endsWith('_call') && !HOSTED.has(type) && execution !== 'server'
}

function toolCallOf(item: JsonObject): ToolCall {
  const { type, call_id, id, namespace, name, action, operation } = item
  const { arguments: args, input } = item
  const own = textOf(name) || textOf(type).replace(/_call$/, '')
  return {
    id: textOf(call_id) || textOf(id),
    name: typeof namespace === 'string' ? `${namespace}.${own}` : own,
    ...(typeof input === 'string' && args === undefined
      ? { arguments: input, isText: true }
      : { arguments: typeof args === 'string' ? args : JSON.stringify(action ?? operation ?? args ?? {}) }),
  }
}

async function judged(output: Json[], gate: Gatekeeper, known: Map<string, JsonObject>): Promise<Json[]> {
  const items: Json[] = []
  for (const item of output) items.push(isObject(item) && isCall(item) ? await judgedCall(item, gate, known) : item)
  return items
}

/** The call, or the message in its place; each is asked about once. */
async function judgedCall(item: JsonObject, gate: Gatekeeper, known: Map<string, JsonObject>): Promise<JsonObject> {
  const call = toolCallOf(item)
  const before = known.get(call.id)
  // What it says at the end must be what was decided on.
  if (before && (before.type === 'message' || JSON.stringify(toolCallOf(before)) === JSON.stringify(call)))
    return before.type === 'message' ? before : item
  const said = await gate.ask(call)
  const is = said === undefined ? item : messageItem(said)
  known.set(call.id, is)
  return is
}

function messageItem(text: string): JsonObject {
  const content = [{ type: 'output_text', text, annotations: [], logprobs: [] }]
  return {
    id: `msg_${randomUUID().replaceAll('-', '')}`,
    type: 'message',
    status: 'completed',
    role: 'assistant',
    content,
  }
}

interface Held {
  event: SseEvent
  value: JsonObject
}

class ResponsesReader implements Reader {
  isWhole = false
  readonly #options: ReaderOptions
  readonly #mark: string
  /** The item that was told of last, and how events name it without the mark and with it. */
  #itemId = ''
  #theirs = ''
  #ours = ''
  #response: JsonObject = {}
  readonly #items = new Map<number, JsonObject>()
  readonly #held = new Map<number, Held[]>()
  /** What came of the calls, by their ids. */
  readonly #known = new Map<string, JsonObject>()
  /** The number of the next event that is delivered, where events are numbered. */
  #next: number | undefined
  /** Of the item that is under way: pieces that were delivered without a look into them, and bytes of the others. */
  #unread: SseEvent[] = []
  #pieces = 0
  /** The last event is one of those. */
  #isUnread = false
  /** Events are no longer delivered under the numbers that they came with. */
  #isShifted = false

  constructor(options: ReaderOptions) {
    this.#options = options
    this.#mark = markOf(options)
  }

  take(event: SseEvent): string | Promise<string> {
    const { gate, onText } = this.#options
    const isGated = gate.gate !== undefined
    // Most events are pieces of a text, of which nothing needs to be known.
    if (!isGated && !onText && this.#mark === '' && event.name.endsWith('.delta')) {
      this.#unread.push(event)
      this.#isUnread = true
      return event.raw
    }
    this.#isUnread = false
    const value = objectIn(event)
    const type = textOf(value.type) || event.name
    if (type === 'error') throw told(isObject(value.error) ? value.error : value, event.raw)
    if (isObject(value.response)) {
      value.response = withoutCredentials(value.response)
      return this.#ofResponse({ event, value }, type, value.response)
    }
    if (type === 'response.output_text.delta') onText?.(textOf(value.delta))
    if (typeof value.delta === 'string') this.#pieces += Buffer.byteLength(value.delta)
    const at = numberOf(value.output_index)
    if (this.#mark !== '') this.#putMark(event, value)
    const item = objectOf(value.item)
    if (isGated && (this.#held.has(at) || isCall(item) || OF_CALL.test(type))) {
      const held = this.#held.get(at) ?? []
      held.push({ event, value })
      this.#held.set(at, held)
      return type === 'response.output_item.done' ? this.#release(held, at, item) : ''
    }
    if (type === 'response.output_item.done') this.#done(at, item)
    return this.#delivered({ event, value })
  }

  /** Puts the mark to the id of the item that an event is of. */
  #putMark(event: SseEvent, value: JsonObject): void {
    const { item_id, item } = value
    if (isObject(item)) {
      markItem(item, this.#mark)
      event.raw = eventText(event.name, value)
      return
    }
    if (typeof item_id !== 'string' || item_id === '') return
    value.item_id = item_id + this.#mark
    if (item_id !== this.#itemId) {
      this.#itemId = item_id
      this.#theirs = itemIs(item_id)
      this.#ours = itemIs(value.item_id)
    }
    // A text has no such quotes in it: they are escaped there.
    const at = event.raw.indexOf(this.#theirs)
    const after = at + this.#theirs.length
    event.raw = at === -1 ? eventText(event.name, value) : event.raw.slice(0, at) + this.#ours + event.raw.slice(after)
  }

  #ofResponse(held: Held, type: string, response: JsonObject): string | Promise<string> {
    this.#response = response
    const { responseId, kept } = this.#options
    if (responseId !== undefined) response.id = responseId
    Object.assign(response, kept)
    markItems(response.output, this.#mark)
    if (type === 'response.failed' || type === 'response.cancelled') {
      this.#withhold(response)
      throw told(
        response.error ?? { code: type, message: `ended as ${textOf(response.status)}` },
        this.#rewritten(held),
      )
    }
    if (type !== 'response.completed' && type !== 'response.incomplete')
      return responseId === undefined ? this.#delivered(held) : this.#rewritten(held)
    this.isWhole = true
    if (!this.#options.gate.gate) {
      this.#complete(response)
      return responseId === undefined ? this.#delivered(held) : this.#rewritten(held)
    }
    return this.#last(held, response)
  }

  /** An answer that has failed has no calls but those that were decided on. */
  #withhold(response: JsonObject): void {
    if (!this.#options.gate.gate || !Array.isArray(response.output)) return
    response.output = response.output.flatMap((item) => {
      const said = isObject(item) && isCall(item) ? this.#known.get(toolCallOf(item).id) : item
      return said === undefined ? [] : [said]
    })
  }

  /** Calls may be told of here alone. */
  async #last(held: Held, response: JsonObject): Promise<string> {
    this.#held.clear()
    const output = Array.isArray(response.output) ? response.output : []
    const items = await judged(output, this.#options.gate, this.#known)
    markItems(items, this.#mark)
    const isSame = items.every((item, at) => item === output[at])
    if (!isSame) response.output = items
    const text = isSame && this.#options.responseId === undefined ? this.#delivered(held) : this.#rewritten(held)
    this.#complete(response)
    return text
  }

  /** Some servers leave the items out at the end. */
  #complete(response: JsonObject): void {
    if (objectsOf(response.output).length > 0) return
    this.#response = { ...response, output: [...this.#items].sort(([a], [b]) => a - b).map(([, item]) => item) }
  }

  async #release(held: Held[], at: number, item: JsonObject): Promise<string> {
    const is = isCall(item) ? await judgedCall(item, this.#options.gate, this.#known) : item
    markItem(is, this.#mark)
    this.#held.delete(at)
    this.#done(at, is)
    if (is === item) return held.map((one) => this.#delivered(one)).join('')
    this.#isShifted = true
    return eventsOf(is, at)
      .map((value) => this.#rewritten({ event: { raw: '', name: textOf(value.type), data: '' }, value }))
      .join('')
  }

  #done(at: number, item: JsonObject): void {
    this.#items.set(at, item)
    this.#pieces = 0
    this.#unread = []
  }

  #delivered(held: Held): string {
    const { sequence_number } = held.value
    if (typeof sequence_number !== 'number') return held.event.raw
    if (this.#held.size > 0) this.#isShifted = true
    if (this.#isShifted) return this.#rewritten(held)
    this.#next = sequence_number + 1
    return held.event.raw
  }

  #rewritten({ event, value }: Held): string {
    const own = typeof value.sequence_number === 'number' ? value.sequence_number : undefined
    const number = this.#isShifted ? this.#next : own
    if (number === undefined) return eventText(event.name, value)
    this.#next = number + 1
    return eventText(event.name, { ...value, sequence_number: number })
  }

  whole(): JsonObject {
    return this.#response
  }

  soFar(): SoFar {
    const unread = this.#unread.reduce((sum, { data }) => sum + Buffer.byteLength(DELTA.exec(data)?.[1] ?? ''), 0)
    const whole = { ...this.#response, output: [...this.#items.values()] }
    return { whole, pieces: this.#pieces + unread, isCounted: true }
  }

  broken(message: string): string {
    const error = { code: 'server_error', message }
    const unread = this.#isUnread ? this.#unread.at(-1) : undefined
    const sequence_number = unread ? numberOf(objectIn(unread).sequence_number) + 1 : (this.#next ?? 0)
    if (typeof this.#response.id !== 'string')
      return eventText('error', { type: 'error', ...error, param: null, sequence_number })
    const response = { ...this.#response, status: 'failed', error }
    return eventText('response.failed', { type: 'response.failed', sequence_number, response })
  }
}

function itemIs(id: string): string {
  return `"item_id":${JSON.stringify(id)}`
}

/** A message as it would have been streamed. */
function eventsOf(item: JsonObject, output_index: number): JsonObject[] {
  const [part] = objectsOf(item.content)
  const text = textOf(part?.text)
  const where = { item_id: textOf(item.id), output_index, content_index: 0 }
  const empty = { type: 'output_text', text: '', annotations: [], logprobs: [] }
  return [
    { type: 'response.output_item.added', output_index, item: { ...item, status: 'in_progress', content: [] } },
    { type: 'response.content_part.added', ...where, part: empty },
    { type: 'response.output_text.delta', ...where, delta: text, logprobs: [] },
    { type: 'response.output_text.done', ...where, text, logprobs: [] },
    { type: 'response.content_part.done', ...where, part: part ?? empty },
    { type: 'response.output_item.done', output_index, item },
  ]
}
