import type { Json } from './definition.ts'

/**
 * A number of JSON as it was written, where a double would change it: what `JSON.rawJSON` makes, and `JSON.stringify` writes
 * as it stands. `JSON.isRawJSON` tells it from an object. It is frozen, and structuredClone makes an object of it.
 */
export type ExactNumber = { readonly rawJSON: string }

declare global {
  // Of ES2026, and not in TypeScript's library yet.
  interface JSON {
    rawJSON(text: string): ExactNumber
    isRawJSON(value: unknown): value is ExactNumber
  }
}

/** A number that is long, or has a power of ten, behind what stands before it: a double has each other one exactly. */
const LONG = /(^|[\s[,:])(-?(?:[\d.]{16}|[\d.]+[eE])[\d.eE+-]*)/
const ALL_LONG = new RegExp(LONG, 'g')

/** Whether a text of JSON may have a number that a double would change. */
export function mayBeChanged(text: string): boolean {
  return LONG.test(text)
}

/**
 * What a text of JSON says, each number of it as it was written: in place of those that a double would change stands what
 * `number` makes of their text.
 *
 * A reviver would do that too, but it is called for each value: of a body of millions that takes twenty seconds.
 *
 * @throws SyntaxError
 */
export function exactJson(text: string, number: (source: string) => unknown = JSON.rawJSON): Json {
  const value: Json = JSON.parse(text)
  if (!mayBeChanged(text)) return value
  // Nobody can have written it into the text.
  const mark = crypto.randomUUID().slice(0, 13)
  const marked = markedIn(text, mark)
  return marked === text ? value : unmarked(JSON.parse(marked), mark, number)
}

/** A text of JSON, which it is, in which each such number is a text that begins with the mark. */
function markedIn(json: string, mark: string): string {
  /** Where the last text that has begun ends, and the next begins. */
  let end = 0
  let quote = json.indexOf('"')
  return json.replace(ALL_LONG, (found, before: string, number: string, at: number) => {
    const start = at + before.length
    while (quote !== -1 && quote < start) {
      end = endOfText(json, quote)
      quote = json.indexOf('"', end)
    }
    return start >= end && isChanged(number) ? `${before}"${mark}${number}"` : found
  })
}

function endOfText(json: string, quote: number): number {
  for (let at = json.indexOf('"', quote + 1); at !== -1; at = json.indexOf('"', at + 1)) {
    let escapes = 0
    while (json[at - 1 - escapes] === '\\') escapes++
    if (escapes % 2 === 0) return at + 1
  }
  return json.length
}

function unmarked(value: Json, mark: string, number: (source: string) => unknown): Json {
  if (typeof value === 'string') {
    if (!value.startsWith(mark)) return value
    return number(value.slice(mark.length)) as Json // or what else the caller has asked for
  }
  if (Array.isArray(value)) for (let i = 0; i < value.length; i++) value[i] = unmarked(value[i] ?? null, mark, number)
  else if (value !== null && typeof value === 'object')
    for (const name of Object.keys(value)) value[name] = unmarked(value[name] ?? null, mark, number)
  return value
}

function isChanged(source: string): boolean {
  const value = Number(source)
  return !Number.isFinite(value) || decimalOf(String(value)) !== decimalOf(source)
}

/** A number's digits and the power of ten by which they count: the same for all ways of writing it. */
function decimalOf(text: string): string {
  const [, whole = '', fraction = '', power = '0'] = /^-?(\d+)(?:\.(\d+))?(?:e([+-]?\d+))?$/i.exec(text) ?? []
  const digits = (whole + fraction).replace(/^0+/, '')
  // An expression that looks for zeros at the end begins anew at each zero: a number may have millions.
  let end = digits.length
  while (digits[end - 1] === '0') end--
  return end === 0 ? '0' : `${digits.slice(0, end)}e${Number(power) - fraction.length + digits.length - end}`
}
