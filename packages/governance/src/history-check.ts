import type { AgentManifest, AppManifest, JsonSchema } from '@muster/protocol'
import type { Field, Literal, Pattern, Term } from './history-term.ts'

type Reject = (at: number, message: string) => void

/** Checks what a term names against the app's tools and agents. */
export function checkAgainst(app: AppManifest, term: Term, reject: Reject): void {
  for (const pattern of [term.event, term.since]) if (pattern) checkPattern(app, pattern, reject)
  const { amount, plus } = term
  if (!amount) return
  const schema = schemaOf(app, term.event, amount, reject)
  if (!schema) return
  if ((typeOf(schema) ?? 'number') !== 'number') reject(amount.at, `${nameOf(amount)} is no number`)
  const added = plus ? numbersAt(app, plus, reject) : [schema]
  term.isInteger = [schema, ...added].every(({ type }) => type === 'integer')
}

/** The schemas that tools have for a number of their input. */
function numbersAt(app: AppManifest, field: Field, reject: Reject): JsonSchema[] {
  const found = app.tools.map(({ input }) => at(input, field.path)).filter((schema) => schema !== undefined)
  const numbers = found.filter((schema) => (typeOf(schema) ?? 'number') === 'number')
  if (numbers.length === 0) reject(field.at, `${nameOf(field)} of no tool is a number`)
  return numbers
}

function checkPattern(app: AppManifest, pattern: Pattern, reject: Reject): void {
  const { kind, target, at, comparisons, correlations } = pattern
  if (target !== '*' && kind === 'tool' && !app.tools.some(({ name }) => name === target))
    reject(at, `there is no tool "${target}"`)
  else if (target !== '*' && kind === 'agent' && !agentOf(app, target)) reject(at, `there is no agent "${target}"`)
  else {
    for (const { field, operator, value } of comparisons) {
      const schema = schemaOf(app, pattern, field, reject)
      const type = schema && typeOf(schema)
      if (type !== undefined && type !== typeof value)
        reject(field.at, `${nameOf(field)} is a ${type}, ${shown(value)} is a ${typeof value}`)
      else if (typeof value !== 'number' && operator !== '=' && operator !== '!=')
        reject(field.at, `${operator} compares numbers`)
    }
    for (const { field, path } of correlations) {
      const schema = schemaOf(app, pattern, field, reject)
      if (schema) checkCorrelation(app, field, typeOf(schema), path, reject)
    }
  }
}

function checkCorrelation(
  app: AppManifest,
  field: Field,
  type: string | undefined,
  path: readonly string[],
  reject: Reject,
): void {
  if (type === 'object' || type === 'array') {
    reject(field.at, `${nameOf(field)} is an ${type}; texts, numbers and booleans can be compared`)
    return
  }
  const found = app.tools.map(({ input }) => at(input, path)).filter((schema) => schema !== undefined)
  if (found.length === 0) reject(field.at, `no tool has the field input.${path.join('.')}`)
  else if (type !== undefined && found.every((schema) => (typeOf(schema) ?? type) !== type))
    reject(field.at, `input.${path.join('.')} of no tool is a ${type}, as ${nameOf(field)} is`)
}

/** The schema of a field of the events; undefined, and told, where they have none. */
function schemaOf(app: AppManifest, { kind, target }: Pattern, field: Field, reject: Reject): JsonSchema | undefined {
  const subject =
    kind === 'tool'
      ? app.tools.find(({ name }) => name === target)
      : kind === 'agent'
        ? agentOf(app, target)
        : undefined
  // What people are shown has no schema.
  if (kind === 'approval' && target !== '*') return {}
  const whole = field.from === 'input' ? subject?.input : subject?.output
  const schema = whole && at(whole, field.path)
  if (!schema)
    reject(field.at, target === '*' || kind === 'model' ? NO_FIELDS : `${target} has no field ${nameOf(field)}`)
  return schema
}

const NO_FIELDS = 'fields can be named of one tool or agent only'

function agentOf(app: AppManifest, target: string): AgentManifest | undefined {
  return app.definitions.find((one): one is AgentManifest => one.kind === 'agent' && one.name === target)
}

/** The schema at a path: `{}` where a schema says nothing of it, undefined where there is no such field. */
function at(schema: JsonSchema, path: readonly string[]): JsonSchema | undefined {
  let here = schema
  for (const name of path) {
    const { properties, type, additionalProperties } = here
    if (type !== undefined && type !== 'object') return undefined
    // JSON Schema from zod: `properties`, where present, maps names to schemas.
    const known = typeof properties === 'object' ? (properties as Record<string, JsonSchema> | null) : undefined
    if (known && Object.hasOwn(known, name)) here = known[name] ?? {}
    else if (known && typeof additionalProperties !== 'object') return undefined
    else here = {}
  }
  return here
}

/** The type of JavaScript's that values of the schema have, `array` beside them; undefined where it says none. */
function typeOf({ type }: JsonSchema): string | undefined {
  if (type === 'integer') return 'number'
  return typeof type === 'string' ? type : undefined
}

function nameOf({ from, path }: Field): string {
  return [from, ...path].join('.')
}

function shown(value: Literal): string {
  return typeof value === 'string' ? `"${value}"` : String(value)
}
