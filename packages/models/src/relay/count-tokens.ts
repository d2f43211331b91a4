import { type Json, MusterError } from '@muster/protocol'
import type { Course, Place } from '../failover.ts'
import type { Provider } from '../provider.ts'
import { dialectOf, type Target } from '../target.ts'
import { estimatedOf, inputTokens } from '../tokens.ts'
import { isObject, type JsonObject } from './json.ts'
import type { RelayRequest } from './request.ts'
import { messagesTranslation } from './translate-messages.ts'
import { responsesTranslation } from './translate-responses.ts'
import { type Translation, Unsaid } from './translation.ts'
import { type HttpTarget, type Upstream, VendorError } from './upstream.ts'

/** Characters of a body beyond which nobody counts here: a tokenizer takes a millisecond for each thousand. */
const COUNTED_MAX = 131_072

/** How each vendor that counts is asked to. */
const COUNTED: Record<'messages' | 'responses', { path: string; translation: Translation; fields?: string[] }> = {
  messages: { path: '/v1/messages/count_tokens', translation: messagesTranslation },
  responses: {
    path: '/responses/input_tokens',
    translation: responsesTranslation,
    // It takes no other of a request. What was said before is in the input.
    fields: [
      ...['input', 'instructions', 'parallel_tool_calls', 'personality', 'reasoning', 'text', 'tool_choice', 'tools'],
      'truncation',
    ],
  },
}

export type CountRequest = Pick<RelayRequest, 'body' | 'signal' | 'labels' | 'refused' | 'stickyKey' | 'headers'> & {
  dialect: keyof typeof COUNTED
  /** Nothing is sent to a vendor. */
  isLocal?: boolean
}

interface Where {
  upstreamOf(target: HttpTarget): Upstream
  providerOf(target: Target): Provider
}

/**
 * How many tokens a request has where it would go: as Anthropic counts its Messages and OpenAI its Responses, or as they are
 * counted here. The next target is asked where one cannot be.
 *
 * @throws MusterError as `Models.relay` does
 */
export async function countTokens(
  { places }: Pick<Course, 'places'>,
  request: CountRequest,
  where: Where,
): Promise<number> {
  let failed: unknown
  for (const place of places) {
    try {
      return await countAt(place, request, where)
    } catch (error) {
      if (!(error instanceof MusterError) || !isPassing(error)) throw error
      failed ??= error
    }
  }
  throw failed ?? new MusterError('model.unavailable', 'no target could be asked')
}

function isPassing({ code }: MusterError): boolean {
  return code === 'model.unavailable' || code === 'rate.limited' || code === 'model.unsupported'
}

async function countAt(
  { target, model }: Place,
  { dialect, body, signal, headers, isLocal }: CountRequest,
  { upstreamOf, providerOf }: Where,
): Promise<number> {
  const { path, translation, fields } = COUNTED[dialect]
  const isSpoken = dialectOf(target) === dialect
  if (isSpoken && !('bedrock' in target) && !isLocal) {
    const asked = { ...(fields ? fieldsOf(body, fields) : body), model }
    const counted = await countedBy(upstreamOf(target), { path, body: asked, signal, headers: headers ?? {} })
    if (counted !== undefined) return counted
  }
  if (JSON.stringify(body).length > COUNTED_MAX) return estimatedOf(body)
  const unsaid = new Unsaid(providerOf(target).media)
  const read = translation.read(body, unsaid)
  // What only models of its own vendor are told is there nevertheless.
  if (isSpoken) return unsaid.issues.length > 0 ? estimatedOf(body) : inputTokens(model, read)
  unsaid.check(model)
  return inputTokens(model, read)
}

function fieldsOf(body: JsonObject, names: readonly string[]): JsonObject {
  return Object.fromEntries(Object.entries(body).filter(([name]) => names.includes(name)))
}

/** Undefined where a server that speaks as the vendor does cannot count. */
async function countedBy(
  upstream: Upstream,
  { body, ...call }: { path: string; body: JsonObject; signal: AbortSignal; headers: Record<string, string> },
): Promise<number | undefined> {
  try {
    const answered = await upstream.post({ ...call, body: JSON.stringify(body) })
    const whole: Json = JSON.parse((await answered.whole()).toString())
    const tokens = isObject(whole) ? whole.input_tokens : undefined
    if (typeof tokens === 'number' && tokens >= 0) return tokens
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    const { cause } = error as { cause?: unknown }
    if (!(cause instanceof VendorError && (cause.status === 404 || cause.status === 405))) throw error
  }
  return undefined
}
