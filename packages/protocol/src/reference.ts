import type { Json } from './definition.ts'
import { MusterError } from './errors.ts'

/** A reference in a plan's input: `#/input/…` or `#/steps/<step>/output/…` (JSON Pointer, RFC 6901). */
export interface Reference {
  /** The step that it refers to; undefined for the run's own input. */
  readonly step: string | undefined
  readonly pointer: string
}

/** `{"$ref": "#/…"}` and nothing else is a reference. */
export function referenceOf(value: Json): string | undefined {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return undefined
  const ref = value.$ref
  return typeof ref === 'string' && Object.keys(value).length === 1 ? ref : undefined
}

/** Parsed references: those of a plan are the same in every run. Emptied when it is full. */
const known = new Map<string, Reference>()
const KNOWN_MAX = 10_000
/** Longer ones are not kept. */
const LENGTH_MAX = 256

/** Throws `plan.unknown_reference` where the text is not a reference. */
export function parseReference(ref: string, path = ''): Reference {
  let reference = known.get(ref)
  if (!reference) {
    reference = readReference(ref, path)
    if (ref.length > LENGTH_MAX) return reference
    if (known.size >= KNOWN_MAX) known.clear()
    known.set(ref, reference)
  }
  return reference
}

function readReference(ref: string, path: string): Reference {
  const input = /^#\/input(\/.*)?$/s.exec(ref)
  if (input) return { step: undefined, pointer: input[1] ?? '' }
  const output = /^#\/steps\/([^/]+)\/output(\/.*)?$/s.exec(ref)
  if (output?.[1]) return { step: unescapePointer(output[1]), pointer: output[2] ?? '' }
  const message = `"${ref.slice(0, 200)}" is not a reference`
  throw new MusterError('plan.unknown_reference', message, { issues: [{ path, message }] })
}

/** A JSON Pointer of the names and places on the way. */
export function pointerOf(path: readonly PropertyKey[]): string {
  return path.map((part) => `/${escapePointer(String(part))}`).join('')
}

function escapePointer(token: string): string {
  return token.replaceAll('~', '~0').replaceAll('/', '~1')
}

function unescapePointer(token: string): string {
  return token.includes('~') ? token.replaceAll('~1', '/').replaceAll('~0', '~') : token
}

/** The value at a JSON Pointer; undefined where there is none. */
export function atPointer(value: Json, pointer: string): Json | undefined {
  if (pointer === '') return value
  let at: Json | undefined = value
  for (const token of pointer.split('/').slice(1)) {
    if (at === null || typeof at !== 'object') return undefined
    const key = unescapePointer(token)
    // Enumerable, so that an array's length is not a member.
    at = Object.prototype.propertyIsEnumerable.call(at, key) ? (at as Record<string, Json>)[key] : undefined
  }
  return at
}

/** Calls `visit` for every reference in a value, with the JSON Pointer of where it stands. */
export function eachReference(value: Json, visit: (ref: string, path: string) => void, path = ''): void {
  const ref = referenceOf(value)
  if (ref !== undefined) visit(ref, path)
  else if (value !== null && typeof value === 'object') {
    for (const [key, child] of Object.entries(value)) {
      if (child !== undefined) eachReference(child, visit, `${path}/${escapePointer(key)}`)
    }
  }
}

/** The value with every reference replaced by what `lookup` gives for it; itself where it holds none. */
export function resolveReferences(value: Json, lookup: (ref: string) => Json): Json {
  if (value === null || typeof value !== 'object') return value
  const ref = referenceOf(value)
  if (ref !== undefined) return lookup(ref)
  if (Array.isArray(value)) {
    const items = value.map((item) => resolveReferences(item, lookup))
    return items.some((item, i) => item !== value[i]) ? items : value
  }
  let copy: { [key: string]: Json } | undefined
  for (const key of Object.keys(value)) {
    const child = value[key] as Json // its own key
    const resolved = resolveReferences(child, lookup)
    if (resolved === child) continue
    // A copy has every key as its own, so that none of them is a setter's name.
    copy ??= { ...value }
    copy[key] = resolved
  }
  return copy ?? value
}
