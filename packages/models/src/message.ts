import type { Json, JsonSchema, Usage, Via } from '@muster/protocol'

/** A call that the model asks for; `arguments` is JSON text as the model wrote it. */
export interface ToolCall {
  id: string
  name: string
  arguments: string
}

/** What a model thought, in its vendor's own form: sealed or signed, and of use to nobody but the same model there. */
interface Reasoning {
  by: string
  items: Json[]
}

export type ModelMessage =
  | { role: 'system' | 'user'; content: string }
  | { role: 'assistant'; content: string | null; toolCalls?: ToolCall[]; reasoning?: Reasoning }
  | { role: 'tool'; callId: string; content: string }

export interface ModelRequest {
  messages: ModelMessage[]
  tools?: { name: string; description: string; parameters: JsonSchema }[]
  /** The answer must be JSON that matches. */
  output?: { name: string; schema: JsonSchema }
  signal?: AbortSignal
  /** Recognised by providers that support it, so that a repeated call is not billed twice. */
  idempotencyKey?: string
  /** Is given what the model writes as it comes; the reply is the same with and without. */
  onDelta?: (text: string) => void
}

export interface ModelReply {
  text: string | null
  toolCalls: ToolCall[]
  /** To be given back with the answer as its message. */
  reasoning?: Reasoning
  usage: Usage
  /** As the provider names the model that answered. */
  model: string
  costUsd: number
  /** Where the route has several targets. */
  via?: Via
}
