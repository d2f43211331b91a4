import { exactJson, type Json, MusterError } from '@muster/protocol'
import { isObject } from './relay/json.ts'

/**
 * An object of JSON, each number of it as it was written, as `exactJson` reads them.
 *
 * @returns `undefined` where the text is no JSON, or no object
 */
export function exactObject<T = Json>(
  text: string,
  number?: (source: string) => T,
): Record<string, T | Json> | undefined {
  let value: Json
  try {
    value = exactJson(text, number)
  } catch (error) {
    if (error instanceof MusterError) throw error
    return undefined
  }
  return isObject(value) ? value : undefined
}

/** A number as AWS's SDK takes and gives it where a double would round it, in what it calls a document. */
export type AwsNumber = bigint | { type: 'bigDecimal'; string: string }

/** Digits of a number that is one: longer ones take seconds to be read. */
const DIGITS_MAX = 1000

/** Such a number; `undefined` for one that the SDK has no way to write. */
export function awsNumber(source: string): AwsNumber | undefined {
  if (source.length > DIGITS_MAX) return undefined
  if (/^-?\d+$/.test(source)) return BigInt(source)
  return /^-?\d+\.\d+$/.test(source) ? { type: 'bigDecimal', string: source } : undefined
}

/** The JSON of a document that AWS's SDK has given. */
export function awsDocumentText(document: unknown): string {
  return JSON.stringify(document, (_, one) => {
    if (typeof one === 'bigint') return JSON.rawJSON(String(one))
    // Of a class of the SDK's own: what a model wrote so is a plain object.
    const isNumber = typeof one === 'object' && one?.type === 'bigDecimal' && Object.getPrototypeOf(one) !== OBJECT
    return isNumber ? JSON.rawJSON(String(one.string)) : one
  })
}

const OBJECT = Object.prototype
