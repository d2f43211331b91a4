import { type ErrorCode, type JsonSchema, MusterError, type Usage } from '@muster/protocol'
import OpenAI, { APIConnectionError, APIError, APIUserAbortError, OpenAIError } from 'openai'
import type {
  ChatCompletion,
  ChatCompletionCreateParamsNonStreaming,
  ChatCompletionMessageParam,
} from 'openai/resources/chat/completions'
import type { CompletionUsage } from 'openai/resources/completions'
import type { ModelMessage, ModelReply, ModelRequest } from './message.ts'
import { costOf, type Price, priceOf } from './price.ts'

/** Where a route leads: a vendor's or a compatible server, and the model there. */
export interface Target {
  model: string
  baseUrl?: string
  apiKey: string
  /** Without a price, calls cost nothing (a model on one's own hardware) or are refused under a money limit. */
  free?: boolean
}

export interface ModelsOptions {
  /** By route name; a route that is not named here leads to the model of that name at the `default` route's server. */
  routes: { default: Target } & Record<string, Target>
  prices?: readonly Price[]
  /** How long one call may take, ms. */
  timeoutMs?: number
}

export interface Models {
  /**
   * One model call.
   *
   * @throws MusterError `rate.limited` when the server asks to wait (with how long, if it says so), `model.unavailable`
   * when it cannot be reached or is overloaded, `model.failed` when it refuses
   */
  invoke(route: string, request: ModelRequest): Promise<ModelReply>
  /** The most that a call may cost, for a budget to reserve; throws `model.no_price` when nobody can tell. */
  reserveUsd(route: string, request: ModelRequest): number
  /** About how many tokens a call may use. */
  reserveTokens(request: ModelRequest): number
}

/** Output tokens that a reservation assumes. */
const RESERVE_OUTPUT_TOKENS = 4096

/** One interface to every model, by the OpenAI Chat Completions API and what is compatible with it. */
export function createModels(options: ModelsOptions): Models {
  const clients = new Map<Target, OpenAI>()

  function target(route: string): Target {
    // A route may be named by a client: only our own routes count, not what every object has.
    const named = Object.hasOwn(options.routes, route) ? options.routes[route] : undefined
    return named ?? { ...options.routes.default, model: route }
  }

  function client(of: Target): OpenAI {
    const key = Object.values(options.routes).find((t) => t.baseUrl === of.baseUrl && t.apiKey === of.apiKey) ?? of
    let client = clients.get(key)
    if (!client) {
      client = new OpenAI({
        apiKey: of.apiKey,
        baseURL: of.baseUrl ?? null,
        timeout: options.timeoutMs ?? 120_000,
        // The step is tried again, so that its place is free meanwhile and the journal tells of each try.
        maxRetries: 0,
      })
      clients.set(key, client)
    }
    return client
  }

  /** Servers that do not stream, or do not tell what a streamed answer cost. */
  const plain = new Set<string>()

  async function complete(
    to: Target,
    body: ChatCompletionCreateParamsNonStreaming,
    { onDelta, ...options }: OpenAI.RequestOptions & Pick<ModelRequest, 'onDelta'>,
  ): Promise<ChatCompletion> {
    const { completions } = client(to).chat
    const server = to.baseUrl ?? ''
    if (!onDelta || plain.has(server)) return completions.create(body, options)
    try {
      const stream = completions.stream({ ...body, stream: true, stream_options: { include_usage: true } }, options)
      stream.on('content', onDelta)
      const completion = await stream.finalChatCompletion()
      if (completion.usage) return completion
      // It must not look as if it had cost nothing; the next call will tell.
      plain.add(server)
      return { ...completion, usage: estimated(body, completion) }
    } catch (error) {
      if (!cannotStream(error)) {
        // It broke off: as when a connection does, another try may do better.
        const isCut = error instanceof OpenAIError && !(error instanceof APIError)
        throw isCut ? new APIConnectionError({ message: error.message, cause: error }) : error
      }
      plain.add(server)
      return completions.create(body, options)
    }
  }

  return {
    async invoke(route, request) {
      const to = target(route)
      const body: ChatCompletionCreateParamsNonStreaming = {
        model: to.model,
        messages: request.messages.map(toWire),
        ...(request.tools?.length
          ? { tools: request.tools.map((tool) => ({ type: 'function' as const, function: tool })) }
          : {}),
        ...(request.output
          ? { response_format: { type: 'json_schema' as const, json_schema: { ...request.output, strict: false } } }
          : {}),
      }
      try {
        const completion = await complete(to, body, {
          ...(request.onDelta ? { onDelta: request.onDelta } : {}),
          ...(request.signal ? { signal: request.signal } : {}),
          ...(request.idempotencyKey === undefined ? {} : { headers: { 'idempotency-key': request.idempotencyKey } }),
        })
        const message = completion.choices[0]?.message
        if (!message) throw new MusterError('model.failed', `${to.model} gave no answer`)
        if (message.refusal) throw new MusterError('model.failed', `${to.model} refused: ${message.refusal}`)
        const usage: Usage = {
          inputTokens: completion.usage?.prompt_tokens ?? 0,
          outputTokens: completion.usage?.completion_tokens ?? 0,
          cachedTokens: completion.usage?.prompt_tokens_details?.cached_tokens ?? 0,
        }
        const price = priceOf(completion.model, options.prices) ?? priceOf(to.model, options.prices)
        return {
          text: message.content,
          toolCalls: (message.tool_calls ?? []).flatMap((call) =>
            call.type === 'function'
              ? [{ id: call.id, name: call.function.name, arguments: call.function.arguments }]
              : [],
          ),
          usage,
          model: completion.model,
          costUsd: price ? costOf(price, usage) : 0,
        }
      } catch (error) {
        throw modelError(to, error)
      }
    },
    reserveUsd(route, request) {
      const to = target(route)
      const price = priceOf(to.model, options.prices)
      if (!price) {
        if (to.free) return 0
        throw new MusterError('model.no_price', `there is a money limit, but no price for ${to.model}`)
      }
      const inputTokens = inputTokensOf(request)
      return costOf(price, { inputTokens, outputTokens: RESERVE_OUTPUT_TOKENS, cachedTokens: 0 })
    },
    reserveTokens: (request) => Math.ceil(inputTokensOf(request)) + RESERVE_OUTPUT_TOKENS,
  }
}

/** About three bytes to a token: high for prose, and right for scripts of three bytes to a character. */
function inputTokensOf({ messages, tools, output }: ModelRequest): number {
  return Buffer.byteLength(JSON.stringify([messages, tools, output])) / 3
}

/** Whether a server has said, by an error or by answering with something else than a stream, that it does not stream. */
function cannotStream(error: unknown): boolean {
  if (error instanceof APIUserAbortError || error instanceof APIConnectionError) return false
  if (error instanceof APIError) return error.status === 400 && /stream/i.test(error.message)
  return error instanceof OpenAIError && /stream ended without|request ended without/.test(error.message)
}

/** What an answer may have cost whose server does not say: about three bytes to a token, as `reserveUsd` has it. */
function estimated(body: object, { choices }: ChatCompletion): CompletionUsage {
  const tokens = (value: unknown) => Math.ceil(Buffer.byteLength(JSON.stringify(value)) / 3)
  const prompt_tokens = tokens(body)
  const completion_tokens = tokens(choices[0]?.message)
  return { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens }
}

function toWire(message: ModelMessage): ChatCompletionMessageParam {
  switch (message.role) {
    case 'tool':
      return { role: 'tool', tool_call_id: message.callId, content: message.content }
    case 'assistant':
      return {
        role: 'assistant',
        content: message.content,
        ...(message.toolCalls?.length
          ? {
              tool_calls: message.toolCalls.map(({ id, name, arguments: args }) => ({
                id,
                type: 'function' as const,
                function: { name, arguments: args },
              })),
            }
          : {}),
      }
    default:
      return message
  }
}

function modelError({ model, apiKey }: Target, error: unknown): unknown {
  if (error instanceof MusterError || error instanceof APIUserAbortError) return error
  const text = error instanceof Error ? error.message : String(error)
  // Some servers repeat the key that they refuse. The cause would carry it into a log.
  const repeatsKey = apiKey.length > 0 && text.includes(apiKey)
  const detail = `${model}: ${repeatsKey ? text.replaceAll(apiKey, '***') : text}`
  const code = codeOf(error)
  return new MusterError(code, detail, {
    ...(code === 'rate.limited' && error instanceof APIError ? { retryAfterMs: retryAfterMs(error.headers) } : {}),
    ...(repeatsKey ? {} : { cause: error }),
  })
}

function codeOf(error: unknown): ErrorCode {
  if (error instanceof APIConnectionError) return 'model.unavailable'
  if (!(error instanceof APIError)) return 'model.failed'
  // Told in the middle of a stream.
  if (error.status === undefined) return 'model.unavailable'
  // A quota that is used up is a 429 too, but no waiting brings it back.
  if (error.status === 429) return error.code === 'insufficient_quota' ? 'model.failed' : 'rate.limited'
  return Number(error.status) >= 500 ? 'model.unavailable' : 'model.failed'
}

const RETRY_AFTER_MAX_MS = 3_600_000

/** Retry-After (RFC 9110, section 10.2.3), or OpenAI's finer `retry-after-ms`; at most an hour, whatever a server says. */
function retryAfterMs(headers: Headers | undefined): number | undefined {
  const fine = headers?.get('retry-after-ms')
  const coarse = headers?.get('retry-after')
  const ms = fine
    ? Number(fine)
    : !coarse
      ? Number.NaN
      : /^\d/.test(coarse)
        ? Number(coarse) * 1000
        : Date.parse(coarse) - Date.now()
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 0), RETRY_AFTER_MAX_MS)
}

/** Parameters as a model is shown them, with leave to pass a reference to an earlier output in place of any top-level value. */
export function withReferences(schema: JsonSchema): JsonSchema {
  const { properties } = schema
  if (typeof properties !== 'object' || properties === null) return schema
  const reference = {
    type: 'object',
    properties: { $ref: { type: 'string' } },
    required: ['$ref'],
    additionalProperties: false,
  }
  return {
    ...schema,
    properties: Object.fromEntries(
      Object.entries(properties).map(([name, value]) => [name, { anyOf: [value, reference] }]),
    ),
  }
}
