import { type Json, MusterError } from '@muster/protocol'

declare global {
  // Of ES2026, and not in TypeScript's library yet.
  interface JSON {
    rawJSON(text: string): object
    parse(text: string, reviver: (key: string, value: unknown, context: { source?: string }) => unknown): unknown
  }
}

/** Without one of these a double has each number of a text exactly. */
const MAYBE_CHANGED = /[\d.]{16}|\d[eE]/

/**
 * An object of JSON, each number of it as it was written: those that JavaScript would round are what `number` makes of their
 * text.
 *
 * @returns `undefined` where the text is no JSON, or no object
 */
export function exactObject<T = Json>(
  text: string,
  number: (source: string) => T,
): Record<string, T | Json> | undefined {
  let value: unknown
  try {
    value = MAYBE_CHANGED.test(text)
      ? JSON.parse(text, (_, value, { source }) =>
          typeof value === 'number' && source !== undefined && isChanged(value, source) ? number(source) : value,
        )
      : JSON.parse(text)
  } catch (error) {
    if (error instanceof MusterError) throw error
    return undefined
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  return value as Record<string, T | Json> // JSON, but for what `number` gave
}

/** A number as AWS's SDK takes and gives it where a double would round it, in what it calls a document. */
export type AwsNumber = bigint | { type: 'bigDecimal'; string: string }

/** Such a number; `undefined` for one that the SDK has no way to write. */
export function awsNumber(source: string): AwsNumber | undefined {
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

function isChanged(value: number, source: string): boolean {
  return !Number.isFinite(value) || decimalOf(String(value)) !== decimalOf(source)
}

/** A number's digits and the power of ten by which they count: the same for all ways of writing it. */
function decimalOf(text: string): string {
  const [, whole = '', fraction = '', power = '0'] = /^-?(\d+)(?:\.(\d+))?(?:e([+-]?\d+))?$/i.exec(text) ?? []
  const digits = (whole + fraction).replace(/^0+/, '')
  const kept = digits.replace(/0+$/, '')
  return kept === '' ? '0' : `${kept}e${Number(power) - fraction.length + digits.length - kept.length}`
}
