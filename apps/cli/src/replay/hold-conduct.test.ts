import type { AuditRecord, RunEvent } from '@muster/protocol'
import { expect, it } from 'vitest'
import { HoldConduct } from './hold-conduct.ts'

const HOUR = 3_600_000
const run = '01a20f93-4fe0-7f4e-98b8-0a7737a7b138'
/** As its id says. */
const at = 0x01a20f934fe0
const by = { key: 'k', user: 'ann' }

function found(...records: [action: string, at: number, about: object][]): string[] {
  const holds = new HoldConduct()
  for (const [i, [action, at, about]] of records.entries())
    holds.record({ v: 1, seq: i + 1, tenant: 'acme', at, by, action, about } as AuditRecord)
  const created = { type: 'run.created', seq: 1, at, definition: { kind: 'plan', name: 'p' }, subject: 'eve' }
  holds.take(run, { seq: 1, hash: '', entry: created } as unknown as RunEvent) // what is looked at
  return holds.findings().map(({ message }) => message)
}

const reason = 'a suit'
const lifted = (after: number) => ['hold.lifted', at + after, { hold: 'h', reason }] as [string, number, object]
const expired = ['retention.expired', at + HOUR, { rule: 0, what: 'run', terms: {}, runs: { [run]: 3 } }] as [
  string,
  number,
  object,
]
const destroyed = (of: object) => ['key.destroyed', at + HOUR, { erasure: 'e', ...of }] as [string, number, object]

it.each([{ subject: 'eve' }, { run }, { name: 'p' }, { since: at - 1, until: at + 1 }])(
  'a hold of %j keeps it',
  (of) => {
    const placed = ['hold.placed', at, { hold: 'h', ...of, reason }] as [string, number, object]
    const kept = expect.stringContaining('which hold h kept')
    expect(found(placed, expired)).toEqual([kept])
    for (const what of [{ run }, { subject: 'eve' }, { tenant: true }])
      expect(found(placed, destroyed(what))).toEqual([kept])
    expect(found(placed, lifted(HOUR / 2), expired)).toEqual([])
    expect(found(placed, expired, lifted(2 * HOUR))).toEqual([kept])
    // Too late for what had begun.
    expect(found(['hold.placed', at + HOUR - 9, { hold: 'h', ...of, reason }], expired)).toEqual([])
  },
)

it('a hold keeps nothing else, and only one that was placed is lifted', () => {
  for (const of of [
    { subject: 'bob' },
    { run: 'other' },
    { name: 'q' },
    { since: at + 1 },
    { subject: 'eve', name: 'q' },
  ])
    expect(found(['hold.placed', at, { hold: 'h', ...of, reason }], expired, destroyed({ subject: 'eve' }))).toEqual([])
  expect(found(lifted(0))).toEqual([expect.stringContaining('hold h is said to be lifted')])
})
