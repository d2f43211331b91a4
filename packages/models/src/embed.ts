import type { Begins } from './meter.ts'

/** Texts whose vectors are asked of a provider that does not speak as OpenAI does. */
export interface EmbedRequest {
  texts: readonly string[]
  /** How long a vector is to be. */
  dimensions?: number
  /** What the texts are for, where a model tells that apart. */
  purpose?: string
  signal: AbortSignal
  begins?: Begins | undefined
}

export interface Embedded {
  /** One for each text, in their order. */
  vectors: number[][]
  /** As the provider tells, or estimated. */
  inputTokens: number
  model: string
}

export type Embed = (request: EmbedRequest) => Promise<Embedded>
