import { type Json, MusterError, type Usage } from '@muster/protocol'
import type { Failover, Place } from '../failover.ts'
import { dialectOf } from '../target.ts'
import { chat } from './chat.ts'
import type { Relayed, RelayRequest } from './request.ts'
import { ANSWER_MAX, type Answered, type HttpTarget, type Upstream } from './upstream.ts'
import { Gatekeeper, isObject, textOf } from './wire.ts'

interface Where {
  places: readonly Place[]
  failover: Failover
  upstreamOf(target: HttpTarget): Upstream
  costAt(place: Place, answer: { model: string; usage: Usage }): number
}

export async function relay(request: RelayRequest, { places, failover, upstreamOf, costAt }: Where): Promise<Relayed> {
  const gate = new Gatekeeper(request.gate)
  const {
    answer: whole,
    place,
    via,
  } = await failover(places, async ({ target, model }) => {
    if (
      'bedrock' in target ||
      dialectOf(target) !== request.dialect ||
      request.dialect !== 'chat' ||
      request.body.stream
    )
      throw new MusterError('model.unsupported', `${model} cannot be asked this way yet`)
    const answered = await upstreamOf(target).post({
      path: chat.path,
      body: JSON.stringify(chat.bodyOf(request.body, model)),
      signal: request.signal,
      headers: { ...request.headers, 'idempotency-key': request.idempotencyKey },
    })
    const whole = await jsonOf(answered)
    if (!isObject(whole)) throw new MusterError('model.unavailable', `${model}: the answer is none`)
    return whole
  })
  await chat.judge(whole, gate)
  if (request.responseId !== undefined) whole.id = request.responseId
  const model = textOf(whole.model) || place.model
  const usage = chat.usageOf(whole) ?? { inputTokens: 0, outputTokens: 0, cachedTokens: 0 }
  const { toolCalls, refused } = gate
  const end = { usage, costUsd: costAt(place, { model, usage }), model, ...(via ? { via } : {}), whole }
  return { answer: { whole }, done: Promise.resolve({ ...end, toolCalls, refused }) }
}

async function jsonOf(answered: Answered): Promise<Json> {
  const parts: Buffer[] = []
  for await (const part of answered.bytes(ANSWER_MAX)) parts.push(part)
  try {
    return JSON.parse(Buffer.concat(parts).toString())
  } catch {
    return null
  }
}
