import { MusterError } from '@muster/protocol'
import { ANSWER_MAX } from './bytes.ts'
import { isObject, type JsonObject } from './json.ts'

/** An event of a stream (HTML Living Standard, section 9.2), as it came but for its line ends. */
export interface SseEvent {
  raw: string
  /** Empty where none is given. */
  name: string
  /** Empty: it is a comment. */
  data: string
}

/** Takes bytes as they come, and gives the events that have come whole. */
export class SseSplitter {
  readonly #decoder = new TextDecoder()
  /** What has come of the next event. */
  #rest = ''
  /** The last piece ended with a carriage return: a line feed that follows belongs to it. */
  #isReturned = false

  push(bytes: Uint8Array): SseEvent[] {
    let piece = this.#decoder.decode(bytes, { stream: true })
    if (this.#isReturned && piece.startsWith('\n')) piece = piece.slice(1)
    if (piece !== '') this.#isReturned = piece.endsWith('\r')
    if (piece.includes('\r')) piece = piece.replace(/\r\n?/g, '\n')
    let from = Math.max(0, this.#rest.length - 1)
    const text = this.#rest + piece
    const events: SseEvent[] = []
    let start = 0
    for (let end = text.indexOf('\n\n', from); end !== -1; end = text.indexOf('\n\n', from)) {
      const raw = text.slice(start, end + 2)
      if (raw.trim() !== '') events.push(eventOf(raw))
      start = end + 2
      from = start
    }
    this.#rest = start === 0 ? text : text.slice(start)
    if (this.#rest.length > ANSWER_MAX)
      throw new MusterError('model.failed', `an event has more than ${ANSWER_MAX} bytes`)
    return events
  }
}

function eventOf(raw: string): SseEvent {
  let name = ''
  const data: string[] = []
  for (let start = 0; start < raw.length; ) {
    const end = raw.indexOf('\n', start)
    if (raw.startsWith('data:', start)) data.push(fieldOf(raw, start + 5, end))
    else if (raw.startsWith('event:', start)) name = fieldOf(raw, start + 6, end)
    start = end + 1
  }
  return { raw, name, data: data.length === 1 ? (data[0] ?? '') : data.join('\n') }
}

/** A space after the colon is no part of it. */
function fieldOf(raw: string, start: number, end: number): string {
  return raw.slice(raw[start] === ' ' ? start + 1 : start, end)
}

/** What an event says; a server that is on its way down may say what is no JSON. */
export function objectIn({ data }: SseEvent): JsonObject {
  try {
    const value = JSON.parse(data)
    if (isObject(value)) return value
  } catch {
    // Told below.
  }
  throw new MusterError('model.unavailable', 'an event of the stream is no JSON object')
}

export function eventText(name: string, value: JsonObject): string {
  return `${name === '' ? '' : `event: ${name}\n`}data: ${JSON.stringify(value)}\n\n`
}
