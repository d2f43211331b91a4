import {
  type CedarRecord,
  type CedarSet,
  Datetime,
  Duration,
  equal,
  fail,
  includes,
  includesAll,
  includesAny,
  isLong,
  isRecord,
  isSet,
  type Long,
  minus,
  plus,
  times,
  typeError,
  Uid,
  type Value,
} from './value.ts'

/** An entity with all that it is `in`, by key. */
export interface Entity {
  readonly uid: Uid
  readonly attributes: CedarRecord
  readonly tags: CedarRecord
  readonly ancestors: ReadonlySet<string>
}

/** Entities by `Uid.key`. */
export interface Entities {
  get(key: string): Entity | undefined
}

/** A pattern of `like`: texts with anything between them. */
export type Pattern = readonly string[]

const MISSING_ENTITY = 'entity does not exist'

function entityOf(entities: Entities, uid: Uid): Entity {
  return entities.get(uid.key) ?? fail(`${MISSING_ENTITY}: \`${uid.type}::${JSON.stringify(uid.id)}\``)
}

function asUid(value: Value): Uid {
  return value instanceof Uid ? value : typeError('entity', value)
}

function asSet(value: Value): CedarSet {
  return isSet(value) ? value : typeError('set', value)
}

function asLong(value: Value): Long {
  return isLong(value) ? value : typeError('long', value)
}

function asString(value: Value): string {
  return typeof value === 'string' ? value : typeError('string', value)
}

/** Both sides of `<`: two Longs, two datetimes or two durations. */
function order(a: Value, b: Value, holds: (a: Long, b: Long) => boolean): boolean {
  if (isLong(a)) return holds(a, asLong(b))
  if (a instanceof Datetime) return holds(a.amount, b instanceof Datetime ? b.amount : typeError('datetime', b))
  if (a instanceof Duration) return holds(a.amount, b instanceof Duration ? b.amount : typeError('duration', b))
  typeError('one of [long, datetime, duration]', a)
}

const fits = (result: Long | undefined): Long => result ?? fail('integer overflow')

/**
 * Cedar's operators, as the compiled code calls them. Those that look into entities take them first.
 * Source: Cedar's reference, "Operators" and "Evaluation"; what an operator refuses fails its policy.
 */
export const OPERATORS = {
  bool: (value: Value): boolean => (typeof value === 'boolean' ? value : typeError('bool', value)),
  raise: fail,
  equal,
  less: (a: Value, b: Value): boolean =>
    typeof a === 'number' && typeof b === 'number' ? a < b : order(a, b, (a, b) => a < b),
  atMost: (a: Value, b: Value): boolean =>
    typeof a === 'number' && typeof b === 'number' ? a <= b : order(a, b, (a, b) => a <= b),
  plus: (a: Value, b: Value): Long => fits(plus(asLong(a), asLong(b))),
  minus: (a: Value, b: Value): Long => fits(minus(asLong(a), asLong(b))),
  times: (a: Value, b: Value): Long => fits(times(asLong(a), asLong(b))),
  negate: (a: Value): Long => fits(minus(0, asLong(a))),
  contains: (set: Value, value: Value): boolean => includes(asSet(set), value),
  containsAll: (set: Value, values: Value): boolean => includesAll(asSet(set), asSet(values)),
  containsAny: (set: Value, values: Value): boolean => includesAny(asSet(set), asSet(values)),
  isEmpty: (set: Value): boolean => asSet(set).length === 0,
  is: (value: Value, type: string): boolean => asUid(value).type === type,
  like: (value: Value, pattern: Pattern): boolean => matches(asString(value), pattern),

  in(entities: Entities, value: Value, of: Value): boolean {
    const uid = asUid(value)
    const ancestors = entities.get(uid.key)?.ancestors
    if (of instanceof Uid) return of.key === uid.key || ancestors?.has(of.key) === true
    if (!isSet(of)) typeError('one of [set, entity]', of)
    let found = false
    // Every element must be an entity, also behind the one that is found.
    for (const element of of) {
      const { key } = asUid(element)
      found ||= key === uid.key || ancestors?.has(key) === true
    }
    return found
  },

  attribute(entities: Entities, value: Value, name: string): Value {
    const record = value instanceof Uid ? entityOf(entities, value).attributes : value
    if (!isRecord(record)) typeError('one of [record, entity]', value)
    return Object.hasOwn(record, name) ? record[name] : OPERATORS.missing(name)
  },
  missing: (name: string): never => fail(`attribute \`${name}\` does not exist`),

  has(entities: Entities, value: Value, name: string): boolean {
    const record = value instanceof Uid ? entities.get(value.key)?.attributes : value
    if (record === undefined) return false
    if (!isRecord(record)) typeError('one of [record, entity]', value)
    return Object.hasOwn(record, name)
  },

  getTag(entities: Entities, value: Value, tag: Value): Value {
    const uid = asUid(value)
    const name = asString(tag)
    const { tags } = entityOf(entities, uid)
    return Object.hasOwn(tags, name) ? tags[name] : fail(`tag \`${name}\` does not exist`)
  },

  hasTag(entities: Entities, value: Value, tag: Value): boolean {
    const uid = asUid(value)
    const name = asString(tag)
    const tags = entities.get(uid.key)?.tags
    return tags !== undefined && Object.hasOwn(tags, name)
  },
}

/** The first text stands at the beginning, the last at the end, each other as early as it can: no backtracking. */
function matches(text: string, pattern: Pattern): boolean {
  const [first] = pattern
  if (pattern.length === 1) return text === first
  const last = pattern[pattern.length - 1]
  if (text.length < first.length + last.length || !text.startsWith(first) || !text.endsWith(last)) return false
  const end = text.length - last.length
  let at = first.length
  for (let i = 1; i < pattern.length - 1; i++) {
    const found = text.indexOf(pattern[i], at)
    if (found < 0 || found + pattern[i].length > end) return false
    at = found + pattern[i].length
  }
  return at <= end
}
