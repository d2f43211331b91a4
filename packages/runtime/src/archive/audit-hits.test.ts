import type { Decision, Entry, Json, RunEvent } from '@muster/protocol'
import { describe, expect, it } from 'vitest'
import { auditHitsOf } from './audit-hits.ts'

type Bare = Entry extends infer E ? (E extends Entry ? Omit<E, 'v' | 'seq' | 'at'> : never) : never
const created: Bare = {
  ...{ type: 'run.created', run: 'r', tenant: 't', by: { key: 'k', user: 'ann' }, labels: [], limits: {} },
  definition: { kind: 'plan', name: 'month-end', version: '2', hash: '' },
}
const pay = { step: 'pay', kind: 'tool' as const, target: 'ledger.pay', attempt: 1, labels: ['untrusted'] }
const allow: Decision = { effect: 'allow', policies: ['works'], set: 's' }
const ask: Decision = { effect: 'ask', policies: ['large'], set: 's', role: 'boss' }
const waits = { type: 'step.waiting', ...pay, for: 'approval', decision: ask, role: 'boss' } as const
const given = {
  type: 'approval.given',
  step: 'pay',
  verdict: 'approve',
  shown: '',
  by: { key: 'b', user: 'bob' },
  role: 'boss',
} as const
const begins = { type: 'step.intent', ...pay, effect: 'once', idempotencyKey: '', decision: allow } as const
const ends = { type: 'step.ended', ...pay, status: 'ok', durationMs: 1 } as const

/** What is found of a run with these entries and contents. */
function hitsOf(...told: (Bare | [Bare, Json])[]) {
  const events = [created, ...told].map((one, i): RunEvent => {
    const [entry, content] = Array.isArray(one) ? one : [one]
    const whole = { v: 3, seq: i + 1, at: 1000 + i, ...entry } as Entry // the head is all that was left out
    return { seq: i + 1, hash: '', entry: whole, ...(content === undefined ? {} : { content }) }
  })
  return auditHitsOf(events)
}

describe('auditHitsOf', () => {
  it('says of a step all that was decided and answered, and the numbers of what was called in the end', () => {
    expect(
      hitsOf([waits, { input: { amount: 5000 } }], given, [begins, { amount: 500, payee: 'x', many: [1] }], ends),
    ).toEqual([
      {
        ...{ run: 'r', seq: 5, at: 1004, name: 'month-end', version: '2', by: 'ann', step: 'pay', kind: 'tool' },
        ...{ target: 'ledger.pay', status: 'ok', decisions: ['ask', 'allow'], policies: ['large', 'works'] },
        ...{ labels: ['untrusted'], approvers: ['bob'], amounts: { amount: 500 } },
      },
    ])
  })

  it('takes of what was denied the input, and of what waits what is shown', () => {
    const deny: Decision = { effect: 'deny', policies: ['never'], set: 's' }
    const error = { code: 'policy.denied', message: 'a private matter' }
    const hits = hitsOf([{ ...ends, status: 'denied', decision: deny, error }, { amount: 7 }])
    expect(hits).toMatchObject([{ decisions: ['deny'], error: 'policy.denied', amounts: { amount: 7 } }])
    expect(JSON.stringify(hits)).not.toContain('private')
  })

  it('has each attempt, decided anew, with who answered before', () => {
    const failed = { ...ends, status: 'failed', retry: true, error: { code: 'tool.failed', message: '' } } as const
    expect(hitsOf(waits, given, begins, failed, begins, ends)).toMatchObject([
      { status: 'failed', decisions: ['ask', 'allow'], approvers: ['bob'], error: 'tool.failed' },
      { status: 'ok', decisions: ['allow'], approvers: ['bob'] },
    ])
  })

  it('leaves out what never began, and what another run did', () => {
    expect(hitsOf({ ...ends, status: 'skipped' }, { ...ends, copied: 3 })).toEqual([])
  })
})
