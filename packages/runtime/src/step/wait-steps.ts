import { type Json, MusterError, type PeopleRule, peopleRule, WAIT_MS_MAX, zodIssues } from '@muster/protocol'
import type { Operation, StepSpec, WaitSpec } from './step.ts'
import type { Place } from './steps.ts'

/** Steps that wait, as drivers add them to the graph. What they do is in `waits.ts`. */

const common = { effect: 'pure', attempts: 1, timeoutMs: Number.MAX_SAFE_INTEGER, keepInput: false } as const

function waitOperation(kind: 'timer' | 'signal' | 'approval', target: string, wait: WaitSpec): Operation {
  return { ...common, kind, target, action: { wait } }
}

const timer = waitOperation('timer', 'sleep', {
  for: 'timer',
  until: (input, now) => {
    const { ms, at } = (input ?? {}) as { ms?: number; at?: number } // written by `timerInput`
    return at ?? now + (ms ?? 0)
  },
})

/**
 * Input of a timer: how long from when it begins, or until when.
 *
 * @throws MusterError `input.invalid`
 */
export function timerInput(until: number | Date): Json {
  const ms = typeof until === 'number' ? until : until.getTime()
  if (!(ms >= 0 && ms <= (typeof until === 'number' ? WAIT_MS_MAX : Number.MAX_SAFE_INTEGER)))
    throw new MusterError('input.invalid', 'a sleep takes milliseconds from 0 to 100 years, or a valid date')
  return typeof until === 'number' ? { ms: Math.ceil(ms) } : { at: ms }
}

/** Waits as its input says; see `timerInput`. */
export function timerStep(place: Place): StepSpec {
  return { ...place, operation: timer }
}

/** Waits for a signal; `take` checks its payload. */
export function signalStep(name: string, place: Place, take?: (payload: Json) => Json): StepSpec {
  return { ...place, input: null, operation: waitOperation('signal', name, { for: 'signal', take }) }
}

/**
 * Waits for a person with a role, or for as many as the rule says, who are shown its input.
 *
 * @throws MusterError `input.invalid` where the rule is none
 */
export function approvalStep(role: string, given: PeopleRule, place: Place): StepSpec {
  const parsed = peopleRule.safeParse(given)
  if (!parsed.success)
    throw new MusterError('input.invalid', 'the rule of an approval is not valid', {
      issues: zodIssues(parsed.error, ''),
    })
  const rule = Object.keys(parsed.data).length === 0 ? undefined : parsed.data
  return { ...place, operation: waitOperation('approval', role, { for: 'approval', role, rule }) }
}
