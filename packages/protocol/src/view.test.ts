import { describe, expect, it } from 'vitest'
import type { Json } from './definition.ts'
import { type Entry, entry, type NewEntry } from './entry.ts'
import { isEnded, run as runSchema, startRun } from './run.ts'
import { RunView } from './view.ts'

const by = { key: 'k', user: 'ann' }
const digest = 'd'.repeat(64)
const pay = { step: 'pay', kind: 'tool' as const, target: 'ledger.pay', attempt: 1, labels: ['untrusted'] }
const decision = { effect: 'allow' as const, policies: ['p'], set: 's' }
const usage = (inputTokens: number, outputTokens = 0, cachedTokens = 0) => ({ inputTokens, outputTokens, cachedTokens })
const created: NewEntry = {
  type: 'run.created',
  at: 1000,
  run: 'r1',
  tenant: 'acme',
  definition: { kind: 'agent', name: 'clerk', version: '1.0.0', hash: 'h' },
  by,
  labels: ['pii'],
  limits: {},
}
const activated = (epoch: number, at = 1001): NewEntry => ({ type: 'run.activated', at, epoch, worker: 'w', app: 'a' })
const ended = (change: Partial<Extract<NewEntry, { type: 'step.ended' }>> = {}): NewEntry => ({
  type: 'step.ended',
  at: 1003,
  ...pay,
  status: 'ok',
  durationMs: 1,
  ...change,
})
const waits: NewEntry = { type: 'step.waiting', at: 1002, ...pay, for: 'approval', role: 'controller', decision }
const parked: NewEntry = { type: 'run.parked', at: 1003, waiting: ['pay'] }

/** The run after these entries; a pair gives an entry its content. */
function fold(...entries: (NewEntry | [NewEntry, Json])[]) {
  const view = new RunView()
  for (const [i, item] of entries.entries()) {
    const [body, content] = Array.isArray(item) ? item : [item, undefined]
    const full = entry.parse({
      v: 1,
      seq: i + 1,
      ...body,
      ...(content === undefined ? {} : { content: digest }),
    } satisfies Record<string, unknown>) as Entry
    view.add({
      seq: i + 1,
      hash: String(i + 1).padStart(64, '0'),
      entry: full,
      ...(content === undefined ? {} : { content }),
    })
  }
  if (view.run) runSchema.parse(view.run)
  return view.run
}

describe('RunView', () => {
  it('has no run before its creation', () => {
    expect(fold()).toBeUndefined()
    expect(fold(activated(1))).toBeUndefined()
  })

  it('shows a created run as queued, with its input', () => {
    expect(fold([created, { input: { invoice: 'i1' }, salt: 'x' }])).toMatchObject({
      id: 'r1',
      tenant: 'acme',
      status: 'queued',
      kind: 'agent',
      name: 'clerk',
      version: '1.0.0',
      by,
      createdAt: 1000,
      input: { invoice: 'i1' },
      labels: ['pii'],
      entries: 1,
      head: '1'.padStart(64, '0'),
    })
  })

  it('shows session and parent only where there are', () => {
    expect(fold(created)).not.toHaveProperty('session')
    const parent = { run: 'r0', step: 's', until: 'parked' as const }
    expect(fold({ ...created, session: 'chat', parent } as NewEntry)).toMatchObject({ session: 'chat', parent })
  })

  it('keeps the first start and the last epoch', () => {
    expect(fold(created, activated(1, 1001), activated(2, 2000))).toMatchObject({
      status: 'running',
      startedAt: 1001,
      epoch: 2,
    })
  })

  it('adds up steps, money and tokens; an attempt that is tried again is no step but costs', () => {
    const run = fold(
      created,
      activated(1),
      ended({ status: 'failed', retry: true, costUsd: 0.25, usage: usage(10, 1, 5) }),
      ended({ costUsd: 0.5, usage: usage(20, 2, 3) }),
      ended({ step: 'other' }),
    )
    expect(run).toMatchObject({ steps: 2, costUsd: 0.75, usage: usage(30, 3, 8) })
  })

  it('shows what it waits for, with what an approver is shown and its digest, while it is parked', () => {
    const run = fold(created, activated(1), [waits, { amount: 5 }], parked)
    expect(run).toMatchObject({
      status: 'waiting',
      waiting: [
        { step: 'pay', for: 'approval', role: 'controller', target: 'ledger.pay', shown: { amount: 5 }, digest },
      ],
    })
  })

  it('waits no longer for what was answered or ended, and still for the rest', () => {
    const other = { ...waits, step: 'other' } as NewEntry
    const given: NewEntry = {
      type: 'approval.given',
      at: 1004,
      step: 'pay',
      verdict: 'approve',
      shown: digest,
      by,
      role: 'controller',
    }
    expect(fold(created, activated(1), waits, other, parked, given)?.waiting.map(({ step }) => step)).toEqual(['other'])
    expect(
      fold(created, activated(1), waits, other, parked, activated(2), ended())?.waiting.map(({ step }) => step),
    ).toEqual(['other'])
  })

  it.each(['succeeded', 'failed', 'cancelled'] as const)('shows a run that has %s, with nothing waiting', (status) => {
    const error = status === 'failed' ? { error: { code: 'tool.failed', message: 'no' } } : {}
    const end: NewEntry = {
      type: 'run.ended',
      at: 1009,
      status,
      labels: ['untrusted'],
      steps: 1,
      usage: usage(1),
      costUsd: 0,
      ...error,
    }
    const run = fold(created, activated(1), waits, [end, { receipt: 'x' }])
    expect(run).toMatchObject({
      status,
      endedAt: 1009,
      labels: ['untrusted'],
      waiting: [],
      output: { receipt: 'x' },
      ...error,
    })
    expect(run && isEnded(run.status)).toBe(true)
  })

  it('counts entries that change nothing else', () => {
    const ignored: NewEntry = { type: 'message.ignored', at: 1002, about: 'approval', step: 'pay', by }
    const intent: NewEntry = { type: 'step.intent', at: 1002, ...pay, effect: 'once', idempotencyKey: 'k', decision }
    const cancel: NewEntry = { type: 'run.cancel_requested', at: 1002, by }
    const before = fold(created, activated(1))
    expect(fold(created, activated(1), ignored, intent, cancel)).toEqual({
      ...before,
      entries: 5,
      head: '5'.padStart(64, '0'),
    })
  })
})

describe('startRun', () => {
  it('takes an agent or a plan, not both and not neither', () => {
    const steps = { a: { tool: 't' } }
    for (const body of [{ agent: 'a' }, { plan: 'p' }, { plan: { steps } }])
      expect(startRun.safeParse(body).success).toBe(true)
    for (const body of [{}, { agent: 'a', plan: 'p' }, { agent: 'a', typo: 1 }, { agent: 'a b' }])
      expect(startRun.safeParse(body).success).toBe(false)
  })
})
