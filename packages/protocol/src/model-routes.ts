import { z } from 'zod'
import { label } from './definition.ts'

const text = z.string().min(1).max(2048)
/** Its user and password would be shown with it. */
const address = z
  .url({ protocol: /^https?$/ })
  .refine((url) => !/\/\/[^/]*@/.test(url), 'an address without user and password')
const effort = z.enum(['none', 'minimal', 'low', 'medium', 'high', 'xhigh'])
const api = z.enum(['chat', 'responses'])
const usd = z.number().nonnegative()
const rates = {
  ...{ inputUsd: usd, cachedUsd: usd, outputUsd: usd },
  /** What is written to the vendor's cache: as other input unless given; and what is kept there for long: as the first. */
  cacheWriteUsd: usd.optional(),
  longCacheWriteUsd: usd.optional(),
}
const tokens = z.number().int().min(1).max(1e9)
const sized = {
  ...rates,
  /** Of the whole request, where it has more input tokens than these. */
  over: z.strictObject({ inputTokens: tokens, ...rates }).optional(),
}
/** Where an answer says that it was served so: `priority`, `flex`, `fast`. */
const tiers = z.record(z.string().min(1).max(64), z.strictObject(sized)).optional()

const names = z.array(label).min(1).max(50)

/** What a request must be like for a target to have it. */
const conditions = z
  .strictObject({
    labels: z
      .strictObject({ without: names.optional(), only: names.optional() })
      .refine(({ without, only }) => Boolean(without) !== Boolean(only), 'one of `without` and `only`')
      .optional(),
    minInputTokens: tokens.optional(),
    maxInputTokens: tokens.optional(),
  })
  .refine(
    ({ minInputTokens = 1, maxInputTokens = minInputTokens }) => minInputTokens <= maxInputTokens,
    '`minInputTokens` is more than `maxInputTokens`: no request is so large',
  )

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
    price: z.strictObject({ ...sized, tiers }).optional(),
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
    weight: z.number().positive().max(1e6).optional(),
    when: conditions.optional(),
    /** Who is paid, as costs and commitments name them. */
    provider: text.max(256).optional(),
    /** Whether prompts are marked for the vendor's cache: where the model is known to take marks unless given. */
    promptCache: z.boolean().optional(),
    /** Where it is, as traces name it. */
    region: z.string().min(1).max(100).optional(),
  })
  .superRefine(({ openai, azure, anthropic, bedrock, key, promptCache }, context) => {
    const refuse = (path: string[], message: string) => context.addIssue({ code: 'custom', path, message })
    if ([openai, azure, anthropic, bedrock].filter(Boolean).length !== 1)
      refuse([], 'one of `openai`, `azure`, `anthropic` and `bedrock`')
    if (azure && key === undefined) refuse(['key'], 'Azure OpenAI needs a key')
    if (anthropic && key === undefined) refuse(['key'], 'Anthropic needs a key')
    if (promptCache !== undefined && !anthropic && bedrock?.api !== 'converse')
      refuse(['promptCache'], 'only with `anthropic`, or `bedrock` by Converse: others cache without marks')
    if (!bedrock) return
    if (bedrock.api === 'converse') {
      if (bedrock.effort) refuse(['bedrock', 'effort'], 'Converse has no effort; use `api` chat or responses')
    } else {
      if (bedrock.guardrail) refuse(['bedrock', 'guardrail'], 'only with `api` converse')
      if (bedrock.structured) refuse(['bedrock', 'structured'], 'only with `api` converse')
    }
  })
export type ModelTarget = z.infer<typeof target>

const targets = z.array(target).min(1).max(10)

/** Prices in US dollars per million tokens, of a model from a day on (UTC). */
export const modelPrices = z
  .array(
    z.strictObject({
      model: text,
      ...sized,
      tiers,
      since: z.iso.date().default('1970-01-01'),
      /** Where the figures come from. */
      source: text.default('MUSTER_PRICES'),
    }),
  )
  .max(1000)
  .superRefine((prices, context) => {
    const known = new Set<string>()
    for (const [i, { model, since }] of prices.entries()) {
      const key = `${since} ${model}`
      if (known.has(key))
        context.addIssue({ code: 'custom', path: [i], message: 'this model has another price since that day' })
      known.add(key)
    }
  })
export type ModelPrices = z.infer<typeof modelPrices>

/** How a target is chosen. */
const rule = z
  .strictObject({
    targets,
    order: z.enum(['listed', 'weighted', 'cheapest', 'fastest']).optional(),
    sticky: z.boolean().optional(),
    hedgeMs: z.number().int().min(1).max(600_000).optional(),
    breaker: z
      .union([
        z.literal(false),
        z.strictObject({
          failures: z.number().int().min(1).max(1000),
          withinMs: z.number().int().min(100).max(3_600_000),
          pauseMs: z.number().int().min(100).max(3_600_000),
        }),
      ])
      .optional(),
  })
  .superRefine(({ targets, order = 'listed', sticky }, context) => {
    const refuse = (path: (string | number)[], message: string) => context.addIssue({ code: 'custom', path, message })
    if (sticky && order !== 'weighted' && order !== 'cheapest')
      refuse(['sticky'], 'only with `order` weighted or cheapest: it would change nothing, or undo what is asked for')
    for (const [i, { weight }] of targets.entries())
      if (weight !== undefined && order !== 'weighted' && !sticky)
        refuse(['targets', i, 'weight'], 'only with `order` weighted')
  })
type ModelRoute = z.infer<typeof targets> | z.infer<typeof rule>

/** Targets in the order in which they are asked, or with a rule. Each by itself, so that what is wrong is named by its place. */
const route = z.unknown().transform((given, context): ModelRoute => {
  const parsed = Array.isArray(given) ? targets.safeParse(given) : rule.safeParse(given)
  if (parsed.success) return parsed.data
  for (const { path, message } of parsed.error.issues) context.addIssue({ code: 'custom', path, message })
  return z.NEVER
})

/** Routes by name. */
export const modelRoutes = z.record(z.string().min(1).max(200), route)
export type ModelRoutes = z.infer<typeof modelRoutes>
