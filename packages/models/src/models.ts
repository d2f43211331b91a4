import { type JsonSchema, MusterError } from '@muster/protocol'
import { bedrock } from './bedrock.ts'
import type { ModelReply, ModelRequest } from './message.ts'
import { openAiChat } from './openai-chat.ts'
import { openAiResponses } from './openai-responses.ts'
import { costOf, type Price, priceOf } from './price.ts'
import { type Answer, failure, type Provider } from './provider.ts'
import { modelOf, type Target } from './target.ts'

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
/** How long one call may take, ms. */
const TIMEOUT_MS = 120_000

/** One interface to every model. */
export function createModels(options: ModelsOptions): Models {
  const providers = new Map<Target, Provider>()

  /** Where a route leads, and the model there. */
  function find(route: string): { target: Target; model: string } {
    // A route may be named by a client: only our own routes count, not what every object has.
    const named = Object.hasOwn(options.routes, route) ? options.routes[route] : undefined
    return named ? { target: named, model: modelOf(named) } : { target: options.routes.default, model: route }
  }

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

  function price(target: Target, model: string): Pick<Price, 'inputUsd' | 'cachedUsd' | 'outputUsd'> | undefined {
    // The price of a target is that of its own model.
    return (model === modelOf(target) ? target.price : undefined) ?? priceOf(model, options.prices)
  }

  return {
    async invoke(route, request) {
      const { target, model } = find(route)
      const answer = await call(target, model, request)
      const paid = priceOf(answer.model, options.prices) ?? price(target, model)
      return { ...answer, costUsd: paid ? costOf(paid, answer.usage) : 0 }
    },
    reserveUsd(route, request) {
      const { target, model } = find(route)
      const paid = price(target, model)
      if (!paid) {
        if (target.free) return 0
        throw new MusterError('model.no_price', `there is a money limit, but no price for ${model}`)
      }
      return costOf(paid, {
        inputTokens: inputTokensOf(request),
        outputTokens: RESERVE_OUTPUT_TOKENS,
        cachedTokens: 0,
      })
    },
    reserveTokens: (request) => Math.ceil(inputTokensOf(request)) + RESERVE_OUTPUT_TOKENS,
  }
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
