import type { GuardrailCounts, Json, Usage, Via } from '@muster/protocol'
import type { ToolCall } from '../message.ts'
import type { Begins, Meter } from '../meter.ts'
import type { JsonObject } from './json.ts'

/** Which vendor's way of speaking a client of the gateway uses. */
export type Dialect = 'chat' | 'responses' | 'messages' | 'embeddings'

/** Asked about each tool call; where it is refused, `message` is delivered as the assistant's text in its place. */
export type Gate = (call: ToolCall) => Promise<{ allow: true } | { allow: false; message: string }>

export interface RelayRequest {
  dialect: Dialect
  /**
   * The client's request as parsed JSON (bounded and known to be an object by the caller). `body.model` is the route and is
   * replaced.
   */
  body: JsonObject
  signal: AbortSignal
  idempotencyKey: string
  /** Of what is in it: targets may be for some alone. */
  labels?: readonly string[]
  /** Why it may not go to targets of the route, by their places there. */
  refused?: ReadonlyMap<number, string>
  /** Requests with the same key go to the same target of a route that is sticky. */
  stickyKey?: string
  /** Request headers that are passed on (already an allow-list). */
  headers?: Record<string, string>
  /**
   * Asked about each tool call that the model wants made by the client, whole, before any byte of it is delivered. Where it
   * is refused, `message` is delivered as the assistant's text in its place.
   */
  gate?: Gate
  /**
   * Awaited before a client that reads a stream is told that the answer is whole; where it rejects, the stream ends as one
   * that broke off. By then `done` is resolved.
   */
  recorded?: () => Promise<void>
  /** In place of the vendor's response id, in every event and body (`resp_…`, `chatcmpl-…`, `msg_…`). */
  responseId?: string
  /** What is kept by who relays, and not at the vendor, as every response says it. */
  kept?: JsonObject
  /** Tells at any time what the call has used: also where it fails, or is cut off. */
  meter?: Meter
  /** The same of one target. */
  begins?: Begins
}

export interface Relayed {
  /** Whole answer, or events as they come. `stream` yields the text of whole SSE events (`event: …\ndata: …\n\n`). */
  answer: { whole: Json } | { stream: AsyncIterable<string> }
  /**
   * What it came to. Resolves when the answer is whole and every event was yielded; rejects with a MusterError when the
   * vendor failed midway (the stream then ends with the dialect's own error event, so a client never takes a cut answer for
   * a whole one), with the abort when `signal` aborted.
   */
  done: Promise<RelayEnd>
}

export interface RelayEnd {
  usage: Usage
  costUsd: number
  /** As the vendor names it. */
  model: string
  via?: Via
  /** What a guardrail has found and masked. */
  guardrail?: GuardrailCounts
  /** The whole answer in the client's dialect, as if it had not been streamed: what is journaled. */
  whole: Json
  /** Tool calls that were delivered, and those refused by the gate. */
  toolCalls: ToolCall[]
  refused: ToolCall[]
}
