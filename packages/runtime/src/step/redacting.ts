import type { ModelMessage, ModelReply, ModelRequest, Part } from '@muster/models'
import { exactJson, type Json, type RedactCounts, type StepError } from '@muster/protocol'
import type { Redactor } from '@muster/redaction'
import type { Operation } from './step.ts'

/** What a run stores and sends, with what its tenant's redactor finds taken out. */

export interface RedactedText {
  text: string
  redacted: RedactCounts | undefined
}

/** A step's output as JSON text. Of what a model gives, names and ids of calls are left, since others go by them. */
export function redactOutput(redactor: Redactor, { kind, ofClient }: Operation, text: string): RedactedText {
  const output = exactJson(text)
  if (ofClient) return encoded(redactWords(redactor, output), text)
  if (kind !== 'model') return encoded(redactor.redact(output), text)
  const { toolCalls, ...rest } = output as unknown as Pick<ModelReply, 'text' | 'toolCalls'> // see modelStep
  const { value, found } = redactor.redact([rest, toolCalls.map((call) => call.arguments)])
  if (!found) return { text, redacted: undefined }
  const [reply, args] = value as [typeof rest, string[]] // the shape stays
  const calls = toolCalls.map((call, i) => ({ ...call, arguments: args[i] ?? '' }))
  return { text: JSON.stringify({ ...reply, toolCalls: calls }), redacted: found }
}

/** Fields of a vendor's request or answer that are no text of anybody's, and by which others go: ids, sealed reasoning, images. */
const OPAQUE = new Set([
  ...['id', 'call_id', 'tool_call_id', 'tool_use_id', 'item_id', 'previous_response_id', 'response_id', 'file_id'],
  ...['encrypted_content', 'signature', 'data', 'image_url', 'file_data', 'embedding', 'system_fingerprint'],
  ...['model', 'type', 'role', 'name', 'object', 'status'],
])

/** A vendor's request or answer: what is opaque in it stays. */
export function redactWords(redactor: Redactor, words: Json): ReturnType<Redactor['redact']> {
  const kept: Json[] = []
  const hollow = mapOpaque(words, (value) => {
    kept.push(value)
    return null
  })
  const { value, found } = redactor.redact(hollow)
  if (!found) return { value: words, found }
  // The shape stays, and with it their order.
  let next = 0
  return { value: mapOpaque(value, () => kept[next++] ?? null), found }
}

function mapOpaque(value: Json, opaque: (value: Json) => Json): Json {
  if (Array.isArray(value)) return value.map((item) => mapOpaque(item, opaque))
  if (value === null || typeof value !== 'object' || JSON.isRawJSON(value)) return value
  const copy: { [name: string]: Json } = {}
  for (const [name, field] of Object.entries(value))
    copy[name] = OPAQUE.has(name) ? opaque(field) : mapOpaque(field, opaque)
  return copy
}

export function redactText(redactor: Redactor, text: string): RedactedText {
  return encoded(redactor.redact(exactJson(text)), text)
}

function encoded({ value, found }: ReturnType<Redactor['redact']>, text: string): RedactedText {
  return { text: found ? JSON.stringify(value) : text, redacted: found }
}

/** More of an error's message is never shown. */
const MESSAGE_MAX = 65_536

export function redactError(
  redactor: Redactor,
  error: StepError,
): { error: StepError; redacted: RedactCounts | undefined } {
  const { value, found } = redactor.redact(error.message.slice(0, MESSAGE_MAX))
  return { error: { code: error.code, message: String(value) }, redacted: found }
}

/** What has come from outside, which its server has redacted already where it is told the same. */
export function redactCome(redactor: Redactor | undefined, value: Json): ReturnType<Redactor['redact']> {
  if (!redactor) return { value, found: undefined }
  try {
    return redactor.redact(value)
  } catch {
    // It cannot be refused any more.
    return { value: '[too large to be redacted]', found: undefined }
  }
}

/** Messages that were redacted before: a conversation is sent again with every turn. */
const known = new WeakMap<ModelMessage, ModelMessage>()

/** What is sent to a model. History is redacted already; instructions, and what a plan writes, may not be. */
export function redactRequest(redactor: Redactor, request: ModelRequest): ModelRequest {
  return { ...request, messages: request.messages.map((message) => redactMessage(redactor, message)) }
}

function redactMessage(redactor: Redactor, message: ModelMessage): ModelMessage {
  let redacted = known.get(message)
  if (!redacted) {
    const content = message.content === null ? null : redactContent(redactor, message.content)
    redacted = { ...message, content } as ModelMessage // null only where it was
    if (redacted.role === 'assistant' && redacted.toolCalls)
      redacted.toolCalls = redacted.toolCalls.map((call) => ({
        ...call,
        arguments: String(redactor.redact(call.arguments).value),
      }))
    known.set(message, redacted)
  }
  return redacted
}

/** An image or a file is looked into by nobody here. */
function redactContent(redactor: Redactor, content: string | Part[]): string | Part[] {
  if (typeof content === 'string') return String(redactor.redact(content).value)
  return content.map((part) =>
    part.type === 'text' ? { ...part, text: String(redactor.redact(part.text).value) } : part,
  )
}
