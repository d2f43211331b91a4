import type { Json } from '@muster/protocol'
import { decimal } from './cedar/value.ts'
import type { Comparison, Field, Pattern } from './history-term.ts'

/** What happened to a step: it was allowed and begun, or it ended. */
export interface StepEvent {
  what: 'begun' | 'ended'
  /** Unique within the run. */
  step: string
  /** As in the journal; of agents the name without the version. */
  kind: string
  target: string
  /** Milliseconds since the Unix epoch. */
  at: number
  input: Json
  output?: Json
  /** How it ended. */
  status?: 'ok' | 'failed' | 'denied' | 'cancelled'
  /** It is tried again: it has not ended yet. */
  retry?: boolean
  /** Though it has not ended well, it may have happened. */
  unsure?: boolean
  /** Who has approved it. */
  people: readonly string[]
  /** Another run of its session has done it, and this one has taken it over. */
  copied?: boolean
}

export function amountOf(event: StepEvent, field: Field): number | undefined {
  return scaledAt(field.from === 'input' ? event.input : (event.output ?? null), field)
}

/** In 1/10,000; undefined where it has no form in Cedar. What is absent adds nothing. */
export function scaledAt(value: Json, { path }: Field): number | undefined {
  const found = inside(value, path)
  if (found == null) return 0
  const exact = typeof found === 'number' ? decimal(found) : undefined
  return exact && Number(exact.amount)
}

export function isMatch(event: StepEvent, { comparisons }: Pattern): boolean {
  return comparisons.every((comparison) => holds(at(event, comparison.field), comparison))
}

function holds(found: Json | undefined, { operator, value }: Comparison): boolean {
  if (operator === '=') return found === value
  if (operator === '!=') return found !== value
  if (typeof found !== 'number' || typeof value !== 'number') return false
  if (operator === '<') return found < value
  if (operator === '<=') return found <= value
  return operator === '>' ? found > value : found >= value
}

/** Events of one key are what the same question is about. */
export function keyOf(event: StepEvent, { correlations }: Pattern): string {
  if (correlations.length === 0) return ''
  return correlations.map(({ field }) => JSON.stringify(at(event, field) ?? null)).join()
}

export function keyOfRequest(input: Json, { correlations }: Pattern): string {
  if (correlations.length === 0) return ''
  return correlations.map(({ path }) => JSON.stringify(inside(input, path) ?? null)).join()
}

function at(event: StepEvent, { from, path }: Field): Json | undefined {
  return inside(from === 'input' ? event.input : (event.output ?? null), path)
}

function inside(value: Json, path: readonly string[]): Json | undefined {
  let here: Json | undefined = value
  for (const name of path) {
    if (here === null || typeof here !== 'object' || Array.isArray(here) || !Object.hasOwn(here, name)) return undefined
    here = here[name]
  }
  return here
}

/** The event with no more of its input and output than is asked for. */
export function projected(event: StepEvent, fields: readonly Field[]): StepEvent {
  const input: Record<string, Json> = {}
  const output: Record<string, Json> = {}
  for (const field of fields) {
    const value = at(event, field)
    if (value !== undefined) put(field.from === 'input' ? input : output, field.path, value)
  }
  return { ...event, input, output }
}

function put(into: Record<string, Json>, path: readonly string[], value: Json): void {
  const [name = '', ...rest] = path
  if (rest.length === 0) {
    into[name] = value
    return
  }
  const inner = Object.hasOwn(into, name) ? into[name] : {}
  into[name] = inner ?? {}
  put(into[name] as Record<string, Json>, rest, value) // a path leads through objects
}
