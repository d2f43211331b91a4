import {
  Datetime,
  Decimal,
  Duration,
  fail,
  IpRange,
  type Long,
  long,
  minus,
  plus,
  typeError,
  type Value,
} from './value.ts'

/** Functions of the extension types, with the number of their arguments. Source: Cedar's reference, "Operators". */
export const EXTENSIONS: { readonly [name: string]: { arity: number; call: (...args: Value[]) => Value } } = {
  decimal: constructorOf('decimal', parseDecimal),
  ip: constructorOf('ip', parseIp),
  datetime: constructorOf('datetime', parseDatetime),
  duration: constructorOf('duration', parseDuration),
  lessThan: comparison((a, b) => a < b),
  lessThanOrEqual: comparison((a, b) => a <= b),
  greaterThan: comparison((a, b) => a > b),
  greaterThanOrEqual: comparison((a, b) => a >= b),
  isIpv4: ofIp((ip) => ip.version === 4),
  isIpv6: ofIp((ip) => ip.version === 6),
  isLoopback: ofIp((ip) => isWithin(ip, ip.version === 4 ? LOOPBACK_4 : LOOPBACK_6)),
  isMulticast: ofIp((ip) => isWithin(ip, ip.version === 4 ? MULTICAST_4 : MULTICAST_6)),
  isInRange: { arity: 2, call: (ip, range) => isWithin(asIp(ip), asIp(range)) },
  offset: {
    arity: 2,
    call: (time, by) => new Datetime(inRange(plus(asDatetime(time).amount, asDuration(by).amount), 'offset')),
  },
  durationSince: {
    arity: 2,
    call: (time, since) =>
      new Duration(inRange(minus(asDatetime(time).amount, asDatetime(since).amount), 'durationSince')),
  },
  toDate: {
    arity: 1,
    call: (time) => {
      const { amount } = asDatetime(time)
      return new Datetime(inRange(minus(amount, sinceMidnight(amount)), 'toDate'))
    },
  },
  toTime: { arity: 1, call: (time) => new Duration(sinceMidnight(asDatetime(time).amount)) },
  toMilliseconds: ofDuration(1),
  toSeconds: ofDuration(1000),
  toMinutes: ofDuration(60_000),
  toHours: ofDuration(3_600_000),
  toDays: ofDuration(86_400_000),
}

/** Constructors, by the type that a schema names. */
export const CONSTRUCTORS: { readonly [type: string]: string } = {
  decimal: 'decimal',
  ipaddr: 'ip',
  datetime: 'datetime',
  duration: 'duration',
}

function constructorOf(name: string, parse: (text: string) => Value | undefined) {
  return {
    arity: 1,
    call: (text: Value): Value => {
      if (typeof text !== 'string') typeError('string', text)
      return (
        parse(text) ??
        fail(`error while evaluating \`${name}\` extension function: \`${text}\` is not a well-formed ${name} value`)
      )
    },
  }
}

function comparison(holds: (a: Long, b: Long) => boolean) {
  return { arity: 2, call: (a: Value, b: Value): Value => holds(asDecimal(a).amount, asDecimal(b).amount) }
}

function ofIp(holds: (ip: IpRange) => boolean) {
  return { arity: 1, call: (ip: Value): Value => holds(asIp(ip)) }
}

/** Whole units in a duration, rounded towards zero. */
function ofDuration(unit: number) {
  return {
    arity: 1,
    call: (duration: Value): Value => {
      const { amount } = asDuration(duration)
      return typeof amount === 'number'
        ? Math.trunc(amount / unit) + 0
        : inRange(long(amount / BigInt(unit)), 'duration')
    },
  }
}

function asDecimal(value: Value): Decimal {
  return value instanceof Decimal ? value : typeError('decimal', value)
}

function asIp(value: Value): IpRange {
  return value instanceof IpRange ? value : typeError('ipaddr', value)
}

function asDatetime(value: Value): Datetime {
  return value instanceof Datetime ? value : typeError('datetime', value)
}

function asDuration(value: Value): Duration {
  return value instanceof Duration ? value : typeError('duration', value)
}

function inRange(amount: Long | undefined, name: string): Long {
  return amount ?? fail(`error while evaluating \`${name}\` extension function: overflow`)
}

const DAY_MS = 86_400_000

/** Milliseconds since the midnight before, of times before 1970 too. */
function sinceMidnight(amount: Long): Long {
  if (typeof amount === 'number') return (((amount % DAY_MS) + DAY_MS) % DAY_MS) + 0
  const day = BigInt(DAY_MS)
  return Number(((amount % day) + day) % day)
}

function parseDecimal(text: string): Decimal | undefined {
  const match = /^(-?)(\d+)\.(\d{1,4})$/.exec(text)
  if (!match) return undefined
  const magnitude = BigInt(match[2] + match[3].padEnd(4, '0'))
  const amount = long(match[1] === '-' ? -magnitude : magnitude)
  return amount === undefined ? undefined : new Decimal(amount)
}

const DURATION = /^(-?)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+)s)?(?:(\d+)ms)?$/
const DURATION_UNITS = [86_400_000n, 3_600_000n, 60_000n, 1000n, 1n]

function parseDuration(text: string): Duration | undefined {
  const match = DURATION.exec(text)
  if (!match || text === '' || text === '-') return undefined
  let magnitude = 0n
  for (const [i, unit] of DURATION_UNITS.entries()) {
    if (match[i + 2] !== undefined) magnitude += BigInt(match[i + 2]) * unit
  }
  const amount = long(match[1] === '-' ? -magnitude : magnitude)
  return amount === undefined ? undefined : new Duration(amount)
}

const DATETIME = /^(\d{4})-(\d\d)-(\d\d)(?:T(\d\d):(\d\d):(\d\d)(?:\.(\d{3}))?(?:Z|([+-])(\d\d)(\d\d)))?$/

function parseDatetime(text: string): Datetime | undefined {
  const match = DATETIME.exec(text)
  if (!match) return undefined
  const [year, month, day, hour, minute, second, ms] = match.slice(1, 8).map((part) => Number(part ?? 0))
  const [sign, offsetHours, offsetMinutes] = [match[8], Number(match[9] ?? 0), Number(match[10] ?? 0)]
  if (hour > 23 || minute > 59 || second > 59 || offsetHours > 23 || offsetMinutes > 59) return undefined
  const date = new Date(0)
  // `Date.UTC` takes years below 100 for those of the last century.
  date.setUTCFullYear(year, month - 1, day)
  if (date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) return undefined
  const offset = (offsetHours * 60 + offsetMinutes) * 60_000 * (sign === '-' ? -1 : 1)
  return new Datetime(date.getTime() + ((hour * 60 + minute) * 60 + second) * 1000 + ms - offset)
}

const LOOPBACK_4 = new IpRange(4, 127n << 24n, 8)
const LOOPBACK_6 = new IpRange(6, 1n, 128)
const MULTICAST_4 = new IpRange(4, 224n << 24n, 4)
const MULTICAST_6 = new IpRange(6, 0xffn << 120n, 8)

function isWithin(ip: IpRange, range: IpRange): boolean {
  if (ip.version !== range.version || ip.prefix < range.prefix) return false
  const host = BigInt((ip.version === 4 ? 32 : 128) - range.prefix)
  return ip.address >> host === range.address >> host
}

function parseIp(text: string): IpRange | undefined {
  const [host, prefixText, ...rest] = text.split('/')
  if (rest.length > 0) return undefined
  const version = host.includes(':') ? 6 : 4
  const address = version === 6 ? parseIpv6(host) : parseIpv4(host)
  const bits = version === 6 ? 128 : 32
  // No zeros before the number.
  if (prefixText !== undefined && !/^(?:0|[1-9]\d{0,2})$/.test(prefixText)) return undefined
  const prefix = prefixText === undefined ? bits : Number(prefixText)
  if (address === undefined || prefix > bits) return undefined
  return new IpRange(version, address, prefix)
}

function parseIpv4(text: string): bigint | undefined {
  const parts = text.split('.')
  if (parts.length !== 4) return undefined
  let address = 0n
  for (const part of parts) {
    if (!/^(?:0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return undefined
    address = (address << 8n) | BigInt(part)
  }
  return address
}

/** RFC 4291, section 2.2, without the form that ends in an IPv4 address. */
function parseIpv6(text: string): bigint | undefined {
  const halves = text.split('::')
  if (halves.length > 2) return undefined
  const [head, tail = []] = halves.map((half) => (half === '' ? [] : half.split(':')))
  const gap = 8 - head.length - tail.length
  if (halves.length === 2 ? gap < 1 : gap !== 0) return undefined
  let address = 0n
  for (const group of [...head, ...new Array<string>(gap).fill('0'), ...tail]) {
    if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return undefined
    address = (address << 16n) | BigInt(`0x${group}`)
  }
  return address
}
