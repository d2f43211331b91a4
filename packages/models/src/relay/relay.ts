import { MusterError, type Usage, type Via } from '@muster/protocol'
import type { Failover, Place } from '../failover.ts'
import type { ModelRequest } from '../message.ts'
import type { Answer, Provider } from '../provider.ts'
import { dialectOf, type Target } from '../target.ts'
import { chat } from './chat.ts'
import { embeddings } from './embeddings.ts'
import { messages } from './messages.ts'
import { type Begun, passThrough, ToldFailure } from './passthrough.ts'
import type { RelayEnd, Relayed, RelayRequest } from './request.ts'
import { responses } from './responses.ts'
import { translate } from './translate.ts'
import type { HttpTarget, Upstream } from './upstream.ts'

const wires = { chat, responses, messages, embeddings }

interface Where {
  places: readonly Place[]
  failover: Failover
  upstreamOf(target: HttpTarget): Upstream
  providerOf(target: Target): Provider
  callAt(target: Target, model: string, request: ModelRequest): Promise<Answer>
  costAt(place: Place, answer: { model: string; usage: Usage }): number
}

/** One call of a client that speaks as a vendor does. */
export async function relay(
  asked: RelayRequest,
  { places, failover, upstreamOf, providerOf, callAt, costAt }: Where,
): Promise<Relayed> {
  const wire = wires[asked.dialect]
  // What fails at the gate fails at every target.
  let isGateBroken = false
  const request = guarded(asked, () => {
    isGateBroken = true
  })

  async function begin({ target, model }: Place): Promise<Begun> {
    if (!('bedrock' in target) && isSpoken(request, target))
      return passThrough(wire, upstreamOf(target), model, request)
    const call = (asked: ModelRequest) => callAt(target, model, asked)
    return translate(request, { target, model, provider: providerOf(target), call })
  }

  async function end(begun: Begun, place: Place, via: Via | undefined): Promise<RelayEnd> {
    const { whole, usage, model } = await begun.end()
    const { toolCalls, refused } = begun.gate
    return {
      usage,
      costUsd: costAt(place, { model, usage }),
      model,
      ...(via ? { via } : {}),
      whole,
      toolCalls,
      refused,
    }
  }

  const { answer: begun, place, via } = await failover(places, begin, () => isGateBroken)
  if (!begun.stream) {
    const ended = await end(begun, place, via)
    return { answer: { whole: ended.whole }, done: Promise.resolve(ended) }
  }
  const { promise: done, resolve, reject } = Promise.withResolvers<RelayEnd>()
  // Who only reads the stream is told there.
  done.catch(() => {})
  const stream = streamed(begun.stream, request.signal, {
    reject,
    end: async () => resolve(await end(begun, place, via)),
  })
  return { answer: { stream }, done }
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
  { first, rest, broken, leave }: NonNullable<Begun['stream']>,
  signal: AbortSignal,
  done: { end(): Promise<void>; reject(error: unknown): void },
): AsyncGenerator<string> {
  let isSettled = false
  try {
    yield first
    yield* rest
    await done.end()
    isSettled = true
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
