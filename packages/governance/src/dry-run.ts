import type { Decision } from '@muster/protocol'
import type { PolicyRequest, PolicySet } from './policy.ts'
import type { RecordedDecision } from './recorded.ts'

/** A recorded decision as another set makes it. */
export interface Replayed {
  recorded: RecordedDecision
  outcome: 'same' | 'changed' | 'unknown'
  /** What the other set decides; absent where that cannot be told. */
  decision?: Decision
  /** Why it cannot. */
  why?: string
}

/**
 * Decides what was recorded by another set. Nothing is guessed: where what is not recorded can make a difference, the
 * outcome is unknown.
 *
 * @param before the set that decided it, where it is known: what it would not have decided so was not asked
 */
export function replay(recorded: RecordedDecision, set: PolicySet, before?: PolicySet): Replayed {
  const unknown = (why: string): Replayed => ({ recorded, outcome: 'unknown', why })
  if (recorded.requests.length === 0) return unknown(recorded.why ?? 'what was asked is not known')
  const requests = requestsOf(recorded, before)
  if (requests.length === 0) return unknown('what was asked cannot be rebuilt: its own set would decide otherwise')
  const decisions: Decision[] = []
  for (const request of requests) {
    const decision = set.decide(request)
    if (failsUnrecorded(request, decision)) return unknown('it depends on the input, which was not recorded')
    decisions.push(decision)
  }
  const [decision, ...others] = decisions
  if (!decision || others.some(({ effect, role }) => effect !== decision.effect || role !== decision.role))
    return unknown('it depends on what was not recorded')
  const { effect, role } = recorded.decision
  const same = decision.effect === effect && decision.role === role
  return { recorded, outcome: same ? 'same' : 'changed', decision }
}

/** Those of the requests that can have been asked. */
export function requestsOf({ requests, decision }: RecordedDecision, before: PolicySet | undefined): PolicyRequest[] {
  if (!before) return requests
  return requests.filter((request) => {
    const again = before.decide(request)
    return failsUnrecorded(request, again) || isSame(again, decision)
  })
}

function failsUnrecorded(request: PolicyRequest, { errors }: Decision): boolean {
  return request.unrecorded === true && errors !== undefined
}

function isSame(a: Decision, b: Decision): boolean {
  return a.effect === b.effect && a.role === b.role && a.policies.join('\n') === b.policies.join('\n')
}
