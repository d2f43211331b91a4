import { MusterError } from '@muster/protocol'
import type { Embedded, EmbedRequest } from '../embed.ts'
import type { Contender, Course, Failover, Found, Place } from '../failover.ts'
import type { ModelRequest } from '../message.ts'
import { Meter, type Used } from '../meter.ts'
import type { Answer, Provider } from '../provider.ts'
import { dialectOf, nameOf, type Target } from '../target.ts'
import { chat } from './chat.ts'
import { embeddings } from './embeddings.ts'
import { messages } from './messages.ts'
import { type Begun, passThrough, ToldFailure } from './passthrough.ts'
import type { RelayEnd, Relayed, RelayRequest } from './request.ts'
import { responses } from './responses.ts'
import { translate } from './translate.ts'
import type { HttpTarget, Upstream } from './upstream.ts'

/** By how a client speaks. */
export const wires = { chat, responses, messages, embeddings }

interface Where {
  /** @throws MusterError `route.refused` */
  course(): Course
  failover: Failover
  upstreamOf(target: HttpTarget): Upstream
  providerOf(target: Target): Provider
  callAt(target: Target, model: string, request: ModelRequest): Promise<Answer>
  embedAt(target: Target, model: string, request: EmbedRequest): Promise<Embedded>
  costAt(place: Place, answer: Used): number
}

/** One call of a client that speaks as a vendor does. */
export async function relay(
  asked: RelayRequest,
  { course, failover, upstreamOf, providerOf, callAt, embedAt, costAt }: Where,
): Promise<Relayed> {
  const wire = wires[asked.dialect]
  const { meter = new Meter() } = asked
  // What fails at the gate fails at every target.
  let isGateBroken = false
  const common = guarded(asked, () => {
    isGateBroken = true
  })
  const way = course()
  const isOfSeveral = way.places.length + way.refused.length > 1

  async function begin(place: Place, contender: Contender): Promise<Begun> {
    const { target, model } = place
    const isPassedOn = !('bedrock' in target) && isSpoken(asked, target)
    // Where it is translated the client is told of no tier.
    const costOf = (used: Used) => costAt(place, isPassedOn ? used : { ...used, tier: '' })
    const begins = meter.at(costOf, isOfSeveral ? nameOf(target) : undefined)
    const request = contended({ ...common, begins }, contender)
    if (isPassedOn) return passThrough(wire, upstreamOf(target), model, request)
    const call = (asked: ModelRequest) => callAt(target, model, asked)
    const provider = providerOf(target)
    const embed = provider.embed && ((asked: EmbedRequest) => embedAt(target, model, asked))
    return translate(request, { ...{ target, model, provider, call }, embed })
  }

  async function end({ answer, via, late }: Found<Begun>): Promise<RelayEnd> {
    const { whole, usage: own, model } = await answer.end()
    const { toolCalls, refused } = answer.gate
    // Those that were asked too may have used something.
    await late
    const { usage = own, costUsd = 0 } = meter.spent ?? {}
    return { usage, costUsd, model, whole, toolCalls, refused, ...(via ? { via } : {}) }
  }

  const found = await failover.find({ ...way, isOpen: Boolean(asked.body.stream) }, begin, () => isGateBroken)
  const begun = found.answer
  if (!begun.stream) {
    const ended = await end(found)
    return { answer: { whole: ended.whole }, done: Promise.resolve(ended) }
  }
  const { promise: done, resolve, reject } = Promise.withResolvers<RelayEnd>()
  // Who only reads the stream is told there.
  done.catch(() => {})
  const stream = streamed(begun.stream, asked, {
    reject(error) {
      if (error instanceof MusterError && error.code === 'model.unavailable')
        failover.ended(found.place.target, 'broken')
      reject(error)
    },
    async end() {
      resolve(await end(found))
      failover.ended(found.place.target, 'whole')
    },
  })
  return { answer: { stream }, done }
}

/** Of several that are asked at the same time, the gate is asked about the calls of one alone. */
function contended(request: RelayRequest, { signal, claim }: Contender): RelayRequest {
  if (!signal || signal === request.signal) return request
  const { gate } = request
  if (!gate) return { ...request, signal }
  return {
    ...request,
    signal,
    async gate(call) {
      if (!claim()) throw new DOMException('another target has answered', 'AbortError')
      return gate(call)
    },
  }
}

function guarded(request: RelayRequest, onFailure: () => void): RelayRequest {
  const { gate } = request
  if (!gate) return request
  return {
    ...request,
    async gate(call) {
      try {
        return await gate(call)
      } catch (error) {
        onFailure()
        throw error
      }
    },
  }
}

function isSpoken({ dialect }: RelayRequest, target: Target): boolean {
  return dialect === 'embeddings' ? dialectOf(target) !== 'messages' : dialectOf(target) === dialect
}

async function* streamed(
  { first, rest, last, broken, leave }: NonNullable<Begun['stream']>,
  { signal, recorded }: RelayRequest,
  done: { end(): Promise<void>; reject(error: unknown): void },
): AsyncGenerator<string> {
  let isSettled = false
  try {
    if (first !== '') yield first
    yield* rest
    await done.end()
    isSettled = true
    await recorded?.()
    yield last()
  } catch (error) {
    isSettled = true
    done.reject(error)
    if (signal.aborted) throw error
    if (error instanceof ToldFailure) return
    yield broken(error instanceof MusterError ? error.message : 'the answer could not be delivered')
  } finally {
    // Nobody reads on.
    if (!isSettled) {
      done.reject(new DOMException('The stream was left before its end', 'AbortError'))
      leave()
    }
  }
}
