import type { Json } from './definition.ts'
import { type Issue, MusterError } from './errors.ts'
import { referenceOf } from './reference.ts'

/** Conditions within conditions. */
const DEPTH_MAX = 32

const comparisons = ['equals', 'above', 'below'] as const
const groups = ['all', 'any'] as const

/**
 * What is wrong with a condition: it is a reference or a literal (true unless `false`, `null`, `0` or `""`), or an
 * object of one of `{"equals": [a, b]}`, `{"above": [a, b]}`, `{"below": [a, b]}` (numbers), `{"not": c}`,
 * `{"all": [c, …]}`, `{"any": [c, …]}`.
 */
export function conditionIssues(condition: Json, path: string, depth = 0): Issue[] {
  if (!isOperator(condition)) {
    return typeof condition === 'object' && condition !== null && referenceOf(condition) === undefined
      ? [{ path, message: 'a condition is a reference, or one of equals, above, below, not, all, any' }]
      : []
  }
  if (depth >= DEPTH_MAX) return [{ path, message: `conditions stand at most ${DEPTH_MAX} deep in each other` }]
  const [name, operand] = onlyEntry(condition)
  if (name === 'not') return conditionIssues(operand, `${path}/not`, depth + 1)
  if (!Array.isArray(operand)) return [{ path: `${path}/${name}`, message: 'a list' }]
  if (includes(comparisons, name))
    return operand.length === 2 ? [] : [{ path: `${path}/${name}`, message: 'a list of two values' }]
  return operand.flatMap((part, i) => conditionIssues(part, `${path}/${name}/${i}`, depth + 1))
}

/**
 * Whether a condition holds, when `resolve` replaces the references in a value.
 *
 * @throws MusterError `input.invalid` where something other than a number is above or below
 */
export function holds(condition: Json, resolve: (value: Json) => Json): boolean {
  if (!isOperator(condition)) return Boolean(resolve(condition))
  const [name, operand] = onlyEntry(condition)
  if (name === 'not') return !holds(operand, resolve)
  const parts = operand as Json[] // checked by conditionIssues
  if (name === 'all') return parts.every((part) => holds(part, resolve))
  if (name === 'any') return parts.some((part) => holds(part, resolve))
  const [a, b] = parts.map(resolve)
  if (name === 'equals') return isSame(a, b)
  if (typeof a !== 'number' || typeof b !== 'number')
    throw new MusterError(
      'input.invalid',
      `a condition compares ${JSON.stringify(a)} and ${JSON.stringify(b)}: "${name}" takes numbers`,
    )
  return name === 'above' ? a > b : a < b
}

function isOperator(value: Json): value is Record<string, Json> {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return false
  const [name, ...others] = Object.keys(value)
  return others.length === 0 && (name === 'not' || includes(groups, name) || includes(comparisons, name))
}

function onlyEntry(condition: Record<string, Json>): [string, Json] {
  const [name = ''] = Object.keys(condition)
  return [name, condition[name] ?? null]
}

function includes(names: readonly string[], name: string | undefined): boolean {
  return name !== undefined && names.includes(name)
}

/** Whether two JSON values are the same, whatever the order of their fields. */
function isSame(a: Json | undefined, b: Json | undefined): boolean {
  if (a === b) return true
  if (a === null || b === null || typeof a !== 'object' || typeof b !== 'object') return false
  if (Array.isArray(a) !== Array.isArray(b)) return false
  const keys = Object.keys(a)
  if (keys.length !== Object.keys(b).length) return false
  const [x, y] = [a as Record<string, Json>, b as Record<string, Json>] // an array's keys are its indices
  return keys.every((key) => Object.hasOwn(y, key) && isSame(x[key], y[key]))
}
