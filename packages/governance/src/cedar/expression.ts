import type { CedarValueJson, Expr, PatternElem } from '@cedar-policy/cedar-wasm/nodejs'
import { EXTENSIONS } from './extension.ts'
import { Irregular } from './irregular.ts'
import { readValue } from './json.ts'
import { OPERATORS, type Pattern } from './operators.ts'
import { EvaluationFailure, long, type Uid, type Value } from './value.ts'

/** What a subexpression became: a value that is known already, or code. */
interface Compiled {
  code: string
  /** The value, where it is known before any request. */
  constant?: Value
  /** Whether it is a boolean if it is anything: needs no check. */
  isBool?: boolean
}

/** Values that the code refers to by place: no text of a policy ever becomes part of the code. */
export class Constants {
  readonly values: unknown[] = []

  add(value: unknown): string {
    this.values.push(value)
    return `k[${this.values.length - 1}]`
  }
}

/** What the code may name, besides constants `k`, operators `o` and extension functions `x`. */
const VARIABLES: { readonly [name: string]: string } = { principal: 'P', action: 'A', resource: 'R', context: 'C' }

/**
 * Compiles an expression in Cedar's JSON form, checked by Cedar's parser, to JavaScript: the code is an
 * expression over `P`, `A`, `R` (Uids), `C` (the context's record), `E` (entities) and the constants.
 * What does not depend on the request is evaluated here; where that fails, the code fails when it gets
 * there, as Cedar would.
 */
export class ExpressionCompiler {
  readonly #constants: Constants
  readonly #longs: string
  readonly #slots: ReadonlyMap<string, Uid>

  constructor(constants: Constants, longs: string, slots: ReadonlyMap<string, Uid>) {
    this.#constants = constants
    this.#longs = longs
    this.#slots = slots
  }

  /** Code that gives a boolean or fails. */
  condition(expression: Expr): { code: string; constant?: Value } {
    return this.#bool(this.#compile(expression))
  }

  #compile(expression: Expr): Compiled {
    const entries = Object.entries(expression)
    if (entries.length !== 1) throw new Irregular(`an expression has one operator, not ${entries.length}`)
    // The operand's shape follows from the operator, and Cedar's parser has checked it.
    const [operator, operand] = entries[0] as [string, never]
    if (Object.hasOwn(EXTENSIONS, operator)) return this.#extension(operator, operand)
    const compile = this.#forms[operator]
    if (compile === undefined) throw new Irregular(`the operator ${operator} is not known`)
    return compile(operand)
  }

  readonly #forms: { readonly [operator: string]: (operand: never) => Compiled } = {
    Value: (value: CedarValueJson) => this.#literal(value),
    Var: (name: string) => ({ code: VARIABLES[name] }),
    Slot: (slot: string) => {
      const uid = this.#slots.get(slot)
      if (uid === undefined) throw new Irregular(`the slot ${slot} has no value`)
      return this.#constant(uid)
    },
    '!': ({ arg }: { arg: Expr }) => {
      const value = this.#bool(this.#compile(arg))
      return typeof value.constant === 'boolean'
        ? this.#constant(!value.constant)
        : { code: `!${value.code}`, isBool: true }
    },
    neg: ({ arg }: { arg: Expr }) => {
      const literal = 'Value' in arg ? this.#bigLiteral(arg.Value as CedarValueJson) : undefined
      const negative = literal === undefined ? undefined : long(-literal)
      return negative === undefined ? this.#call('negate', [this.#compile(arg)]) : this.#constant(negative)
    },
    '==': ({ left, right }: Pair) => this.#equality(left, right),
    '!=': ({ left, right }: Pair) => {
      const equality = this.#equality(left, right)
      return typeof equality.constant === 'boolean'
        ? this.#constant(!equality.constant)
        : { code: `!${equality.code}`, isBool: true }
    },
    '<': ({ left, right }: Pair) => this.#test('less', left, right),
    '<=': ({ left, right }: Pair) => this.#test('atMost', left, right),
    // The operands are evaluated in another order, and either's failure fails the policy.
    '>': ({ left, right }: Pair) => this.#test('less', right, left),
    '>=': ({ left, right }: Pair) => this.#test('atMost', right, left),
    '+': ({ left, right }: Pair) => this.#call('plus', [this.#compile(left), this.#compile(right)]),
    '-': ({ left, right }: Pair) => this.#call('minus', [this.#compile(left), this.#compile(right)]),
    '*': ({ left, right }: Pair) => this.#call('times', [this.#compile(left), this.#compile(right)]),
    contains: ({ left, right }: Pair) => this.#test('contains', left, right),
    containsAll: ({ left, right }: Pair) => this.#test('containsAll', left, right),
    containsAny: ({ left, right }: Pair) => this.#test('containsAny', left, right),
    isEmpty: ({ arg }: { arg: Expr }) => ({ ...this.#call('isEmpty', [this.#compile(arg)]), isBool: true }),
    '&&': ({ left, right }: Pair) => this.#and(this.#compile(left), this.#compile(right)),
    '||': ({ left, right }: Pair) => {
      const a = this.#bool(this.#compile(left))
      if (a.constant === true) return a
      const b = this.#bool(this.#compile(right))
      return a.constant === false ? b : { code: `(${a.code}||${b.code})`, isBool: true }
    },
    'if-then-else': ({ if: condition, ...branch }: { if: Expr; then: Expr; else: Expr }) => {
      const test = this.#bool(this.#compile(condition))
      if (typeof test.constant === 'boolean') return this.#compile(test.constant ? branch.then : branch.else)
      const [yes, no] = [this.#compile(branch.then), this.#compile(branch.else)]
      return { code: `(${test.code}?${yes.code}:${no.code})`, isBool: isBool(yes) && isBool(no) }
    },
    in: ({ left, right }: Pair) => this.#look('in', this.#compile(left), this.#compile(right)),
    getTag: ({ left, right }: Pair) => ({
      ...this.#look('getTag', this.#compile(left), this.#compile(right)),
      isBool: false,
    }),
    hasTag: ({ left, right }: Pair) => this.#look('hasTag', this.#compile(left), this.#compile(right)),
    '.': ({ left, attr }: { left: Expr; attr: string }) => this.#attribute(this.#compile(left), attr),
    has: ({ left, attr }: { left: Expr; attr: string | string[] }) => {
      const path = typeof attr === 'string' ? [attr] : attr
      let at = this.#compile(left)
      let all: Compiled = this.#constant(true)
      for (const name of path) {
        all = this.#and(all, this.#look('has', at, { code: this.#constants.add(name) }))
        at = this.#attribute(at, name)
      }
      return all
    },
    like: ({ left, pattern }: { left: Expr; pattern: PatternElem[] }) => {
      const value = this.#compile(left)
      const texts = patternOf(pattern)
      if (value.constant !== undefined) return this.#fold(() => OPERATORS.like(value.constant as Value, texts))
      return { code: `o.like(${value.code},${this.#constants.add(texts)})`, isBool: true }
    },
    is: ({ left, entity_type: type, in: of }: { left: Expr; entity_type: string; in?: Expr }) => {
      const value = this.#compile(left)
      const test: Compiled =
        value.constant === undefined
          ? { code: `o.is(${value.code},${this.#constants.add(type)})`, isBool: true }
          : this.#fold(() => OPERATORS.is(value.constant as Value, type))
      return of === undefined ? test : this.#and(test, this.#look('in', value, this.#compile(of)))
    },
    Set: (elements: Expr[]) => {
      const values = elements.map((element) => this.#compile(element))
      const known = constantsOf(values)
      return known ? this.#constant(known) : { code: `[${values.map(({ code }) => code).join()}]` }
    },
    Record: (fields: { [name: string]: Expr }) => {
      const names = Object.keys(fields)
      const values = names.map((name) => this.#compile(fields[name]))
      const known = constantsOf(values)
      if (known) return this.#constant(recordOf(names, known))
      // A computed name is a name of its own, also `__proto__`.
      return { code: `{${names.map((name, i) => `[${this.#constants.add(name)}]:${values[i].code}`).join()}}` }
    },
  }

  #literal(value: CedarValueJson): Compiled {
    const big = this.#bigLiteral(value)
    if (big !== undefined) {
      const exact = long(big)
      if (exact === undefined) throw new Irregular(`${big} does not fit 64 bits`)
      return this.#constant(exact)
    }
    return this.#fold(() => readValue(this.#unmarked(value), 'a literal'))
  }

  /** The integer that a marked string stands for. */
  #bigLiteral(value: CedarValueJson): bigint | undefined {
    return typeof value === 'string' && value.startsWith(this.#longs)
      ? BigInt(value.slice(this.#longs.length))
      : undefined
  }

  #unmarked(value: CedarValueJson): CedarValueJson | bigint {
    if (Array.isArray(value)) return value.map((element) => this.#unmarked(element)) as CedarValueJson
    if (typeof value !== 'object' || value === null) return this.#bigLiteral(value) ?? value
    return Object.fromEntries(
      Object.entries(value).map(([name, field]) => [name, this.#unmarked(field)]),
    ) as CedarValueJson
  }

  #constant(value: Value): Compiled {
    if (typeof value === 'boolean' || typeof value === 'number') {
      return { code: typeof value === 'number' ? `(${value})` : `${value}`, constant: value }
    }
    return { code: this.#constants.add(value), constant: value }
  }

  /** Evaluates now what does not depend on the request; a failure waits until the code gets there. */
  #fold(evaluate: () => Value): Compiled {
    try {
      return this.#constant(evaluate())
    } catch (failure) {
      if (!(failure instanceof EvaluationFailure)) throw failure
      return { code: `o.raise(${this.#constants.add(failure.message)})` }
    }
  }

  #bool(value: Compiled): Compiled {
    if (isBool(value)) return value
    if (value.constant !== undefined) return this.#fold(() => OPERATORS.bool(value.constant as Value))
    return { code: `o.bool(${value.code})`, isBool: true }
  }

  #and(left: Compiled, right: Compiled): Compiled {
    const a = this.#bool(left)
    if (a.constant === false) return a
    const b = this.#bool(right)
    return a.constant === true ? b : { code: `(${a.code}&&${b.code})`, isBool: true }
  }

  #equality(left: Expr, right: Expr): Compiled {
    const [a, b] = [this.#compile(left), this.#compile(right)]
    // Primitives are one when they are identical, whatever the other side is.
    if (isPrimitive(a.constant) !== isPrimitive(b.constant)) return { code: `(${a.code}===${b.code})`, isBool: true }
    return { ...this.#call('equal', [a, b]), isBool: true }
  }

  #test(operator: Pure, left: Expr, right: Expr): Compiled {
    return { ...this.#call(operator, [this.#compile(left), this.#compile(right)]), isBool: true }
  }

  #call(operator: Pure, operands: Compiled[]): Compiled {
    const known = constantsOf(operands)
    const call = OPERATORS[operator] as (...operands: Value[]) => Value
    if (known) return this.#fold(() => call(...known))
    return { code: `o.${operator}(${operands.map(({ code }) => code).join()})` }
  }

  /** An operator that looks into entities, which no constant knows. */
  #look(operator: 'in' | 'has' | 'hasTag' | 'getTag', left: Compiled, right: Compiled): Compiled {
    return { code: `o.${operator}(E,${left.code},${right.code})`, isBool: true }
  }

  #attribute(left: Compiled, name: string): Compiled {
    const key = this.#constants.add(name)
    // Where no record has the name by birth, what is not there is undefined.
    if (left.code === 'C' && !(name in Object.prototype)) return { code: `(C[${key}]??o.missing(${key}))` }
    return { code: `o.attribute(E,${left.code},${key})` }
  }

  #extension(name: string, operands: Expr[]): Compiled {
    const { arity, call } = EXTENSIONS[name]
    if (operands.length !== arity) throw new Irregular(`${name} takes ${arity} arguments, not ${operands.length}`)
    const values = operands.map((operand) => this.#compile(operand))
    const known = constantsOf(values)
    if (known) return this.#fold(() => call(...known))
    return { code: `${this.#constants.add(call)}(${values.map(({ code }) => code).join()})` }
  }
}

type Pair = { left: Expr; right: Expr }
type Pure =
  | 'equal'
  | 'less'
  | 'atMost'
  | 'plus'
  | 'minus'
  | 'times'
  | 'negate'
  | 'contains'
  | 'containsAll'
  | 'containsAny'
  | 'isEmpty'

function isBool({ constant, isBool }: Compiled): boolean {
  return isBool === true || typeof constant === 'boolean'
}

function isPrimitive(value: Value | undefined): boolean {
  return value !== undefined && typeof value !== 'object'
}

function constantsOf(values: readonly Compiled[]): Value[] | undefined {
  const constants: Value[] = []
  for (const { constant } of values) {
    if (constant === undefined) return undefined
    constants.push(constant)
  }
  return constants
}

function recordOf(names: readonly string[], values: readonly Value[]): Value {
  return Object.fromEntries(names.map((name, i) => [name, values[i]]))
}

function patternOf(elements: readonly PatternElem[]): Pattern {
  const texts = ['']
  for (const element of elements) {
    if (element === 'Wildcard') texts.push('')
    else texts[texts.length - 1] += element.Literal
  }
  return texts
}
