import type { Json, Usage } from '@muster/protocol'
import { cacheWrites } from '../price.ts'
import { numberOf, objectOf } from './json.ts'

/** Of the details that OpenAI gives of input tokens, what was read from its cache and what was written to it. */
export function cachedIn(
  details: Json | undefined,
): Pick<Usage, 'cachedTokens' | 'cacheWriteTokens' | 'longCacheWriteTokens'> {
  const { cached_tokens, cache_write_tokens, cache_write_tokens_details } = objectOf(details)
  const long = numberOf(objectOf(cache_write_tokens_details).ttl_12h_tokens)
  return { cachedTokens: numberOf(cached_tokens), ...cacheWrites(numberOf(cache_write_tokens), long) }
}
