/**
 * Values of Cedar as the compiled code sees them. A Long is a number where that is exact and a bigint
 * beyond 2^53, never both for the same value, so that `===` compares; a Set is an array (an element may
 * stand twice, which no operator can see); a Record is a plain object with own properties.
 */
export type Value = boolean | string | Long | Atom | CedarSet | CedarRecord
export type Long = number | bigint
export type CedarSet = readonly Value[]
export interface CedarRecord {
  readonly [attribute: string]: Value
}

/** What is neither set nor record, though an object. */
export abstract class Atom {
  abstract equals(other: Atom): boolean
  /** The extension function that makes it, and that function's argument. */
  abstract written(): [name: string, argument: string]
}

export class Uid extends Atom {
  readonly type: string
  readonly id: string
  /** Names the entity among all; no type has a space in it. */
  readonly key: string

  constructor(type: string, id: string) {
    super()
    this.type = type
    this.id = id
    this.key = `${type} ${id}`
  }

  equals(other: Atom): boolean {
    return other === this || (other instanceof Uid && other.key === this.key)
  }

  written(): never {
    throw new TypeError('an entity is no extension value')
  }
}

/** An amount in one unit: of a decimal 1/10,000; of datetimes (since 1970, UTC) and durations a millisecond. */
abstract class Scalar extends Atom {
  readonly amount: Long

  constructor(amount: Long) {
    super()
    this.amount = amount
  }

  equals(other: Atom): boolean {
    return other.constructor === this.constructor && other instanceof Scalar && other.amount === this.amount
  }
}

export class Decimal extends Scalar {
  written(): [string, string] {
    const digits = `${this.amount}`.replace('-', '').padStart(5, '0')
    return ['decimal', `${this.amount < 0 ? '-' : ''}${digits.slice(0, -4)}.${digits.slice(-4)}`]
  }
}

/** Beyond this a double has no four digits after the point. */
const DECIMAL_MAX = 2 ** 53 / 10_000

/** Cedar's decimal has four digits after the point; more are rounded, as `toFixed` does. Undefined where even those are lost. */
export function decimal(value: number): Decimal | undefined {
  // Not a number is not at most anything either.
  if (!(Math.abs(value) <= DECIMAL_MAX)) return undefined
  const scaled = value * 10_000
  const rounded = Math.round(scaled)
  // In the middle between two, the product itself may have been rounded to the wrong side.
  if (Math.abs(Math.abs(scaled - rounded) - 0.5) > 1e-3) return new Decimal(rounded + 0)
  return new Decimal(Number(value.toFixed(4).replace('.', '')) + 0)
}

export class Datetime extends Scalar {
  /** Only times that a constructor can name; arithmetic can leave their range. */
  written(): [string, string] {
    return ['datetime', new Date(Number(this.amount)).toISOString()]
  }
}

export class Duration extends Scalar {
  written(): [string, string] {
    return ['duration', `${this.amount}ms`]
  }
}

/** An address with its prefix: one address where the prefix is as long as the address. */
export class IpRange extends Atom {
  readonly version: 4 | 6
  readonly address: bigint
  readonly prefix: number

  constructor(version: 4 | 6, address: bigint, prefix: number) {
    super()
    this.version = version
    this.address = address
    this.prefix = prefix
  }

  equals(other: Atom): boolean {
    return (
      other instanceof IpRange &&
      other.version === this.version &&
      other.address === this.address &&
      other.prefix === this.prefix
    )
  }

  written(): [string, string] {
    const [groups, bits, radix] = this.version === 4 ? [4, 8n, 10] : [8, 16n, 16]
    const parts = Array.from({ length: groups }, (_, i) =>
      ((this.address >> (BigInt(groups - 1 - i) * bits)) & ((1n << bits) - 1n)).toString(radix),
    )
    return ['ip', `${parts.join(this.version === 4 ? '.' : ':')}/${this.prefix}`]
  }
}

/** Why a policy could not be evaluated. Not an `Error`: it stays within the evaluator, and a stack would cost more than the decision. */
export class EvaluationFailure {
  readonly message: string

  constructor(message: string) {
    this.message = message
  }
}

export function fail(message: string): never {
  throw new EvaluationFailure(message)
}

export function isSet(value: Value): value is CedarSet {
  return Array.isArray(value)
}

export function isRecord(value: Value): value is CedarRecord {
  return typeof value === 'object' && !Array.isArray(value) && !(value instanceof Atom)
}

export function isLong(value: Value): value is Long {
  return typeof value === 'number' || typeof value === 'bigint'
}

function typeName(value: Value): string {
  if (isLong(value)) return 'long'
  if (isSet(value)) return 'set'
  if (value instanceof Uid) return `(entity of type \`${value.type}\`)`
  if (value instanceof Decimal) return 'decimal'
  if (value instanceof Datetime) return 'datetime'
  if (value instanceof Duration) return 'duration'
  if (value instanceof IpRange) return 'ipaddr'
  return typeof value === 'boolean' ? 'bool' : typeof value === 'string' ? 'string' : 'record'
}

export function typeError(expected: string, found: Value): never {
  fail(`type error: expected ${expected}, got ${typeName(found)}`)
}

/** Cedar's `==`: values of different types are unequal, never an error. */
export function equal(a: Value, b: Value): boolean {
  if (a === b) return true
  if (typeof a !== 'object' || typeof b !== 'object') return false
  if (a instanceof Atom) return b instanceof Atom && a.equals(b)
  if (b instanceof Atom) return false
  if (isSet(a)) return isSet(b) && includesAll(a, b) && includesAll(b, a)
  if (!isRecord(a) || !isRecord(b)) return false
  const keys = Object.keys(a)
  if (keys.length !== Object.keys(b).length) return false
  for (const key of keys) if (!Object.hasOwn(b, key) || !equal(a[key], b[key])) return false
  return true
}

export function includes(set: CedarSet, value: Value): boolean {
  if (typeof value !== 'object') return set.includes(value)
  for (const element of set) if (equal(element, value)) return true
  return false
}

export function includesAll(set: CedarSet, values: CedarSet): boolean {
  for (const value of values) if (!includes(set, value)) return false
  return true
}

export function includesAny(set: CedarSet, values: CedarSet): boolean {
  for (const value of values) if (includes(set, value)) return true
  return false
}

const LONG_MIN = -(2n ** 63n)
const LONG_MAX = 2n ** 63n - 1n

/** The one form of an integer; undefined beyond 64 bits. */
export function long(value: bigint): Long | undefined {
  if (value > LONG_MAX || value < LONG_MIN) return undefined
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : value
}

/** Arithmetic on 64 bits: exact, undefined on overflow. */
export function plus(a: Long, b: Long): Long | undefined {
  if (typeof a === 'number' && typeof b === 'number') {
    const sum = a + b
    if (Number.isSafeInteger(sum)) return sum
  }
  return long(BigInt(a) + BigInt(b))
}

export function minus(a: Long, b: Long): Long | undefined {
  if (typeof a === 'number' && typeof b === 'number') {
    const difference = a - b
    if (Number.isSafeInteger(difference)) return difference
  }
  return long(BigInt(a) - BigInt(b))
}

export function times(a: Long, b: Long): Long | undefined {
  if (typeof a === 'number' && typeof b === 'number') {
    const product = a * b
    // A zero of either sign is this one.
    if (Number.isSafeInteger(product)) return product + 0
  }
  return long(BigInt(a) * BigInt(b))
}
