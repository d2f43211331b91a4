import { type ErrorCode, type JsonSchema, MusterError, type Via } from '@muster/protocol'
import { bedrock } from './bedrock.ts'
import type { ModelReply, ModelRequest } from './message.ts'
import { openAiChat } from './openai-chat.ts'
import { openAiResponses } from './openai-responses.ts'
import { costOf, type Price, priceOf } from './price.ts'
import { type Answer, failure, type Provider, QuotaUsedUp } from './provider.ts'
import { modelOf, nameOf, type Target } from './target.ts'

/** A target, or several in the order in which they are asked. */
export type Route = Target | readonly [Target, ...Target[]]

export interface ModelsOptions {
  /** By route name; one that is not named here leads to the model of that name at the first server of `default`. */
  routes: { default: Route } & Record<string, Route>
  prices?: readonly Price[]
  /** How long one call may take, ms. */
  timeoutMs?: number
}

export interface Models {
  /**
   * One model call. The route's targets are asked in turn until one answers: the next is asked when one cannot be reached, is
   * overloaded, asks to wait or has no quota left, and never after it has begun to write.
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
/** How long one call may take, ms. */
const TIMEOUT_MS = 120_000

/** One interface to every model. */
export function createModels(options: ModelsOptions): Models {
  const providers = new Map<Target, Provider>()

  /** Where a route leads, and the model there. */
  function find(route: string): { target: Target; model: string }[] {
    // A route may be named by a client: only our own routes count, not what every object has.
    const named = Object.hasOwn(options.routes, route) ? options.routes[route] : undefined
    if (named) return [named].flat().map((target) => ({ target, model: modelOf(target) }))
    return [options.routes.default]
      .flat()
      .slice(0, 1)
      .map((target) => ({ target, model: route }))
  }

  /** Until when a target has asked not to be called, ms since the epoch. */
  const closed = new Map<Target, number>()

  function provider(target: Target): Provider {
    let provider = providers.get(target)
    if (!provider) {
      provider =
        'bedrock' in target
          ? bedrock(target)
          : target.api === 'responses'
            ? openAiResponses(target)
            : openAiChat(target)
      providers.set(target, provider)
    }
    return provider
  }

  async function call(target: Target, model: string, request: ModelRequest): Promise<Answer> {
    const timeoutMs = target.timeoutMs ?? options.timeoutMs ?? TIMEOUT_MS
    const late = AbortSignal.timeout(timeoutMs)
    const { signal } = request
    try {
      return await provider(target).complete(model, {
        ...request,
        signal: signal ? AbortSignal.any([signal, late]) : late,
      })
    } catch (error) {
      if (error instanceof MusterError || signal?.aborted || !late.aborted) throw error
      throw failure('model.unavailable', { model }, `no whole answer within ${timeoutMs} ms`)
    }
  }

  function ownPrice(target: Target, model: string): Target['price'] {
    // The price of a target is that of its own model.
    return model === modelOf(target) ? target.price : undefined
  }

  return {
    async invoke(route, request) {
      const targets = find(route)
      const passed: { target: Target; error: MusterError }[] = []
      const { onDelta } = request
      let begun = false
      const watched: ModelRequest = onDelta
        ? {
            ...request,
            onDelta(text) {
              if (text === '') return
              begun = true
              onDelta(text)
            },
          }
        : request
      for (const { target, model } of targets) {
        const waitMs = (closed.get(target) ?? 0) - Date.now()
        if (waitMs > 0 && targets.length > 1) {
          const error = new MusterError('rate.limited', `${model}: has asked to wait`, { retryAfterMs: waitMs })
          passed.push({ target, error })
          continue
        }
        try {
          const answer = await call(target, model, watched)
          const paid =
            ownPrice(target, model) ?? priceOf(answer.model, options.prices) ?? priceOf(model, options.prices)
          return {
            ...answer,
            costUsd: paid ? costOf(paid, answer.usage) : 0,
            ...(targets.length > 1 ? { via: viaOf(target, passed) } : {}),
          }
        } catch (error) {
          // An abort is nobody's failure.
          if (!(error instanceof MusterError)) throw error
          if (error.retryAfterMs !== undefined) closed.set(target, Date.now() + error.retryAfterMs)
          passed.push({ target, error })
          if (begun || !mayDoElsewhere(error)) throw failureOf(passed, error.code)
        }
      }
      throw failureOf(passed)
    },
    reserveUsd(route, request) {
      const usage = {
        inputTokens: inputTokensOf(request),
        outputTokens: RESERVE_OUTPUT_TOKENS,
        cachedTokens: 0,
      }
      const costs = find(route).map(({ target, model }) => {
        const paid = ownPrice(target, model) ?? priceOf(model, options.prices)
        if (paid) return costOf(paid, usage)
        if (target.free) return 0
        throw new MusterError('model.no_price', `there is a money limit, but no price for ${model}`)
      })
      return Math.max(...costs)
    },
    reserveTokens: (request) => Math.ceil(inputTokensOf(request)) + RESERVE_OUTPUT_TOKENS,
  }
}

function mayDoElsewhere(error: MusterError): boolean {
  return error.code === 'model.unavailable' || error.code === 'rate.limited' || error instanceof QuotaUsedUp
}

function viaOf(target: Target, passed: readonly { target: Target; error: MusterError }[]): Via {
  const others = passed.map((other) => ({ target: nameOf(other.target), code: other.error.code }))
  return { target: nameOf(target), ...(others.length > 0 ? { passed: others } : {}) }
}

/** What a call has come to that no target answered: waiting helps where one may be there again, after the shortest time. */
function failureOf(passed: readonly { target: Target; error: MusterError }[], told?: ErrorCode): MusterError {
  const errors = passed.map(({ error }) => error)
  const [first] = errors
  if (first && errors.length === 1) return first
  const codes = errors.map((error) => error.code)
  const code =
    told ??
    (['model.unavailable', 'rate.limited'] as const).find((passing) => codes.includes(passing)) ??
    'model.failed'
  const waits = errors.flatMap(({ retryAfterMs }) => (retryAfterMs === undefined ? [] : [retryAfterMs]))
  return new MusterError(
    code,
    passed.map(({ target, error }) => `${nameOf(target)}: ${error.message}`).join('; then '),
    {
      retryAfterMs: code === 'rate.limited' && waits.length > 0 ? Math.min(...waits) : undefined,
      cause: errors.at(-1)?.cause,
    },
  )
}

/** About three bytes to a token: high for prose, and right for scripts of three bytes to a character. */
function inputTokensOf({ messages, tools, output }: ModelRequest): number {
  return Buffer.byteLength(JSON.stringify([messages, tools, output])) / 3
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
