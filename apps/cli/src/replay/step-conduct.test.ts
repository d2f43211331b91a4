import type { AuditRecord, DefinitionManifest, Entry, EntryOf, ToolManifest } from '@muster/protocol'
import { describe, expect, it } from 'vitest'
import { Family } from './family.ts'
import { StepConduct } from './step-conduct.ts'
import { StopConduct } from './stop-conduct.ts'

const HOUR = 3_600_000
/** Its id says when it was created. */
const run = '01a20f93-4fe0-7f4e-98b8-0a7737a7b138'
const at = 0x01a20f934fe0
const step = { step: 'pay', kind: 'tool', target: 'ledger.pay', attempt: 1, labels: [] }
const usage = { inputTokens: 10, outputTokens: 5, cachedTokens: 0 }

const entry = (of: object): Entry => ({ v: 1, seq: 1, at, ...of }) as Entry // each has what its type needs
const created = (more: object = {}) =>
  entry({
    ...{ type: 'run.created', run, tenant: 'acme', by: { key: 'k', user: 'rita' }, labels: [] },
    ...{ definition: { kind: 'agent', name: 'a', version: '1', hash: 'h' }, limits: { usd: 1, steps: 9 }, ...more },
  })
const intent = (more: object = {}) =>
  entry({
    ...{ type: 'step.intent', ...step, effect: 'once', idempotencyKey: `${run}/pay` },
    ...{ decision: { effect: 'allow', policies: [], set: '' }, ...more },
  })
const ended = (more: object = {}) => entry({ type: 'step.ended', ...step, status: 'ok', durationMs: 1, ...more })
const over = (more: object = {}) =>
  entry({ type: 'run.ended', status: 'succeeded', labels: [], usage, costUsd: 0, ...more })
const model = { step: '1.model', kind: 'model', target: 'default', idempotencyKey: `${run}/1.model`, effect: 'read' }
const by = { key: 'k', user: 'ann' }

function oddOf(...entries: Entry[]): string[] {
  const conduct = new StepConduct({
    tool: ({ target }) => (target === 'ledger.pay' ? ({ effect: 'once' } as ToolManifest) : undefined),
    definition: () => ({ limits: { usd: 1, steps: 10 } }) as DefinitionManifest,
  })
  return entries.flatMap((entry) => conduct.take({ entry }).map(({ code, message }) => `${code}: ${message}`))
}

describe('the entries of a run', () => {
  it('as the runtime writes them, are right', () => {
    const retried = [intent(), ended({ status: 'failed', retry: true }), intent({ attempt: 2 }), ended()]
    const asked = [intent(model), ended({ ...model, usage })]
    expect(oddOf(created(), ...asked, ...retried, over())).toEqual([])
    const paused = [entry({ type: 'run.paused', by }), entry({ type: 'run.resumed', by, at: at + HOUR })]
    expect(oddOf(created(), ...paused, intent({ at: at + HOUR }), ended({ at: at + HOUR }))).toEqual([])
    // In doubt when it was cancelled, and looked into.
    const cancelled = entry({ type: 'run.cancel_requested', by })
    const undo = { step: 'undo(pay)', idempotencyKey: `${run}/undo(pay)`, at: at + HOUR, effect: 'write' }
    expect(oddOf(created(), intent(), cancelled, intent({ at: at + HOUR }), ended({ at: at + HOUR }))).toEqual([])
    expect(oddOf(created(), intent(), ended(), cancelled, intent(undo))).toEqual([])
    const origin = { run, seq: 3, hash: 'h' }
    const taken = ended({ copied: 3, at: 0 })
    const none = { inputTokens: 0, outputTokens: 0, cachedTokens: 0 }
    const wholeOf = (entries: number) => entry({ type: 'run.copied', entries })
    expect(oddOf(created({ origin }), taken, wholeOf(1), over({ usage: none, steps: 1 }))).toEqual([])
    const calledOff = [intent(), ended({ status: 'cancelled' })]
    for (const steps of [0, 1]) expect(oddOf(created(), ...calledOff, over({ usage: none, steps }))).toEqual([])
    // Only what is stopped is held back, and what was lifted may begin before the run has heard of it.
    const stopped = entry({ type: 'run.stopped', stop: 'tool:ledger.pay', by: 'ann' })
    const lifted = entry({ type: 'run.lifted', stop: 'tool:ledger.pay', at: at + HOUR })
    const other = { ...model, at: at + HOUR / 2, usage }
    expect(oddOf(created(), stopped, intent(other), ended(other), intent({ at: at + HOUR - 9 }), lifted)).toEqual([])
  })

  it.each<[string, string, Entry[]]>([
    [
      'under the key of another step',
      'once-repeated: step pay began under',
      [intent({ idempotencyKey: `${run}/other` })],
    ],
    ['with another effect than its tool has', 'decision: step pay is said to be read', [intent({ effect: 'read' })]],
    [
      'with an outcome and no intent since it failed',
      'effect-without-intent',
      [intent(), ended({ status: 'failed', retry: true }), ended()],
    ],
    ['with a second outcome', 'once-repeated: step pay ended a second time', [intent(), ended(), ended()]],
    ['with a model that was asked without an intent', 'effect-without-intent', [ended(model)]],
    [
      'that began while it was paused',
      'effect-without-allow: step pay began',
      [entry({ type: 'run.paused', by }), intent({ at: at + HOUR })],
    ],
    [
      'that began after it was cancelled',
      'effect-without-allow: step pay began',
      [entry({ type: 'run.cancel_requested', by }), intent({ at: at + HOUR })],
    ],
    ['taken over from nowhere', 'effect-without-intent: step.ended', [ended({ copied: 3 })]],
    [
      'written before what stands before it',
      'time: step.intent',
      [entry({ type: 'run.activated', at: at + HOUR }), intent()],
    ],
    [
      'with fewer tokens than its steps used',
      'budget: the run says',
      [intent(model), ended({ ...model, usage: { ...usage, inputTokens: 99 } }), over()],
    ],
    [
      'that began while its tool was stopped',
      'effect-without-allow: step pay began when tool:ledger.pay was stopped',
      [
        entry({ type: 'run.stopped', stop: 'tool:ledger.pay', by: 'ann' }),
        intent({ at: at + HOUR / 2 }),
        entry({ type: 'run.lifted', stop: 'tool:ledger.pay', at: at + HOUR }),
      ],
    ],
    [
      'that began while its agent was stopped for good',
      'effect-without-allow: step pay began when agent:a was stopped',
      [
        entry({ type: 'run.stopped', stop: 'agent:a', by: 'ann' }),
        intent({ at: at + HOUR }),
        over({ status: 'failed', usage: { inputTokens: 0, outputTokens: 0, cachedTokens: 0 }, at: at + HOUR }),
      ],
    ],
    ['resumed that was not paused', 'control: it is said to be resumed', [entry({ type: 'run.resumed', by })]],
    ['lifted that was not stopped', 'control: the stop of tenant', [entry({ type: 'run.lifted', stop: 'tenant' })]],
    [
      'that succeeded when it was to be cancelled',
      'control: it succeeded',
      [intent(model), ended({ ...model, usage }), entry({ type: 'run.cancel_requested', by }), over()],
    ],
    [
      'with other steps than it took',
      'budget: the run says that it took 3 steps, and it took 1',
      [intent(model), ended({ ...model, usage }), over({ steps: 3 })],
    ],
  ])('%s is found', (_, message, entries) => {
    expect(oddOf(created(), ...entries)).toEqual([expect.stringContaining(message)])
  })

  it('that are of another run cost nothing here, and are as many as is said', () => {
    const fork = created({ origin: { run, seq: 3, hash: 'h' } })
    const none = { inputTokens: 0, outputTokens: 0, cachedTokens: 0 }
    const copied = (entries: number) => entry({ type: 'run.copied', entries })
    expect(oddOf(fork, ended({ copied: 3 }), copied(2))).toEqual([expect.stringContaining('copied: it says')])
    expect(oddOf(fork, ended({ copied: 3, costUsd: 1 }), copied(1))).toEqual([
      expect.stringContaining('copied: step pay'),
    ])
    expect(oddOf(fork, ended({ copied: 3 }), copied(1), over({ usage: { ...none, inputTokens: 9 } }))).toEqual([
      expect.stringContaining('budget: the run says that it used 9 tokens'),
    ])
  })

  it('that was begun with more than it may have, or at another time than its id says, is found', () => {
    expect(oddOf(created({ limits: { usd: 5, steps: 10 } }))).toEqual([
      expect.stringContaining('budget: it was begun with 5 usd'),
    ])
    expect(oddOf(created({ limits: { usd: 1 } }))).toEqual([expect.stringContaining('begun with no steps')])
    expect(oddOf(created({ at: at - HOUR }))).toEqual([expect.stringContaining('time: it was created at')])
  })
})

describe('what operators had stopped', () => {
  const record = (action: string, name: string, at: number): AuditRecord =>
    ({ v: 1, seq: 1, tenant: 'acme', at, by, action, about: { name } }) as AuditRecord
  const stopFor = (begun: number, ...records: AuditRecord[]) => {
    const stops = new StopConduct()
    for (const one of records) stops.record(one)
    // Both have what their types need.
    return stops.stopFor(created() as EntryOf<'run.created'>, intent({ at: begun }) as EntryOf<'step.intent'>)?.name
  }

  it('does not begin until it is lifted, but for a moment in which workers learn of it', () => {
    for (const name of ['tenant', 'agent:a', 'tool:ledger.pay']) {
      const [set, lifted] = [record('stop.set', name, at), record('stop.lifted', name, at + HOUR)]
      expect(stopFor(at + HOUR / 2, set, lifted)).toBe(name)
      expect(stopFor(at + HOUR / 2, set, record('stop.set', name, at + HOUR / 2 - 1))).toBe(name)
      expect(stopFor(at + 5000, set)).toBeUndefined()
      expect(stopFor(at + HOUR + 1, set, lifted)).toBeUndefined()
      expect(stopFor(at - 1, set)).toBeUndefined()
    }
    for (const name of ['plan:a', 'agent:b', 'tool:other', 'model:ledger.pay'])
      expect(stopFor(at + HOUR, record('stop.set', name, at))).toBeUndefined()
  })
})

describe('a run that another began', () => {
  const child = '01a20f93-4fe0-7f4e-98b8-0a7737a7b139'
  const asks = { step: 'ask', kind: 'agent', target: 'a@1' }
  const parent = { run, step: 'ask', until: 'ended' }
  const oddOfChild = (own: object, end: object, got: object) => {
    const family = new Family()
    const take = (id: string, entries: Entry[]) => {
      for (const entry of entries) family.take(id, { seq: 1, hash: '', entry })
    }
    take(run, [created(), intent(asks), ended({ ...asks, costUsd: 1, ...got })])
    take(child, [created({ run: child, parent, ...own }), over({ costUsd: 1, ...end })])
    return [...family.odd()].map(({ code, message }) => `${code}: ${message}`)
  }

  it('is of a step that is there, for the same person, and cost what that says', () => {
    expect(oddOfChild({}, {}, {})).toEqual([])
    expect(oddOfChild({}, { status: 'failed' }, { status: 'failed' })).toEqual([])
    expect(oddOfChild({ parent: { ...parent, step: 'none' } }, {}, {})).toEqual([
      expect.stringContaining('parent: the run says'),
    ])
    expect(oddOfChild({ by }, {}, {})).toEqual([expect.stringContaining('is said to be for ann')])
    expect(oddOfChild({}, { costUsd: 3 }, {})).toEqual([
      expect.stringContaining('budget: step ask says that it cost $1'),
    ])
    expect(oddOfChild({}, { status: 'failed' }, {})).toEqual([expect.stringContaining('parent: step ask succeeded')])
  })
})
