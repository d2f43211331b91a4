import { numberOf, objectOf } from './json.ts'
import type { Wire } from './wire.ts'

/** OpenAI's embeddings, which are given whole and call nothing. */
export const embeddings: Wire = {
  path: '/embeddings',
  said: 'data',
  bodyOf: (body, model) => ({ ...body, model }),
  lesser: () => undefined,
  usageOf: ({ usage }) =>
    usage ? { inputTokens: numberOf(objectOf(usage).prompt_tokens), outputTokens: 0, cachedTokens: 0 } : undefined,
  judge: async () => {},
}
