import { describe, expect, it } from 'vitest'
import { explain } from './explain.ts'
import { appOf, toolCall } from './fixture.ts'
import { loadPolicies } from './load.ts'
import type { PolicyRequest } from './request.ts'

const app = appOf({ 'ledger.pay': { amount: { type: 'number' } } })
const permit = '@id("all") permit (principal, action, resource);\n'
const untrusted =
  '@id("untrusted") forbid (principal, action, resource) when { context.labels.contains("untrusted") };\n'
const large = `@id("large") @ask("finance") @people("2") @requester("no")
forbid (principal, action == Action::"tool:call", resource)
when { context.input has amount && context.input.amount.greaterThan(decimal("1000.0")) }
unless { context.approvals.contains("finance") };
`

function textOf(policies: string, change: Partial<PolicyRequest> = {}): string {
  return explain(loadPolicies([{ file: 'own.cedar', text: policies }], app), toolCall(change)).text
}

describe('explain', () => {
  it('names who decided, and where that stands', () => {
    expect(textOf(permit)).toBe('Allowed by all (own.cedar:1:1).')
    expect(textOf(permit + untrusted, { labels: ['pii', 'untrusted'] })).toBe(
      'Denied by untrusted (own.cedar:2:1). It would be allowed if the label untrusted were not on it.',
    )
  })

  it('says who would have to approve, and how many', () => {
    expect(textOf(permit + large, { input: { amount: 5000 } })).toBe(
      'Asks finance, because of large (own.cedar:2:1). It would be allowed if 2 people of finance approved it.',
    )
  })

  it('finds pairs where nothing alone is enough', () => {
    expect(textOf(permit + untrusted + large, { input: { amount: 5000 }, labels: ['untrusted'] })).toBe(
      'Denied by large (own.cedar:3:1) and untrusted (own.cedar:2:1). It would be allowed if 2 people of finance approved it and the label untrusted were not on it.',
    )
    const either =
      '@id("either") forbid (principal, action, resource) when { context.labels.containsAny(["a", "b"]) };\n'
    const set = loadPolicies([{ file: 'own.cedar', text: permit + either }], app)
    expect(explain(set, toolCall({ labels: ['a', 'b', 'c'] })).ways).toEqual([
      [
        { kind: 'label', label: 'a' },
        { kind: 'label', label: 'b' },
      ],
    ])
  })

  it('takes as few changes as do where pairs are not enough', () => {
    const any =
      '@id("any") forbid (principal, action, resource) when { context.labels.containsAny(["a", "b", "c"]) };\n'
    const set = loadPolicies([{ file: 'own.cedar', text: permit + any }], app)
    const [way, ...others] = explain(set, toolCall({ labels: ['a', 'b', 'c', 'd'] })).ways
    expect(others).toEqual([])
    expect(way?.map((change) => 'label' in change && change.label)).toEqual(['a', 'b', 'c'])
  })

  it('knows tools that changed and destinations that are new', () => {
    const flow =
      '@id("flow") forbid (principal, action == Action::"tool:call", resource) when { context.newDestination || !resource.approved };\n'
    const resource = { type: 'Tool' as const, name: 'ledger.pay', effect: 'once', approved: false }
    expect(textOf(permit + flow, { resource })).toContain('if the tool were approved as it is now.')
    expect(textOf(permit + flow, { newDestination: true })).toContain('if its destination were known.')
  })

  it('says so when none of it would help, and when a policy fails', () => {
    const never = '@id("never") forbid (principal, action, resource);\n'
    expect(textOf(permit + never, { labels: ['x'] })).toBe(
      'Denied by never (own.cedar:2:1). No approval, label, approved tool or known destination would change that.',
    )
    const fails = '@id("fails") forbid (principal, action, resource) when { 9223372036854775807 + 1 == 2 };\n'
    expect(textOf(permit + fails)).toMatch(/^Denied, since it could not be decided: fails: .*overflow/)
  })

  it('names the permits that come nearest where nothing permits', () => {
    const permits = [
      '@id("other") permit (principal == Agent::"other", action == Action::"tool:call", resource == Tool::"ledger.read");',
      '@id("user") permit (principal == Agent::"clerk", action in [Action::"tool:call"], resource is Tool) when { context.user == "zoe" };',
      '@id("model") permit (principal, action == Action::"model:invoke", resource);',
    ].join('\n')
    expect(textOf(permits)).toBe(
      'Denied: no policy permits it. Nearest: user (own.cedar:2:1) has a condition that does not hold.',
    )
    const [first = '', , third = ''] = permits.split('\n')
    expect(textOf(first + third)).toContain('Nearest: other (own.cedar:1:1) is for others and is for something else.')
    expect(textOf(third)).toBe('Denied: no policy permits it.')
  })

  it('tells what log-only policies would say', () => {
    const sources = [
      { file: 'own.cedar', text: permit },
      { file: 'next.cedar', text: untrusted, mode: 'log-only' as const },
    ]
    const { text } = explain(loadPolicies(sources, app), toolCall({ labels: ['untrusted'] }))
    expect(text).toBe(
      'Allowed by all (own.cedar:1:1). With the log-only policies: deny, by untrusted (next.cedar:1:1).',
    )
  })
})
