import type { CedarValueJson, Expr, PolicyJson, TypeAndId } from '@cedar-policy/cedar-wasm/nodejs'
import { isIdentifier } from './random-cedar.ts'

/** Writes a policy in Cedar's syntax, each expression in parentheses: a second way to say the same. */
export function cedarText({ effect, principal, action, resource, conditions }: PolicyJson): string {
  const scope = [scopeText('principal', principal), scopeText('action', action), scopeText('resource', resource)]
  return `${effect}(${scope.join(', ')}) ${conditions.map(({ kind, body }) => `${kind} { ${text(body)} }`).join(' ')};`
}

function scopeText(variable: string, scope: PolicyJson['principal'] | PolicyJson['action']): string {
  const of = (of: object): string =>
    'slot' in of ? String(of.slot) : uidText(('entity' in of ? of.entity : undefined) as TypeAndId)
  if (scope.op === 'All') return variable
  if (scope.op === 'is')
    return `${variable} is ${scope.entity_type}${scope.in === undefined ? '' : ` in ${of(scope.in)}`}`
  if ('entities' in scope)
    return `${variable} in [${scope.entities.map((uid) => uidText(uid as TypeAndId)).join(', ')}]`
  return `${variable} ${scope.op} ${of(scope)}`
}

function uidText({ type, id }: TypeAndId): string {
  return `${type}::${quoted(id)}`
}

/** Rust's escapes: JSON's but for `\b`, `\f`, `\uXXXX`, which no text here has. */
function quoted(value: string): string {
  return JSON.stringify(value)
}

const METHODS = new Set(['contains', 'containsAll', 'containsAny', 'getTag', 'hasTag'])
const CONSTRUCTORS = new Set(['decimal', 'ip', 'datetime', 'duration'])

function text(expression: Expr): string {
  return `(${bare(expression)})`
}

function bare(expression: Expr): string {
  // Trees come from the generator: each operator has the operand that Cedar gives it.
  const [[operator, operand]] = Object.entries(expression) as [[string, never]]
  switch (operator) {
    case 'Value':
      return literal(operand)
    case 'Var':
      return operand
    case '!':
      return `!${text((operand as { arg: Expr }).arg)}`
    case 'neg':
      return `-${text((operand as { arg: Expr }).arg)}`
    case 'isEmpty':
      return `${text((operand as { arg: Expr }).arg)}.isEmpty()`
    case 'if-then-else': {
      const branch = operand as { if: Expr; then: Expr; else: Expr }
      return `if ${text(branch.if)} then ${text(branch.then)} else ${text(branch.else)}`
    }
    case '.': {
      const { left, attr } = operand as { left: Expr; attr: string }
      return isIdentifier(attr) ? `${text(left)}.${attr}` : `${text(left)}[${quoted(attr)}]`
    }
    case 'has': {
      const { left, attr } = operand as { left: Expr; attr: string | string[] }
      return `${text(left)} has ${Array.isArray(attr) ? attr.join('.') : isIdentifier(attr) ? attr : quoted(attr)}`
    }
    case 'like': {
      const { left, pattern } = operand as { left: Expr; pattern: ('Wildcard' | { Literal: string })[] }
      const parts = pattern.map((part) =>
        part === 'Wildcard' ? '*' : quoted(part.Literal).slice(1, -1).replaceAll('*', '\\*'),
      )
      return `${text(left)} like "${parts.join('')}"`
    }
    case 'is': {
      const { left, entity_type: type, in: of } = operand as { left: Expr; entity_type: string; in?: Expr }
      return `${text(left)} is ${type}${of === undefined ? '' : ` in ${text(of)}`}`
    }
    case 'Set':
      return `[${(operand as Expr[]).map(text).join(', ')}]`
    case 'Record':
      return `{${Object.entries(operand as { [name: string]: Expr })
        .map(([name, field]) => `${quoted(name)}: ${text(field)}`)
        .join(', ')}}`
    default: {
      if (Array.isArray(operand)) {
        const [first, ...rest] = (operand as Expr[]).map(text)
        return CONSTRUCTORS.has(operator) ? `${operator}(${first})` : `${first}.${operator}(${rest.join(', ')})`
      }
      const { left, right } = operand as { left: Expr; right: Expr }
      return METHODS.has(operator)
        ? `${text(left)}.${operator}(${text(right)})`
        : `${text(left)} ${operator} ${text(right)}`
    }
  }
}

function literal(value: CedarValueJson): string {
  if (typeof value === 'string') return quoted(value)
  if (typeof value === 'object' && value !== null && '__entity' in value) return uidText(value.__entity as TypeAndId)
  return `${value}`
}
