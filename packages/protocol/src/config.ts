import { z } from 'zod'
import { budgetsByName } from './budget.ts'
import { commitments } from './costs.ts'
import { retentionRules } from './erasure.ts'
import { MusterError } from './errors.ts'
import { guardrailSetting } from './guardrail.ts'
import { PARTITIONS_MAX } from './ids.ts'
import { issuesText, zodIssues } from './issues.ts'
import { limitsByName } from './limits.ts'
import { type ModelPrices, type ModelRoutes, modelPrices, modelRoutes } from './model-routes.ts'
import { type RedactRules, redactRules } from './redact.ts'

/** The most that one tenant may have over another of weight 1. */
export const WEIGHT_MAX = 1000

const port = z.coerce.number().int().min(1).max(65_535)
const positive = z.coerce.number().int().positive()

/** `acme=2,other=0.5`: what stands before the last `=` is the tenant. */
const weights = z.string().transform((text, context) => {
  const found: Record<string, number> = {}
  for (const part of text.split(',')) {
    const at = part.lastIndexOf('=')
    const tenant = part.slice(0, Math.max(at, 0)).trim()
    const weight = Number(part.slice(at + 1) || Number.NaN)
    if (tenant === '' || !(weight > 0 && weight <= WEIGHT_MAX) || Object.hasOwn(found, tenant)) {
      context.addIssue({
        code: 'custom',
        message: `each tenant once as <tenant>=<weight>, separated by commas; a weight is above 0 and at most ${WEIGHT_MAX}`,
      })
      return z.NEVER
    }
    found[tenant] = weight
  }
  return found
})

/** `5000,300000`, ms. */
const pauses = z
  .string()
  .transform((text) => text.split(',').map(Number))
  .pipe(
    z
      .array(
        z
          .number()
          .int()
          .positive()
          .max(30 * 86_400_000),
      )
      .max(50),
  )

/** JSON, so that one variable holds them all. */
const json = (example: string) => z.string().transform((text, context) => parseJson(text, context, example))

/** The value, or `z.NEVER` with the issue told. */
function parseJson(text: string, context: z.RefinementCtx, example: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    context.addIssue({ code: 'custom', message: `not JSON; for instance ${example}` })
    return z.NEVER
  }
}

const limits = json('{"model:default":{"concurrency":20}}').pipe(limitsByName)
const budgets = json('{"tenant:*":{"day":{"usd":100}}}').pipe(budgetsByName)
const committed = json('{"aws-2026":{"provider":"bedrock","usd":50000,"from":"2026-01-01","until":"2026-12-31"}}').pipe(
  commitments,
)
const retention = json('[{"status":"failed","content":"30d"}]').pipe(retentionRules)
const witnesses = json('[{"url":"https://witness.example/","key":"<vkey>"}]').pipe(
  z.array(
    z.union(
      [
        z.strictObject({ folder: z.string().min(1) }),
        z.strictObject({ url: z.url(), key: z.string() }),
        z.strictObject({
          bucket: z.string().min(1).max(255),
          prefix: z.string().max(512).optional(),
          region: z.string().min(1).optional(),
          endpoint: z.url().optional(),
          retainDays: z.number().int().min(1).max(36_500),
        }),
      ],
      'a `folder`, or a `url` and its `key`, or a `bucket` and its `retainDays` (1 to 36500)',
    ),
  ),
)
const guardrail = json('{"id":"gr-1","version":"1","region":"eu-central-1"}').pipe(guardrailSetting)
const destinations = json('{"acme":["*.acme.example"]}').pipe(z.record(z.string(), z.array(z.string().min(1))))

/** JSON, or the path of a file that has it: read where it is needed, since nothing here does I/O. */
const jsonOrFile = <T>(schema: z.ZodType<T>, example: string) =>
  z.string().transform((text, context): T | string => {
    if (!/^\s*[[{]/.test(text)) return text
    const value = parseJson(text, context, example)
    if (value === z.NEVER) return z.NEVER
    const parsed = schema.safeParse(value)
    if (parsed.success) return parsed.data
    for (const { path, message } of parsed.error.issues)
      context.addIssue({ code: 'custom', message: `/${path.map(String).join('/')} ${message}` })
    return z.NEVER
  })

const redact = jsonOrFile<RedactRules>(redactRules, '{"kinds":{"email":"token"}}')
const prices = jsonOrFile<ModelPrices>(modelPrices, '[{"model":"m","inputUsd":1,"cachedUsd":0.1,"outputUsd":4}]')
const models = jsonOrFile<ModelRoutes>(modelRoutes, '{"default":[{"openai":{"model":"gpt-5-mini"}}]}')

/** Everything that can be configured: one environment variable each. `muster config` prints them. */
export const configSchema = z.object({
  MUSTER_HOME: z.string().default('.muster').describe('folder of local data, keys and logs'),
  MUSTER_HOST: z.string().default('127.0.0.1').describe('address that the server listens on'),
  MUSTER_PORT: port.default(7420).describe('port that the server listens on'),
  MUSTER_URL: z.url().optional().describe('address of the server that the CLI talks to'),
  MUSTER_KEY: z.string().optional().describe('API key of the CLI; by default the one in MUSTER_HOME/dev-key'),
  MUSTER_API_KEY: z
    .string()
    .optional()
    .describe('API key that Codex sends to the gateway, started by `muster codex`; that of the CLI unless given'),
  MUSTER_KEYS_FILE: z.string().optional().describe('JSON file of the hashed API keys that the server accepts'),
  MUSTER_SECRET: z
    .string()
    .min(32)
    .optional()
    .describe('signs callbacks and webhooks: 32 characters at least, the same for all servers and workers'),
  MUSTER_WEBHOOKS: z
    .enum(['public', 'anywhere'])
    .default('public')
    .describe('`anywhere`: webhooks may be http and at addresses that are not public; for development'),
  MUSTER_WEBHOOK_PAUSES_MS: pauses
    .optional()
    .describe('pauses between attempts of a webhook, `5000,300000`; after the last it is disabled'),
  MUSTER_PUBLIC_URL: z.url().optional().describe('address at which the outside reaches the server, for callbacks'),
  MUSTER_APP: z
    .string()
    .optional()
    .describe('module that exports the agents, tools and plans; `none` where there is but the gateway'),
  MUSTER_POLICY: z
    .string()
    .optional()
    .describe(
      'Cedar policy files or folders, separated by commas; `default` is the set that comes with Muster; one after `log-only:` is tried and not enforced; read again when changed; without one every step is denied',
    ),
  MUSTER_TOOLS_LOCK: z
    .string()
    .optional()
    .describe('lock file that `muster tools approve` writes; without one every tool counts as approved'),
  MUSTER_POLICY_SHADOW: z.coerce
    .number('a number from 0 to 1')
    .min(0)
    .max(1)
    .default(0)
    .describe('part of the decisions that cedar-wasm makes as well, 0 to 1; a difference is logged as an error'),
  MUSTER_DESTINATIONS: destinations
    .optional()
    .describe('where tenants\' data may go, as JSON: `{"acme":["*.acme.example"]}`; under `*` for all tenants'),
  MUSTER_GATEWAY: z
    .enum(['on', 'off'])
    .default('off')
    .describe('`on`: the server is a gateway to the models for clients that speak as OpenAI or Anthropic do'),
  MUSTER_NAMESPACE: z
    .string()
    .regex(/^[a-z0-9-]{1,32}$/)
    .default('m')
    .describe('prefix of all Redis keys'),
  MUSTER_PARTITIONS: positive
    .max(PARTITIONS_MAX)
    .default(1)
    .describe('parts that the runs are spread over, for a Redis Cluster; the same for all processes and for ever'),
  MUSTER_CONCURRENCY: positive.max(10_000).default(100).describe('runs that a worker holds at once'),
  MUSTER_WEIGHTS: weights
    .optional()
    .describe("tenants' shares of the backlog and of a worker, `acme=2,other=0.5`; 1 for those not named"),
  MUSTER_LIMITS: limits
    .optional()
    .describe(
      'limits over all workers together, as JSON: `{"model:default":{"concurrency":20,"tokensPerMinute":200000}}`',
    ),
  MUSTER_BUDGETS: budgets
    .optional()
    .describe(
      'what tenants, agents and plans may use in a day or month, as JSON, the same for all servers and workers: `{"tenant:*":{"day":{"usd":100}}}`',
    ),
  MUSTER_GUARDRAIL: guardrail
    .optional()
    .describe(
      'guardrail of Amazon Bedrock for what models are sent and write, as JSON: `{"id":"gr-1","version":"1","region":"eu-central-1"}`',
    ),
  MUSTER_REDACT: redact
    .optional()
    .describe(
      'personal data and secrets to take out of what is stored and sent to models: a JSON file, or JSON: `{"kinds":{"email":"token"}}`',
    ),
  MUSTER_REDACT_SECRET: z
    .string()
    .min(32)
    .optional()
    .describe('makes the tokens of MUSTER_REDACT: 32 characters at least, the same for all servers and workers'),
  MUSTER_OUTCOMES: z
    .enum(['ahead', 'strict'])
    .default('ahead')
    .describe('`strict`: every step waits until the outcomes before it are durable, not only those with an effect'),
  MUSTER_ARCHIVE: z
    .enum(['on', 'off'])
    .default('on')
    .describe('`off`: this worker leaves archiving ended runs to others; some worker must do it'),
  MUSTER_LEDGER_KEY_FILE: z
    .string()
    .optional()
    .describe('keys that sign the ledger, from `muster ledger key`; with it, or with a key of KMS, there is a ledger'),
  MUSTER_LEDGER_KMS_KEYS: z
    .string()
    .optional()
    .describe(
      'keys of AWS KMS (ECC_NIST_EDWARDS25519) that sign the ledger: ids, ARNs or aliases, separated by commas',
    ),
  MUSTER_LEDGER_KMS_ENDPOINT: z.url().optional().describe('a server that speaks as AWS KMS does; AWS without it'),
  MUSTER_LEDGER: z
    .enum(['seal', 'heads'])
    .default('seal')
    .describe('`heads`: this worker needs no key, and leaves writing the ledger to others; some worker must do it'),
  MUSTER_LEDGER_ORIGIN: z
    .string()
    .regex(/^[^\s+\p{Cc}]{1,200}$/u)
    .default('muster.local')
    .describe("what the names of tenants' ledgers begin with, such as `ledger.example.com`; the same for ever"),
  MUSTER_RECORD_READS: z
    .enum(['on', 'off'])
    .default('on')
    .describe("whether reads of a run's content by others than who began it are recorded"),
  MUSTER_LEDGER_DIR: z
    .string()
    .optional()
    .describe('folder for the ledger, which any web server can serve; without it, it is in DynamoDB'),
  MUSTER_LEDGER_HEADS_MS: positive
    .min(100)
    .max(60_000)
    .default(30_000)
    .describe('how often heads of running runs enter the ledger'),
  MUSTER_LEDGER_WAIT_MS: positive
    .min(100)
    .max(60_000)
    .default(5_000)
    .describe('how long heads wait at most until they are sealed; a second, where sealing takes little of the time'),
  MUSTER_LEDGER_WITNESSES: witnesses
    .optional()
    .describe(
      'where checkpoints are shown, as JSON: `[{"folder":"/mnt/witness"},{"url":"https://witness.example/","key":"<vkey>"},{"bucket":"<bucket with object lock>","retainDays":365}]`',
    ),
  MUSTER_RETENTION: retention
    .optional()
    .describe(
      'how long what is kept, as JSON, the first rule that matches a run: `[{"name":"support.*","content":"30d","run":"365d"}]`; for ever without it; the same for all servers and workers',
    ),
  MUSTER_CONTENT_KEY_FILE: z
    .string()
    .optional()
    .describe(
      "master key of tenants' content, from `muster erasure key`; without it or a key of KMS, their keys lie open in the table, and its backups can be read",
    ),
  MUSTER_CONTENT_KMS_KEY: z
    .string()
    .optional()
    .describe('symmetric key of AWS KMS in its place: id, ARN or alias; the same for all servers and workers'),
  MUSTER_CONTENT_KEY_CACHE_MS: positive
    .max(600_000)
    .default(30_000)
    .describe('how long a process goes on with a key that it has read; an erasure waits that long; the same for all'),
  MUSTER_CONTENT_KMS_ENDPOINT: z.url().optional().describe('a server that speaks as AWS KMS does; AWS without it'),
  MUSTER_LOCK_MS: positive
    .min(500)
    .default(10_000)
    .describe('time without a heartbeat after which a run is given to another worker'),
  MUSTER_JOURNAL_TTL_S: z.coerce
    .number()
    .int()
    .nonnegative()
    .default(3600)
    .describe('how long an archived run stays in Redis'),
  MUSTER_FSYNC: z
    .enum(['always', 'everysec'])
    .default('always')
    .describe('when the embedded Redis syncs its log to disk'),
  MUSTER_REPLICAS: z.coerce
    .number()
    .int()
    .min(0)
    .max(16)
    .default(0)
    .describe('replicas of Redis that must have a write before it counts as durable; set the same for all processes'),
  MUSTER_REPLICA_TIMEOUT_MS: positive
    .max(4000)
    .default(1000)
    .describe('time that they have for it; after that it answers `journal.not_replicated`'),
  MUSTER_START_WAIT_MS: z.coerce
    .number()
    .int()
    .min(0)
    .max(3_600_000)
    .default(60_000)
    .describe('how long a server or worker waits at its start for Redis and DynamoDB to answer; 0: not at all'),
  MUSTER_TABLE: z.string().default('muster').describe('DynamoDB table'),
  MUSTER_MODELS: models
    .optional()
    .describe(
      'routes to models, as a JSON file or JSON: `{"default":[{"openai":{"model":"gpt-5-mini"}},{"bedrock":{"model":"<id>","region":"eu-central-1"}}]}`',
    ),
  MUSTER_PRICES: prices
    .optional()
    .describe(
      'prices of models, in place of those that come with Muster, as a JSON file or JSON: `[{"model":"m","inputUsd":1,"cachedUsd":0.1,"outputUsd":4,"since":"2026-01-01"}]`',
    ),
  MUSTER_COMMITMENTS: committed
    .optional()
    .describe(
      'amounts that are promised to providers, as JSON: `{"aws-2026":{"provider":"bedrock","usd":50000,"from":"2026-01-01","until":"2026-12-31"}}`',
    ),
  MUSTER_MODEL: z.string().optional().describe('model of the route "default"'),
  MUSTER_MODEL_BASE_URL: z.url().optional().describe('any OpenAI-compatible server, such as Ollama or vLLM'),
  MUSTER_MODEL_API_KEY: z.string().optional().describe('key for MUSTER_MODEL_BASE_URL'),
  OPENAI_API_KEY: z.string().optional().describe('key for OpenAI'),
  REDIS_URL: z
    .string()
    .optional()
    .describe(
      'Redis or Valkey; several nodes of a Redis Cluster, separated by commas; by default one is found or started',
    ),
  DYNAMODB_ENDPOINT: z.url().optional().describe('DynamoDB-compatible server; by default one is started in process'),
  MUSTER_LOG: z.enum(['silent', 'error', 'warn', 'info', 'debug']).default('info').describe('log level'),
  OTEL_EXPORTER_OTLP_ENDPOINT: z
    .url()
    .optional()
    .describe('OpenTelemetry collector; without it no traces are sent, nor metrics'),
  OTEL_METRICS_EXPORTER: z
    .string()
    .optional()
    .describe('`prometheus`: metrics are there to be scraped, at `/metrics`; `otlp,prometheus`: and are sent'),
  OTEL_EXPORTER_PROMETHEUS_HOST: z.string().default('localhost').describe('address on which metrics can be scraped'),
  OTEL_EXPORTER_PROMETHEUS_PORT: port.default(9464).describe('its port; one for each process of a machine'),
})
export type Config = z.infer<typeof configSchema>

const secret = new Set([
  'MUSTER_KEY',
  'MUSTER_API_KEY',
  'MUSTER_SECRET',
  'MUSTER_REDACT_SECRET',
  'MUSTER_CONTENT_KMS_KEY',
  'MUSTER_MODEL_API_KEY',
  'OPENAI_API_KEY',
])

/**
 * Reads the configuration from environment variables; empty ones count as unset.
 *
 * @throws MusterError `config.invalid` naming each variable that is wrong
 */
export function readConfig(env: Record<string, string | undefined>): Config {
  const given = Object.fromEntries(
    Object.keys(configSchema.shape).map((key) => [key, env[key] === '' ? undefined : env[key]]),
  )
  const parsed = configSchema.safeParse(given)
  if (parsed.success) return parsed.data
  const issues = zodIssues(parsed.error)
  const detail = issues.map((issue) => `${issue.path.slice(1)}: ${issue.message}`).join('; ')
  throw new MusterError('config.invalid', detail, { issues })
}

/**
 * What the file says that a variable names; `read` gives its text.
 *
 * @throws MusterError `config.invalid`, with the paths of what is wrong in it
 */
export function settingIn<T>(variable: string, file: string, read: () => string, schema: z.ZodType<T>): T {
  let value: unknown
  try {
    value = JSON.parse(read())
  } catch (cause) {
    throw new MusterError('config.invalid', `${variable}: ${file} is no JSON that can be read`, { cause })
  }
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  const issues = zodIssues(parsed.error)
  throw new MusterError('config.invalid', `${variable}: ${file}: ${issuesText(issues)}`, { issues })
}

/** Each variable with its value (secrets masked, credentials in addresses removed), whether it was set, and what it is for. */
export function describeConfig(
  config: Config,
  env: Record<string, string | undefined>,
): { name: string; value: string | null; set: boolean; about: string }[] {
  return Object.entries(configSchema.shape).map(([name, schema]) => {
    const value = config[name as keyof Config]
    const shown = value === undefined ? null : secret.has(name) ? '(set)' : withoutCredentials(textOf(value))
    return { name, value: shown, set: Boolean(env[name]), about: schema.description ?? '' }
  })
}

/** A value as it is written in the environment. */
function textOf(value: string | number | readonly (number | object)[] | Record<string, unknown>): string {
  if (Array.isArray(value))
    return value.every((part) => typeof part === 'number') ? value.join() : JSON.stringify(value)
  if (typeof value !== 'object') return String(value)
  if (Object.values(value).some((part) => typeof part === 'object')) return JSON.stringify(value)
  return Object.entries(value)
    .map(([tenant, weight]) => `${tenant}=${weight}`)
    .join(',')
}

/** An address without user, password and query; what stands before the last `@` goes, since a password may hold any character. */
function withoutCredentials(value: string): string {
  if (!value.includes('://')) return value
  return value.replace(/\/\/.*@/s, '//***@').replace(/\?.*$/s, '?***')
}
