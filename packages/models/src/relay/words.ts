import { type Issue, type Json, MusterError } from '@muster/protocol'
import { exactObject } from '../exact-json.ts'
import { isObject, type JsonObject, objectsOf } from './json.ts'
import type { Dialect } from './request.ts'

/** The texts in a vendor's request or answer, for who looks at them before they go on. */

/** A text, and where it stands; `put` puts another in its place. */
export interface Words {
  text: string
  put(text: string): void
}

/** What of a request people, tools and models say; all else is looked at as one text. */
const SAID: Record<Dialect, readonly string[]> = {
  chat: ['messages'],
  responses: ['input', 'instructions'],
  messages: ['messages', 'system'],
  embeddings: ['input'],
}
/** Of an answer what a client reads. */
const ANSWERED: Record<Dialect, readonly string[]> = {
  chat: ['choices'],
  responses: ['output', 'output_text'],
  messages: ['content'],
  embeddings: [],
}

/** Names and ids, by which others go, and what is sealed: nobody but the model that wrote it can read it. */
const OPAQUE = new Set([
  ...['id', 'call_id', 'tool_call_id', 'tool_use_id', 'item_id', 'type', 'role', 'name', 'status', 'object', 'model'],
  ...['finish_reason', 'stop_reason', 'stop_sequence', 'encrypted_content', 'signature', 'detail', 'media_type'],
  ...['phase', 'namespace', 'cache_control', 'logprobs'],
])
/** Images, files and sounds. */
const UNREADABLE = new Set(['image_url', 'file_data', 'file_id', 'file_url', 'input_audio', 'audio', 'source', 'data'])
/** What a tool is called with, where it is no text. */
const CALLED = new Set(['input', 'action', 'operation'])
/** Sealed by Muster, for clients to keep: it can be read. */
const OURS = 'muster.'

/**
 * All that a request says, as it may be changed in place.
 *
 * @throws MusterError `model.unsupported` for what is no text, naming each place
 */
export function wordsOfRequest(dialect: Dialect, body: JsonObject): Words[] {
  const words = wordsIn(body, SAID[dialect])
  if (dialect === 'embeddings' && holdsNumber(body.input ?? null))
    throw unreadable([{ path: '/input', message: CANNOT }])
  const { model: _, stream: __, ...rest } = body
  for (const name of SAID[dialect]) delete rest[name]
  // Of tools and settings what is masked must still be JSON.
  if (holdsText(rest)) words.push(asJson(rest, (changed) => Object.assign(body, changed)))
  return words
}

/** All that an answer says. */
export function wordsOfAnswer(dialect: Dialect, whole: JsonObject): Words[] {
  return wordsIn(whole, ANSWERED[dialect])
}

/** Probabilities of tokens tell a text that was masked. */
export function dropProbabilities(whole: JsonObject): void {
  for (const choice of objectsOf(whole.choices)) if (choice.logprobs) choice.logprobs = null
  for (const item of objectsOf(whole.output))
    for (const part of objectsOf(item.content)) if (part.logprobs) part.logprobs = []
}

/** What a model thought and Muster has sealed could be read, and written: it is taken out. Whether there was any. */
export function dropSealed(of: JsonObject): boolean {
  let isFound = false
  for (const name of ['input', 'output', 'messages', 'content']) {
    const value = of[name]
    if (!Array.isArray(value)) continue
    const kept = withoutOurs(value)
    isFound ||= JSON.stringify(kept).length !== JSON.stringify(value).length
    of[name] = kept
  }
  return isFound
}

interface Found {
  words: Words[]
  issues: Issue[]
}

/** Where a value stands. */
interface Place {
  name: string
  /** The object that has it. */
  of: JsonObject
  path: string
  put(value: Json): void
}

function wordsIn(of: JsonObject, names: readonly string[]): Words[] {
  const found: Found = { words: [], issues: [] }
  for (const name of names) {
    const value = of[name]
    if (value === undefined) continue
    collect(value, { name, of, path: `/${name}`, put: (changed) => Object.assign(of, { [name]: changed }) }, found)
  }
  const { words, issues } = found
  if (issues.length > 0) throw unreadable(issues)
  return words
}

const CANNOT = 'cannot be checked by the guardrail'

function unreadable(issues: Issue[]): MusterError {
  const places = issues.map(({ path, message }) => `${path} ${message}`)
  return new MusterError('model.unsupported', places.slice(0, 10).join('; '), { issues })
}

/** Texts as tokens. */
function holdsNumber(value: Json): boolean {
  return typeof value === 'number' || JSON.isRawJSON(value) || (Array.isArray(value) && value.some(holdsNumber))
}

function collect(value: Json, { name, of, path, put }: Place, found: Found): void {
  if (value === null || OPAQUE.has(name)) return
  if (UNREADABLE.has(name) && !isReadable(of, name)) {
    found.issues.push({ path, message: CANNOT })
  } else if (typeof value === 'string') {
    // What is signed cannot be masked.
    const isSigned = name === 'thinking' && of.signature !== undefined
    if (value.trim() !== '') found.words.push({ text: value, put: isSigned ? () => refuseMask(path) : put })
  } else if (Array.isArray(value)) {
    for (const [at, item] of value.entries()) {
      const put = (changed: Json) => {
        value[at] = changed
      }
      collect(item, { name: '', of: {}, path: `${path}/${at}`, put }, found)
    }
  } else if (isObject(value)) {
    if (CALLED.has(name) && holdsText(value)) found.words.push(asJson(value, put))
    else if (!CALLED.has(name))
      for (const [field, item] of Object.entries(value)) {
        const put = (changed: Json) => Object.assign(value, { [field]: changed })
        collect(item, { name: field, of: value, path: `${path}/${field}`, put }, found)
      }
  }
}

function refuseMask(path: string): never {
  throw new MusterError('model.blocked', `${path} would have to be masked, and is signed`)
}

/** A document of text, and what a vendor has sealed. */
function isReadable(of: JsonObject, name: string): boolean {
  const value = of[name]
  if (value === null || value === '') return true
  if (name === 'source') return isObject(value) && (value.type === 'text' || value.type === 'content')
  return name === 'data' && (of.type === 'text' || of.type === 'redacted_thinking')
}

function withoutOurs(value: Json): Json {
  if (!Array.isArray(value)) return value
  return value.flatMap((item): Json[] => {
    if (!isObject(item)) return [item]
    const { type, encrypted_content, data, content } = item
    if (type === 'reasoning' && isOurs(encrypted_content)) return []
    if (type === 'redacted_thinking' && isOurs(data)) return []
    return [Array.isArray(content) ? { ...item, content: withoutOurs(content) } : item]
  })
}

function isOurs(text: Json | undefined): boolean {
  return typeof text === 'string' && text.startsWith(OURS)
}

function holdsText(value: Json): boolean {
  if (typeof value === 'string') return value.trim() !== ''
  if (value === null || typeof value !== 'object' || JSON.isRawJSON(value)) return false
  return Object.values(value).some((item) => item !== undefined && holdsText(item))
}

/** Looked at as JSON, so that names of fields are, too. */
function asJson(value: JsonObject, put: (changed: JsonObject) => void): Words {
  return {
    text: JSON.stringify(value),
    put(text) {
      const changed = exactObject(text)
      if (!changed) throw new MusterError('model.blocked', 'what the guardrail has masked is no JSON any more')
      put(changed)
    },
  }
}
