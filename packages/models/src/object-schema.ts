import type { JsonSchema } from '@muster/protocol'
import { exactObject } from './exact-json.ts'
import type { ModelRequest } from './message.ts'
import { isObject } from './relay/json.ts'

/** Vendors take objects alone: as what a tool is called with, without a choice between whole ones, and as an answer. */

/** Parameters as each vendor takes them: what they are called with is checked against the tool's own schema. */
export function parametersOf(schema: JsonSchema): JsonSchema {
  const parameters = flat(schema, { root: schema, known: new Map() })
  const { $defs } = schema
  return $defs === undefined || '$defs' in parameters ? parameters : { ...parameters, $defs }
}

interface Around {
  root: JsonSchema
  /** What was referred to before; what refers to itself says nothing more. */
  known: Map<unknown, JsonSchema>
}

function flat(schema: JsonSchema, around: Around): JsonSchema {
  const { root, known } = around
  const { $ref } = schema
  if ($ref !== undefined) {
    if (!known.has($ref)) {
      known.set($ref, {})
      known.set($ref, flat(defined($ref, root), around))
    }
    return known.get($ref) ?? {}
  }
  const { anyOf, oneOf, allOf, additionalProperties: _, ...own } = schema
  const choices = [anyOf, oneOf].filter(Array.isArray)
  if (choices.length === 0 && !Array.isArray(allOf))
    return schema.type === undefined ? { type: 'object', ...schema } : schema
  const partsOf = (list: unknown) =>
    (Array.isArray(list) ? list : []).filter(isObject).map((part: JsonSchema) => flat(part, around))
  const all = [own, ...partsOf(allOf)]
  const ways = choices.map(partsOf)
  const required = [...all.flatMap(requiredOf), ...ways.flatMap(common)]
  const description = [own.description, ...ways.map(told)].filter((text) => typeof text === 'string' && text !== '')
  return {
    ...own,
    type: 'object',
    ...(description.length > 0 ? { description: description.join('\n') } : {}),
    properties: joined([...all, ...ways.flat()]),
    ...(required.length > 0 ? { required: [...new Set(required)] } : {}),
  }
}

function defined($ref: unknown, { $defs }: JsonSchema): JsonSchema {
  const found = isObject($defs) ? $defs[String($ref).replace('#/$defs/', '')] : undefined
  return isObject(found) ? found : {}
}

function requiredOf({ required }: JsonSchema): unknown[] {
  return Array.isArray(required) ? required : []
}

/** What every way has to have. */
function common(ways: readonly JsonSchema[]): unknown[] {
  const [first = {}, ...others] = ways
  return requiredOf(first).filter((name) => others.every((other) => requiredOf(other).includes(name)))
}

/** Which fields go together. */
function told(ways: readonly JsonSchema[]): string {
  const sets = ways.map((way) => requiredOf(way).join(', ')).filter((set) => set !== '')
  return sets.length > 0 ? `One of these sets of fields: ${sets.join(' | ')}` : ''
}

/** All fields; one that is not always the same may be any of what it is. */
function joined(parts: readonly JsonSchema[]): JsonSchema {
  const fields = new Map<string, Map<string, unknown>>()
  for (const { properties } of parts)
    for (const [name, field] of Object.entries(isObject(properties) ? properties : {}))
      fields.set(name, (fields.get(name) ?? new Map()).set(JSON.stringify(field), field))
  return Object.fromEntries(
    [...fields].map(([name, kinds]) => [
      name,
      kinds.size > 1 ? { anyOf: [...kinds.values()] } : [...kinds.values()][0],
    ]),
  )
}

/** Parameters as a model is shown them, with leave to pass a reference to an earlier output in place of any top-level value. */
export function withReferences(schema: JsonSchema): JsonSchema {
  const parameters = parametersOf(schema)
  const { properties } = parameters
  if (typeof properties !== 'object' || properties === null) return parameters
  const reference = {
    type: 'object',
    properties: { $ref: { type: 'string' } },
    required: ['$ref'],
    additionalProperties: false,
  }
  return {
    ...parameters,
    properties: Object.fromEntries(
      Object.entries(properties).map(([name, value]) => [name, { anyOf: [value, reference] }]),
    ),
  }
}

type Output = NonNullable<ModelRequest['output']>

/** An answer that is no object is the one field of one; undefined where it need not be. */
export function wrapped({ schema, ...output }: Output): Output | undefined {
  if (schema.type === 'object') return undefined
  const { $defs, ...rest } = JSON.parse(JSON.stringify(schema), (name, value: unknown) =>
    // What refers to all of it is now further in.
    name === '$ref' && value === '#' ? '#/properties/value' : value,
  )
  return {
    ...output,
    schema: {
      type: 'object',
      properties: { value: rest },
      required: ['value'],
      additionalProperties: false,
      ...($defs === undefined ? {} : { $defs }),
    },
  }
}

/** What was wrapped; as it is where the model has not done so. */
export function unwrapped(text: string): string {
  const object = exactObject(text)
  const isWrapped = object && 'value' in object && Object.keys(object).length === 1
  return isWrapped ? JSON.stringify(object.value) : text
}
