import type { Usage } from '@muster/protocol'
import { namesAt, withoutGeography } from './geography.ts'
import prices from './prices.json' with { type: 'json' }

/** US dollars per million tokens. */
interface Rates {
  inputUsd: number
  cachedUsd: number
  outputUsd: number
  /** Of tokens that are written to the vendor's cache; as other input unless given. */
  cacheWriteUsd?: number | undefined
  /** Of those that are kept there for long (an hour at Anthropic and Bedrock, twelve at OpenAI); as the others unless given. */
  longCacheWriteUsd?: number | undefined
}

interface SizedRates extends Rates {
  /** Of the whole request, where it has more input tokens than these. */
  over?: (Rates & { inputTokens: number }) | undefined
}

/** What a model costs, and where an answer says that it was served otherwise (`priority`, `flex`, `fast`), what that does. */
export interface TieredRates extends SizedRates {
  tiers?: { [tier: string]: SizedRates | undefined } | undefined
}

/** From a day on, and where the figures come from. */
export interface Price extends TieredRates {
  model: string
  since: string
  source: string
}

/**
 * The price of a model at a time (ms since the epoch): that with the latest day by then. A dated snapshot
 * (`gpt-5-2025-08-07`) has its family's price; with a region, it is asked at Bedrock there.
 */
export function priceOf(
  model: string,
  table: readonly Price[] = prices,
  at: number = Date.now(),
  region?: string,
): Price | undefined {
  for (const name of region === undefined ? [model] : namesAt(region, model)) {
    const found = priceAt(name, table, at) ?? priceAt(familyOf(name), table, at)
    if (found) return found
  }
  return undefined
}

/** Of a dated snapshot (`gpt-5-2025-08-07`, `claude-sonnet-4-5-20250929`) its family; any other model itself. */
export function familyOf(model: string): string {
  return model.replace(/-(?:\d{4}-\d{2}-\d{2}|20\d{6})$/, '')
}

function priceAt(model: string, table: readonly Price[], at: number): Price | undefined {
  let latest: Price | undefined
  for (const price of rowsOf(table).get(model) ?? []) {
    if (Date.parse(price.since) > at) continue
    if (!latest || price.since > latest.since) latest = price
  }
  return latest
}

const rows = new WeakMap<readonly Price[], Map<string, Price[]>>()

/** Of each model its own: each call asks for some. */
function rowsOf(table: readonly Price[]): Map<string, Price[]> {
  let known = rows.get(table)
  if (!known) {
    known = Map.groupBy(table, ({ model }) => model)
    rows.set(table, known)
  }
  return known
}

/** The table that comes with Muster; all of a model that `own` names, in any geography, is replaced by what that says. */
export function pricesWith(own: readonly Price[]): Price[] {
  const named = new Set(own.map(({ model }) => model))
  return [...prices.filter(({ model }) => !named.has(model) && !named.has(withoutGeography(model))), ...own]
}

/** What a call cost, in US dollars. Tokens that were cached, and that are from now on, are part of the input tokens. */
export function costOf(price: TieredRates, usage: Usage, tier = ''): number {
  const {
    inputUsd,
    cachedUsd,
    outputUsd,
    cacheWriteUsd = inputUsd,
    longCacheWriteUsd = cacheWriteUsd,
  } = ratesAt(price, tier, usage.inputTokens)
  const { inputTokens, cachedTokens, outputTokens, cacheWriteTokens = 0, longCacheWriteTokens = 0 } = usage
  // A server that counts them beside the input must not make a call cheaper than free.
  const fresh = Math.max(0, inputTokens - cachedTokens - cacheWriteTokens)
  const written = Math.max(0, cacheWriteTokens - longCacheWriteTokens)
  const inputCost = fresh * inputUsd + cachedTokens * cachedUsd + written * cacheWriteUsd
  return (inputCost + longCacheWriteTokens * longCacheWriteUsd + outputTokens * outputUsd) / 1e6
}

/** Counts of what was written to a cache, as usage has them: none where there is none. */
export function cacheWrites(tokens: number, long: number): Pick<Usage, 'cacheWriteTokens' | 'longCacheWriteTokens'> {
  return {
    ...(tokens > 0 ? { cacheWriteTokens: tokens } : {}),
    ...(long > 0 ? { longCacheWriteTokens: long } : {}),
  }
}

/** A tier that the price does not tell of costs what the model does. */
function ratesAt({ tiers, ...own }: TieredRates, tier: string, inputTokens: number): Rates {
  const { over, ...rates } = (tiers && Object.hasOwn(tiers, tier) ? tiers[tier] : undefined) ?? own
  return over && inputTokens > over.inputTokens ? over : rates
}

/** What two calls have used together. */
export function joinUsage(one: Usage, other: Usage): Usage {
  const reasoningTokens = (one.reasoningTokens ?? 0) + (other.reasoningTokens ?? 0)
  return {
    inputTokens: one.inputTokens + other.inputTokens,
    outputTokens: one.outputTokens + other.outputTokens,
    cachedTokens: one.cachedTokens + other.cachedTokens,
    ...cacheWrites(
      (one.cacheWriteTokens ?? 0) + (other.cacheWriteTokens ?? 0),
      (one.longCacheWriteTokens ?? 0) + (other.longCacheWriteTokens ?? 0),
    ),
    ...(reasoningTokens > 0 ? { reasoningTokens } : {}),
  }
}
