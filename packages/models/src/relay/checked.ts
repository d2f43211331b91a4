import { setTimeout } from 'node:timers/promises'
import { copyJson, type Json, MusterError } from '@muster/protocol'
import { ANSWER_MAX } from './bytes.ts'
import { markItems, markOf } from './item-ids.ts'
import { isObject, objectOf } from './json.ts'
import { wires } from './relay.ts'
import type { RelayEnd, Relayed, RelayRequest } from './request.ts'
import { broken, keepAlive, retold } from './retell.ts'
import { Gatekeeper } from './wire.ts'
import { dropProbabilities, dropSealed, type Words, wordsOfAnswer, wordsOfRequest } from './words.ts'

/** Looks at texts before they go on, and puts others in the place of what must not. */
export type Look = (words: readonly Words[], source: 'INPUT' | 'OUTPUT', signal: AbortSignal) => Promise<boolean>

/** Until then a failure is told by a status of its own; from then on a client that reads a stream hears that often, ms. */
const KEEP_ALIVE_MS = 10_000

/** What is not streamed has no events. */
interface Finished {
  end: RelayEnd
  events: readonly string[] | undefined
}

/**
 * One call of a client, looked at on its way there and back. An answer is held until it was looked at whole: what then goes on
 * as it came is what was streamed; what was changed, or has calls that the gate refuses, is told anew. Meanwhile a stream has
 * nothing but what keeps it open.
 */
export async function checked(
  relay: (request: RelayRequest) => Promise<Relayed>,
  request: RelayRequest,
  look: Look,
  keepAliveMs = KEEP_ALIVE_MS,
): Promise<Relayed> {
  const { dialect, signal } = request
  const body = objectOf(copyJson(request.body))
  dropSealed(body)
  await look(wordsOfRequest(dialect, body), 'INPUT', signal)
  // What is decided on is what the client is given, so that it is asked about that.
  const { gate: _, recorded, ...rest } = request
  const relayed = await relay({ ...rest, body })
  const isStream = 'stream' in relayed.answer
  const finished = finish(relayed, { ...request, body }, look)
  const early = await (isStream ? within(finished, keepAliveMs) : finished)
  if (!early) {
    const done = finished.then(({ end }) => end)
    return { answer: { stream: keptOpen(finished, request, keepAliveMs) }, done }
  }
  const { end, events } = early
  return { answer: events ? { stream: given(events, recorded) } : { whole: end.whole }, done: Promise.resolve(end) }
}

/** Waits for the whole answer, and looks at it. */
async function finish({ answer, done }: Relayed, request: RelayRequest, look: Look): Promise<Finished> {
  const held = 'stream' in answer ? await heldOf(answer.stream) : undefined
  return lookedAt(await done, held, request, look)
}

async function lookedAt(
  end: RelayEnd,
  held: readonly string[] | undefined,
  { dialect, signal, gate, body, responseId, kept }: RelayRequest,
  look: Look,
): Promise<Finished> {
  const whole = objectIn(end.whole)
  const isCut = dropSealed(whole)
  const isMasked = await look(wordsOfAnswer(dialect, whole), 'OUTPUT', signal)
  if (isMasked) dropProbabilities(whole)
  const keeper = new Gatekeeper(gate)
  await wires[dialect].judge(whole, keeper)
  markItems(whole.output, markOf({ responseId, kept }))
  const { toolCalls, refused } = keeper
  // Of inputs that came in pieces the gate was asked about what they say, not about how it was written.
  const isReread = dialect === 'messages' && toolCalls.length > 0
  const isAsItCame = !isMasked && !isCut && !isReread && refused.length === 0
  const events = held && (isAsItCame ? held : retold(dialect, whole, body))
  return { end: { ...end, whole, toolCalls, refused }, events }
}

async function* keptOpen(
  finished: Promise<Finished>,
  { dialect, signal, recorded }: RelayRequest,
  keepAliveMs: number,
): AsyncGenerator<string> {
  try {
    let all: Finished | undefined
    do {
      yield keepAlive(dialect)
      all = await within(finished, keepAliveMs)
    } while (!all)
    yield* given(all.events ?? [], recorded)
  } catch (error) {
    if (signal.aborted) throw error
    yield broken(dialect, error instanceof MusterError ? error.message : 'the answer could not be delivered')
  }
}

async function within<T>(promise: Promise<T>, ms: number): Promise<T | undefined> {
  const over = new AbortController()
  try {
    return await Promise.race([promise, setTimeout(ms, undefined, { signal: over.signal })])
  } finally {
    over.abort()
  }
}

async function heldOf(stream: AsyncIterable<string>): Promise<string[]> {
  const events: string[] = []
  let size = 0
  for await (const piece of stream) {
    events.push(piece)
    size += piece.length
    if (size > ANSWER_MAX) throw new MusterError('model.failed', `gave more than ${ANSWER_MAX} bytes, which are held`)
  }
  return events
}

async function* given(events: readonly string[], recorded: RelayRequest['recorded']): AsyncGenerator<string> {
  yield* events.slice(0, -1)
  await recorded?.()
  yield* events.slice(-1)
}

function objectIn(whole: Json) {
  if (isObject(whole)) return whole
  throw new MusterError('model.failed', 'the answer is none')
}
