import { type Dialect, VendorError } from '@muster/models'
import type { ErrorCode, Json, MusterError } from '@muster/protocol'
import { z } from 'zod'
import type { ClientName } from './client.ts'
import { isObject } from './json.ts'

export interface Refusal {
  status: number
  headers: Record<string, string>
  body: Json
}

/** What a refusal is in OpenAI's words; of what is not here the status and the code are ours. */
const OPENAI: Partial<Record<ErrorCode, { status?: number; code: string; type?: string }>> = {
  'auth.missing_key': { code: 'invalid_api_key' },
  'auth.invalid_key': { code: 'invalid_api_key' },
  'auth.expired_key': { code: 'invalid_api_key' },
  'auth.revoked_key': { code: 'invalid_api_key' },
  'request.invalid': { code: 'invalid_value' },
  'request.invalid_json': { code: 'invalid_json' },
  'request.not_found': { code: 'unknown_url' },
  'request.too_large': { code: 'request_too_large' },
  'model.not_found': { code: 'model_not_found' },
  'model.not_allowed': { code: 'model_not_allowed' },
  'model.unsupported': { status: 400, code: 'unsupported_parameter' },
  'model.blocked': { status: 400, code: 'content_filter' },
  'response.not_found': { code: 'response_not_found' },
  'response.kept': { code: 'response_kept' },
  'policy.denied': { code: 'policy_denied', type: 'policy_denied' },
  'budget.exceeded': { status: 429, code: 'insufficient_quota', type: 'insufficient_quota' },
  'quota.exceeded': { status: 429, code: 'insufficient_quota', type: 'insufficient_quota' },
  'rate.limited': { code: 'rate_limit_exceeded', type: 'rate_limit_error' },
  'stop.active': { status: 403, code: 'stopped', type: 'stopped' },
  'run.cancelled': { code: 'cancelled' },
  'route.refused': { status: 403, code: 'route_refused' },
}

/** Trying again changes nothing: the official clients are told so. */
const FINAL: ReadonlySet<ErrorCode> = new Set([
  // Claude Code tries such a key for minutes.
  'auth.missing_key',
  'auth.invalid_key',
  'auth.expired_key',
  'auth.revoked_key',
  'budget.exceeded',
  'quota.exceeded',
  'policy.denied',
  'model.blocked',
  'stop.active',
  'run.cancelled',
  'route.refused',
  'subject.erased',
  'response.kept',
])

/** Whom to ask, of what the client's user can do nothing about; a denial by policy says so itself. */
const ADVICE: Partial<Record<ErrorCode, string>> = {
  'auth.expired_key': 'Ask who made it for a new one.',
  'auth.revoked_key': 'Ask who made it for a new one.',
  'budget.exceeded': 'Ask who operates Muster for more.',
  'quota.exceeded': 'Ask who operates Muster for more.',
}

const OUR_KEY = 'It is the key of the gateway that the vendor refuses: tell who operates Muster.'

const ANTHROPIC: Record<number, string> = {
  400: 'invalid_request_error',
  401: 'authentication_error',
  402: 'billing_error',
  403: 'permission_error',
  404: 'not_found_error',
  413: 'request_too_large',
  429: 'rate_limit_error',
  503: 'overloaded_error',
}

/**
 * Codex shows a message, and tries nothing again, only of a 400 with this code; of what passes it waits and tries again as
 * the status says. Measured with 0.163 and 0.171.
 */
const CODEX_FINAL = { status: 400, code: 'invalid_prompt' }

/** Claude Code takes these for a login that has failed, or a model of its own, and 404 is not told with its message. */
const CLAUDE_CODE_HIDES: ReadonlySet<number> = new Set([403, 404])

const openAi = z
  .object({
    error: z.looseObject({
      message: z.string(),
      type: z.string(),
      param: z.string().nullable(),
      code: z.string().nullable(),
    }),
  })
  .meta({ id: 'OpenAiError', description: 'An error as OpenAI says it' })
const anthropic = z
  .object({ type: z.literal('error'), error: z.object({ type: z.string(), message: z.string() }) })
  .meta({ id: 'AnthropicError', description: 'An error as Anthropic says it' })

/** The answers of a route of the gateway to what it refuses: any status, since a vendor's own is passed on. */
export function refusalsOf(dialect: Dialect) {
  const schema = dialect === 'messages' ? anthropic : openAi
  const answer = (description: string) => ({ description, content: { 'application/json': { schema } } })
  return {
    '4xx': answer('The request is refused, by Muster or by the vendor; `message` says why'),
    '5xx': answer('It failed, here or at the vendor'),
  }
}

/** What a vendor answers is given as it is. */
export const asIs = {
  description: 'As the vendor has it',
  content: { 'application/json': { schema: z.unknown() } },
}

/** The same, or as server-sent events where `stream` is true. */
export const asIsOrStream = {
  ...asIs,
  content: { ...asIs.content, 'text/event-stream': { schema: z.string() } },
}

/** How a refusal is told so that the client's own library makes its typed error of it, and a person can read why. */
export function refusalFor(client: { name: ClientName; dialect: Dialect }, error: MusterError): Refusal {
  const { code, message, retryAfterMs } = error
  const cause = error.cause instanceof VendorError && code === 'model.failed' ? error.cause : undefined
  // The client's own key is not what the vendor has refused.
  const isOurKey = cause?.status === 401
  const vendor = isOurKey ? undefined : cause
  const known = OPENAI[code]
  const status = vendor?.status ?? known?.status ?? error.status
  const isFinal = FINAL.has(code) || isOurKey
  const headers: Record<string, string> = {
    ...(retryAfterMs === undefined ? {} : waiting(retryAfterMs)),
    ...(isFinal ? { 'x-should-retry': 'false' } : {}),
  }
  const whom = isOurKey ? OUR_KEY : ADVICE[code]
  const advice = whom === undefined ? '' : ` ${whom}`
  const text = `${message}${/[.!?]$/.test(message) ? '' : '.'}${advice}`
  if (client.dialect === 'messages') {
    const isHidden = client.name === 'claude-code' && CLAUDE_CODE_HIDES.has(status) && code !== 'request.not_found'
    const shown = isHidden ? 400 : status
    const type = ANTHROPIC[shown] ?? (shown < 500 ? 'invalid_request_error' : 'api_error')
    return { status: shown, headers, body: { type: 'error', error: { type, message: text } } }
  }
  const type = known?.type ?? (status < 500 ? 'invalid_request_error' : 'server_error')
  const own = { message: text, type, param: paramOf(error), code: known?.code ?? code.replaceAll('.', '_') }
  // What it asks of a route that is not there it asks to see whether it is.
  if (
    client.name === 'codex' &&
    (status < 500 || isOurKey) &&
    code !== 'rate.limited' &&
    code !== 'request.not_found'
  ) {
    // In one line, and with our own code as the type, which is not shown.
    const told = { message: text.replaceAll(/\s+/g, ' '), type: own.code, param: null, code: CODEX_FINAL.code }
    return { status: CODEX_FINAL.status, headers, body: { error: told } }
  }
  // What a vendor says of its own request is left as it is.
  const theirs = vendor && isObject(vendor.error) ? { ...own, ...vendor.error } : own
  return { status, headers, body: { error: theirs } }
}

function waiting(ms: number): Record<string, string> {
  return { 'retry-after': String(Math.ceil(ms / 1000)), 'retry-after-ms': String(Math.ceil(ms)) }
}

/** `/tools/0/type` as OpenAI writes it: `tools[0].type`. */
function paramOf({ code, issues }: MusterError): string | null {
  if (code === 'model.not_found' || code === 'model.not_allowed') return 'model'
  const path = issues?.[0]?.path ?? ''
  const param = path
    .replace(/^(querystring)?\//, '')
    .replaceAll(/\/(\d+)(?=\/|$)/g, '[$1]')
    .replaceAll('/', '.')
  return param === '' ? null : param
}
