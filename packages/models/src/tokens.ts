import { createRequire } from 'node:module'
import type { ModelMessage, ModelRequest } from './message.ts'
import { partsOf } from './parts.ts'

/** How many tokens a request has: counted for models of OpenAI, about three bytes each for all others. */

/** High for prose, and right for scripts of three bytes to a character; low for what is encoded as base64. */
const BYTES = 3
/** What a vendor wraps a message in. */
const PER_MESSAGE = 4
/** Of an image, about as many as vendors count for one of full size. */
const PER_IMAGE = 1600
/** Bytes of a file that make a token, about: a page of a PDF has 50 KB and 2,000 tokens. */
const FILE_BYTES = 25
/** Encoding takes time that grows with the square of a word's length: no word is longer than this. */
const PIECE = 256
/** Of a longer text, so many characters are counted, in pieces spread over all of it. */
const COUNTED = 65_536

/** By name, as OpenAI, Azure and Bedrock have them: those that use the encoding `o200k`. */
const OPENAI = /^(?:[a-z]{2,6}\.)?(?:openai[./])?(?:gpt-(?:4o|4\.[1-9]|[5-9]|oss)|chatgpt-|codex|o[1-9](?:-|$))/

type Encoding = typeof import('gpt-tokenizer/encoding/o200k_base')
let encoding: Encoding | undefined

/** Loaded when first something is counted: it takes a third of a second and 70 MB. */
function o200k(): Encoding {
  encoding ??= createRequire(import.meta.url)('gpt-tokenizer/encoding/o200k_base') as Encoding // as the package says
  return encoding
}

/** What was counted before: a conversation is sent again with every turn. */
const known = new WeakMap<object, number>()

export function inputTokens(model: string, request: ModelRequest): number {
  return OPENAI.test(model) ? counted(request) : estimated(request)
}

/** Without a look at what the text says. */
export function estimated({ messages, tools, output }: ModelRequest): number {
  return estimatedOf([messages, tools, output])
}

/** The same of a request in a vendor's words. */
export function estimatedOf(words: unknown): number {
  let beside = 0
  const text = JSON.stringify(words, function (this: object, name, value: unknown) {
    if (typeof value !== 'string' || !isData(name, value)) return value
    beside += PER_IMAGE + (isImage(this, value) ? 0 : value.length / FILE_BYTES)
    return ''
  })
  return Math.ceil(Buffer.byteLength(text) / BYTES + beside)
}

/** Images and files, as vendors have them: much longer than what they say. */
function isData(name: string, value: string): boolean {
  return value.length > 1024 && (name === 'data' || value.startsWith('data:'))
}

function isImage(of: object, data: string): boolean {
  const { mediaType, media_type = mediaType } = of as { mediaType?: unknown; media_type?: unknown } // whatever there is
  return data.startsWith('data:image/') || String(media_type).startsWith('image/')
}

function counted({ messages, tools, output }: ModelRequest): number {
  let tokens = 0
  for (const message of messages) tokens += once(message, () => ofMessage(message))
  if (tools) tokens += once(tools, () => ofText(JSON.stringify(tools)))
  if (output) tokens += once(output.schema, () => ofText(JSON.stringify(output.schema)))
  return tokens
}

function once(of: object, count: () => number): number {
  const before = known.get(of)
  if (before !== undefined) return before
  const tokens = count()
  known.set(of, tokens)
  return tokens
}

function ofMessage(message: ModelMessage): number {
  let tokens = PER_MESSAGE
  for (const part of partsOf(message.content ?? '')) {
    if (part.type === 'text') tokens += ofText(part.text)
    else tokens += PER_IMAGE + (part.type === 'file' ? part.data.length / FILE_BYTES : 0)
  }
  if (message.role !== 'assistant') return Math.ceil(tokens)
  for (const { name, arguments: given } of message.toolCalls ?? []) tokens += PER_MESSAGE + ofText(name) + ofText(given)
  // Sealed: what it stands for is not there to be counted.
  if (message.reasoning) tokens += Buffer.byteLength(JSON.stringify(message.reasoning.items)) / BYTES
  return Math.ceil(tokens)
}

const NO_SPECIAL = { disallowedSpecial: new Set<string>() }

/** At most a few tokens high for each piece. */
function ofText(text: string): number {
  const step = text.length <= COUNTED ? PIECE : Math.ceil(text.length / (COUNTED / PIECE))
  let tokens = 0
  let looked = 0
  for (let at = 0; at < text.length; at += step) {
    const piece = text.slice(at, at + PIECE)
    tokens += o200k().countTokens(piece, NO_SPECIAL)
    looked += piece.length
  }
  return looked === 0 ? 0 : Math.ceil((tokens * text.length) / looked)
}
