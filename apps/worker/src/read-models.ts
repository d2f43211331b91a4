import { readFileSync } from 'node:fs'
import { createModels, guarded, type Models, pricesWith, type Route, type Target } from '@muster/models'
import {
  type Config,
  type ModelPrices,
  type ModelRoutes,
  type ModelTarget,
  MusterError,
  modelPrices,
  modelRoutes,
  settingIn,
} from '@muster/protocol'
import type { Logger } from 'pino'

const DEFAULT_MODEL = 'gpt-5-mini'

/**
 * The models that `MUSTER_MODELS` names, and the route `default` as the other variables have it where that names none.
 *
 * @throws MusterError `config.invalid`
 */
export function readModels(config: Config, env: NodeJS.ProcessEnv = process.env): Models {
  const routes: Record<string, Route> = {}
  for (const [name, given] of Object.entries(routesOf(config.MUSTER_MODELS))) {
    const { targets, ...rule } = Array.isArray(given) ? { targets: given } : given
    const path = `/MUSTER_MODELS/${name}${Array.isArray(given) ? '' : '/targets'}`
    const [first, ...others] = targets.map((target, at) => targetOf(target, env, `${path}/${at}/key`))
    // Never empty, by its schema.
    if (first) routes[name] = { targets: [first, ...others], ...rule }
  }
  const models = createModels({
    routes: { ...routes, default: routes.default ?? defaultOf(config) },
    prices: pricesWith(pricesOf(config.MUSTER_PRICES)),
  })
  return config.MUSTER_GUARDRAIL ? guarded(models, config.MUSTER_GUARDRAIL) : models
}

/** What a route costs is told before its first call, where nobody knows. */
export function warnOfPrices(models: Pick<Models, 'routes'>, log: Pick<Logger, 'warn'>): void {
  for (const { name: route, targets } of models.routes())
    for (const { name: target, price, free } of targets)
      if (!price && !free)
        log.warn(
          { route, target },
          'no price is known: calls cost nothing in the totals, and are refused where money is limited; give one by MUSTER_PRICES or as `price` of the target',
        )
}

function pricesOf(given: Config['MUSTER_PRICES'] = []): ModelPrices {
  if (typeof given !== 'string') return given
  return settingIn('MUSTER_PRICES', given, () => readFileSync(given, 'utf8'), modelPrices)
}

function routesOf(given: Config['MUSTER_MODELS']): ModelRoutes {
  if (typeof given !== 'string') return given ?? {}
  return settingIn('MUSTER_MODELS', given, () => readFileSync(given, 'utf8'), modelRoutes)
}

/** A compatible server where one is named, else OpenAI. */
function defaultOf(config: Config): Target {
  const baseUrl = config.MUSTER_MODEL_BASE_URL
  if (baseUrl !== undefined) {
    const model = config.MUSTER_MODEL ?? 'default'
    return { model, baseUrl, apiKey: config.MUSTER_MODEL_API_KEY ?? 'none', free: true }
  }
  if (config.OPENAI_API_KEY === undefined) {
    throw new MusterError(
      'config.invalid',
      'there is no route "default": give MUSTER_MODELS one, or set OPENAI_API_KEY or MUSTER_MODEL_BASE_URL',
    )
  }
  return { model: config.MUSTER_MODEL ?? DEFAULT_MODEL, apiKey: config.OPENAI_API_KEY }
}

function targetOf(
  { openai, azure, anthropic, bedrock, key, ...common }: ModelTarget,
  env: NodeJS.ProcessEnv,
  path: string,
): Target {
  const keyOf = (name: string): string => {
    const value = env[name]
    if (value) return value
    const message = `there is no variable ${name} with the key`
    throw new MusterError('config.invalid', `${path.slice(1)}: ${message}`, { issues: [{ path, message }] })
  }
  if (openai) {
    // The key of OpenAI goes to nobody else unless it is named.
    const name = key ?? (openai.baseUrl === undefined ? 'OPENAI_API_KEY' : undefined)
    return { ...openai, ...common, apiKey: name === undefined ? 'none' : keyOf(name) }
  }
  if (azure) {
    const { deployment: model, endpoint, ...rest } = azure
    return {
      ...{ model, baseUrl: `${trimmed(endpoint)}/openai/v1`, provider: 'azure', ...rest, ...common },
      apiKey: keyOf(key ?? ''),
    }
  }
  if (anthropic) return { anthropic, ...common, apiKey: keyOf(key ?? '') }
  if (!bedrock) throw new MusterError('config.invalid', `${path.slice(1)}: no target`)
  const { api, effort, ...converse } = bedrock
  const apiKey = key === undefined ? undefined : keyOf(key)
  if (api === 'converse') return { bedrock: converse, ...common, ...(apiKey === undefined ? {} : { apiKey }) }
  const [baseUrl = '', ...elsewhere] = openAiAt(bedrock)
  return {
    ...{
      model: bedrock.model,
      baseUrl,
      aws: { region: bedrock.region, elsewhere },
      api,
      provider: 'bedrock',
      ...common,
    },
    // The variable is that of AWS's SDK, which Converse goes by; without either, requests are signed.
    apiKey: apiKey ?? env.AWS_BEARER_TOKEN_BEDROCK ?? '',
    ...(effort === undefined ? {} : { effort }),
  }
}

/** Where Bedrock speaks as OpenAI does, the address that AWS recommends first: no other has all models, or this all. */
function openAiAt({ region, endpoint }: NonNullable<ModelTarget['bedrock']>): string[] {
  if (endpoint !== undefined) return [`${trimmed(endpoint)}/openai/v1`, `${trimmed(endpoint)}/v1`]
  const mantle = `https://bedrock-mantle.${region}.api.aws`
  return [`https://bedrock-runtime.${region}.amazonaws.com/openai/v1`, `${mantle}/openai/v1`, `${mantle}/v1`]
}

function trimmed(url: string): string {
  return url.replace(/\/+$/, '')
}
