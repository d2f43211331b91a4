import { geographyIn } from './geography.ts'
import type { TieredRates } from './price.ts'

/** Where a route leads: a vendor's or a compatible server, and the model there. */
export type Target = OpenAiTarget | AnthropicTarget | BedrockTarget

interface Common {
  /** How long one call may take, ms; of a call that is relayed as a stream, how long each piece may. */
  timeoutMs?: number
  /** In place of the price table's. */
  price?: TieredRates
  /** Without a price, calls cost nothing (a model on one's own hardware) or are refused under a money limit. */
  free?: boolean
  /** What its model can do, in place of what is known of it. */
  about?: ModelFacts
  /** How much it is chosen beside the other targets of a route that is ordered by weight; 1 unless given. */
  weight?: number
  /** Requests that it may have; all unless given. */
  when?: Conditions
  /** Who is paid, as costs name them; what its kind or address says unless given. */
  provider?: string
  /** Of Anthropic and Converse: whether prompts are marked for the vendor's cache; where the model is known to take marks unless given. */
  promptCache?: boolean
  /** Where it answers, as policies see it and a journal names it: see `regionOf`. */
  region?: string
}

/** What a model can do, as far as it is known. */
export interface ModelFacts {
  /** Tokens of input and output together. */
  contextWindow?: number
  maxOutputTokens?: number
  /** `text`, `image`, `file`, `audio`. */
  inputs?: readonly string[]
  tools?: boolean
  /** Efforts of thinking that it takes; none where it does not think. */
  efforts?: readonly string[]
}

/** What a request must be like for a target to have it. */
interface Conditions {
  labels?: {
    /** None of these. */
    without?: readonly string[] | undefined
    /** One of these at least. */
    only?: readonly string[] | undefined
  }
  /** By an estimate: about three bytes to a token. */
  minInputTokens?: number
  maxInputTokens?: number
}

export interface OpenAiTarget extends Common {
  model: string
  baseUrl?: string
  apiKey: string
  /** At Bedrock: where else than at `baseUrl` a model may be, and the region. Without a key, requests are signed for it. */
  aws?: { region: string; elsewhere: readonly string[] }
  /** Which of OpenAI's ways of speaking; `chat` is the one that others speak too, and the default. */
  api?: 'chat' | 'responses'
  /** How much a model that thinks is to think. */
  effort?: 'none' | 'minimal' | 'low' | 'medium' | 'high' | 'xhigh'
}

export interface AnthropicTarget extends Common {
  anthropic: {
    model: string
    /** Without `/v1`, as Anthropic's SDKs have it. */
    baseUrl?: string
  }
  apiKey: string
}

export interface BedrockTarget extends Common {
  bedrock: {
    /** Id, inference profile or ARN of a model that Converse knows. */
    model: string
    region: string
    endpoint?: string
    guardrail?: { id: string; version: string }
    /** `schema`: the model takes the schema of an answer itself; by default it must call a tool that has it. */
    structured?: 'tool' | 'schema'
  }
  /** An API key of Bedrock; without one, requests are signed with what the AWS SDK finds. */
  apiKey?: string
}

/** Which way a target is spoken to. */
export function dialectOf(target: Target): 'chat' | 'responses' | 'converse' | 'messages' {
  if ('bedrock' in target) return 'converse'
  return 'anthropic' in target ? 'messages' : (target.api ?? 'chat')
}

export function modelOf(target: Target): string {
  if ('bedrock' in target) return target.bedrock.model
  return 'anthropic' in target ? target.anthropic.model : target.model
}

/** A target as a journal names it. */
export function nameOf(target: Target): string {
  if ('bedrock' in target) return `bedrock ${target.bedrock.region} ${target.bedrock.model}`
  const [baseUrl, vendor] =
    'anthropic' in target ? [target.anthropic.baseUrl, 'api.anthropic.com'] : [target.baseUrl, 'api.openai.com']
  return `${baseUrl === undefined ? vendor : new URL(baseUrl).host} ${modelOf(target)}`
}

/**
 * Where a model answers: what the target says, or at Bedrock its region, unless an inference profile may take a request to
 * any of a geography (`eu`, `global`). Empty where nobody can tell.
 */
export function regionOf({ target, model }: { target: Target; model: string }): string {
  const region = awsRegionOf(target)
  // Of Bedrock what a target says is of its own model.
  if (target.region !== undefined && (region === undefined || model === modelOf(target))) return target.region
  if (region === undefined || OPAQUE.test(model)) return ''
  return geographyIn(model) ?? region
}

/** The region in which Bedrock is asked; undefined elsewhere. */
export function awsRegionOf(target: Target): string | undefined {
  return 'bedrock' in target ? target.bedrock.region : 'aws' in target ? target.aws?.region : undefined
}

/** What may lead to a model, or a profile, that the ARN does not name. */
const OPAQUE = /^arn:.*:(?:application-inference-profile|(?:default-)?prompt-router|prompt)\//

export function providerOf(target: Target): string {
  if (target.provider !== undefined) return target.provider
  if ('bedrock' in target) return 'bedrock'
  const [baseUrl, vendor] = 'anthropic' in target ? [target.anthropic.baseUrl, 'anthropic'] : [target.baseUrl, 'openai']
  return baseUrl === undefined ? vendor : new URL(baseUrl).host
}
