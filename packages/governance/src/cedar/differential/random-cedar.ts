import type { CedarValueJson, EntityJson, Expr, PolicyJson, TypeAndId } from '@cedar-policy/cedar-wasm/nodejs'

/** An expression whose integers may be bigints. */
type Tree = Expr

type Kind = 'bool' | 'long' | 'string' | 'entity' | 'set' | 'record' | 'decimal' | 'ip' | 'datetime' | 'duration'

const KINDS: readonly Kind[] = [
  'bool',
  'long',
  'string',
  'entity',
  'set',
  'record',
  'decimal',
  'ip',
  'datetime',
  'duration',
]
const TYPES = ['U', 'G', 'N::T', 'Action']
const IDS = ['a', 'b', 'c', 'd', '', 'é"\\\n☃']
/** Also names that JavaScript's objects have by birth. */
const NAMES = ['x', 'y', 'e', 's', 'r', 'd', 't', 'p', 'a b', '__proto__', 'toString', 'constructor']
const TEXTS = ['', 'a', 'ab', 'aab', 'a*b', 'é☃', '\u{1f600}x', 'abcabc', 'x', '\\', '"', '*', '__proto__']
const LONGS = [
  ...[0n, 1n, -1n, 2n, 3n, -7n, 86_400_000n],
  ...[2n ** 53n - 1n, 2n ** 53n, 2n ** 53n + 1n, -(2n ** 53n) - 1n],
  ...[2n ** 62n, 2n ** 63n - 1n, -(2n ** 63n), -(2n ** 63n) + 1n, 3_037_000_500n, 4_294_967_296n],
]
const EXTENSION_TEXTS: { readonly [fn: string]: readonly string[] } = {
  decimal: [
    ...['0.0', '1.5', '-1.5', '1.5000', '-0.5', '0.0001', '922337203685477.5807', '-922337203685477.5808'],
    ...['922337203685477.5808', '1', '1.', '.5', '1.00000', '+1.0', '01.10', '--1.0', '', ' 1.0', '1.0\n', '-0.0'],
  ],
  ip: [
    ...[
      '127.0.0.1',
      '127.0.0.1/8',
      '127.0.0.1/7',
      '10.1.2.3/32',
      '10.0.0.0/8',
      '0.0.0.0/0',
      '224.0.0.1',
      '224.0.0.0/3',
    ],
    ...[
      '::1',
      '::',
      '::/0',
      'ff00::/8',
      'ff02::1',
      'ff00::/7',
      '1:2:3:4:5:6:7:8',
      '1:2:3:4:5:6:7::',
      '::2:3:4:5:6:7:8',
    ],
    ...['1::8', '1:::8', '1::2::3', '::ffff:1.2.3.4', '1.2.3', '1.2.3.4.5', '256.1.1.1', '01.2.3.4', '1.2.3.4/33'],
    ...[
      '1.2.3.4/08',
      '1.2.3.4/',
      '1.2.3.4/1/1',
      '::1/129',
      '::1/128',
      '::/00',
      'fe80::1%eth0',
      ' 1.2.3.4',
      'A::F',
      '12345::',
    ],
    ...[
      '1.2.3.4/+8',
      '0001:0002:0003:0004:0005:0006:0007:0008',
      '1:2:3:4:5:6:7:8/64',
      '',
      '/',
      ':',
      '1.2.3.4/032',
      '::/',
    ],
  ],
  datetime: [
    ...[
      '1970-01-01',
      '2024-02-29',
      '2023-02-29',
      '2024-10-15T11:35:00Z',
      '2024-10-15T11:35:00.123Z',
      '1969-12-31T23:59:59.999Z',
    ],
    ...['2024-10-15T11:35:00+0100', '2024-10-15T11:35:00.000-2359', '2024-10-15T11:35:00+2400', '2024-10-15T24:00:00Z'],
    ...[
      '0000-01-01',
      '9999-12-31T23:59:59.999-2359',
      '2024-13-01',
      '2024-1-1',
      '2024-10-15T11:35:00',
      '2024-10-15T11:35Z',
    ],
    ...[
      '2024-10-15 11:35:00Z',
      '2024-10-15T11:35:60Z',
      '2024-10-15T11:35:00.1Z',
      '2024-10-15T11:35:00+01:00',
      '',
      '10000-01-01',
    ],
    ...['0050-03-01', '2024-00-10', '2024-04-31', '-001-01-01', '2024-10-15T11:35:00+0060', '1900-02-29', '2000-02-29'],
  ],
  duration: [
    ...[
      '1d',
      '1h',
      '1m',
      '1s',
      '1ms',
      '0ms',
      '-1ms',
      '1d2h3m4s5ms',
      '-1d2h',
      '1m1ms',
      '1h1d',
      '1d1d',
      '',
      '-',
      '1',
      '1w',
      '+1d',
    ],
    ...[
      '9223372036854775807ms',
      '-9223372036854775808ms',
      '9223372036854775808ms',
      '106751991167d',
      '106751991168d',
      '00001s',
      '1 d',
    ],
    ...['60s', '-90m', '9223372036854775s807ms', '9223372036854775s808ms', '1d1ms', '1s1m', '-0ms'],
  ],
}
const FUNCTIONS: { readonly [kind in Kind]?: readonly (readonly [string, ...Kind[]])[] } = {
  bool: [
    ['lessThan', 'decimal', 'decimal'],
    ['lessThanOrEqual', 'decimal', 'decimal'],
    ['greaterThan', 'decimal', 'decimal'],
    ['greaterThanOrEqual', 'decimal', 'decimal'],
    ['isIpv4', 'ip'],
    ['isIpv6', 'ip'],
    ['isLoopback', 'ip'],
    ['isMulticast', 'ip'],
    ['isInRange', 'ip', 'ip'],
  ],
  long: [
    ['toMilliseconds', 'duration'],
    ['toSeconds', 'duration'],
    ['toMinutes', 'duration'],
    ['toHours', 'duration'],
    ['toDays', 'duration'],
  ],
  datetime: [
    ['offset', 'datetime', 'duration'],
    ['toDate', 'datetime'],
  ],
  duration: [
    ['durationSince', 'datetime', 'datetime'],
    ['toTime', 'datetime'],
  ],
}

/** Random policies and requests that reach every operator, right and wrong; the same for the same seed. */
export class RandomCedar {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** mulberry32, public domain. */
  number(below: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) % below
  }

  one<T>(of: readonly T[]): T {
    return of[this.number(of.length)]
  }

  chance(percent: number): boolean {
    return this.number(100) < percent
  }

  times<T>(max: number, make: () => T): T[] {
    return Array.from({ length: this.number(max + 1) }, make)
  }

  uid(): TypeAndId {
    return { type: this.one(TYPES), id: this.one(IDS) }
  }

  policy(effect: 'permit' | 'forbid', slots: { principal: boolean; resource: boolean }): PolicyJson {
    return {
      effect,
      principal: this.#scope(slots.principal ? '?principal' : undefined),
      action: this.one([
        { op: 'All' as const },
        { op: 'All' as const },
        { op: '==' as const, entity: this.#action() },
        { op: 'in' as const, entity: this.#action() },
        { op: 'in' as const, entities: this.times(3, () => this.#action()) },
      ]),
      resource: this.#scope(slots.resource ? '?resource' : undefined),
      conditions: this.times(2, () => ({
        kind: this.chance(70) ? ('when' as const) : ('unless' as const),
        body: this.expression(this.chance(96) ? 'bool' : this.one(KINDS), 4),
      })),
    }
  }

  #action(): TypeAndId {
    return { type: 'Action', id: this.one(['a', 'b', 'c']) }
  }

  #scope(slot: string | undefined): PolicyJson['principal'] {
    const of = () => (slot === undefined ? { entity: this.uid() } : { slot })
    const choice = this.number(slot === undefined ? 14 : 3)
    if (choice === 0) return { op: '==', ...of() }
    if (choice === 1) return { op: 'in', ...of() }
    if (choice === 2) return { op: 'is', entity_type: this.one(TYPES), in: of() }
    return choice === 3 ? { op: 'is', entity_type: this.one(TYPES) } : { op: 'All' }
  }

  /** An expression that has, but for mistakes, the kind. */
  expression(kind: Kind, depth: number): Tree {
    if (this.chance(4)) return this.expression(this.one(KINDS), depth)
    const sub = (kind: Kind) => this.expression(kind, depth - 1)
    if (depth <= 0 || this.chance(12)) return this.#leaf(kind)
    // biome-ignore lint/suspicious/noThenProperty: Cedar's JSON form calls it so
    if (this.chance(8)) return { 'if-then-else': { if: sub('bool'), then: sub(kind), else: sub(kind) } }
    if (this.chance(14)) return { '.': { left: this.#holder(depth - 1), attr: this.one(NAMES) } }
    if (this.chance(4)) return { getTag: { left: sub('entity'), right: sub('string') } }
    const functions = FUNCTIONS[kind]
    if (functions !== undefined && (kind !== 'bool' || this.chance(25)) && this.chance(60)) {
      const [name, ...kinds] = this.one(functions)
      return { [name]: kinds.map(sub) } as Tree
    }
    switch (kind) {
      case 'bool':
        return this.#test(depth - 1)
      case 'long':
        if (this.chance(20)) return { neg: { arg: sub('long') } }
        return { [this.one(['+', '-', '*'])]: { left: sub('long'), right: sub('long') } } as Tree
      case 'set':
        return { Set: this.times(4, () => sub(this.one(['long', 'string', 'entity', this.one(KINDS)]))) }
      case 'record':
        return { Record: Object.fromEntries(this.times(3, () => [this.one(NAMES), sub(this.one(KINDS))])) }
      default:
        return this.#leaf(kind)
    }
  }

  #holder(depth: number): Tree {
    return this.one<Tree>([
      { Var: 'context' },
      { Var: 'principal' },
      { Var: 'resource' },
      { Var: 'action' },
      this.expression(this.chance(50) ? 'entity' : 'record', depth),
    ])
  }

  #test(depth: number): Tree {
    const sub = (kind: Kind) => this.expression(kind, depth)
    const like = () => this.one(KINDS)
    const kind = like()
    switch (this.number(15)) {
      case 0:
        return { '!': { arg: sub('bool') } }
      case 1:
        return { '&&': { left: sub('bool'), right: sub('bool') } }
      case 2:
        return { '||': { left: sub('bool'), right: sub('bool') } }
      case 3:
      case 4:
        return { [this.one(['==', '!='])]: { left: sub(kind), right: sub(this.chance(90) ? kind : like()) } } as Tree
      case 5:
      case 6: {
        const kind = this.one<Kind>(['long', 'long', 'datetime', 'duration'])
        return { [this.one(['<', '<=', '>', '>='])]: { left: sub(kind), right: sub(kind) } } as Tree
      }
      case 7:
        return {
          in: {
            left: sub('entity'),
            right: this.chance(60) ? sub('entity') : { Set: this.times(3, () => sub('entity')) },
          },
        }
      case 8:
        return { contains: { left: sub('set'), right: sub(like()) } }
      case 9:
        return { [this.one(['containsAll', 'containsAny'])]: { left: sub('set'), right: sub('set') } } as Tree
      case 10:
        return { isEmpty: { arg: sub('set') } }
      case 11: {
        const path = [this.one(NAMES), ...this.times(2, () => this.one(['x', 'y', 'e', 's', 'r', 'd', 't', 'p']))]
        // Cedar's text has a path of identifiers only.
        return {
          has: { left: this.#holder(depth), attr: path.every(isIdentifier) && path.length > 1 ? path : path[0] },
        } as Tree
      }
      case 12:
        return { hasTag: { left: sub('entity'), right: sub('string') } }
      case 13:
        return {
          like: {
            left: sub('string'),
            pattern: this.times(4, () => (this.chance(50) ? 'Wildcard' : { Literal: this.one(TEXTS.slice(1)) })),
          },
        }
      default:
        return {
          is: {
            left: sub('entity'),
            entity_type: this.one(TYPES),
            ...(this.chance(40)
              ? { in: this.chance(60) ? sub('entity') : { Set: this.times(3, () => sub('entity')) } }
              : {}),
          },
        }
    }
  }

  #leaf(kind: Kind): Tree {
    if (kind === 'entity' && this.chance(60)) return { Var: this.one(['principal', 'resource', 'action'] as const) }
    if (kind === 'record' && this.chance(60)) return { Var: 'context' }
    switch (kind) {
      case 'bool':
        return { Value: this.chance(50) }
      case 'long':
        return { Value: this.one(LONGS) as unknown as CedarValueJson } // an integer may be a bigint
      case 'string':
        return { Value: this.one(TEXTS) }
      case 'entity':
        return { Value: { __entity: this.uid() } }
      case 'set':
        return { Set: this.times(3, () => this.#leaf(this.one(['long', 'string', 'entity']))) }
      case 'record':
        return {
          Record: Object.fromEntries(this.times(2, () => [this.one(NAMES), this.#leaf(this.one(['long', 'string']))])),
        }
      default:
        return { [kind]: [this.chance(92) ? { Value: this.one(EXTENSION_TEXTS[kind]) } : this.#leaf('long')] } as Tree
    }
  }

  /** A value in Cedar's JSON form; of text that extension types do not take when `broken`. */
  value(depth: number, broken: boolean): CedarValueJson {
    switch (this.number(depth > 0 ? 9 : 6)) {
      case 0:
        return this.chance(50)
      case 1:
        return this.one([0, 1, -1, 2, 3, -7, 86_400_000, 2 ** 53 - 1, 2 ** 53, -(2 ** 53), 2 ** 62, 1e18, -0])
      case 2:
        return this.one(TEXTS)
      case 3:
      case 4:
        return { __entity: this.uid() }
      case 5: {
        const fn = this.one(['decimal', 'ip', 'datetime', 'duration'])
        const texts = EXTENSION_TEXTS[fn]
        // The first few of each are well-formed.
        return {
          __extn: {
            fn,
            arg: this.one(broken && this.chance(20) ? texts : texts.slice(0, 7).filter((t) => t !== '2023-02-29')),
          },
        }
      }
      case 6:
        return this.times(3, () => this.value(depth - 1, broken))
      default:
        return this.record(depth - 1, broken)
    }
  }

  record(depth: number, broken: boolean): { [name: string]: CedarValueJson } {
    return Object.fromEntries(this.times(5, () => [this.one(NAMES), this.value(depth, broken)]))
  }

  /** Entities in a hierarchy that has, but for mistakes when `broken`, no cycle. */
  entities(broken: boolean): EntityJson[] {
    const order = TYPES.flatMap((type) => IDS.slice(0, 4).map((id) => ({ type, id })))
    const entities: EntityJson[] = []
    for (const [i, uid] of order.entries()) {
      if (this.chance(40)) continue
      const above = broken && this.chance(5) ? order : order.slice(i + 1)
      entities.push({
        uid: this.chance(50) ? uid : { __entity: uid },
        attrs: this.record(2, broken),
        parents: above.length === 0 ? [] : this.times(2, () => this.one(above)),
        ...(this.chance(50)
          ? { tags: Object.fromEntries(this.times(3, () => [this.one(TEXTS), this.value(1, broken)])) }
          : {}),
      })
    }
    return entities
  }
}

export function isIdentifier(name: string): boolean {
  return /^[_a-zA-Z]\w*$/.test(name) && !/^(?:true|false|if|then|else|in|is|like|has|__cedar)$/.test(name)
}
