import type { CedarValueJson, TypeAndId } from '@cedar-policy/cedar-wasm/nodejs'
import { CONSTRUCTORS, EXTENSIONS } from './extension.ts'
import { Irregular } from './irregular.ts'
import type { Type } from './schema.ts'
import { Atom, type CedarRecord, EvaluationFailure, isRecord, isSet, long, Uid, type Value } from './value.ts'

/** Cedar's names of entity types: identifiers, joined by `::`. */
const NAME = /^[_a-zA-Z]\w*(?:::[_a-zA-Z]\w*)*$/
const RESERVED = /(?:^|::)(?:true|false|if|then|else|in|is|like|has|__cedar)(?:$|::)/
/** Types that were seen to be well-formed; their number is that of the types that programs use. */
const known = new Set<string>()
const KNOWN_MAX = 10_000

type Fields = { readonly [name: string]: unknown }

function isFields(json: unknown): json is Fields {
  return typeof json === 'object' && json !== null && !Array.isArray(json)
}

/** Reads `{ type, id }` or `{ __entity: { type, id } }`. @throws Irregular */
export function readUid(json: unknown, path: string): Uid {
  const uid = isFields(json) ? uidOf('__entity' in json ? json.__entity : json, path) : undefined
  if (uid === undefined) throw new Irregular(`${path}: expected an entity, as { type, id }`)
  return uid
}

function uidOf(json: unknown, path: string): Uid | undefined {
  if (!isFields(json) || typeof json.type !== 'string' || typeof json.id !== 'string') return undefined
  if (!known.has(json.type)) {
    if (!NAME.test(json.type) || RESERVED.test(json.type))
      throw new Irregular(`${path}: "${json.type.slice(0, 80)}" is no name of an entity type`)
    if (known.size < KNOWN_MAX) known.add(json.type)
  }
  return new Uid(json.type, text(json.id, path))
}

/** JSON has no lone surrogates, nor has Cedar. */
function text(value: string, path: string): string {
  if (!value.isWellFormed()) throw new Irregular(`${path}: the text is no well-formed Unicode`)
  return value
}

/**
 * Reads a value in Cedar's JSON form. An integer may be a bigint, which is exact; a number beyond 2^53
 * counts as the digits that JSON writes for it. With a type, entities and extension values may come
 * without their escape, as Cedar's schema-based parsing allows.
 *
 * @throws Irregular with the path of what is no such value, or not of the type
 */
export function readValue(json: unknown, path: string, type?: Type): Value {
  const value = type === undefined ? readAny(json, path) : readTyped(json, path, type)
  if (type !== undefined && !type.holds(value)) throw new Irregular(`${path}: expected ${type.name}`)
  return value
}

function readTyped(json: unknown, path: string, type: Type): Value {
  switch (type.kind) {
    case 'entity':
      return readUid(json, path)
    case 'extension':
      return readExtension(json, path, type.of)
    case 'set':
      if (!Array.isArray(json)) break
      return json.map((element, i) => readValue(element, `${path}[${i}]`, type.element))
    case 'record': {
      if (!isFields(json)) break
      return readFields(json, path, (name) => {
        const field = type.fields.get(name)
        if (field === undefined) throw new Irregular(`${path}.${name} is not in the schema`)
        return field.type
      })
    }
    default:
  }
  return readAny(json, path)
}

/** Reads a record: what is written as an object, and no escape of another value. @throws Irregular */
export function readRecord(json: unknown, path: string, type?: Type): CedarRecord {
  const value = readValue(json, path, type)
  if (!isRecord(value)) throw new Irregular(`${path}: expected an object`)
  return value
}

/** Reads the fields of an object, each by its type. @throws Irregular */
export function readFields(json: unknown, path: string, type?: Type | ((name: string) => Type)): CedarRecord {
  if (!isFields(json)) throw new Irregular(`${path}: expected an object`)
  const fields: [string, Value][] = []
  for (const [name, field] of Object.entries(json)) {
    // As JSON, which has no undefined.
    if (field === undefined) continue
    const of = typeof type === 'function' ? type(name) : type
    fields.push([text(name, path), readValue(field, `${path}.${name}`, of)])
  }
  return Object.fromEntries(fields)
}

/** An extension value: escaped, `{ fn, arg }`, or what its constructor takes. */
function readExtension(json: unknown, path: string, type: string): Value {
  if (isFields(json)) {
    const call = callOf('__extn' in json ? json.__extn : json, path)
    if (call !== undefined) return call
  }
  return callExtension(CONSTRUCTORS[type], [readAny(json, path)], path)
}

function readAny(json: unknown, path: string): Value {
  switch (typeof json) {
    case 'boolean':
      return json
    case 'string':
      return text(json, path)
    case 'number':
      if (Number.isSafeInteger(json)) return json + 0
      return inRange(Number.isInteger(json) && Math.abs(json) < 1e21 ? BigInt(String(json)) : undefined, path)
    case 'bigint':
      return inRange(json, path)
    case 'object':
      if (Array.isArray(json)) return json.map((element, i) => readAny(element, `${path}[${i}]`))
      if (json !== null) return readObject(json as Fields, path)
      break
    default:
  }
  throw new Irregular(`${path}: ${json === null ? 'null' : typeof json} is no value of Cedar`)
}

function readObject(json: Fields, path: string): Value {
  if ('__expr' in json && typeof json.__expr === 'string')
    throw new Irregular(`${path}: the \`__expr\` escape is no longer supported`)
  // What has the form of an escape is one, whatever else it holds.
  const escaped =
    ('__entity' in json ? uidOf(json.__entity, path) : undefined) ??
    ('__extn' in json ? callOf(json.__extn, path) : undefined)
  if (escaped !== undefined) return escaped
  return readFields(json, path)
}

function callOf(json: unknown, path: string): Value | undefined {
  if (!isFields(json) || typeof json.fn !== 'string') return undefined
  if (json.arg !== undefined) return callExtension(json.fn, [readAny(json.arg, path)], path)
  if (!Array.isArray(json.args)) return undefined
  return callExtension(
    json.fn,
    json.args.map((argument) => readAny(argument, path)),
    path,
  )
}

function callExtension(name: string, args: Value[], path: string): Value {
  if (!Object.hasOwn(EXTENSIONS, name)) throw new Irregular(`${path}: the extension function ${name} does not exist`)
  const { arity, call } = EXTENSIONS[name]
  if (args.length !== arity) throw new Irregular(`${path}: ${name} takes ${arity} arguments, not ${args.length}`)
  try {
    return call(...args)
  } catch (failure) {
    if (failure instanceof EvaluationFailure) throw new Irregular(`${path}: ${failure.message}`)
    throw failure
  }
}

function inRange(value: bigint | undefined, path: string): Value {
  const exact = value === undefined ? undefined : long(value)
  if (exact === undefined) throw new Irregular(`${path}: a number must be an integer of 64 bits`)
  return exact
}

export function writeUid({ type, id }: Uid): TypeAndId {
  return { type, id }
}

/** A value in Cedar's JSON form. An integer beyond 2^53 is a bigint there, which JSON itself does not have. */
function writeValue(value: Value): CedarValueJson {
  if (isSet(value)) return value.map(writeValue)
  if (value instanceof Uid) return { __entity: writeUid(value) }
  if (value instanceof Atom) {
    const [fn, arg] = value.written()
    return { __extn: { fn, arg } }
  }
  if (isRecord(value)) return writeRecord(value)
  return value as CedarValueJson // a primitive; of bigints, cedar-wasm's types do not know
}

export function writeRecord(record: CedarRecord): { [name: string]: CedarValueJson } {
  return Object.fromEntries(Object.entries(record).map(([name, field]) => [name, writeValue(field)]))
}
