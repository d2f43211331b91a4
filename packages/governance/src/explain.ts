import type { Decision } from '@muster/protocol'
import { PEOPLE_MAX } from '@muster/protocol'
import { type Nearest, nearestPermits } from './nearest.ts'
import type { Policy, PolicySet } from './policy.ts'
import type { PolicyRequest } from './request.ts'

/** Something that could be otherwise about a request. */
export type Change =
  | { kind: 'approval'; role: string; people: number }
  | { kind: 'label'; label: string }
  | { kind: 'approved-tool' }
  | { kind: 'known-destination' }

export interface Explanation {
  decision: Decision
  /** The policies that decided, and where they stand. */
  by: { id: string; at: string }[]
  /** What would have let it through, the fewest changes first: each was decided on by the set itself. */
  ways: Change[][]
  /** Where nothing permits it: the permits for its action that come nearest. */
  nearest: Nearest[]
  /** All of it in sentences. */
  text: string
}

/** Changes that are tried in pairs: a request with more is tried with one at a time, and with all. */
const PAIRED_MAX = 24

/**
 * Says which policies decide a request, and what would have to be otherwise for it to be allowed. Nothing is concluded
 * from the policies' texts: the set decides on each changed request.
 *
 * @param decision as it was recorded; the set's own unless given
 */
export function explain(set: PolicySet, request: PolicyRequest, decision = set.decide(request)): Explanation {
  const by = decision.policies.map((id) => ({ id, at: set.policies.get(id)?.at ?? '' }))
  const isAllowed = decision.effect === 'allow'
  const changes = isAllowed ? [] : changesOf(set, request, decision)
  const ways = waysOf(set, request, changes)
  const permitted = isAllowed || decision.policies.length > 0 || decision.errors !== undefined
  const nearest = permitted ? [] : nearestPermits(set.policies, request)
  const parts = { decision, by, ways, nearest }
  return { ...parts, text: textOf(parts, set, changes.length > 0) }
}

/** All that can be tried with this request. */
function changesOf({ policies }: PolicySet, request: PolicyRequest, { policies: deciding }: Decision): Change[] {
  const people = new Map<string, number>()
  for (const [id, { ask, mode }] of policies) {
    if (ask === undefined || mode !== 'enforced') continue
    const wanted = deciding.includes(id) ? (ask.rule.people ?? 1) : 1
    people.set(ask.role, Math.max(people.get(ask.role) ?? 1, wanted))
  }
  const { resource, labels, newDestination } = request
  return [
    ...[...people].sort().map(([role, people]): Change => ({ kind: 'approval', role, people })),
    ...labels.map((label): Change => ({ kind: 'label', label })),
    ...(resource.approved === false ? [{ kind: 'approved-tool' } as const] : []),
    ...(newDestination ? [{ kind: 'known-destination' } as const] : []),
  ]
}

/** Single changes that let it through; else pairs; else as few of all as do. */
function waysOf(set: PolicySet, request: PolicyRequest, changes: readonly Change[]): Change[][] {
  const isWay = (some: readonly Change[]) => set.decide(some.reduce(changed, request)).effect === 'allow'
  if (changes.length === 0) return []
  const single = changes.filter((change) => isWay([change]))
  if (single.length > 0) return single.map((change) => [change])
  if (changes.length <= PAIRED_MAX) {
    const pairs = changes.flatMap((a, i) => changes.slice(i + 1).map((b) => [a, b])).filter(isWay)
    if (pairs.length > 0) return pairs
  }
  if (!isWay(changes)) return []
  let needed = [...changes]
  for (const change of changes) {
    const fewer = needed.filter((one) => one !== change)
    if (isWay(fewer)) needed = fewer
  }
  return [needed]
}

function changed(request: PolicyRequest, change: Change): PolicyRequest {
  switch (change.kind) {
    case 'approval': {
      const { role } = change
      // As many as a rule can want, and none of them whoever began the run.
      const given = Array.from({ length: PEOPLE_MAX }, (_, i) => ({ role, by: `${i}:${request.user}` }))
      return { ...request, approvals: [...request.approvals, ...given] }
    }
    case 'label':
      return { ...request, labels: request.labels.filter((label) => label !== change.label) }
    case 'approved-tool':
      return { ...request, resource: { ...request.resource, approved: true } }
    case 'known-destination':
      return { ...request, newDestination: false }
  }
}

function textOf(
  { decision, by, ways, nearest }: Omit<Explanation, 'text'>,
  { policies }: PolicySet,
  tried: boolean,
): string {
  const sentences = [decidedText(decision, by), ...targetsText(decision)]
  const [first] = ways
  if (first)
    sentences.push(`It would be allowed if ${ways.map((way) => listed(way.map(ifText), 'and')).join(', or if ')}.`)
  else if (tried) sentences.push('No approval, label, approved tool or known destination would change that.')
  if (nearest.length > 0) sentences.push(`Nearest: ${nearest.map(nearText).join('; ')}.`)
  const { trial } = decision
  if (trial) sentences.push(`With the log-only policies: ${effectText(trial, policies)}.`)
  return sentences.join(' ')
}

function decidedText({ effect, role, errors }: Decision, by: Explanation['by']): string {
  const names = listed(
    by.map(({ id, at }) => (at === '' ? id : `${id} (${at})`)),
    'and',
  )
  if (errors) return `Denied, since it could not be decided: ${errors.join('; ')}.`
  if (effect === 'allow') return `Allowed by ${names}.`
  if (effect === 'ask') return `Asks ${role}, because of ${names}.`
  return by.length === 0 ? 'Denied: no policy permits it.' : `Denied by ${names}.`
}

/** Of an allowed call, where it may not go. */
function targetsText({ effect, targets = [] }: Decision): string[] {
  if (effect !== 'allow') return []
  return targets.flatMap(({ effect, name, policies }) =>
    effect === 'allow' ? [] : [`It may not go to ${name}: ${policies.join(', ') || 'no policy permits it'}.`],
  )
}

function effectText({ effect, policies: ids }: NonNullable<Decision['trial']>, policies: ReadonlyMap<string, Policy>) {
  const names = ids.map((id) => `${id} (${policies.get(id)?.at ?? 'not in the set'})`)
  return `${effect}, by ${names.length === 0 ? 'no policy' : listed(names, 'and')}`
}

function ifText(change: Change): string {
  switch (change.kind) {
    case 'approval':
      return change.people > 1 ? `${change.people} people of ${change.role} approved it` : `${change.role} approved it`
    case 'label':
      return `the label ${change.label} were not on it`
    case 'approved-tool':
      return 'the tool were approved as it is now'
    case 'known-destination':
      return 'its destination were known'
  }
}

function nearText({ id, at, misses }: Nearest): string {
  const why = {
    principal: 'is for others',
    resource: 'is for something else',
    condition: 'has a condition that does not hold',
  }
  return `${id} (${at}) ${misses.map((what) => why[what]).join(' and ')}`
}

function listed(parts: readonly string[], word: string): string {
  return parts.length < 2 ? parts.join('') : `${parts.slice(0, -1).join(', ')} ${word} ${parts.at(-1)}`
}
