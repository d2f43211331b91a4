import { MusterError } from '@muster/protocol'

/** What the table holds: attributes by name, with a `pk` and a `sk`. */
export type Item = Record<string, unknown>

/*
 * Readers of attributes. Each throws MusterError `internal` where the attribute is not what this package writes: the table
 * was changed by something else, and going on would spread the damage.
 */

export function textOf(item: Item, name: string): string {
  const value = item[name]
  return typeof value === 'string' ? value : damaged(item, name)
}

export function numberOf(item: Item, name: string): number {
  const value = item[name]
  return typeof value === 'number' ? value : damaged(item, name)
}

export function bytesOf(item: Item, name: string): Uint8Array {
  const value = item[name]
  return value instanceof Uint8Array ? value : damaged(item, name)
}

export function textsOf(item: Item, name: string): string[] {
  const value = item[name]
  if (!Array.isArray(value)) return damaged(item, name)
  return value.map((text) => (typeof text === 'string' ? text : damaged(item, name)))
}

/** What it takes in DynamoDB, or somewhat more. */
export function bytesAtMost(value: unknown): number {
  if (value instanceof Uint8Array) return value.length
  if (typeof value === 'string') return Buffer.byteLength(value)
  if (typeof value !== 'object' || value === null) return OF_NUMBER
  let bytes = OF_LIST
  for (const [name, each] of Object.entries(value)) bytes += OF_LIST + Buffer.byteLength(name) + bytesAtMost(each)
  return bytes
}

/** Bytes of the longest number, and what a list or map takes besides what is in it. */
const OF_NUMBER = 21
const OF_LIST = 3

function damaged(item: Item, name: string): never {
  throw new MusterError('internal', `The item ${String(item.pk)} ${String(item.sk)} has no proper "${name}"`)
}
