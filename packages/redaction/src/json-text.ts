import { dataProblem, isMedia, type Json, textOfData } from '@muster/protocol'

/** Texts that are JSON themselves may hold such again, this deep. */
export const NESTED_MAX = 8

const LITERAL = /"(?:[^"\\]|\\.)*"(\s*:)?/g

/** A text in a text that is JSON, decoded. */
export interface Literal {
  text: string
  isKey: boolean
  /** The key whose value it is. */
  key: string | undefined
  /** Where it stands, with its quotes. */
  start: number
  end: number
}

/** Whether a text is an object or an array as JSON: then what it holds is looked at, and not how it is escaped. */
export function isJsonText(text: string): boolean {
  if (!/^\s*[[{]/.test(text) || !/[\]}]\s*$/.test(text)) return false
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

/** The texts in a text that is JSON. */
export function* literalsOf(json: string): Generator<Literal> {
  let key: { text: string; end: number } | undefined
  for (const { index: start, 0: found, 1: colon = '' } of json.matchAll(LITERAL)) {
    const end = start + found.length - colon.length
    const text = JSON.parse(json.slice(start, end)) as string // a literal with its quotes
    const isKey = colon !== ''
    const own = !isKey && key && json.slice(key.end, start).trim() === '' ? key.text : undefined
    yield { text, isKey, key: own, start, end }
    key = isKey ? { text, end: start + found.length } : undefined
  }
}

/** A text that is JSON, with each text in it as `change` gives it; what is not changed stays to the byte. */
export function mapLiterals(json: string, change: (literal: Literal) => string): string {
  let result = ''
  let from = 0
  for (const literal of literalsOf(json)) {
    const changed = change(literal)
    if (changed === literal.text) continue
    result += json.slice(from, literal.start) + JSON.stringify(changed)
    from = literal.end
  }
  return from === 0 ? json : result + json.slice(from)
}

/**
 * JSON with each text in it as `change` gives it, and keys as `rename` does; what is not changed is the same object. The data of
 * an image or a file stays where it is what its type says; in a file of text, that text is changed.
 */
export function mapTexts(
  value: Json,
  change: (text: string, key?: string) => string,
  rename: (name: string) => string,
  key?: string,
): Json {
  if (typeof value === 'string') return change(value, key)
  if (value === null || typeof value !== 'object' || JSON.isRawJSON(value)) return value
  if (Array.isArray(value)) {
    const list = value.map((item) => mapTexts(item, change, rename))
    return list.some((item, i) => item !== value[i]) ? list : value
  }
  const entries = Object.entries(value)
  const mediaType = mediaTypeOf(value)
  let same = true
  for (const entry of entries) {
    const [name, item] = entry
    const changed =
      mediaType !== undefined && name === 'data'
        ? changedData(mediaType, String(item), change)
        : mapTexts(item as Json, change, rename, name) // a field that is there has a value
    const renamed = rename(name)
    if (changed === item && renamed === name) continue
    same = false
    entry[0] = renamed
    entry[1] = changed
  }
  if (same) return value
  const names = new Set<string>()
  return Object.fromEntries(entries.map(([name, item]) => [unused(name, names), item]))
}

/** Of what is an image or a file, and not only named so: anything could be hidden there. */
function mediaTypeOf(value: Json): string | undefined {
  if (!isMedia(value) || !('data' in value)) return undefined
  return dataProblem(value.mediaType, value.data) === undefined ? value.mediaType : undefined
}

function changedData(mediaType: string, data: string, change: (text: string) => string): string {
  const text = mediaType.startsWith('text/') ? textOfData(data) : undefined
  if (text === undefined) return data
  const changed = change(text)
  return changed === text ? data : Buffer.from(changed).toString('base64')
}

/** Two names may have the same mask; neither field is to be lost. */
function unused(name: string, names: Set<string>): string {
  let free = name
  for (let count = 2; names.has(free); count++) free = `${name} ${count}`
  names.add(free)
  return free
}
