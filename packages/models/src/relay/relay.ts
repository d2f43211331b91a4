import { MusterError, type Usage, type Via } from '@muster/protocol'
import type { Failover, Place } from '../failover.ts'
import { dialectOf, type Target } from '../target.ts'
import { chat } from './chat.ts'
import { embeddings } from './embeddings.ts'
import { messages } from './messages.ts'
import { type Begun, passThrough, ToldFailure } from './passthrough.ts'
import type { JsonObject, RelayEnd, Relayed, RelayRequest } from './request.ts'
import { responses } from './responses.ts'
import type { HttpTarget, Upstream } from './upstream.ts'
import { textOf } from './wire.ts'

const wires = { chat, responses, messages, embeddings }

interface Where {
  places: readonly Place[]
  failover: Failover
  upstreamOf(target: HttpTarget): Upstream
  costAt(place: Place, answer: { model: string; usage: Usage }): number
}

/** One call of a client that speaks as a vendor does. */
export async function relay(request: RelayRequest, { places, failover, upstreamOf, costAt }: Where): Promise<Relayed> {
  const wire = wires[request.dialect]

  async function begin({ target, model }: Place): Promise<Begun> {
    if (!('bedrock' in target) && isSpoken(request, target))
      return passThrough(wire, upstreamOf(target), model, request)
    throw new MusterError('model.unsupported', `${model} cannot be asked this way yet`)
  }

  async function end(whole: JsonObject, { gate }: Begun, place: Place, via: Via | undefined): Promise<RelayEnd> {
    const model = textOf(whole.model) || place.model
    const usage = wire.usageOf(whole) ?? estimated(request.body, whole)
    const { toolCalls, refused } = gate
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

  const { answer: begun, place, via } = await failover(places, begin)
  if (!begun.stream) {
    const whole = await begun.whole()
    return { answer: { whole }, done: end(whole, begun, place, via) }
  }
  const { promise: done, resolve, reject } = Promise.withResolvers<RelayEnd>()
  // Who only reads the stream is told there.
  done.catch(() => {})
  const stream = streamed(begun.stream, request.signal, {
    reject,
    whole: async () => resolve(await end(await begun.whole(), begun, place, via)),
  })
  return { answer: { stream }, done }
}

function isSpoken({ dialect }: RelayRequest, target: Target): boolean {
  return dialect === 'embeddings' ? dialectOf(target) !== 'messages' : dialectOf(target) === dialect
}

async function* streamed(
  { first, rest, broken }: NonNullable<Begun['stream']>,
  signal: AbortSignal,
  done: { whole(): Promise<void>; reject(error: unknown): void },
): AsyncGenerator<string> {
  let isSettled = false
  try {
    yield first
    yield* rest
    await done.whole()
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
      await rest.return(undefined)
    }
  }
}

/** What an answer may have cost whose server does not say: about three bytes to a token, as `reserveUsd` has it. */
function estimated(body: JsonObject, whole: JsonObject): Usage {
  const tokens = (value: unknown) => Math.ceil(Buffer.byteLength(JSON.stringify(value ?? '')) / 3)
  const outputTokens = tokens(whole.choices ?? whole.output ?? whole.content)
  return { inputTokens: tokens(body), outputTokens, cachedTokens: 0 }
}
