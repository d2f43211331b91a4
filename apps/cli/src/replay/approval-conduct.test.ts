import type { ApprovalRule, Entry } from '@muster/protocol'
import { describe, expect, it } from 'vitest'
import { ApprovalConduct } from './approval-conduct.ts'

const HOUR = 3_600_000
const shown = 'a'.repeat(64)
const set = 'b'.repeat(64)
const ann = { key: 'k', user: 'ann' }
const step = { step: 'pay', kind: 'tool', target: 'ledger.pay', attempt: 1, labels: [] } as const

const created = entry({
  ...{ type: 'run.created', run: 'r', tenant: 'acme', by: { key: 'k', user: 'rita' }, labels: [], limits: {} },
  definition: { kind: 'agent', name: 'a', version: '1', hash: '' },
})
const given = (more: object = {}) =>
  entry({ type: 'approval.given', at: 1000, step: 'pay', verdict: 'approve', shown, by: ann, role: 'finance', ...more })
const by = (user: string) => ({ by: { key: 'k', user } })

/** A step that asks finance. */
function asks(rule?: ApprovalRule, more: object = {}): Entry {
  const decision = { effect: 'ask', policies: ['p'], set, role: 'finance', ...(rule ? { rule } : {}) }
  return entry({
    ...{ type: 'step.waiting', ...step, for: 'approval', role: 'finance', content: shown, decision },
    ...(rule ? { rule } : {}),
    ...more,
  })
}

function entry(of: object): Entry {
  return { v: 3, seq: 1, at: 0, ...of } as Entry // each has what its type needs
}

function wrongOf(...entries: Entry[]): string[] {
  const conduct = new ApprovalConduct()
  return [created, ...entries].flatMap((entry) => conduct.take({ entry }))
}

describe('an approval', () => {
  it('by whom was asked, of what was shown, in time, is right', () => {
    expect(wrongOf(asks(), given())).toEqual([])
    const rule = { people: 2, requester: false, reason: true, expiresMs: HOUR } as const
    const why = { content: shown }
    const two = [given({ ...why }), given({ ...why, ...by('bob'), at: HOUR })]
    expect(wrongOf(asks(rule, { until: HOUR }), ...two)).toEqual([])
    expect(wrongOf(asks(rule, { until: HOUR }), given({ ...by('rita'), verdict: 'deny', ...why }))).toEqual([])
    // An edit is another question, which the editor has answered.
    const edited = given({ edited: true })
    expect(wrongOf(asks({ people: 2 }), edited, asks({ people: 2 }, { given: ['ann'] }), given(by('bob')))).toEqual([])
    const escalate = { escalate: { afterMs: HOUR, role: 'cfo' } }
    const escalated = entry({ type: 'approval.escalated', step: 'pay', role: 'cfo', at: HOUR })
    expect(wrongOf(asks(escalate), escalated, given({ as: 'cfo' }))).toEqual([])
  })

  it.each<[string, string, Entry[]]>([
    ['of something else', 'was shown something else', [asks(), given({ shown: set })]],
    ['that nobody asked for', 'nobody was asked', [given()]],
    ['after it was refused', 'nobody was asked', [asks(), given({ verdict: 'deny' }), given(by('bob'))]],
    ['in another role', 'finance was asked', [asks(), given({ role: 'intern' })]],
    ['for whom it was not escalated to', 'as cfo', [asks(), given({ as: 'cfo' })]],
    ['by a service', 'is a service', [asks(), given({ by: { ...ann, service: true } })]],
    ['by who began the run', 'somebody else must', [asks({ requester: false }), given(by('rita'))]],
    [
      'by a key that came through the hands of who began the run',
      'by their keys',
      [asks({ requester: false }), given({ by: { ...ann, hands: ['ops', 'rita'] } })],
    ],
    [
      'by two that are one',
      'a second time, as ann',
      [asks({ people: 2 }), given(), given({ by: { key: 'l', user: 'bob', hands: ['ann'] } })],
    ],
    ['twice by one', 'a second time', [asks({ people: 2 }), given(), given()]],
    ['without a reason', 'without a reason', [asks({ reason: true }), given()]],
    ['too late', 'until when it waited', [asks({ expiresMs: HOUR }, { until: HOUR }), given({ at: 2 * HOUR })]],
    ['with more time than its rule lets', 'waits longer', [asks({ expiresMs: HOUR }, { until: 3 * HOUR })]],
    ['that was never given', 'ann has not given', [asks({ people: 2 }, { given: ['ann'] })]],
    ['by a rule that is not its decision\u2019s', 'another rule', [asks({ people: 2 }, { rule: undefined })]],
    [
      'that was escalated too early',
      'or not then',
      [
        asks({ escalate: { afterMs: HOUR, role: 'cfo' } }),
        entry({ type: 'approval.escalated', step: 'pay', role: 'cfo' }),
      ],
    ],
  ])('%s is found', (_, message, entries) => {
    expect(wrongOf(...entries)).toEqual([expect.stringContaining(message)])
  })

  it('of a plan by too few is found', () => {
    const wait = { ...step, kind: 'approval', target: 'finance', decision: undefined }
    const ended = entry({ type: 'step.ended', ...wait, status: 'ok', durationMs: 1 })
    const two = asks({ people: 2 }, wait)
    expect(wrongOf(two, given(), given(by('bob')), ended)).toEqual([])
    expect(wrongOf(two, given(), ended)).toEqual([expect.stringContaining('not as many people')])
    expect(wrongOf(two, given({ verdict: 'deny' }), ended)).toEqual([expect.stringContaining('not as many people')])
  })
})
