import { effect, entry, stepKind, stepStatus } from '@muster/protocol'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { endedText, endedVersion, intentText, waitingText } from './entry-text.ts'
import type { Operation, StepState } from './step.ts'

const text = fc.string({ unit: 'grapheme' })
const labels = fc.array(fc.constantFrom('untrusted', 'pii', 'tenant:x'))
const decision = fc.record(
  {
    effect: fc.constantFrom('allow' as const, 'deny' as const, 'ask' as const),
    policies: fc.array(text),
    set: fc.constant('0'.repeat(64)),
    role: text,
    errors: fc.array(text),
  },
  { requiredKeys: ['effect', 'policies', 'set'] },
)

function stepOf(
  about: Pick<Operation, 'kind' | 'target' | 'effect'>,
  id: string,
  state: Partial<StepState>,
): StepState {
  const policy = { action: 'tool:call' as const, resource: { type: 'Tool' as const, name: about.target } }
  const operation: Operation = {
    ...about,
    attempts: 1,
    timeoutMs: 1,
    keepInput: true,
    policy,
    action: { child: { agent: '', until: 'ended' } },
  }
  return {
    spec: { id, operation, input: null, labels: [] },
    handle: undefined,
    attempt: 0,
    outcome: undefined,
    waiting: undefined,
    signal: undefined,
    edited: undefined,
    undoes: undefined,
    unwanted: false,
    verdicts: [],
    calledBack: undefined,
    inDoubt: false,
    recordedInput: undefined,
    decision: undefined,
    funds: undefined,
    refused: undefined,
    decidedBy: undefined,
    redacted: undefined,
    intended: false,
    beganAt: 0,
    call: undefined,
    abort: undefined,
    tokens: 0,
    firstAt: 0,
    pending: undefined,
    ...state,
  }
}

const read = (fields: string) => entry.parse(JSON.parse(`{"v":1,"seq":1,${fields}}`))
const about = fc.record({
  kind: fc.constantFrom(...stepKind.options),
  target: text,
  effect: fc.constantFrom(...effect.options),
})

it('writes an intent that reads as what it says', () => {
  fc.assert(
    fc.property(about, text, labels, decision, text, fc.nat(), (about, id, labels, decision, key, beganAt) => {
      const step = stepOf(about, id, { attempt: 2, beganAt })
      expect(read(intentText(step, labels, decision, { idempotencyKey: key }))).toEqual({
        v: 1,
        seq: 1,
        type: 'step.intent',
        at: beganAt,
        step: id,
        ...about,
        attempt: 2,
        labels,
        idempotencyKey: key,
        decision,
      })
    }),
  )
})

it('writes what a step waits for so that it reads as what it says', () => {
  fc.assert(
    fc.property(about, text, labels, decision, text, ({ kind, target, effect }, id, labels, decision, role) => {
      const step = stepOf({ kind, target, effect }, id, {})
      expect(read(waitingText(step, 5, labels, { for: 'approval', decision, role }))).toEqual({
        v: 1,
        seq: 1,
        type: 'step.waiting',
        at: 5,
        step: id,
        kind,
        target,
        attempt: 1,
        labels,
        for: 'approval',
        decision,
        role,
      })
    }),
  )
})

it('writes an outcome that reads as what it says, with the decision where no intent holds it', () => {
  const rest = fc.record(
    {
      costUsd: fc.double({ min: 0, max: 1e9, noNaN: true }),
      model: text,
      usage: fc.record({ inputTokens: fc.nat(), outputTokens: fc.nat(), cachedTokens: fc.nat() }),
      error: fc.record({ code: text, message: text }),
      retry: fc.constant(true),
      declassified: labels,
    },
    { requiredKeys: [] },
  )
  fc.assert(
    fc.property(
      about,
      text,
      labels,
      fc.option(decision, { nil: undefined }),
      fc.boolean(),
      fc.constantFrom(...stepStatus.options),
      rest,
      ({ kind, target, effect }, id, labels, decision, intended, status, rest) => {
        const step = stepOf({ kind, target, effect }, id, { attempt: 3, beganAt: 7, decision, intended })
        const written = endedText(step, 10, labels, status, { model: undefined, ...rest })
        expect(read(written)).toEqual(
          JSON.parse(
            JSON.stringify({
              v: 1,
              seq: 1,
              type: 'step.ended',
              at: 10,
              step: id,
              kind,
              target,
              attempt: 3,
              labels,
              status,
              durationMs: 3,
              decision: intended ? undefined : decision,
              ...rest,
            }),
          ),
        )
      },
    ),
  )
})

it('says by its version what has to be known to read it, however the step ended', () => {
  const step = stepOf({ kind: 'model', target: 'default', effect: 'read' }, 'a', { intended: true })
  const usage = { inputTokens: 1, outputTokens: 1, cachedTokens: 0 }
  expect(endedVersion(step, { usage, costUsd: 1, model: 'm', via: undefined, redacted: undefined })).toBe(1)
  expect(endedVersion(step, { usage, redacted: { email: 1 } })).toBe(2)
  expect(endedVersion(step, { usage, via: { target: 'there' } })).toBe(3)
  expect(endedVersion(step, { usage: { ...usage, reasoningTokens: 1 } })).toBe(3)
})
