import { type ErrorCode, type Json, MusterError } from '@muster/protocol'
import { Pool } from 'undici'
import type { Sign } from '../aws-signature.ts'
import { failure, masked, QuotaUsedUp, retryAfterMs, withoutKey } from '../provider.ts'
import type { AnthropicTarget, OpenAiTarget } from '../target.ts'
import { type Answered, answeredBy, type Bytes, bytesOf, STREAM_MAX, TooLarge } from './bytes.ts'
import { decoded, UnknownEncoding } from './decoded.ts'
import { Incoming } from './incoming.ts'
import { isObject, objectOf } from './json.ts'

/** Of an error's body as much is read. */
const ERROR_MAX = 65_536
/** How long a connection may take to be there. */
const CONNECT_MS = 10_000
const ANTHROPIC_URL = 'https://api.anthropic.com'
const OPENAI_URL = 'https://api.openai.com/v1'

export type HttpTarget = OpenAiTarget | AnthropicTarget

interface Call {
  /** Below the target's address. */
  path: string
  body: string
  signal: AbortSignal
  headers: Record<string, string>
}

/** A vendor's server, as it is, over connections that are kept. */
export interface Upstream {
  /** What the server is not to be asked for, since it has refused to be: what it said, by model. */
  readonly refusals: Map<string, string>
  /** The error as a user may see it. */
  failure(code: ErrorCode, error: unknown): MusterError
  /** What the server says of a failure: without the key, where it repeats that. */
  masked(text: string): string
  /**
   * Resolves to the answer once the server has begun to give one.
   *
   * @throws MusterError as `Models.relay` says; an abort as it is
   */
  post(call: Call): Promise<Answered>
}

/** What a vendor said when it refused: the cause of a `model.failed`. */
export class VendorError extends Error {
  readonly status: number
  /** Its own error object. */
  readonly error: Json

  constructor(status: number, message: string, error: Json) {
    super(message)
    this.status = status
    this.error = error
  }
}

export function createUpstream(target: HttpTarget, timeoutMs: number, sign?: Sign): Upstream {
  const isAnthropic = 'anthropic' in target
  const base = new URL(isAnthropic ? (target.anthropic.baseUrl ?? ANTHROPIC_URL) : (target.baseUrl ?? OPENAI_URL))
  const root = base.pathname.replace(/\/+$/, '')
  const model = isAnthropic ? target.anthropic.model : target.model
  const { apiKey } = target
  // Between two pieces as long as for the first: what is said of an answer whole cannot bound one that goes on.
  const connect = { timeout: Math.min(timeoutMs, CONNECT_MS) }
  const pool = new Pool(base.origin, { headersTimeout: timeoutMs, bodyTimeout: timeoutMs, connect })
  const auth: Record<string, string> = isAnthropic ? { 'x-api-key': apiKey } : { authorization: `Bearer ${apiKey}` }

  // A client may know a later one.
  const version: Record<string, string> = isAnthropic ? { 'anthropic-version': '2023-06-01' } : {}

  function unreachable(error: unknown, signal: AbortSignal): unknown {
    if (signal.aborted) return signal.reason
    const { code } = error as { code?: unknown }
    const isLate = code === 'UND_ERR_HEADERS_TIMEOUT' || code === 'UND_ERR_BODY_TIMEOUT'
    const why = isLate ? `nothing came within ${timeoutMs} ms` : error
    const isOurs = error instanceof TooLarge || error instanceof UnknownEncoding || code === 'UND_ERR_INVALID_ARG'
    return failure(isOurs ? 'model.failed' : 'model.unavailable', { model, apiKey }, why)
  }

  return {
    refusals: new Map(),
    failure: (code, error) => failure(code, { model, apiKey }, error),
    masked: (text) => masked(text, apiKey),
    async post({ path, body, signal, headers }) {
      signal.throwIfAborted()
      const signed = sign && (await sign(new URL(base.origin + root + path), body))
      const given = { ...version, ...headers, 'content-type': 'application/json', ...(signed ?? auth) }
      let incoming: Incoming
      let bytes: Bytes
      try {
        incoming = new Incoming(pool, { method: 'POST', path: root + path, body, headers: given }, signal)
        await incoming.started
        bytes = decoded(incoming, incoming.headers['content-encoding'])
      } catch (error) {
        throw unreachable(error, signal)
      }
      if (incoming.status > 299) {
        const told = bytesOf(bytes, STREAM_MAX, (error) => unreachable(error, signal))
        const text = await beginning(told, ERROR_MAX)
        const headerOf = (name: string) => incoming.headers[name]?.toString()
        throw refusalOf({ model, status: incoming.status, headerOf }, errorIn(withoutKey(text, apiKey)))
      }
      const isStream = String(incoming.headers['content-type']).startsWith('text/event-stream')
      return answeredBy(bytes, isStream, (error) => unreachable(error, signal))
    },
  }
}

/** What a server says of a failure, as much as matters; it may break off. */
async function beginning(bytes: AsyncGenerator<Buffer>, max: number): Promise<string> {
  const parts: Buffer[] = []
  let size = 0
  try {
    for await (const part of bytes) {
      parts.push(part)
      size += part.length
      if (size >= max) break
    }
  } catch (error) {
    if (!(error instanceof MusterError)) throw error
  }
  return Buffer.concat(parts).toString()
}

interface Refusal {
  model: string
  status: number
  headerOf: (name: string) => string | null | undefined
}

/** @param error the `error` of its body, without a key */
export function refusalOf({ model, status, headerOf }: Refusal, error: Json): MusterError {
  // Where it is to be found instead, and how a proxy is to be passed, is nothing that the client has asked for.
  const isOurs = status < 400 || status === 407
  const said = `${status} ${messageOf(error)}`
  const cause = isOurs ? said : new VendorError(status, said, error)
  const isUsedUp = status === 402 || (status === 429 && isSpent(error))
  return failure(
    isUsedUp ? 'model.failed' : codeOf(status),
    { model },
    cause,
    retryAfterMs(headerOf),
    isUsedUp ? QuotaUsedUp : MusterError,
  )
}

/** Whether a 429 is of money and not of time, which OpenAI tells by the type, whatever the code, and Anthropic beside it. */
function isSpent(error: Json): boolean {
  const { code, type, details } = objectOf(error)
  const isLimit = objectOf(details).error_code === 'enforced_spend_limit_reached'
  return code === 'insufficient_quota' || type === 'insufficient_quota' || isLimit
}

/** What a status says of the next try. */
export function codeOf(status: number): ErrorCode {
  return status === 429 ? 'rate.limited' : status >= 500 ? 'model.unavailable' : 'model.failed'
}

/** The `error` of both vendors' bodies, or the body where there is none. */
function errorIn(text: string): Json {
  try {
    const body: Json = JSON.parse(text)
    return isObject(body) && body.error !== undefined ? body.error : body
  } catch {
    return text.slice(0, 1000)
  }
}

export function messageOf(error: Json): string {
  if (isObject(error) && typeof error.message === 'string') return error.message
  return typeof error === 'string' && error !== '' ? error : 'refused without a reason'
}
