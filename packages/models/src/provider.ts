import { type ErrorCode, MusterError } from '@muster/protocol'
import type { Embedded, EmbedRequest } from './embed.ts'
import type { ModelReply, ModelRequest, ModelSettings } from './message.ts'
import type { Media } from './parts.ts'

export type Answer = Omit<ModelReply, 'costUsd' | 'via' | 'guardrail'>

/** One vendor's way of speaking: what it has no word for is refused or translated here, and nobody above knows of it. */
export interface Provider {
  /** Settings that it has a word for. */
  readonly settings: readonly (keyof ModelSettings)[]
  readonly media: Media
  /**
   * One call, tried once: the step is tried again, so that its place is free meanwhile and the journal tells of each try.
   *
   * @throws MusterError as `Models.invoke` says; an abort as it is
   */
  complete(model: string, request: ModelRequest): Promise<Answer>
  /** Vectors of texts, where it has them and its server is not asked as OpenAI is. */
  embed?(model: string, request: EmbedRequest): Promise<Embedded>
}

/** What has been paid for is used up: no waiting brings it back, but another target may have more. */
export class QuotaUsedUp extends MusterError {}

/** A server without keys is given a word, which is none. */
export function masked(text: string, apiKey: string): string {
  return apiKey.length < 8 ? text : text.replaceAll(apiKey, '***')
}

/** Vendors show of a key that they refuse how it begins and ends (`sk-ab****yz`): that is left out, too. */
const PARTLY_SHOWN = /[\w-]{1,64}\*{3,}[\w-]{0,64}|\*{3,}[\w-]{1,64}/g

export function withoutKey(text: string, apiKey = ''): string {
  const said = masked(text, apiKey)
  return said.includes('***') ? said.replace(PARTLY_SHOWN, '***') : said
}

/** A failure without the key: some servers repeat the one that they refuse, and the cause would carry it into a log. */
export function failure(
  code: ErrorCode,
  { model, apiKey = '' }: { model: string; apiKey?: string | undefined },
  error: unknown,
  retryAfterMs?: number,
  Kind: typeof MusterError = MusterError,
): MusterError {
  const text = error instanceof Error ? error.message : String(error)
  const said = withoutKey(text, apiKey)
  const repeatsKey = said !== text
  return new Kind(code, `${model}: ${said}`, {
    retryAfterMs: code === 'rate.limited' || code === 'model.unavailable' ? retryAfterMs : undefined,
    ...(repeatsKey ? {} : { cause: error }),
  })
}

/** An answer that is not whole is not taken for one, unless it may be cut. */
export function cutAt(model: string, by: 'length' | 'filter', { mayBeCut }: ModelRequest): Pick<Answer, 'cut'> {
  if (mayBeCut) return { cut: by }
  const why = by === 'length' ? 'has come to its limit of tokens' : 'was stopped by a content filter'
  throw new MusterError('model.failed', `${model} ${why}`)
}

/** What a model says in place of an answer is no answer, unless that may be cut: then it is its text. */
export function refusedAs(model: string, text: string, { mayBeCut }: ModelRequest): Pick<Answer, 'cut' | 'text'> {
  if (mayBeCut) return { cut: 'filter', text }
  throw new MusterError('model.failed', `${model} refused: ${text}`)
}

const RETRY_AFTER_MAX_MS = 3_600_000

/** Retry-After (RFC 9110, section 10.2.3), or OpenAI's finer `retry-after-ms`; at most an hour, whatever a server says. */
export function retryAfterMs(header: (name: string) => string | null | undefined): number | undefined {
  const fine = Number(header('retry-after-ms') || Number.NaN)
  const coarse = header('retry-after') ?? ''
  const date = () => (/^\d/.test(coarse) ? Number(coarse) * 1000 : Date.parse(coarse) - Date.now())
  const ms = Number.isNaN(fine) ? date() : fine
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 0), RETRY_AFTER_MAX_MS)
}
