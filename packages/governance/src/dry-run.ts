import type { Decision } from '@muster/protocol'
import type { PolicySet } from './policy.ts'
import type { RecordedDecision } from './recorded.ts'
import type { PolicyRequest } from './request.ts'

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
  const requests = possibleRequests(recorded, before)
  if (requests.length === 0) return unknown('what was asked cannot be rebuilt: its own set would decide otherwise')
  const decisions: Decision[] = []
  for (const request of requests) {
    const decision = set.decide(request)
    if (failsUnrecorded(request, decision)) {
      const what = request.unrecorded ? 'the input' : 'what happened before'
      return unknown(`it depends on ${what}, which was not recorded`)
    }
    decisions.push(request.unrecorded ? withoutGuess(decision) : decision)
  }
  const [decision, ...others] = decisions
  if (!decision || others.some((other) => !isAlike(other, decision)))
    return unknown('it depends on what was not recorded')
  return { recorded, outcome: isAlike(decision, recorded.decision) ? 'same' : 'changed', decision }
}

/** Those of the requests that can have been asked. */
export function possibleRequests(
  { requests, decision }: RecordedDecision,
  before: PolicySet | undefined,
): PolicyRequest[] {
  if (!before) return requests
  return requests.filter((request) => {
    const again = before.decide(request)
    return failsUnrecorded(request, again) || isSame(again, decision)
  })
}

function failsUnrecorded(request: PolicyRequest, { errors }: Decision): boolean {
  if (errors === undefined) return false
  return request.unrecorded === true || errors.some((error) => error.endsWith('was not recorded'))
}

/** Log-only policies that would need the input say nothing. */
function withoutGuess({ trial, ...decision }: Decision): Decision {
  return trial === undefined || trial.errors ? decision : { ...decision, trial }
}

/** Whether they come to the same, whichever policies they are by: of a model call, at each target of its route. */
function isAlike(a: Decision, b: Decision): boolean {
  const targets = [...(a.targets ?? b.targets ?? []).keys()]
  return a.effect === b.effect && a.role === b.role && targets.every((at) => effectAt(a, at) === effectAt(b, at))
}

/** By policies that do not look at targets, all are as the call is. */
function effectAt({ effect, targets }: Decision, at: number): Decision['effect'] | undefined {
  return targets ? targets[at]?.effect : effect
}

function isSame(a: Decision, b: Decision): boolean {
  const targets = ({ targets = [] }: Decision) => targets.map(({ effect, policies }) => [effect, ...policies])
  return (
    isAlike(a, b) &&
    a.policies.join('\n') === b.policies.join('\n') &&
    JSON.stringify(targets(a)) === JSON.stringify(targets(b))
  )
}
