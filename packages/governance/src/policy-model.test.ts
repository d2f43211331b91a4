import type { Decision, Json } from '@muster/protocol'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { appOf } from './fixture.ts'
import { loadPolicies } from './load.ts'
import type { PolicyRequest } from './request.ts'

/**
 * The policies of one family, twice: as Cedar text for `loadPolicies`, and as plain functions that
 * were written from the documentation of Cedar. Both must decide alike.
 */
interface Part {
  cedar: string
  /** `'error'` where Cedar fails to evaluate. */
  holds: (request: PolicyRequest) => boolean | 'error'
}

interface Policy {
  id: string
  effect: 'permit' | 'forbid'
  ask: string | undefined
  scope: Part[]
  conditions: Part[]
}

const roles = ['controller', 'cfo']
const labels = ['untrusted', 'pii', 'secret']
const agents = ['clerk', 'auditor']
const tenants = ['acme', 'globex']
const tools = ['pay', 'read']
const one = (items: readonly string[]) => fc.constantFrom(...items)
const part = (cedar: string, holds: Part['holds']): Part => ({ cedar, holds })
const field = (request: PolicyRequest, name: string): Json | undefined => (request.input as Record<string, Json>)[name]

const principal = fc.oneof(
  fc.constant(part('principal', () => true)),
  one(agents).map((name) =>
    part(`principal == Agent::"${name}"`, (r) => r.principal.type === 'Agent' && r.principal.name === name),
  ),
  one(tenants).map((tenant) => part(`principal in Tenant::"${tenant}"`, (r) => r.tenant === tenant)),
  fc.constant(part('principal is Plan', (r) => r.principal.type === 'Plan')),
)
function hasApproved({ approvals }: PolicyRequest, role: string): boolean {
  return approvals.some((one) => one.role === role)
}

const anywhere = [
  one(labels).map((label) => part(`context.labels.contains("${label}")`, (r) => r.labels.includes(label))),
  one(labels).map((label) => part(`!context.labels.contains("${label}")`, (r) => !r.labels.includes(label))),
  one(roles).map((role) => part(`context.approvals.contains("${role}")`, (r) => hasApproved(r, role))),
  one(roles).map((role) => part(`!(context.approvals.contains("${role}"))`, (r) => !hasApproved(r, role))),
  fc
    .uniqueArray(one(labels), { minLength: 1 })
    .map((set) =>
      part(`context.labels.containsAny([${set.map((label) => `"${label}"`).join()}])`, (r) =>
        set.some((label) => r.labels.includes(label)),
      ),
    ),
  fc
    .nat({ max: 30_000 })
    .map((n) =>
      part(`context.spent.lessThan(decimal("${(n / 1e4).toFixed(4)}"))`, (r) => Math.round(r.spentUsd * 1e4) < n),
    ),
  one(agents).map((name) => part(`principal.name == "${name}"`, (r) => r.principal.name === name)),
  one(['ann', 'bob']).map((user) => part(`context.user != "${user}"`, (r) => r.user !== user)),
]
const ofTools = [
  fc.nat({ max: 40_000 }).map((n) =>
    part(`context.input has amount && context.input.amount.greaterThan(decimal("${(n / 1e4).toFixed(4)}"))`, (r) => {
      const amount = field(r, 'amount')
      return typeof amount === 'number' && Math.round(amount * 1e4) > n
    }),
  ),
  fc.integer({ min: -3, max: 3 }).map((n) =>
    part(`context.input has count && context.input.count <= ${n}`, (r) => {
      const count = field(r, 'count')
      return typeof count === 'number' && count <= n
    }),
  ),
  // 2 times the largest Long is an error of this policy alone.
  fc.constant(
    part('context.input has count && context.input.count * 9223372036854775807 > 0', (r) => {
      const count = field(r, 'count')
      if (typeof count !== 'number') return false
      return Math.abs(count) > 1 ? 'error' : count > 0
    }),
  ),
  one(['x', 'y']).map((tag) =>
    part(`context.input has tags && context.input.tags.contains("${tag}")`, (r) => {
      const tags = field(r, 'tags')
      return Array.isArray(tags) && tags.includes(tag)
    }),
  ),
  one(['once', 'read']).map((effect) => part(`resource.effect == "${effect}"`, (r) => r.resource.effect === effect)),
]
const toolScope = fc.oneof(
  fc.constant(part('resource', () => true)),
  one(tools).map((name) =>
    part(`resource == Tool::"${name}"`, (r) => r.resource.type === 'Tool' && r.resource.name === name),
  ),
)
const onTools = fc.record({
  scope: fc.tuple(
    principal,
    fc.constant(part('action == Action::"tool:call"', (r) => r.action === 'tool:call')),
    toolScope,
  ),
  conditions: fc.array(fc.oneof(...anywhere, ...ofTools), { maxLength: 3 }),
})
const onAny = fc.record({
  scope: fc.tuple(
    principal,
    fc.oneof(
      fc.constant(part('action', () => true)),
      fc.constant(
        part(
          'action in [Action::"model:invoke", Action::"memory:read"]',
          (r) => r.action === 'model:invoke' || r.action === 'memory:read',
        ),
      ),
    ),
    fc.constant(part('resource', () => true)),
  ),
  conditions: fc.array(fc.oneof(...anywhere), { maxLength: 3 }),
})
const policies: fc.Arbitrary<Policy[]> = fc
  .array(
    fc.record({
      effect: fc.constantFrom('permit' as const, 'permit' as const, 'forbid' as const),
      ask: fc.option(one(roles), { nil: undefined }),
      // As a rule the approval lifts what asked for it; a forbid that it does not lift must ask nobody.
      lifts: fc.oneof({ weight: 4, arbitrary: fc.constant(true) }, { weight: 1, arbitrary: fc.constant(false) }),
      body: fc.oneof(onTools, onAny),
    }),
    { minLength: 1, maxLength: 14 },
  )
  .map((all) =>
    all.map(({ effect, ask: role, lifts, body }, i) => {
      const ask = effect === 'forbid' ? role : undefined
      const unless =
        ask !== undefined && lifts ? [part(`!context.approvals.contains("${ask}")`, (r) => !hasApproved(r, ask))] : []
      return { id: `p${i}`, effect, ask, scope: body.scope, conditions: [...unless, ...body.conditions] }
    }),
  )

const what = fc.oneof(
  {
    weight: 3,
    arbitrary: one(tools).map((name) => ({
      action: 'tool:call' as const,
      resource: { type: 'Tool' as const, name, effect: name === 'pay' ? 'once' : 'read' },
    })),
  },
  {
    weight: 1,
    arbitrary: fc.constant({ action: 'model:invoke' as const, resource: { type: 'Model' as const, name: 'default' } }),
  },
  {
    weight: 1,
    arbitrary: fc.constant({ action: 'memory:read' as const, resource: { type: 'Memory' as const, name: 'vendor' } }),
  },
  {
    weight: 1,
    arbitrary: one(agents).map((name) => ({
      action: 'agent:delegate' as const,
      resource: { type: 'Agent' as const, name },
    })),
  },
)
const cents = (max: number) => fc.integer({ min: -max, max }).map((n) => n / 1e4)
const request: fc.Arbitrary<PolicyRequest> = fc
  .record({
    tenant: one(tenants),
    principal: fc.record({ type: fc.constantFrom('Agent' as const, 'Plan' as const), name: one(agents) }),
    what,
    labels: fc.uniqueArray(one(labels)),
    approvals: fc.uniqueArray(one(roles)).map((given) => given.map((role) => ({ role, by: 'ann' }))),
    user: one(['ann', 'bob']),
    spentUsd: cents(30_000),
    input: fc.record(
      { amount: cents(40_000), count: fc.integer({ min: -3, max: 3 }), tags: fc.array(one(['x', 'y', 'z'])) },
      { requiredKeys: [] },
    ),
  })
  .map(({ what, ...rest }) => ({ ...rest, ...what }))

function toCedar({ id, effect, ask, scope, conditions }: Policy): string {
  const when = conditions.map(({ cedar }) => `(${cedar})`).join(' && ')
  return `@id("${id}")${ask ? ` @ask("${ask}")` : ''}\n${effect} (${scope.map(({ cedar }) => cedar).join(', ')})${when ? `\nwhen { ${when} }` : ''};`
}

/** A policy applies when scope and conditions hold; conditions are asked from the left until one fails. */
function applies(policy: Policy, request: PolicyRequest): boolean | 'error' {
  for (const { holds } of [...policy.scope, ...policy.conditions]) {
    const answer = holds(request)
    if (answer !== true) return answer
  }
  return true
}

function model(
  policies: Policy[],
  request: PolicyRequest,
): Pick<Decision, 'effect' | 'policies' | 'role'> & { erred: string[] } {
  const ids = (of: Policy[]) => of.map(({ id }) => id).sort()
  const matching = policies.filter((policy) => applies(policy, request) === true)
  const erred = ids(policies.filter((policy) => applies(policy, request) === 'error'))
  const forbids = matching.filter(({ effect }) => effect === 'forbid')
  const reasons = forbids.length > 0 ? forbids : matching
  if (erred.length > 0) return { effect: 'deny', policies: ids(reasons), erred }
  if (forbids.length === 0) return { effect: matching.length > 0 ? 'allow' : 'deny', policies: ids(reasons), erred }
  const roles = forbids.map(({ ask }) => ask).sort()
  const role = roles.find((ask) => ask !== undefined && !hasApproved(request, ask))
  if (role !== undefined && !roles.includes(undefined)) {
    const approved = model(policies, { ...request, approvals: [...request.approvals, { role, by: 'ann' }] })
    if (approved.effect !== 'deny') return { effect: 'ask', policies: ids(reasons), role, erred }
  }
  return { effect: 'deny', policies: ids(reasons), erred }
}

const app = appOf({
  pay: { amount: { type: 'number' }, count: { type: 'integer' }, tags: { type: 'array', items: { type: 'string' } } },
  read: { count: { type: 'integer' } },
})

describe('Decisions', () => {
  it('are those of an independent model, for thousands of random requests to random policies', () => {
    const seen = { allow: 0, deny: 0, ask: 0, error: 0 }
    fc.assert(
      fc.property(policies, fc.array(request, { minLength: 60, maxLength: 60 }), (policies, requests) => {
        const set = loadPolicies([{ file: 'p.cedar', text: policies.map(toCedar).join('\n') }], app)
        for (const request of requests) {
          const { erred, ...expected } = model(policies, request)
          const { errors = [], ...decision } = set.decide(request)
          expect(decision).toEqual({ ...expected, set: set.hash })
          expect(errors.map((error) => error.split(':')[0]).sort()).toEqual(erred)
          seen[decision.effect]++
          if (erred.length > 0) seen.error++
        }
      }),
      { seed: 2026, numRuns: 250 },
    )
    // The family is no good when it decides one way only.
    for (const count of Object.values(seen)) expect(count).toBeGreaterThan(100)
  })
})
