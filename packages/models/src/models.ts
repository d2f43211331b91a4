import { MusterError, type Usage } from '@muster/protocol'
import { anthropic } from './anthropic.ts'
import { signatureOf } from './aws-signature.ts'
import { atBedrock } from './bedrock-openai.ts'
import { CONVERSE } from './converse.ts'
import type { Embedded, EmbedRequest } from './embed.ts'
import { factsOf } from './facts.ts'
import { type Contender, type Course, createFailover, type Place } from './failover.ts'
import type { ModelReply, ModelRequest } from './message.ts'
import { Meter, type Used } from './meter.ts'
import { parametersOf, unwrapped, wrapped } from './object-schema.ts'
import { openAiChat } from './openai-chat.ts'
import { openAiResponses } from './openai-responses.ts'
import { openAiUpstream } from './openai-upstream.ts'
import { checkParts } from './parts.ts'
import { costOf, type Price, priceOf } from './price.ts'
import { marked } from './prompt-cache.ts'
import { type Answer, failure, type Provider } from './provider.ts'
import { type CountRequest, countTokens } from './relay/count-tokens.ts'
import type { JsonObject } from './relay/json.ts'
import { relay } from './relay/relay.ts'
import type { Dialect, Relayed, RelayRequest } from './relay/request.ts'
import { tierOf } from './relay/tier.ts'
import { createUpstream, type HttpTarget, type Upstream } from './relay/upstream.ts'
import type { BreakerState } from './route/breaker.ts'
import { type Asked, courseOf } from './route/course.ts'
import { type Order, type Route, type RouteRule, ruleOf } from './route/rule.ts'
import {
  awsRegionOf,
  type BedrockTarget,
  dialectOf,
  type ModelFacts,
  modelOf,
  nameOf,
  type OpenAiTarget,
  providerOf,
  regionOf,
  type Target,
} from './target.ts'
import { estimated, estimatedOf, inputTokens } from './tokens.ts'

export interface ModelsOptions {
  /** By route name; one that is not named here leads to the model of that name at the first server of `default`. */
  routes: { default: Route } & Record<string, Route>
  prices?: readonly Price[]
  /** How long one call may take, ms. */
  timeoutMs?: number
  /** Draws among targets by their weight: from 0 to below 1. */
  random?: () => number
}

export interface Models {
  /**
   * One model call. The route's targets are asked in turn until one answers: the next is asked when one cannot be reached, is
   * overloaded, asks to wait or has no quota left, and never after it has begun to write.
   *
   * @throws MusterError `rate.limited` when the server asks to wait (with how long, if it says so), `model.unavailable`
   * when it cannot be reached or is overloaded, `model.failed` when it refuses, `route.refused` where no target may have it
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
  /**
   * How many tokens a request has where it would go: counted by Anthropic or OpenAI where the route leads to who speaks so,
   * or estimated. No model is asked.
   *
   * @throws MusterError as `relay` does
   */
  countTokens(route: string, request: CountRequest): Promise<number>
  /** The most that a call may cost, for a budget to reserve; throws `model.no_price` when nobody can tell. */
  reserveUsd(route: string, request: ModelRequest): number
  /** The same of a call that is relayed, in money and tokens. `text` is the body as JSON. */
  relayReserve(route: string, dialect: Dialect, body: JsonObject, text: string): { usd: number; tokens: number }
  /** The routes that are configured, and where they lead. */
  routes(): { name: string; order: Order; facts: ModelFacts; targets: TargetInfo[] }[]
  /** Where a route leads, in its order. */
  targetsOf(route: string): { name: string; provider: string; model: string; region: string }[]
  /** Of routes with several targets: which of them are passed over because they have failed often. */
  breakers(): { route: string; target: string; state: BreakerState }[]
  /** Who is paid for a call, by its route and the target that answered where it is of several. */
  providerOf(route: string, target: string | undefined): string
  /** Which models a route asks, how and where, as text without keys: what an answer depends on besides the request. */
  leadsTo(route: string): string
  /** How many tokens a request has, at the target where it has the most. The first count of a model of OpenAI takes longer. */
  inputTokens(route: string, request: ModelRequest): number
  /** About how many tokens a call may use. */
  reserveTokens(request: ModelRequest): number
}

/** A target as people are told of it. */
interface TargetInfo {
  name: string
  dialect: ReturnType<typeof dialectOf>
  provider: string
  region?: string
  /** US dollars per million tokens, as they are now; `source` where it is from a table. Absent where nobody knows. */
  price?: Target['price'] & Partial<Pick<Price, 'since' | 'source'>>
  free?: true
}

/** Output tokens that a reservation assumes. */
const RESERVE_OUTPUT_TOKENS = 4096
/** Answers to one request, as OpenAI has it (`n`). */
const ANSWERS_MAX = 128
/** How a client asks that what it sends is kept for long in a vendor's cache. */
const LONG_KEPT = /"ttl"\s*:\s*"(?:1|12)h"|"prompt_cache_retention"\s*:\s*"24h"/
/** Characters of a request that may hold images. */
const LONG = 65_536
/** How long one call may take, ms. */
const TIMEOUT_MS = 120_000

/** One interface to every model. */
export function createModels(options: ModelsOptions): Models {
  const providers = new Map<Target, Provider>()
  const upstreams = new Map<Target, Upstream>()

  const rules = new Map(Object.entries(options.routes).map(([name, route]) => [name, ruleOf(route)]))
  const leads = new Map(
    [...rules].map(([name, rule]) => [
      name,
      { rule, places: rule.targets.map((target): Place => ({ target, model: modelOf(target) })) },
    ]),
  )
  const fallback = ruleOf(options.routes.default)

  /** Where a route leads, and the model there. */
  function find(route: string): { rule: RouteRule; places: readonly Place[] } {
    const named = leads.get(route)
    if (named) return named
    const [target] = fallback.targets
    return { rule: { targets: [target] }, places: [{ target, model: route }] }
  }

  const failover = createFailover()

  function course(route: string, asked: Asked): Course {
    const priced = (place: Place, usage: Usage) => {
      const paid = priceAt(place)
      return paid ? costOf(paid, usage) : place.target.free ? 0 : undefined
    }
    return courseOf(route, find(route), asked, {
      random: options.random ?? Math.random,
      paceOf: ({ target }) => failover.paceOf(target, asked.kind),
      costAt: (place) =>
        priced(place, { inputTokens: asked.inputTokens(), outputTokens: asked.outputTokens, cachedTokens: 0 }),
      routes: () => [...rules].map(([name, { targets }]) => ({ name, targets })),
    })
  }

  function provider(target: Target): Provider {
    let provider = providers.get(target)
    if (!provider) {
      provider =
        'bedrock' in target
          ? bedrockLater(target)
          : 'anthropic' in target
            ? anthropic(target, upstreamOf(target))
            : openAi(
                target,
                target.aws
                  ? atBedrock(target, (at) => openAiUpstream(at, createUpstream(at, timeoutOf(at), signatureOf(at))))
                  : openAiUpstream(target, upstreamOf(target)),
              )
      providers.set(target, provider)
    }
    return provider
  }

  function openAi(target: OpenAiTarget, upstream: Upstream): Provider {
    return target.api === 'responses' ? openAiResponses(target, upstream) : openAiChat(target, upstream)
  }

  async function call(target: Target, model: string, request: ModelRequest): Promise<Answer> {
    const asked = provider(target)
    checkParts(model, request.messages, asked.media, factsOf([target], model).inputs)
    const { onDelta, ...rest } = objectsOnly(request)
    const output = rest.output && wrapped(rest.output)
    // Of what is wrapped no piece is shown: it is none of the answer.
    const shown = onDelta && !output ? { onDelta } : {}
    return inTime(target, model, request.signal, async (signal) => {
      const told = marked(target, model, rest)
      const answer = await asked.complete(model, { ...told, ...shown, ...(output ? { output } : {}), signal })
      return output && answer.text !== null ? { ...answer, text: unwrapped(answer.text) } : answer
    })
  }

  async function embed(target: Target, model: string, request: EmbedRequest): Promise<Embedded> {
    const asked = provider(target)
    return inTime(target, model, request.signal, (signal) => {
      if (!asked.embed) throw new MusterError('model.unsupported', `${model}: has no embeddings`)
      return asked.embed(model, { ...request, signal })
    })
  }

  async function inTime<T>(
    target: Target,
    model: string,
    signal: AbortSignal | undefined,
    ask: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const timeoutMs = timeoutOf(target)
    const late = AbortSignal.timeout(timeoutMs)
    try {
      return await ask(signal ? AbortSignal.any([signal, late]) : late)
    } catch (error) {
      if (error instanceof MusterError || signal?.aborted || !late.aborted) throw error
      throw failure('model.unavailable', { model }, `no whole answer within ${timeoutMs} ms`)
    }
  }

  function upstreamOf(target: HttpTarget): Upstream {
    let upstream = upstreams.get(target)
    if (!upstream) {
      upstream =
        'aws' in target && target.aws
          ? atBedrock(target, (at) => createUpstream(at, timeoutOf(at), signatureOf(at)))
          : createUpstream(target, timeoutOf(target))
      upstreams.set(target, upstream)
    }
    return upstream
  }

  function timeoutOf({ timeoutMs }: Target): number {
    return timeoutMs ?? options.timeoutMs ?? TIMEOUT_MS
  }

  function ownPrice(target: Target, model: string): Target['price'] {
    // The price of a target is that of its own model.
    return model === modelOf(target) ? target.price : undefined
  }

  function costAt({ target, model }: Place, { model: answered, usage, tier }: Used): number {
    // Bedrock may answer with the vendor's own name of a model, which costs less elsewhere.
    const names = awsRegionOf(target) === undefined ? [answered, model] : [model, answered]
    const paid = ownPrice(target, model) ?? names.flatMap((name) => listedPrice(target, name) ?? [])[0]
    return paid ? costOf(paid, usage, tier) : 0
  }

  function priceAt({ target, model }: Place) {
    return ownPrice(target, model) ?? listedPrice(target, model)
  }

  function listedPrice(target: Target, model: string) {
    return priceOf(model, options.prices, Date.now(), awsRegionOf(target))
  }

  /** What the dearest target of a route would cost, whose vendor may write all that it is sent to its cache. */
  function dearest(route: string, usage: Usage, tier?: string, isLong = false): number {
    const cacheWriteTokens = usage.inputTokens
    const written = { ...usage, cacheWriteTokens, ...(isLong ? { longCacheWriteTokens: cacheWriteTokens } : {}) }
    const costs = find(route).places.map((place) => {
      const paid = priceAt(place)
      // What was asked for may not be had.
      if (paid) return Math.max(...[usage, written].flatMap((used) => [costOf(paid, used), costOf(paid, used, tier)]))
      if (place.target.free) return 0
      throw new MusterError('model.no_price', `there is a money limit, but no price for ${place.model}`)
    })
    return Math.max(...costs)
  }

  return {
    async invoke(route, request) {
      const { onDelta, meter = new Meter() } = request
      let begun = false
      const watched = (place: Place, contender: Contender): ModelRequest => ({
        ...request,
        // What agents ask costs the same however it is served.
        begins: meter.at(
          ({ usage, model }) => costAt(place, { usage, model }),
          isOfSeveral ? nameOf(place.target) : undefined,
        ),
        ...(contender.signal ? { signal: contender.signal } : {}),
        ...(onDelta
          ? {
              onDelta(text) {
                if (text === '' || !contender.claim()) return
                begun = true
                onDelta(text)
              },
            }
          : {}),
      })
      const asked = course(route, {
        ...askedBy(request, onDelta ? 'stream' : 'whole'),
        inputTokens: () => estimated(request),
        outputTokens: RESERVE_OUTPUT_TOKENS,
      })
      const isOfSeveral = asked.places.length + asked.refused.length > 1
      const { answer, via, late } = await failover.find(
        asked,
        (place, contender) => call(place.target, place.model, watched(place, contender)),
        () => begun,
      )
      // Those that were asked too may have used something.
      await late
      const { usage = answer.usage, costUsd = 0 } = meter.spent ?? {}
      return { ...answer, usage, costUsd, ...(via ? { via } : {}) }
    },
    relay(route, request) {
      const { body, dialect } = request
      const asked = {
        ...askedBy(request, body.stream ? 'stream' : 'whole'),
        inputTokens: () => estimatedOf(body),
        outputTokens: outputTokensOf(dialect, body),
      } as const
      return relay(request, {
        course: () => course(route, asked),
        ...{ failover, upstreamOf, providerOf: provider, callAt: call, embedAt: embed, costAt },
      })
    },
    countTokens(route, request) {
      const asked = {
        ...askedBy(request, 'whole'),
        inputTokens: () => estimatedOf(request.body),
        outputTokens: 0,
      } as const
      return countTokens(course(route, asked), request, { upstreamOf, providerOf: provider })
    },
    relayReserve(route, dialect, body, text) {
      // What is short holds no picture that would have to be told from text.
      const inputTokens = text.length > LONG ? estimatedOf(body) : Math.ceil(Buffer.byteLength(text) / 3)
      const outputTokens = outputTokensOf(dialect, body)
      const usage = { inputTokens, outputTokens, cachedTokens: 0 }
      return { usd: dearest(route, usage, tierOf(body), LONG_KEPT.test(text)), tokens: inputTokens + outputTokens }
    },
    routes: () =>
      [...rules].map(([name, { targets, order = 'listed' }]) => ({
        ...{ name, order },
        facts: factsOf(targets),
        targets: targets.map((target) => infoOf(target, priceAt({ target, model: modelOf(target) }))),
      })),
    targetsOf: (route) =>
      find(route).places.map((place) => {
        const { target, model } = place
        return { name: nameOf(target), provider: providerOf(target), model, region: regionOf(place) }
      }),
    providerOf(route, name) {
      const targets = find(route).places.map(({ target }) => target)
      const target = name === undefined ? targets[0] : targets.find((target) => nameOf(target) === name)
      return target ? providerOf(target) : 'unknown'
    },
    breakers: () =>
      [...rules].flatMap(([route, { targets }]) =>
        targets.length < 2
          ? []
          : targets.map((target) => ({ route, target: nameOf(target), state: failover.stateOf(target) })),
      ),
    reserveUsd: (route, request) =>
      dearest(route, {
        inputTokens: estimated(request),
        outputTokens: RESERVE_OUTPUT_TOKENS,
        cachedTokens: 0,
      }),
    leadsTo: (route) =>
      JSON.stringify(
        find(route).places.map(({ target: { apiKey: _, price: __, promptCache: ___, ...how }, model }) => [model, how]),
      ),
    inputTokens: (route, request) => Math.max(...find(route).places.map(({ model }) => inputTokens(model, request))),
    reserveTokens: (request) => estimated(request) + RESERVE_OUTPUT_TOKENS,
  }
}

/** AWS's SDK is loaded when a model is first called there: most have no target of it. */
function bedrockLater(target: BedrockTarget): Provider {
  let loading: Promise<Required<Provider>> | undefined
  const loaded = () => {
    loading ??= import('./bedrock.ts').then(({ bedrock }) => bedrock(target))
    return loading
  }
  return {
    ...CONVERSE,
    complete: async (model, request) => (await loaded()).complete(model, request),
    embed: async (model, request) => (await loaded()).embed(model, request),
  }
}

function infoOf(target: Target, price: TargetInfo['price']): TargetInfo {
  const { region, free } = target
  return {
    ...{ name: nameOf(target), dialect: dialectOf(target), provider: providerOf(target) },
    ...(region === undefined ? {} : { region }),
    ...(price ? { price } : {}),
    ...(free && !price ? { free } : {}),
  }
}

function objectsOnly({ tools, ...request }: ModelRequest): ModelRequest {
  if (!tools) return request
  return { ...request, tools: tools.map((tool) => ({ ...tool, parameters: parametersOf(tool.parameters) })) }
}

function askedBy(
  { labels = [], refused, stickyKey, signal }: Pick<ModelRequest, 'labels' | 'refused' | 'stickyKey' | 'signal'>,
  kind: Course['kind'],
): Pick<Asked, 'labels' | 'refused' | 'stickyKey' | 'signal' | 'kind'> {
  return { labels, refused, stickyKey, signal, kind }
}

/** As many as a client allows, and none of an embedding. */
function outputTokensOf(dialect: Dialect, body: JsonObject): number {
  if (dialect === 'embeddings') return 0
  const { max_completion_tokens, max_output_tokens, max_tokens, n } = body
  const given = [max_completion_tokens, max_output_tokens, max_tokens].find((max) => typeof max === 'number')
  const each = typeof given === 'number' && given >= 0 ? Math.min(given, RESERVE_OUTPUT_TOKENS) : RESERVE_OUTPUT_TOKENS
  return typeof n === 'number' && n > 1 ? each * Math.min(n, ANSWERS_MAX) : each
}
