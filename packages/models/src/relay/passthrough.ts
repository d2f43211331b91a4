import { type ErrorCode, exactJson, type Json, MusterError, type Usage } from '@muster/protocol'
import type { ModelRequest } from '../message.ts'
import { estimatedOf } from '../tokens.ts'
import type { Answered } from './bytes.ts'
import { withoutCredentials } from './credentials.ts'
import { markItems, markOf } from './item-ids.ts'
import { isObject, type JsonObject, textOf } from './json.ts'
import type { RelayRequest } from './request.ts'
import { SseSplitter } from './sse.ts'
import { tierOf } from './tier.ts'
import { codeOf, messageOf, type Upstream, VendorError } from './upstream.ts'
import { Gatekeeper, type Reader, type SoFar, Told, told, type Wire } from './wire.ts'

/** A whole answer, in the client's dialect. */
export interface Ended {
  whole: JsonObject
  usage: Usage
  model: string
}

/** An answer that has begun. */
export interface Begun {
  gate: Gatekeeper
  /** Of a stream what is delivered at first, and then. */
  stream?: {
    first: string
    rest: AsyncGenerator<string>
    /** What tells that it is whole, once there is no more of the rest. */
    last(): string
    /** The dialect's own event for a failure. */
    broken(message: string): string
    /** Nobody reads on. */
    leave(): void
  }
  /** What it has come to, once all of the stream was delivered. */
  end(): Promise<Ended>
}

/** The cause of a `model.failed`. */
const NO_STREAM = 'was asked for a stream, and gave none'

/** Asks a server that speaks as the client does, and passes on what it says. */
export async function passThrough(
  wire: Wire,
  upstream: Upstream,
  model: string,
  request: RelayRequest,
  onText?: (text: string) => void,
): Promise<Begun> {
  const gate = new Gatekeeper(request.gate)
  const { body, begins, responseId, kept } = request
  const ended = (so: SoFar): Ended => ({
    whole: so.whole,
    usage: usedBy(wire, body, so),
    model: textOf(so.whole.model) || model,
  })
  let last: Ended | undefined
  let reader: Reader | undefined
  const course: StreamCourse = { end: '', hasBegun: false, isRefused: false }
  const answered = await asked(wire, upstream, model, request)
  begins?.(() => {
    // Of a stream what was read of it, else what has come.
    const { usage, model, whole } = last ?? ended(reader?.soFar() ?? { ...NOTHING, pieces: answered.size })
    if (course.isRefused && !toldOf(wire, whole)) return undefined
    return { usage, model, tier: tierOf(whole) }
  })
  // An agent is as well served by an answer that is whole, and must be paid for anyway.
  if (!body.stream || !wire.reader || (onText && !answered.isStream)) {
    const whole = withoutCredentials(await wholeOf(answered, upstream, wire))
    const end = ended({ ...NOTHING, whole })
    last = end
    try {
      // Some tell of a failure under a status that says that all is well.
      course.isRefused = Boolean(whole.error)
      if (whole.error) throw told(whole.error, '')
      if (!Array.isArray(whole[wire.said])) throw upstream.failure('model.unavailable', 'the answer is none')
      await wire.judge(whole, gate)
    } catch (error) {
      throw failureOf(error, upstream, 'model.failed')
    }
    if (responseId !== undefined && whole.id !== undefined) whole.id = responseId
    Object.assign(whole, kept)
    markItems(whole.output, markOf(request))
    return { gate, end: async () => end }
  }
  if (!answered.isStream) {
    answered.leave()
    throw upstream.failure('model.failed', NO_STREAM)
  }
  const read = wire.reader({ gate, body, responseId, kept, onText })
  reader = read
  const rest = delivered(read, answered, upstream, course)
  const { value: first = '', done } = await rest.next()
  if (done && course.end === '') throw upstream.failure('model.unavailable', 'the stream ended before it began')
  return {
    gate,
    stream: {
      first,
      rest,
      last: () => course.end,
      broken: (message) => read.broken(message),
      leave: () => answered.leave(),
    },
    async end() {
      const whole = read.whole()
      // Without a gate nobody has looked for calls yet.
      if (!gate.gate) await wire.judge(whole, gate)
      last = ended({ ...NOTHING, whole })
      return last
    },
  }
}

/** The answer to a request of an agent's, shown piece by piece where it is watched. */
export async function answerTo(
  wire: Wire,
  upstream: Upstream,
  model: string,
  { dialect, body }: Pick<RelayRequest, 'dialect' | 'body'>,
  { onDelta, signal = new AbortController().signal, idempotencyKey = crypto.randomUUID(), begins }: ModelRequest,
): Promise<Ended & { isStreamed: boolean }> {
  const asked: RelayRequest = { dialect, body: onDelta ? { ...body, stream: true } : body, signal, idempotencyKey }
  if (begins) asked.begins = begins
  const begun = await passThrough(wire, upstream, model, asked, onDelta)
  // Read to its end: what is in it was shown by `onDelta`.
  for await (const _ of begun.stream?.rest ?? []);
  return { ...(await begun.end()), isStreamed: begun.stream !== undefined }
}

/** Some give a usage in which nothing is counted. */
function toldOf(wire: Wire, whole: JsonObject): Usage | undefined {
  const usage = wire.usageOf(whole)
  return usage && usage.inputTokens + usage.outputTokens > 0 ? usage : undefined
}

const NOTHING: SoFar = { whole: {}, pieces: 0, isCounted: true }

/** What an answer has used whose server does not say, or not yet: about three bytes to a token, as `reserveUsd` has it. */
function usedBy(wire: Wire, body: JsonObject, { whole, pieces, isCounted }: SoFar): Usage {
  const told = toldOf(wire, whole)
  if (told && isCounted) return told
  // Vectors are written by nobody.
  const written = wire.said === 'data' ? 0 : estimatedOf(whole[wire.said] ?? []) + Math.ceil(pieces / 3)
  const outputTokens = Math.max(written, told?.outputTokens ?? 0)
  return told ? { ...told, outputTokens } : { inputTokens: estimatedOf(body), outputTokens, cachedTokens: 0 }
}

/** What the server has refused once because of what we add is not asked for again. */
async function asked(wire: Wire, upstream: Upstream, model: string, request: RelayRequest): Promise<Answered> {
  const { signal, headers, idempotencyKey } = request
  let body = wire.bodyOf(request.body, model)
  const post = () =>
    upstream.post({
      path: wire.path,
      body: JSON.stringify(body),
      signal,
      headers: { ...headers, 'idempotency-key': idempotencyKey },
    })
  const refusal = upstream.refusals.get(model)
  if (refusal !== undefined) body = wire.lesser(body, refusal, request.body) ?? body
  try {
    return await post()
  } catch (error) {
    const { cause } = error as { cause?: unknown }
    if (!(cause instanceof VendorError && (cause.status === 400 || cause.status === 422))) throw error
    const lesser = wire.lesser(body, cause.message, request.body)
    if (!lesser) throw error
    body = lesser
    const answered = await post()
    // Where that is refused as well, it was what the client has asked, which is held against nobody else.
    upstream.refusals.set(model, cause.message)
    return answered
  }
}

async function wholeOf(answered: Answered, upstream: Upstream, { exact }: Wire): Promise<JsonObject> {
  const text = (await answered.whole()).toString()
  try {
    const whole: Json = exact ? exactJson(text) : JSON.parse(text)
    if (isObject(whole)) return whole
  } catch {
    // A server that is on its way down may answer with nothing at all.
  }
  throw upstream.failure('model.unavailable', 'the answer is none')
}

interface StreamCourse {
  /** What tells that it is whole. */
  end: string
  /** An event has come that tells of no failure. */
  hasBegun: boolean
  /** The vendor has told of a failure in place of an answer. */
  isRefused: boolean
}

/** What is delivered of a stream, as much at a time as came at a time, but for its end. */
async function* delivered(
  reader: Reader,
  answered: Answered,
  upstream: Upstream,
  course: StreamCourse,
): AsyncGenerator<string, undefined> {
  const splitter = new SseSplitter()
  let begun = false
  let text = ''
  try {
    for await (const bytes of answered.bytes()) {
      for (const event of reader.isWhole ? [] : splitter.push(bytes)) {
        // What comes after the end is none of the answer.
        if (reader.isWhole) break
        // A comment keeps the connection open; before the first event it is none of the answer.
        const given: string | Promise<string> = event.data === '' ? (begun ? event.raw : '') : reader.take(event)
        course.hasBegun ||= event.data !== ''
        if (typeof given !== 'string' && text !== '') {
          // Nothing that is decided on holds back what came before.
          yield text
          text = ''
        }
        const added: string = typeof given === 'string' ? given : await given
        if (reader.isWhole) course.end += added
        else text += added
        begun ||= added !== ''
      }
      if (text !== '') {
        const now = text
        text = ''
        yield now
      }
      if (reader.isWhole) answered.endSoon()
    }
  } catch (error) {
    if (reader.isWhole && !(error instanceof Told) && text === '') return
    course.isRefused = error instanceof Told && !course.hasBegun
    if (error instanceof Told && !begun) throw failureOf(error, upstream, 'model.unavailable')
    if (text !== '') yield text
    if (error instanceof Told && error.raw !== '') yield upstream.masked(error.raw)
    throw failureOf(error, upstream, 'model.unavailable')
  }
  if (!reader.isWhole) throw upstream.failure('model.unavailable', 'the stream ended before the answer did')
}

const CODES: Record<string, ErrorCode> = {
  rate_limit_exceeded: 'rate.limited',
  rate_limit_error: 'rate.limited',
  server_error: 'model.unavailable',
  api_error: 'model.unavailable',
  overloaded_error: 'model.unavailable',
}

function codeNamed(names: string[], unsaid: ErrorCode): ErrorCode {
  const known = names.map((name) => CODES[name]).find((code) => code !== undefined)
  return known ?? (names.some((name) => name !== '') ? 'model.failed' : unsaid)
}

/** A failure that the client has been told of already. */
export class ToldFailure extends MusterError {}

/** `unsaid`: what it is where the server gives no code. */
function failureOf(error: unknown, upstream: Upstream, unsaid: ErrorCode): unknown {
  if (!(error instanceof Told)) return error
  const { error: said, raw } = error
  const { code: own, type } = isObject(said) ? said : {}
  const code = typeof own === 'number' ? codeOf(own) : codeNamed([textOf(own), textOf(type)], unsaid)
  const failure = upstream.failure(code, messageOf(said))
  return raw === '' ? failure : new ToldFailure(failure.code, failure.message)
}
