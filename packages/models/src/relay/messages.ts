import type { Json } from '@muster/protocol'
import { exactObject } from '../exact-json.ts'
import type { ToolCall } from '../message.ts'
import { cacheWrites } from '../price.ts'
import { isObject, type JsonObject, numberOf, objectOf, objectsOf, textOf } from './json.ts'
import { eventText, objectIn, type SseEvent } from './sse.ts'
import { type Reader, type ReaderOptions, type SoFar, told, type Wire } from './wire.ts'

/** Anthropic's Messages. */
export const messages: Wire = {
  path: '/v1/messages',
  said: 'content',
  exact: true,

  bodyOf: (body, model) => ({ ...body, model }),

  lesser: () => undefined,

  usageOf({ usage }) {
    if (!isObject(usage)) return undefined
    const cachedTokens = numberOf(usage.cache_read_input_tokens)
    // Here cached tokens are counted beside the input.
    const written = numberOf(usage.cache_creation_input_tokens)
    const long = numberOf(objectOf(usage.cache_creation).ephemeral_1h_input_tokens)
    const inputTokens = numberOf(usage.input_tokens) + cachedTokens + written
    const reasoningTokens = numberOf(objectOf(usage.output_tokens_details).thinking_tokens)
    const outputTokens = numberOf(usage.output_tokens)
    return {
      ...{ inputTokens, outputTokens, cachedTokens },
      ...cacheWrites(written, long),
      ...(reasoningTokens ? { reasoningTokens } : {}),
    }
  },

  async judge(whole, gate) {
    if (!Array.isArray(whole.content)) return
    let isKept = false
    let isRefused = false
    const content: Json[] = []
    for (const block of whole.content) {
      const said = isObject(block) && isCall(block) ? await gate.ask(toolCallOf(block)) : undefined
      if (said === undefined) isKept ||= isObject(block) && isCall(block)
      else isRefused = true
      content.push(said === undefined ? block : { type: 'text', text: said, citations: null })
    }
    if (!isRefused) return
    whole.content = content
    if (!isKept && whole.stop_reason === 'tool_use') whole.stop_reason = 'end_turn'
  },

  reader: (options) => new MessagesReader(options),
}

/** `server_tool_use` and `mcp_tool_use` are made by the vendor. */
function isCall({ type }: JsonObject): boolean {
  return typeof type === 'string' && type.endsWith('tool_use') && type !== 'server_tool_use' && type !== 'mcp_tool_use'
}

function toolCallOf({ id, name, input }: JsonObject): ToolCall {
  return { id: textOf(id), name: textOf(name), arguments: JSON.stringify(input ?? {}) }
}

class MessagesReader implements Reader {
  isWhole = false
  readonly #options: ReaderOptions
  #message: JsonObject = {}
  /** Blocks by their index, and their inputs as they were written. */
  readonly #blocks = new Map<number, { block: JsonObject; input: string; isClosed: boolean }>()
  readonly #held = new Map<number, string>()
  /** Until the end it is told what was read, and not what is written. */
  #isCounted = false

  constructor(options: ReaderOptions) {
    this.#options = options
  }

  take(event: SseEvent): string | Promise<string> {
    const { raw } = event
    const value = objectIn(event)
    const at = numberOf(value.index)
    switch (value.type ?? event.name) {
      case 'error':
        throw told(value.error ?? null, raw)
      case 'message_start':
        return this.#start(event, value)
      case 'content_block_start': {
        const block = objectOf(value.content_block)
        this.#blocks.set(at, { block: { ...block }, input: '', isClosed: false })
        if (!this.#options.gate.gate || !isCall(block)) return raw
        this.#held.set(at, raw)
        return ''
      }
      case 'content_block_delta': {
        this.#add(at, objectOf(value.delta))
        const held = this.#held.get(at)
        if (held === undefined) return raw
        this.#held.set(at, held + raw)
        return ''
      }
      case 'content_block_stop': {
        const held = this.#held.get(at)
        this.#close(at)
        return held === undefined ? raw : this.#release(at, held + raw)
      }
      case 'message_delta':
        return this.#end(event, value)
      case 'message_stop':
        this.isWhole = true
        return raw
      default:
        return raw
    }
  }

  #start({ raw, name }: SseEvent, value: JsonObject): string {
    this.#message = objectOf(value.message)
    const { responseId } = this.#options
    if (responseId === undefined) return raw
    this.#message.id = responseId
    return eventText(name, value)
  }

  #add(at: number, { type, ...delta }: JsonObject): void {
    const open = this.#blocks.get(at)
    // A piece of what has not begun might be one of a call that was not asked about.
    if (!open) throw told('a piece of a block that has not begun', '')
    const { block } = open
    if (type === 'text_delta') this.#options.onText?.(textOf(delta.text))
    if (type === 'input_json_delta') open.input += textOf(delta.partial_json)
    else if (type === 'citations_delta')
      block.citations = [...objectsOf(block.citations), ...(delta.citation ? [delta.citation] : [])]
    else
      for (const [name, piece] of Object.entries(delta))
        block[name] = typeof piece === 'string' ? textOf(block[name]) + piece : piece
  }

  #close(at: number): void {
    const open = this.#blocks.get(at)
    if (!open) return
    open.isClosed = true
    if (open.input === '') return
    // What is cut at a limit of tokens is told as it was written.
    open.block.input = exactObject(open.input) ?? open.input
  }

  async #release(index: number, held: string): Promise<string> {
    const open = this.#blocks.get(index)
    const call = toolCallOf(open?.block ?? {})
    const said = await this.#options.gate.ask(open?.input ? { ...call, arguments: open.input } : call)
    this.#held.delete(index)
    if (said === undefined) return held
    this.#blocks.set(index, { block: { type: 'text', text: said, citations: null }, input: '', isClosed: true })
    const content_block = { type: 'text', text: '', citations: null }
    const events: JsonObject[] = [
      { type: 'content_block_start', index, content_block },
      { type: 'content_block_delta', index, delta: { type: 'text_delta', text: said } },
      { type: 'content_block_stop', index },
    ]
    return events.map((value) => eventText(textOf(value.type), value)).join('')
  }

  #end({ raw, name }: SseEvent, value: JsonObject): string {
    const delta = objectOf(value.delta)
    const { gate } = this.#options
    const isRewritten = delta.stop_reason === 'tool_use' && gate.refused.length > 0 && gate.toolCalls.length === 0
    if (isRewritten) delta.stop_reason = 'end_turn'
    // Counts that are told here are of the whole; those that are not were told at the start.
    const counts = Object.entries(objectOf(value.usage)).filter(([, count]) => count !== null)
    this.#isCounted ||= counts.length > 0
    const usage = { ...objectOf(this.#message.usage), ...Object.fromEntries(counts) }
    this.#message = { ...this.#message, ...delta, usage }
    return isRewritten ? eventText(name, value) : raw
  }

  whole(): JsonObject {
    const blocks = [...this.#blocks].sort(([a], [b]) => a - b)
    return { ...this.#message, content: blocks.map(([, { block }]) => block) }
  }

  soFar(): SoFar {
    const open = [...this.#blocks.values()].filter(({ isClosed }) => !isClosed)
    const pieces = open.reduce((sum, { input }) => sum + Buffer.byteLength(input), 0)
    return { whole: this.whole(), pieces, isCounted: this.#isCounted }
  }

  broken(message: string): string {
    return eventText('error', { type: 'error', error: { type: 'api_error', message } })
  }
}
