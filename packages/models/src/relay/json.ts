import type { Json } from '@muster/protocol'

/** An object of JSON: a client's request, an item, an event. */
export type JsonObject = { [name: string]: Json }

/** Those of a list that are objects. */
export function objectsOf(value: Json | undefined): JsonObject[] {
  return Array.isArray(value) ? value.filter(isObject) : []
}

/** A number that is kept as it was written is none. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !JSON.isRawJSON(value)
}

export function textOf(value: Json | undefined): string {
  return typeof value === 'string' ? value : ''
}

export function numberOf(value: Json | undefined): number {
  return typeof value === 'number' ? value : 0
}

/** Empty where it is none, so that fields can be asked for. */
export function objectOf(value: Json | undefined): JsonObject {
  return isObject(value) ? value : {}
}
