import type { Json } from '@muster/protocol'

/** A number that is kept as it was written is none. */
export function isObject(value: Json): value is { [name: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !JSON.isRawJSON(value)
}
