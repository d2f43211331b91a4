import { createRequire } from 'node:module'
import type { ModelMessage, ModelRequest } from './message.ts'

/** How many tokens a request has: counted for models of OpenAI, about three bytes each for all others. */

/** High for prose, and right for scripts of three bytes to a character; low for what is encoded as base64. */
const BYTES = 3
/** What a vendor wraps a message in. */
const PER_MESSAGE = 4
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
  return Math.ceil(Buffer.byteLength(JSON.stringify([messages, tools, output])) / BYTES)
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
  let tokens = PER_MESSAGE + ofText(message.content ?? '')
  if (message.role !== 'assistant') return tokens
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
