import { type JsonObject, objectOf, textOf } from './json.ts'

/**
 * How an answer says that it was served, where that has a price of its own: `service_tier`, which Anthropic has beside the
 * counts, and its `speed`. A request asks for it by the same names.
 */
export function tierOf({ service_tier, speed, usage }: JsonObject): string {
  const counted = objectOf(usage)
  const fast = [speed, counted.speed].includes('fast') ? 'fast' : ''
  return fast || textOf(service_tier) || textOf(counted.service_tier)
}
