import { type Json, MusterError } from '@muster/protocol'
import type { Course, Place } from '../failover.ts'
import type { Provider } from '../provider.ts'
import { dialectOf, type Target } from '../target.ts'
import { estimatedOf, inputTokens } from '../tokens.ts'
import { isObject } from './json.ts'
import type { RelayRequest } from './request.ts'
import { messagesTranslation } from './translate-messages.ts'
import { Unsaid } from './translation.ts'
import { type HttpTarget, type Upstream, VendorError } from './upstream.ts'

/** Characters of a body beyond which nobody counts here: a tokenizer takes a millisecond for each thousand. */
const COUNTED_MAX = 131_072

export type CountRequest = Pick<RelayRequest, 'body' | 'signal' | 'labels' | 'refused' | 'stickyKey' | 'headers'> & {
  /** Nothing is sent to a vendor. */
  isLocal?: boolean
}

interface Where {
  upstreamOf(target: HttpTarget): Upstream
  providerOf(target: Target): Provider
}

/**
 * How many tokens a request of Anthropic's Messages has where it would go: as Anthropic counts them, or as they are counted
 * here. The next target is asked where one cannot be.
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
  { body, signal, headers, isLocal }: CountRequest,
  { upstreamOf, providerOf }: Where,
): Promise<number> {
  if (dialectOf(target) === 'messages' && !('bedrock' in target) && !isLocal) {
    const counted = await countedBy(upstreamOf(target), { ...body, model }, { signal, headers: headers ?? {} })
    if (counted !== undefined) return counted
  }
  if (JSON.stringify(body).length > COUNTED_MAX) return estimatedOf(body)
  const unsaid = new Unsaid(providerOf(target).media)
  const read = messagesTranslation.read(body, unsaid)
  // What only Anthropic's models are told is there nevertheless.
  if (dialectOf(target) === 'messages') return unsaid.issues.length > 0 ? estimatedOf(body) : inputTokens(model, read)
  unsaid.check(model)
  return inputTokens(model, read)
}

/** Undefined where a server that speaks as Anthropic does cannot count. */
async function countedBy(
  upstream: Upstream,
  body: { [name: string]: Json },
  { signal, headers }: { signal: AbortSignal; headers: Record<string, string> },
): Promise<number | undefined> {
  try {
    const answered = await upstream.post({
      ...{ path: '/v1/messages/count_tokens', body: JSON.stringify(body), signal, headers },
    })
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
