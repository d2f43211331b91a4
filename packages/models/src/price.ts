import type { Usage } from '@muster/protocol'
import prices from './prices.json' with { type: 'json' }

/** US dollars per million tokens, from a day on, and where the figure comes from. */
export interface Price {
  model: string
  inputUsd: number
  cachedUsd: number
  outputUsd: number
  since: string
  source: string
}

/** The price of a model; a dated snapshot (`gpt-5-2025-08-07`) has its family's price. */
export function priceOf(model: string, table: readonly Price[] = prices): Price | undefined {
  const own = table.find((price) => price.model === model)
  if (own) return own
  const family = model.replace(/-\d{4}-\d{2}-\d{2}$/, '')
  return family === model ? undefined : table.find((price) => price.model === family)
}

/** What a call cost, in US dollars. Cached tokens are part of the input tokens. */
export function costOf(price: Pick<Price, 'inputUsd' | 'cachedUsd' | 'outputUsd'>, usage: Usage): number {
  // A server that counts cached tokens beside the input must not make a call cheaper than free.
  const fresh = Math.max(0, usage.inputTokens - usage.cachedTokens)
  return (fresh * price.inputUsd + usage.cachedTokens * price.cachedUsd + usage.outputTokens * price.outputUsd) / 1e6
}
