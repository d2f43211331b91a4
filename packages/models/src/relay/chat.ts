import type { Json, Usage } from '@muster/protocol'
import type { ToolCall } from '../message.ts'
import { cachedIn } from './cached.ts'
import { isObject, type JsonObject, numberOf, objectOf, objectsOf, textOf } from './json.ts'
import { eventText, objectIn, type SseEvent } from './sse.ts'
import { type Reader, type ReaderOptions, type SoFar, told, type Wire } from './wire.ts'

/** OpenAI Chat Completions. */
export const chat: Wire = {
  path: '/chat/completions',
  said: 'choices',

  bodyOf(body, model) {
    if (!body.stream) return { ...body, model }
    // Else nobody would know what a stream cost.
    return { ...body, model, stream_options: { ...objectOf(body.stream_options), include_usage: true } }
  },

  lesser({ stream_options: _, ...body }, message, { stream_options: given }) {
    if (!body.stream || objectOf(given).include_usage || !/stream_options|include_usage/.test(message)) return undefined
    return given === undefined ? body : { ...body, stream_options: given }
  },

  usageOf: ({ usage }) => usageIn(usage),

  async judge({ choices }, gate) {
    for (const choice of objectsOf(choices)) {
      const message = objectOf(choice.message)
      if (message.function_call && gate.gate) throw told(LEGACY, '')
      if (!Array.isArray(message.tool_calls) || message.tool_calls.length === 0) continue
      const kept: Json[] = []
      for (const call of objectsOf(message.tool_calls)) {
        const said = await gate.ask(toolCallOf(call))
        if (said === undefined) kept.push(call)
        else message.content = message.content ? `${textOf(message.content)}\n\n${said}` : said
      }
      if (kept.length > 0) message.tool_calls = kept
      else {
        delete message.tool_calls
        choice.finish_reason = endOf(choice)
      }
    }
  },

  reader: (options) => new ChatReader(options),
}

const LEGACY = 'a call of `functions`, which nobody can decide on; offer `tools`'

/** How a choice ends of which no call is left. */
function endOf({ finish_reason = null }: JsonObject): Json {
  return finish_reason === 'tool_calls' ? 'stop' : finish_reason
}

function usageIn(usage: Json | undefined): Usage | undefined {
  if (!isObject(usage)) return undefined
  const reasoningTokens = numberOf(objectOf(usage.completion_tokens_details).reasoning_tokens)
  return {
    inputTokens: numberOf(usage.prompt_tokens),
    outputTokens: numberOf(usage.completion_tokens),
    ...cachedIn(usage.prompt_tokens_details),
    ...(reasoningTokens ? { reasoningTokens } : {}),
  }
}

/** Of a function, or of a custom tool, whose input is free text. */
function toolCallOf({ id, function: called, custom }: JsonObject): ToolCall {
  if (isObject(custom) && !called)
    return { id: textOf(id), name: textOf(custom.name), arguments: textOf(custom.input), isText: true }
  const { name, arguments: args = '' } = objectOf(called)
  // Some give an object in place of its text.
  return { id: textOf(id), name: textOf(name), arguments: typeof args === 'string' ? args : JSON.stringify(args) }
}

interface Chunk {
  raw: string
  value: JsonObject
  choices: JsonObject[]
}

class ChatReader implements Reader {
  isWhole = false
  readonly #options: ReaderOptions
  readonly #isUsageAsked: boolean
  #isCounted = false
  /** Of the completion all but its choices. */
  #meta: JsonObject = {}
  readonly #choices = new Map<number, JsonObject>()
  /** How events begin with the id that the vendor has given last, and with ours. */
  #id: Json | undefined
  #theirs = beginningOf('')
  readonly #ours: string
  /** Of each choice the chunks with its calls, until they are whole. */
  readonly #held = new Map<number, Chunk[]>()
  /** Choices whose calls were decided on. */
  readonly #decided = new Set<number>()

  constructor(options: ReaderOptions) {
    this.#options = options
    this.#ours = beginningOf(options.responseId)
    this.#isUsageAsked = objectOf(options.body.stream_options).include_usage === true
  }

  take(event: SseEvent): string | Promise<string> {
    if (event.data === '[DONE]') {
      this.isWhole = true
      return this.#held.size === 0 ? event.raw : this.#releaseAll(event.raw)
    }
    const value = objectIn(event)
    if (value.error) throw told(value.error, event.raw)
    // Some begin with a chunk that has no name yet.
    for (const name of Object.keys(value)) if (!OF_CHUNK.has(name)) this.#meta[name] ||= value[name] ?? null
    const { usage } = value
    const choices = objectsOf(value.choices)
    if (usage) this.#meta.usage = usage
    // Some count in every chunk.
    this.#isCounted = Boolean(usage)
    if (usage && !this.#isUsageAsked && choices.length === 0) return ''
    const chunk = { raw: event.raw, value, choices }
    return this.#options.gate.gate ? this.#gated(chunk) : this.#delivered(chunk)
  }

  #gated(chunk: Chunk): string | Promise<string> {
    const { choices } = chunk
    if (choices.some((choice) => objectOf(choice.delta).function_call)) throw told(LEGACY, '')
    if (!choices.some((choice) => hasCalls(choice) || this.#held.has(numberOf(choice.index))))
      return this.#delivered(chunk)
    if (choices.length === 1) return this.#one(chunk, choices[0] ?? {})
    const { usage: _, ...rest } = chunk.value
    const parts = choices.map((choice) => {
      const value = { ...rest, choices: [choice] }
      return this.#one({ raw: eventText('', value), value, choices: [choice] }, choice)
    })
    return Promise.all(parts).then((texts) => texts.join(''))
  }

  /** A chunk of one choice, which has calls or had some before. */
  #one(chunk: Chunk, choice: JsonObject): string | Promise<string> {
    const index = numberOf(choice.index)
    let held = this.#held.get(index)
    let text = ''
    let last: Chunk | undefined = chunk
    if (hasCalls(choice)) {
      if (this.#decided.has(index)) throw told('a piece of a call that was decided on', '')
      const { tool_calls, ...delta } = objectOf(choice.delta)
      let kept = chunk
      if (delta.content) {
        // Text is never held back.
        text = this.#delivered(rewritten(chunk, choice, { delta, finish_reason: null }))
        kept = rewritten(chunk, choice, { delta: { tool_calls: tool_calls ?? null } })
      }
      held ??= []
      held.push(kept)
      this.#held.set(index, held)
      last = undefined
    }
    if (!held || !isOver(choice)) return last ? text + this.#delivered(last) : text
    this.#decided.add(index)
    return this.#release(held, last).then((released) => {
      this.#held.delete(index)
      return text + released
    })
  }

  async #releaseAll(after: string): Promise<string> {
    let text = ''
    for (const held of this.#held.values()) text += await this.#release(held, undefined)
    this.#held.clear()
    return text + after
  }

  /** `last`: the chunk that ends the choice, where it is not the last that was held. */
  async #release(held: Chunk[], last: Chunk | undefined): Promise<string> {
    const { calls, callOf } = together(held)
    /** Where the calls that are delivered stand among those. */
    const places = new Map<JsonObject | undefined, number>()
    const said: string[] = []
    for (const call of calls) {
      const message = await this.#options.gate.ask(toolCallOf(call))
      if (message === undefined) places.set(call, places.size)
      else said.push(message)
    }
    const chunks = last ? [...held, last] : held
    if (said.length === 0) return chunks.map((chunk) => this.#delivered(chunk)).join('')
    let text = ''
    const [first] = chunks
    for (const chunk of chunks) {
      const [choice = {}] = chunk.choices
      const { tool_calls, ...rest } = objectOf(choice.delta)
      const kept = objectsOf(tool_calls).flatMap((piece) => {
        const index = places.get(callOf.get(piece))
        return index === undefined ? [] : [{ ...piece, index }]
      })
      const ends = isOver(choice)
      if (ends) text += this.#saying(chunk, choice, said)
      const finish_reason = ends && places.size === 0 ? endOf(choice) : (choice.finish_reason ?? null)
      const isEmpty = kept.length === 0 && !ends && chunk !== first
      if (!isEmpty) {
        const delta = { ...rest, ...(kept.length > 0 ? { tool_calls: kept } : {}) }
        text += this.#delivered(rewritten(chunk, choice, { delta, finish_reason }))
      }
    }
    // A stream that ends without a reason for it.
    if (first && !isOver(chunks.at(-1)?.choices[0] ?? {})) text += this.#saying(first, first.choices[0] ?? {}, said)
    return text
  }

  #saying(chunk: Chunk, choice: JsonObject, said: string[]): string {
    const before = this.#choices.get(numberOf(choice.index))
    const content = (objectOf(before?.message).content ? '\n\n' : '') + said.join('\n\n')
    return this.#delivered(rewritten(chunk, choice, { delta: { content }, finish_reason: null }))
  }

  #delivered({ raw, value, choices }: Chunk): string {
    for (const piece of choices) {
      const at = numberOf(piece.index)
      let choice = this.#choices.get(at)
      if (!choice) {
        choice = { index: at, message: {} }
        this.#choices.set(at, choice)
      }
      const delta = objectOf(piece.delta)
      const { content } = delta
      if (at === 0 && typeof content === 'string' && content !== '') this.#options.onText?.(content)
      merge(objectOf(choice.message), delta)
      merge(choice, piece, OF_PIECE)
    }
    const { responseId } = this.#options
    if (responseId === undefined) return raw
    if (value.id !== this.#id) {
      this.#id = value.id
      this.#theirs = beginningOf(value.id)
    }
    return raw.startsWith(this.#theirs)
      ? this.#ours + raw.slice(this.#theirs.length)
      : eventText('', { ...value, id: responseId })
  }

  whole(): JsonObject {
    const choices = [...this.#choices.values()].sort((a, b) => numberOf(a.index) - numberOf(b.index))
    for (const { message } of choices) {
      const said = objectOf(message)
      said.content ??= null
      if (Array.isArray(said.tool_calls))
        said.tool_calls = objectsOf(said.tool_calls).map(({ index: _, ...call }) => call)
    }
    const { responseId } = this.#options
    return {
      ...this.#meta,
      ...(responseId === undefined ? {} : { id: responseId }),
      object: 'chat.completion',
      choices,
    }
  }

  soFar(): SoFar {
    const held = [...this.#held.values()].map((chunks) => together(chunks).calls)
    const whole = { ...this.#meta, choices: [...this.#choices.values()] }
    const pieces = held.length === 0 ? 0 : Buffer.byteLength(JSON.stringify(held))
    return { whole, pieces, isCounted: this.isWhole || this.#isCounted }
  }

  broken(message: string): string {
    return eventText('', { error: { message, type: 'server_error', param: null, code: null } })
  }
}

function beginningOf(id: Json | undefined): string {
  return `data: {"id":${JSON.stringify(id)}`
}

/** Some say in every chunk that there is no reason yet. */
function isOver({ finish_reason }: JsonObject): boolean {
  return Boolean(finish_reason)
}

/** The calls of a choice, and which of them each piece is of: some servers give all the same index, or none. */
function together(held: readonly Chunk[]): { calls: JsonObject[]; callOf: Map<JsonObject, JsonObject> } {
  const calls: JsonObject[] = []
  const callOf = new Map<JsonObject, JsonObject>()
  for (const { choices } of held) {
    for (const piece of objectsOf(objectOf(choices[0]?.delta).tool_calls)) {
      let call = calls.findLast((one) => continues(piece, one))
      if (!call) {
        call = {}
        calls.push(call)
      }
      merge(call, piece)
      callOf.set(piece, call)
    }
  }
  return { calls, callOf }
}

/** Whether it is of another call than the one before, though that has the same index. */
function begins(piece: JsonObject, { id }: JsonObject): boolean {
  if (toolCallOf(piece).name === '') return false
  if (piece.index === undefined) return !piece.id || piece.id !== id
  return Boolean(piece.id && id && piece.id !== id)
}

function hasCalls({ delta }: JsonObject): boolean {
  return objectsOf(objectOf(delta).tool_calls).length > 0
}

function rewritten({ value }: Chunk, choice: JsonObject, change: JsonObject): Chunk {
  const { usage: _, ...rest } = value
  const choices = [{ ...choice, ...change }]
  const changed = { ...rest, choices }
  return { raw: eventText('', changed), value: changed, choices }
}

/** What a chunk has besides what the whole completion has as well. */
const OF_CHUNK = new Set(['choices', 'usage', 'obfuscation'])
/** What a piece of a choice has besides what the whole choice has as well. */
const OF_PIECE = new Set(['index', 'delta'])
const NOTHING = new Set<string>()
/** What comes whole, and is not a piece to be put behind the one before. */
const WHOLE = new Set(['id', 'type', 'name', 'role', 'finish_reason'])

/** Puts a piece but for some of it to what has come before: texts and lists grow, and what has an index goes to its place. */
function merge(into: JsonObject, piece: JsonObject, but: ReadonlySet<string> = NOTHING): void {
  for (const name of Object.keys(piece)) {
    // It would reach every object that there is.
    if (name === '__proto__' || but.has(name)) continue
    const value = piece[name] ?? null
    const before = into[name]
    if (value === null) into[name] ??= null
    else if (typeof value === 'string' && typeof before === 'string' && !WHOLE.has(name)) into[name] = before + value
    else if (isObject(value) && isObject(before)) merge(before, value)
    else if (Array.isArray(value)) into[name] = mergedList(Array.isArray(before) ? before : [], value)
    else if (value !== '' || before === undefined || before === null)
      // What is delivered is not to grow with what is put together.
      into[name] = isObject(value) ? structuredClone(value) : value
  }
}

function mergedList(before: Json[], pieces: Json[]): Json[] {
  for (const piece of pieces) {
    const place = isObject(piece) ? before.findLast((one) => isObject(one) && continues(piece, one)) : undefined
    if (isObject(place) && isObject(piece)) merge(place, piece)
    else before.push(structuredClone(piece))
  }
  return before
}

function continues(piece: JsonObject, one: JsonObject): boolean {
  const isPlaced = typeof piece.index === 'number' || isObject(piece.function) || isObject(piece.custom)
  return isPlaced && one.index === piece.index && !begins(piece, one)
}
