import { type Json, MusterError } from '@muster/protocol'
import { wires } from './relay.ts'
import type { Relayed, RelayRequest } from './request.ts'
import { retold } from './retell.ts'
import { ANSWER_MAX } from './upstream.ts'
import { Gatekeeper, isObject } from './wire.ts'
import { dropProbabilities, dropSealed, type Words, wordsOfAnswer, wordsOfRequest } from './words.ts'

/** Looks at texts before they go on, and puts others in the place of what must not. */
export type Look = (words: readonly Words[], source: 'INPUT' | 'OUTPUT', signal: AbortSignal) => Promise<boolean>

/**
 * One call of a client, looked at on its way there and back. An answer is held until it was looked at whole: what then goes on
 * as it came is what was streamed; what was changed, or has calls that the gate refuses, is told anew.
 */
export async function checked(
  relay: (request: RelayRequest) => Promise<Relayed>,
  request: RelayRequest,
  look: Look,
): Promise<Relayed> {
  const { dialect, signal, gate } = request
  const body = structuredClone(request.body)
  dropSealed(body)
  await look(wordsOfRequest(dialect, body), 'INPUT', signal)
  // What is decided on is what the client is given, so that it is asked about that.
  const { gate: _, recorded, ...rest } = request
  const relayed = await relay({ ...rest, body })
  const events = 'stream' in relayed.answer ? await held(relayed.answer.stream) : undefined
  const end = await relayed.done
  const whole = objectIn(end.whole)
  const isCut = dropSealed(whole)
  const isMasked = await look(wordsOfAnswer(dialect, whole), 'OUTPUT', signal)
  if (isMasked) dropProbabilities(whole)
  const keeper = new Gatekeeper(gate)
  await wires[dialect].judge(whole, keeper)
  const done = Promise.resolve({ ...end, whole, toolCalls: keeper.toolCalls, refused: keeper.refused })
  if (!events) return { answer: { whole }, done }
  const isAsItCame = !isMasked && !isCut && keeper.refused.length === 0
  return { answer: { stream: given(isAsItCame ? events : retold(dialect, whole, body), recorded) }, done }
}

async function held(stream: AsyncIterable<string>): Promise<string[]> {
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
