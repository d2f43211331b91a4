import type { Json } from '@muster/protocol'
import { expect, it } from 'vitest'
import { appOf, toolCall } from './fixture.ts'
import { loadPolicies } from './load.ts'
import type { PolicyRequest } from './request.ts'

const app = appOf({ 'ledger.pay': { amount: { type: 'number' } }, 'other.tool': {} })
const text = `
@id("all") permit (principal, action, resource);
@id("large") @ask("controller")
forbid (principal, action == Action::"tool:call", resource == Tool::"ledger.pay")
when { context.input has amount && context.input.amount.greaterThan(decimal("100.0")) }
unless { context.approvals.contains("controller") };
@id("untrusted") forbid (principal, action, resource) when { context.labels.contains("untrusted") };
`

function load(more = '') {
  const sources = [{ file: 'policy.cedar', text: text + more }]
  return { compiled: loadPolicies(sources, app), reference: loadPolicies(sources, app, { by: 'cedar-wasm' }) }
}

function request(tool: string, input: Json | undefined, more: Partial<PolicyRequest> = {}): PolicyRequest {
  const resource = { type: 'Tool', name: tool, effect: 'once' } as const
  return toolCall({ resource, ...(input === undefined ? { unrecorded: true } : { input }), ...more })
}

it('decides as the compiled policies do, with the same hash', () => {
  const { compiled, reference } = load()
  expect(reference.hash).toBe(compiled.hash)
  const approvals = [{ role: 'controller', by: 'bob' }]
  for (const one of [
    request('ledger.pay', { amount: 5 }),
    request('ledger.pay', { amount: 500 }),
    request('ledger.pay', { amount: 500 }, { approvals }),
    request('ledger.pay', { amount: 5 }, { labels: ['untrusted'] }),
    request('ledger.pay', { amount: 1e300 }),
  ])
    expect(reference.decide(one)).toEqual(compiled.decide(one))
})

it('needs of what was not recorded only what a policy would read', () => {
  const { compiled, reference } = load()
  const other = request('other.tool', undefined)
  expect(reference.decide(other)).toMatchObject({ effect: 'allow', policies: ['all'] })
  expect(reference.decide(other)).toEqual(compiled.decide(other))
  expect(reference.decide(request('ledger.pay', undefined))).toMatchObject({
    effect: 'deny',
    errors: ['large: what it reads was not recorded'],
  })
})

it('takes nothing that was not recorded for absent', () => {
  const { reference } = load(
    '@id("without") forbid (principal, action == Action::"tool:call", resource) unless { context has input };',
  )
  expect(reference.decide(request('other.tool', undefined))).toMatchObject({
    effect: 'deny',
    errors: ['-: what it depends on was not recorded'],
  })
})
