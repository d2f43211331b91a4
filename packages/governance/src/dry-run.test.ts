import { type Entry, GATEWAY, type Json, type RunEvent } from '@muster/protocol'
import { describe, expect, it } from 'vitest'
import { type Replayed, replay } from './dry-run.ts'
import { appOf } from './fixture.ts'
import { loadPolicies } from './load.ts'
import { decisionsOf } from './recorded.ts'

const base = appOf({ 'ledger.pay': { amount: { type: 'number' } }, 'mail.read': { box: { type: 'string' } } })
const app = {
  ...base,
  tools: base.tools.map((tool) =>
    tool.name === 'mail.read' ? { ...tool, effect: 'pure' as const, labels: ['untrusted', 'pii'] } : tool,
  ),
}
const load = (text: string) => loadPolicies([{ file: 'own.cedar', text }], app)
const all = '@id("all") permit (principal, action, resource);'
const allowed = load(all)
const allow = { effect: 'allow' as const, policies: ['all'], set: allowed.hash }

const hash = '0'.repeat(64)
const created: Entry = {
  ...{ v: 1, seq: 1, at: 0, type: 'run.created', run: 'r', tenant: 'acme', labels: [], limits: {} },
  definition: { kind: 'plan', name: 'month-end', version: '1', hash: 'h' },
  by: { key: 'k', user: 'ann' },
}

type Told = { entry: Omit<Entry, 'v' | 'seq' | 'at'> & Record<string, unknown>; content?: Json }

/** A journal of the run's first entry and these. */
function eventsOf(...told: Told[]): RunEvent[] {
  const entries: { entry: Entry; content?: Json | undefined }[] = [
    { entry: created },
    // Each test gives what its type has.
    ...told.map(({ entry, content }, i) => ({
      entry: { v: 1, seq: i + 2, at: i + 2, ...entry } as unknown as Entry,
      content,
    })),
  ]
  return entries.map(({ entry, content }) => ({
    ...{ seq: entry.seq, hash, entry },
    ...(content === undefined ? {} : { content }),
  }))
}

const subject = { step: 's', attempt: 1, labels: [] as string[] }
const pay = { ...subject, kind: 'tool', target: 'ledger.pay' } as const
const intent = { ...pay, type: 'step.intent', effect: 'once', idempotencyKey: 'r/s', decision: allow } as const
const ended = { ...subject, type: 'step.ended', status: 'ok', durationMs: 0 } as const

/** What another set says of the decisions of a journal. */
function replayed(text: string, events: RunEvent[], before = allowed): Omit<Replayed, 'recorded'>[] {
  return decisionsOf(events, () => app.tools).map((one) => {
    const { recorded: _recorded, ...rest } = replay(one, load(text), before)
    return rest
  })
}

describe('replay', () => {
  it('decides anew on what clients of the gateway were to call, let through or not', () => {
    const gateway = { ...created, definition: GATEWAY, by: { key: 'k', user: 'ann', team: 'blue' } } as Entry
    const call = { ...subject, kind: 'tool', target: 'exec_command', type: 'step.ended', durationMs: 0 } as const
    const [, ...rest] = eventsOf(
      { entry: { ...call, step: 'call.1', status: 'ok', decision: allow }, content: { cmd: 'ls' } },
      { entry: { ...call, step: 'call.2', status: 'ok', decision: allow }, content: { cmd: 'rm -rf /' } },
    )
    const events = [{ seq: 1, hash, entry: gateway }, ...rest]
    const next = `${all} @id("no-rm") forbid (principal, action == Action::"gateway:tool", resource)
      when { context.input.arguments like "*rm -rf*" && context has team && context.team == "blue" };`
    expect(replayed(next, events).map(({ outcome }) => outcome)).toEqual(['same', 'changed'])
  })

  it('decides by input, labels and cost as they were', () => {
    const events = eventsOf(
      { entry: { ...intent, labels: ['pii'] }, content: { amount: 5 } },
      { entry: { ...ended, ...pay, costUsd: 2 }, content: {} },
      { entry: { ...intent, step: 't' }, content: { amount: 50 } },
    )
    const when = (condition: string) =>
      replayed(
        `${all} @id("no") forbid (principal, action, resource == Tool::"ledger.pay") when { ${condition} };`,
        events,
      )
    const outcomes = (condition: string) => when(condition).map(({ outcome }) => outcome)
    expect(outcomes('context.input has amount && context.input.amount.greaterThan(decimal("10.0"))')).toEqual([
      'same',
      'changed',
    ])
    expect(outcomes('context.labels.contains("pii")')).toEqual(['changed', 'same'])
    expect(outcomes('context.spent.greaterThan(decimal("1.0"))')).toEqual(['same', 'changed'])
    expect(outcomes('principal == Plan::"month-end" && context.user == "ann" && resource.effect == "once"')).toEqual([
      'changed',
      'changed',
    ])
  })

  it('guesses no input that is not there, whatever a policy asks of it', () => {
    const events = eventsOf({ entry: intent })
    const outcome = (condition: string) =>
      replayed(
        `${all} @id("no") forbid (principal, action, resource == Tool::"ledger.pay") when { ${condition} };`,
        events,
      )[0]?.outcome
    for (const condition of [
      'context.input has amount',
      'context.input has amount && context.input.amount.greaterThan(decimal("10.0"))',
      'context has input && context.input has amount',
    ])
      expect(outcome(condition), condition).toBe('unknown')
    // Whatever it is, it is itself.
    expect(outcome('context.input == context.input')).toBe('changed')
    expect(outcome('context.user == "bob" && context.input has amount')).toBe('same')
    expect(outcome('context.user == "ann" || context.input has amount')).toBe('changed')
  })

  it('knows which labels a pure step may have had on its input', () => {
    const read = {
      ...ended,
      kind: 'tool',
      target: 'mail.read',
      labels: ['mine', 'untrusted'],
      decision: allow,
    } as const
    const outcome = (label: string) =>
      replayed(
        `${all} @id("no") forbid (principal, action, resource) when { context.labels.contains("${label}") };`,
        eventsOf({ entry: read }),
      )
    expect(outcome('mine')).toMatchObject([{ outcome: 'changed' }])
    expect(outcome('untrusted')).toMatchObject([{ outcome: 'unknown', why: 'it depends on what was not recorded' }])
    // The tool puts it on whatever it was given: that it is not there says that it was taken off, or never was.
    expect(outcome('other')).toMatchObject([{ outcome: 'same' }])
    const isTold = load(
      `${all} @id("un") forbid (principal, action, resource) when { context.labels.contains("untrusted") };`,
    )
    const denied = { ...read, decision: { ...allow, set: isTold.hash } }
    // Its own set would have denied it with the label, so it was not there.
    expect(
      replayed(
        `${all} @id("no") forbid (principal, action, resource) when { context.labels.contains("untrusted") };`,
        eventsOf({ entry: denied }),
        isTold,
      ),
    ).toMatchObject([{ outcome: 'same' }])
  })

  it('counts approvals of exactly what was shown', () => {
    const large = `${all} @id("large") @ask("finance") forbid (principal, action, resource == Tool::"ledger.pay")
      when { context.input has amount && context.input.amount.greaterThan(decimal("10.0")) } unless { context.approvals.contains("finance") };`
    const set = load(large)
    const asks = { effect: 'ask' as const, policies: ['large'], set: set.hash, role: 'finance' }
    const shown = { step: 's', kind: 'tool', target: 'ledger.pay', input: { amount: 50 }, labels: [] }
    const waiting: Told = {
      entry: { ...pay, type: 'step.waiting', for: 'approval', decision: asks, role: 'finance', content: 'd1' },
      content: shown,
    }
    const given = {
      type: 'approval.given',
      step: 's',
      verdict: 'approve',
      shown: 'd1',
      by: { key: 'k', user: 'bob' },
      role: 'finance',
    } as const
    const let_ = { ...intent, decision: { ...allow, set: set.hash } }
    const outcomes = (...rest: Told[]) => replayed(large, eventsOf(waiting, ...rest), set).map(({ outcome }) => outcome)
    expect(outcomes({ entry: given }, { entry: let_, content: { amount: 50 } })).toEqual(['same', 'same'])
    // Approved was something else, so this cannot be what was asked.
    expect(outcomes({ entry: given }, { entry: let_, content: { amount: 60 } })).toEqual(['same', 'unknown'])
    expect(outcomes({ entry: let_, content: { amount: 50 } })).toEqual(['same', 'unknown'])
    const edit: Told = { entry: { ...given, edited: true }, content: { input: { amount: 60 } } }
    expect(outcomes(edit, { entry: let_, content: { amount: 60 } })).toEqual(['same', 'same'])
    // A refusal ends what was decided when it was asked.
    const refused: Told = { entry: { ...ended, ...pay, status: 'denied', decision: asks }, content: { amount: 50 } }
    expect(outcomes(refused)).toEqual(['same'])
  })

  it('decides on what was in doubt by what it began with', () => {
    const found = { entry: { ...ended, ...pay, decision: allow }, content: { receipt: 'found' } }
    const begun = { entry: intent, content: { amount: 50 } }
    const small = `${all} forbid (principal, action, resource == Tool::"ledger.pay")
      when { context.input has amount && context.input.amount.greaterThan(decimal("60.0")) };`
    const outcomes = (text: string) => replayed(text, eventsOf(begun, found)).map(({ outcome }) => outcome)
    expect(outcomes(small)).toEqual(['same', 'same'])
    expect(outcomes(small.replace('60.0', '40.0'))).toEqual(['changed', 'changed'])
  })

  it('says why where nothing can be rebuilt', () => {
    const gone = { ...ended, kind: 'tool', target: 'gone.tool', decision: allow } as const
    expect(replayed(all, eventsOf({ entry: gone }))).toEqual([
      { outcome: 'unknown', why: 'no app is known that has the tool gone.tool' },
    ])
    // What a plan's code calls need not be declared: one that was denied can have had any effect.
    const refused = load('')
    const deny = { effect: 'deny' as const, policies: [], set: refused.hash }
    const denied = { ...gone, status: 'denied', decision: deny } as const
    expect(replayed('', eventsOf({ entry: denied, content: {} }), refused)).toMatchObject([{ outcome: 'same' }])
    const unlessPure = `${all} forbid (principal, action, resource) when { resource has effect && resource.effect != "pure" };`
    expect(replayed(unlessPure, eventsOf({ entry: denied, content: {} }), refused)).toMatchObject([
      { outcome: 'unknown', why: 'it depends on what was not recorded' },
    ])
    const erased = { ...intent, kind: 'memory', target: 'save' } as const
    expect(replayed(all, eventsOf({ entry: erased }))).toMatchObject([
      { outcome: 'unknown', why: expect.stringContaining('erased') },
    ])
    const deniedCode = {
      ...ended,
      kind: 'code',
      target: 'note',
      status: 'denied',
      decision: { ...allow, effect: 'deny', policies: [] },
    } as const
    const none = load('')
    expect(
      replayed(
        'permit (principal, action, resource) when { resource.effect == "pure" };'.replace(
          'action',
          'action == Action::"code:run"',
        ),
        eventsOf({ entry: deniedCode }),
        none,
      ),
    ).toMatchObject([{ outcome: 'unknown' }])
    expect(replayed(all, eventsOf({ entry: deniedCode }), none)).toMatchObject([
      { outcome: 'changed', decision: { effect: 'allow' } },
    ])
  })

  it('tells what log-only policies would change, where that does not depend on what is not there', () => {
    const next = { file: 'next.cedar', mode: 'log-only' as const }
    const trial = (text: string, content?: Json) => {
      const set = loadPolicies(
        [
          { file: 'own.cedar', text: all },
          { ...next, text },
        ],
        app,
      )
      const [one] = decisionsOf(eventsOf({ entry: intent, ...(content ? { content } : {}) }), () => app.tools)
      return one && replay(one, set, allowed)
    }
    const never = '@id("never") forbid (principal, action, resource);'
    const amounts =
      '@id("amounts") forbid (principal, action == Action::"tool:call", resource) when { context.input has amount };'
    expect(trial(never)).toMatchObject({
      outcome: 'same',
      decision: { trial: { effect: 'deny', policies: ['never'] } },
    })
    expect(trial(amounts, { amount: 1 })).toMatchObject({ decision: { trial: { policies: ['amounts'] } } })
    expect(trial(amounts)).toMatchObject({ outcome: 'same' })
    expect(trial(amounts)?.decision).not.toHaveProperty('trial')
  })

  it('knows of tools that were not approved, and of new destinations', () => {
    const flow = `${all} @id("flow") forbid (principal, action == Action::"tool:call", resource)
      when { context.newDestination || !resource.approved };`
    const outcome = (more: object) =>
      replayed(flow, eventsOf({ entry: { ...intent, decision: { ...allow, ...more } }, content: {} }))[0]?.outcome
    expect([{}, { unapproved: true }, { newDestination: true }].map(outcome)).toEqual(['same', 'changed', 'changed'])
  })

  it('takes no decision of another run for its own', () => {
    const copied = { ...ended, ...pay, decision: allow, copied: 3 } as const
    expect(replayed(all, eventsOf({ entry: copied, content: {} }))).toEqual([])
  })
})
