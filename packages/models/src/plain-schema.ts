import { type Issue, type JsonSchema, MusterError } from '@muster/protocol'
import { isObject } from './relay/json.ts'

/** What of a schema Claude can be held to, as Anthropic and Bedrock have it ("JSON Schema limitations"). */
const FORMATS = ['date-time', 'time', 'date', 'duration', 'email', 'hostname', 'uri', 'ipv4', 'ipv6', 'uuid']

/**
 * A schema in the words that Claude takes for an answer: all else (bounds, lengths, patterns) is told in descriptions, and
 * held to where the answer is checked.
 *
 * @throws MusterError `model.unsupported` for what would be another schema without it, naming each place
 */
export function plainSchema(schema: JsonSchema, path: string): JsonSchema {
  const issues: Issue[] = []
  const plain = told(schema, path, issues)
  if (isRecursive(schema)) issues.push({ path, message: 'refers to itself' })
  if (issues.length === 0) return plain
  const places = issues.map(({ path, message }) => `${path} ${message}`)
  const message = `this target cannot be held to the schema: ${places.slice(0, 10).join('; ')}`
  throw new MusterError('model.unsupported', message, { issues })
}

function told(schema: unknown, path: string, issues: Issue[]): JsonSchema {
  if (!isSchema(schema)) {
    issues.push({ path, message: 'says nothing of what it is' })
    return {}
  }
  const { $schema: _, $defs, $ref, title, description, ...rest } = schema
  const defs = isSchema($defs) ? { $defs: toldEach($defs, `${path}/$defs`, issues) } : {}
  if ($ref !== undefined) return { ...defs, $ref }
  const { plain, words } = wordedOf(rest, path, issues)
  const said = Object.keys(words).length > 0 ? JSON.stringify(words) : ''
  const about = [description, said].filter((text) => typeof text === 'string' && text !== '').join('\n')
  return {
    ...defs,
    ...(title === undefined ? {} : { title }),
    ...(about === '' ? {} : { description: about }),
    ...plain,
  }
}

/** `words`: what can be told in words alone. */
function wordedOf(schema: JsonSchema, path: string, issues: Issue[]): { plain: JsonSchema; words: JsonSchema } {
  const { type, enum: values, const: value, anyOf, oneOf, allOf, ...rest } = schema
  if (values !== undefined) return { plain: { enum: values }, words: rest }
  if (value !== undefined) return { plain: { const: value }, words: rest }
  const union = anyOf ?? oneOf
  if (union !== undefined) return { plain: { anyOf: toldAll(union, `${path}/anyOf`, issues) }, words: rest }
  if (allOf !== undefined) return { plain: { allOf: toldAll(allOf, `${path}/allOf`, issues) }, words: rest }
  // Of several, each by itself: it may be an object or nothing.
  if (Array.isArray(type) && type.some((one) => one === 'object' || one === 'array'))
    return { plain: { anyOf: type.map((one) => told({ ...of(one, rest), type: one }, path, issues)) }, words: {} }
  if (type === 'object') return ofObject(rest, path, issues)
  if (type === 'array') return ofArray(rest, path, issues)
  if (type === undefined) issues.push({ path, message: 'says nothing of what it is' })
  const { format, ...words } = rest
  if (format === undefined) return { plain: { type }, words }
  return FORMATS.includes(String(format)) ? { plain: { type, format }, words } : { plain: { type }, words: rest }
}

/** Nothing is to be said of what is nothing. */
function of(type: unknown, words: JsonSchema): JsonSchema {
  return type === 'null' ? {} : words
}

function ofObject(
  { properties = {}, required, additionalProperties, propertyNames: _, ...words }: JsonSchema,
  path: string,
  issues: Issue[],
): { plain: JsonSchema; words: JsonSchema } {
  const fields = toldEach(properties, `${path}/properties`, issues)
  // Of those that it may have besides there are none; where all are such, nothing would be left.
  if (Object.keys(fields).length === 0 && additionalProperties !== false)
    issues.push({ path, message: 'has fields that are not named' })
  const named = required === undefined ? {} : { required }
  return { plain: { type: 'object', properties: fields, ...named, additionalProperties: false }, words }
}

function ofArray(
  { items, prefixItems, minItems, ...words }: JsonSchema,
  path: string,
  issues: Issue[],
): { plain: JsonSchema; words: JsonSchema } {
  const of = Array.isArray(prefixItems)
    ? { anyOf: toldAll(isSchema(items) ? [...prefixItems, items] : prefixItems, `${path}/prefixItems`, issues) }
    : told(items, `${path}/items`, issues)
  const isFew = minItems === 0 || minItems === 1
  return {
    plain: { type: 'array', items: of, ...(isFew ? { minItems } : {}) },
    words: {
      ...(Array.isArray(prefixItems) ? { prefixItems } : {}),
      ...(isFew || minItems === undefined ? {} : { minItems }),
      ...words,
    },
  }
}

function toldAll(list: unknown, path: string, issues: Issue[]): JsonSchema[] {
  return (Array.isArray(list) ? list : []).map((one, at) => told(one, `${path}/${at}`, issues))
}

function toldEach(of: unknown, path: string, issues: Issue[]): JsonSchema {
  const entries = Object.entries(isSchema(of) ? of : {})
  return Object.fromEntries(entries.map(([name, one]) => [name, told(one, `${path}/${name}`, issues)]))
}

function isRecursive({ $defs, ...root }: JsonSchema): boolean {
  const defs = isSchema($defs) ? $defs : {}
  const done = new Set<string>()
  const under = (schema: unknown, open: readonly string[]): boolean =>
    refsIn(schema).some((ref) => {
      if (ref === '#' || open.includes(ref)) return true
      if (done.has(ref)) return false
      done.add(ref)
      return under(defs[ref.replace('#/$defs/', '')], [...open, ref])
    })
  return under(root, [])
}

function refsIn(schema: unknown): string[] {
  const refs: string[] = []
  JSON.stringify(schema, (name, value) => {
    if (name === '$ref') refs.push(String(value))
    return value
  })
  return refs
}

function isSchema(value: unknown): value is JsonSchema {
  return isObject(value)
}
