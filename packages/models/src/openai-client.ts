import type { ErrorCode } from '@muster/protocol'
import { MusterError } from '@muster/protocol'
import OpenAI, { APIConnectionError, APIError, APIUserAbortError } from 'openai'
import type { ModelRequest } from './message.ts'
import { failure, QuotaUsedUp, retryAfterMs } from './provider.ts'
import type { OpenAiTarget } from './target.ts'

/** What both of OpenAI's ways of speaking share. */
export function openAiClient({ apiKey, baseUrl }: OpenAiTarget): OpenAI {
  // It would log what it cannot read.
  return new OpenAI({ apiKey, baseURL: baseUrl ?? null, maxRetries: 0, logLevel: 'off' })
}

export function optionsOf({ signal, idempotencyKey }: ModelRequest): OpenAI.RequestOptions {
  return {
    ...(signal ? { signal } : {}),
    ...(idempotencyKey === undefined ? {} : { headers: { 'idempotency-key': idempotencyKey } }),
  }
}

export function openAiError(of: { model: string; apiKey: string }, error: unknown): unknown {
  if (error instanceof MusterError || error instanceof APIUserAbortError) return error
  const headers = error instanceof APIError ? error.headers : undefined
  return failure(
    codeOf(error),
    of,
    error,
    retryAfterMs((name) => headers?.get(name)),
    isUsedUp(error) ? QuotaUsedUp : MusterError,
  )
}

function isUsedUp(error: unknown): boolean {
  return error instanceof APIError && error.status === 429 && error.code === 'insufficient_quota'
}

function codeOf(error: unknown): ErrorCode {
  if (error instanceof APIConnectionError) return 'model.unavailable'
  if (!(error instanceof APIError)) return 'model.failed'
  // Told in the middle of a stream.
  if (error.status === undefined) return 'model.unavailable'
  // A quota that is used up is a 429 too, but no waiting brings it back.
  if (error.status === 429) return isUsedUp(error) ? 'model.failed' : 'rate.limited'
  return Number(error.status) >= 500 ? 'model.unavailable' : 'model.failed'
}
