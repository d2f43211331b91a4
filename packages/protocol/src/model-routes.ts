import { z } from 'zod'

const text = z.string().min(1).max(2048)
/** Its user and password would be shown with it. */
const address = z
  .url({ protocol: /^https?$/ })
  .refine((url) => !/\/\/[^/]*@/.test(url), 'an address without user and password')
const effort = z.enum(['none', 'minimal', 'low', 'medium', 'high', 'xhigh'])
const api = z.enum(['chat', 'responses'])
const usd = z.number().nonnegative()

const target = z
  .strictObject({
    /** OpenAI, or any server that speaks as it does. */
    openai: z
      .strictObject({ model: text, baseUrl: address.optional(), api: api.optional(), effort: effort.optional() })
      .optional(),
    azure: z
      .strictObject({ deployment: text, endpoint: address, api: api.optional(), effort: effort.optional() })
      .optional(),
    /** `baseUrl` without `/v1`, as Anthropic's SDKs have it. */
    anthropic: z.strictObject({ model: text, baseUrl: address.optional() }).optional(),
    bedrock: z
      .strictObject({
        model: text,
        region: z.string().regex(/^[a-z0-9-]{1,32}$/, 'a region of AWS, such as eu-central-1'),
        endpoint: address.optional(),
        /** `chat` and `responses`: Bedrock's endpoints that speak as OpenAI does. */
        api: z.enum(['converse', 'chat', 'responses']).default('converse'),
        effort: effort.optional(),
        guardrail: z.strictObject({ id: text, version: text }).optional(),
        structured: z.enum(['tool', 'schema']).optional(),
      })
      .optional(),
    /** Name of the environment variable that has the key: the setting itself is shown. */
    key: z
      .string()
      .regex(/^[A-Z][A-Z0-9_]{0,99}$/, 'the name of the environment variable that has the key')
      .optional(),
    price: z.strictObject({ inputUsd: usd, cachedUsd: usd, outputUsd: usd }).optional(),
    free: z.boolean().optional(),
    /** What its model can do, in place of what is known of it: `GET /v1/models` tells it. */
    about: z
      .strictObject({
        contextWindow: z.number().int().positive().optional(),
        maxOutputTokens: z.number().int().positive().optional(),
        inputs: z.array(z.enum(['text', 'image', 'file', 'audio'])).optional(),
        tools: z.boolean().optional(),
        efforts: z.array(effort).optional(),
      })
      .optional(),
    timeoutMs: z.number().int().min(1000).max(600_000).optional(),
  })
  .superRefine(({ openai, azure, anthropic, bedrock, key }, context) => {
    const refuse = (path: string[], message: string) => context.addIssue({ code: 'custom', path, message })
    if ([openai, azure, anthropic, bedrock].filter(Boolean).length !== 1)
      refuse([], 'one of `openai`, `azure`, `anthropic` and `bedrock`')
    if (azure && key === undefined) refuse(['key'], 'Azure OpenAI needs a key')
    if (anthropic && key === undefined) refuse(['key'], 'Anthropic needs a key')
    if (!bedrock) return
    if (bedrock.api === 'converse') {
      if (bedrock.effort) refuse(['bedrock', 'effort'], 'Converse has no effort; use `api` chat or responses')
    } else {
      if (key === undefined) refuse(['key'], 'this endpoint of Bedrock needs an API key of Bedrock')
      if (bedrock.guardrail) refuse(['bedrock', 'guardrail'], 'only with `api` converse')
      if (bedrock.structured) refuse(['bedrock', 'structured'], 'only with `api` converse')
    }
  })
export type ModelTarget = z.infer<typeof target>

/** Routes by name: targets in the order in which they are asked. */
export const modelRoutes = z.record(z.string().min(1).max(200), z.array(target).min(1).max(10))
export type ModelRoutes = z.infer<typeof modelRoutes>
