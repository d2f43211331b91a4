import { type JsonSchema, MusterError, type Usage } from '@muster/protocol'
import { anthropic } from './anthropic.ts'
import { bedrock } from './bedrock.ts'
import { factsOf, type ModelFacts } from './facts.ts'
import { createFailover, type Place } from './failover.ts'
import type { ModelReply, ModelRequest } from './message.ts'
import { openAiChat } from './openai-chat.ts'
import { openAiResponses } from './openai-responses.ts'
import { costOf, type Price, priceOf } from './price.ts'
import { type Answer, failure, type Provider } from './provider.ts'
import { relay } from './relay/relay.ts'
import type { Dialect, JsonObject, Relayed, RelayRequest } from './relay/request.ts'
import { createUpstream, type HttpTarget, type Upstream } from './relay/upstream.ts'
import { dialectOf, modelOf, nameOf, type Target } from './target.ts'

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
  /**
   * One call of a client that speaks as a vendor does, told in the same words. Resolves once a target has begun to answer,
   * until when the next is asked as `invoke` does.
   *
   * @throws MusterError as `invoke` does, with the vendor's refusal (`VendorError`) as the cause of `model.failed`, and
   * `model.unsupported` for what no target can be asked
   */
  relay(route: string, request: RelayRequest): Promise<Relayed>
  /** The most that a call may cost, for a budget to reserve; throws `model.no_price` when nobody can tell. */
  reserveUsd(route: string, request: ModelRequest): number
  /** The same of a call that is relayed, in money and tokens. `text` is the body as JSON. */
  relayReserve(route: string, dialect: Dialect, body: JsonObject, text: string): { usd: number; tokens: number }
  /** The routes that are configured, and where they lead. */
  routes(): { name: string; facts: ModelFacts; targets: { name: string; dialect: ReturnType<typeof dialectOf> }[] }[]
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
  const upstreams = new Map<Target, Upstream>()

  const places = new Map(
    Object.entries(options.routes).map(([name, route]) => [
      name,
      [route].flat().map((target): Place => ({ target, model: modelOf(target) })),
    ]),
  )

  /** Where a route leads, and the model there. */
  function find(route: string): readonly Place[] {
    const named = places.get(route)
    if (named) return named
    return [options.routes.default]
      .flat()
      .slice(0, 1)
      .map((target) => ({ target, model: route }))
  }

  const failover = createFailover()

  function provider(target: Target): Provider {
    let provider = providers.get(target)
    if (!provider) {
      provider =
        'bedrock' in target
          ? bedrock(target)
          : 'anthropic' in target
            ? anthropic(target, upstreamOf(target))
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

  function upstreamOf(target: HttpTarget): Upstream {
    let upstream = upstreams.get(target)
    if (!upstream) {
      upstream = createUpstream(target, target.timeoutMs ?? options.timeoutMs ?? TIMEOUT_MS)
      upstreams.set(target, upstream)
    }
    return upstream
  }

  function ownPrice(target: Target, model: string): Target['price'] {
    // The price of a target is that of its own model.
    return model === modelOf(target) ? target.price : undefined
  }

  function costAt({ target, model }: Place, { model: answered, usage }: { model: string; usage: Usage }): number {
    const paid = ownPrice(target, model) ?? priceOf(answered, options.prices) ?? priceOf(model, options.prices)
    return paid ? costOf(paid, usage) : 0
  }

  /** What the dearest target of a route would cost. */
  function dearest(route: string, usage: Usage): number {
    const costs = find(route).map(({ target, model }) => {
      const paid = ownPrice(target, model) ?? priceOf(model, options.prices)
      if (paid) return costOf(paid, usage)
      if (target.free) return 0
      throw new MusterError('model.no_price', `there is a money limit, but no price for ${model}`)
    })
    return Math.max(...costs)
  }

  return {
    async invoke(route, request) {
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
      const { answer, place, via } = await failover(
        find(route),
        ({ target, model }) => call(target, model, watched),
        () => begun,
      )
      return { ...answer, costUsd: costAt(place, answer), ...(via ? { via } : {}) }
    },
    relay: (route, request) =>
      relay(request, { places: find(route), failover, upstreamOf, providerOf: provider, callAt: call, costAt }),
    relayReserve(route, dialect, body, text) {
      const inputTokens = Buffer.byteLength(text) / 3
      const outputTokens = outputTokensOf(dialect, body)
      const usage = { inputTokens, outputTokens, cachedTokens: 0 }
      return { usd: dearest(route, usage), tokens: Math.ceil(inputTokens) + outputTokens }
    },
    routes: () =>
      Object.entries(options.routes).map(([name, route]) => ({
        name,
        facts: factsOf([route].flat()),
        targets: [route].flat().map((target) => ({ name: nameOf(target), dialect: dialectOf(target) })),
      })),
    reserveUsd: (route, request) =>
      dearest(route, {
        inputTokens: inputTokensOf(request),
        outputTokens: RESERVE_OUTPUT_TOKENS,
        cachedTokens: 0,
      }),
    reserveTokens: (request) => Math.ceil(inputTokensOf(request)) + RESERVE_OUTPUT_TOKENS,
  }
}

/** As many as a client allows, and none of an embedding. */
function outputTokensOf(dialect: Dialect, body: JsonObject): number {
  if (dialect === 'embeddings') return 0
  const { max_completion_tokens, max_output_tokens, max_tokens } = body
  const given = [max_completion_tokens, max_output_tokens, max_tokens].find((max) => typeof max === 'number')
  return typeof given === 'number' && given >= 0 ? Math.min(given, RESERVE_OUTPUT_TOKENS) : RESERVE_OUTPUT_TOKENS
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
