import type { Json, Usage } from '@muster/protocol'
import type { ToolCall } from '../message.ts'
import type { JsonObject } from './json.ts'
import type { Gate } from './request.ts'
import type { SseEvent } from './sse.ts'

/** One vendor's way of speaking, between a server and a client that both have it. */
export interface Wire {
  /** Below the server's address. */
  path: string
  /** Where a whole answer has what it says, as a list. */
  said: 'choices' | 'output' | 'content' | 'data'
  /** It has what tools are called with as JSON, whose numbers are kept as they were written; others have it as text. */
  exact?: true
  /** What the server is asked: what the client asks, but for what is ours to say. */
  bodyOf(body: JsonObject, model: string): JsonObject
  /**
   * What is asked where the server has refused what we have put to it, as the message says; `undefined`: it is none of
   * ours. `given` is what the client asks, which is left as it is.
   */
  lesser(body: JsonObject, message: string, given: JsonObject): JsonObject | undefined
  usageOf(whole: JsonObject): Usage | undefined
  /** Puts the calls of a whole answer before the gate, and its message in the place of those that are refused. */
  judge(whole: JsonObject, gate: Gatekeeper): Promise<void>
  /** None: it is never streamed. */
  reader?(options: ReaderOptions): Reader
}

export interface ReaderOptions {
  gate: Gatekeeper
  /** What the client has asked. */
  body: JsonObject
  responseId: string | undefined
  kept: JsonObject | undefined
  /** Is given the text as it comes, by those that are asked so. */
  onText?: ((text: string) => void) | undefined
}

/** An answer that is under way. */
export interface SoFar {
  whole: JsonObject
  /** Bytes of what was written and is not in that yet. */
  pieces: number
  /** What is told of usage is of all of it. */
  isCounted: boolean
}

/** Follows a stream: what of it is delivered, and what it comes to. */
export interface Reader {
  /**
   * What is delivered for an event: nothing while a call is not whole yet.
   *
   * @throws Told where the event tells of a failure
   */
  take(event: SseEvent): string | Promise<string>
  /** The stream has come to its own end. */
  readonly isWhole: boolean
  whole(): JsonObject
  /** As much as has come, for what it has cost where it never comes to its end. */
  soFar(): SoFar
  /** The dialect's own event for a failure. */
  broken(message: string): string
}

/** A failure that is told in an answer that had begun well. */
export class Told extends Error {
  readonly error: Json
  /** The event as it is delivered. */
  readonly raw: string

  constructor(error: Json, raw: string) {
    super('told in the stream')
    this.error = error
    this.raw = raw
  }
}

export function told(error: Json, raw: string): Told {
  return new Told(error, raw)
}

/** Asks the gate about each call, and remembers what it said. */
export class Gatekeeper {
  readonly toolCalls: ToolCall[] = []
  readonly refused: ToolCall[] = []
  readonly gate: Gate | undefined

  constructor(gate: Gate | undefined) {
    this.gate = gate
  }

  /** What is said in place of a call that is refused. */
  async ask(call: ToolCall): Promise<string | undefined> {
    const decision = this.gate ? await this.gate(call) : { allow: true as const }
    if (decision.allow) {
      this.toolCalls.push(call)
      return undefined
    }
    this.refused.push(call)
    return decision.message
  }
}
