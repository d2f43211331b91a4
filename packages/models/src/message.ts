import type { ExactNumber, GuardrailCounts, Json, JsonSchema, Usage, Via } from '@muster/protocol'
import type { Begins, Meter } from './meter.ts'

/** A call that the model asks for; `arguments` is JSON text as the model wrote it. */
export interface ToolCall {
  id: string
  name: string
  arguments: string
  /** Of a custom tool, whose `arguments` are any text. */
  isText?: boolean
}

/** What a model thought, in its vendor's own form: sealed or signed, and of use to nobody but the same model there. */
interface Reasoning {
  by: string
  items: Json[]
}

/** What a message holds beside text. `data` is base64. */
export type ImagePart = { type: 'image'; mediaType: string; data: string } | { type: 'image'; url: string }
export interface FilePart {
  type: 'file'
  name: string
  mediaType: string
  data: string
}
export type Part = { type: 'text'; text: string } | ImagePart | FilePart

export type ModelMessage = (
  | { role: 'system'; content: string }
  | { role: 'user'; content: string | Part[] }
  | { role: 'assistant'; content: string | null; toolCalls?: ToolCall[]; reasoning?: Reasoning }
  | { role: 'tool'; callId: string; content: string | Part[] }
) &
  Cached

/** `cache`: the prompt as far as here is to be kept by the vendor for so long. A mark of the wire: see `prompt-cache.ts`. */
type Cached = { cache?: '5m' | '1h' }

/** `strict`: arguments match to the letter, where the model can be held to that. */
export type Tool = { name: string; description: string; parameters: JsonSchema; strict?: boolean } & Cached

/** How a model is to go about an answer. Not every provider has a word for each: see `Provider.settings`. */
export interface ModelSettings {
  maxTokens?: number | ExactNumber
  temperature?: number | ExactNumber
  topP?: number | ExactNumber
  /** Texts at which it ends. */
  stop?: string[]
  seed?: number | ExactNumber
  toolChoice?: 'auto' | 'none' | 'required' | { name: string }
  parallelToolCalls?: boolean
  /** How much a model that thinks is to think, in place of the target's. */
  effort?: 'none' | 'minimal' | 'low' | 'medium' | 'high' | 'xhigh'
}

export interface ModelRequest {
  messages: ModelMessage[]
  tools?: Tool[]
  /** The answer must be JSON that matches. */
  output?: { name: string; schema: JsonSchema; strict?: boolean }
  settings?: ModelSettings
  /** What a vendor is to keep of it was marked, or left without a mark, by who asks. */
  isMarked?: boolean
  /** An answer that is cut short is given as it is, and says so by `cut`, in place of an error. */
  mayBeCut?: boolean
  signal?: AbortSignal
  /** Of what is in it: targets may be for some alone. */
  labels?: readonly string[]
  /** Why it may not go to targets of the route, by their places there. */
  refused?: ReadonlyMap<number, string>
  /** Requests with the same key go to the same target of a route that is sticky. */
  stickyKey?: string
  /** Recognised by providers that support it, so that a repeated call is not billed twice. */
  idempotencyKey?: string
  /** Is given what the model writes as it comes; the reply is the same with and without. */
  onDelta?: (text: string) => void
  /** Tells at any time what the call has used: also where it fails, or is cut off. */
  meter?: Meter
  /** The same of one target. */
  begins?: Begins
}

export interface ModelReply {
  text: string | null
  toolCalls: ToolCall[]
  /** Where it may be: it has come to its limit of tokens, or was stopped by a filter. */
  cut?: 'length' | 'filter'
  /** To be given back with the answer as its message. */
  reasoning?: Reasoning
  usage: Usage
  /** As the provider names the model that answered. */
  model: string
  costUsd: number
  /** Where the route has several targets. */
  via?: Via
  /** What a guardrail has found and masked. */
  guardrail?: GuardrailCounts
}
