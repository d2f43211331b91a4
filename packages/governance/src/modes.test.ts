import { expect, it } from 'vitest'
import { appOf, toolCall } from './fixture.ts'
import { loadPolicies } from './load.ts'

const app = appOf({ 'ledger.pay': { amount: { type: 'number' } } })
const own = { file: 'own.cedar', text: '@id("all") permit (principal, action, resource);' }
const text =
  '@id("pii") @ask("privacy") forbid (principal, action, resource) when { context.labels.contains("pii") } unless { context.approvals.contains("privacy") };'
const next = { file: 'next.cedar', text, mode: 'log-only' as const }

it('log-only policies decide nothing; what they would change is said', () => {
  const set = loadPolicies([own, next], app)
  const usual = set.decide(toolCall())
  expect(usual).toEqual({ effect: 'allow', policies: ['all'], set: set.hash })
  // One object for all where nothing differs.
  expect(set.decide(toolCall({ labels: ['other'] }))).toBe(usual)
  expect(set.decide(toolCall({ labels: ['pii'] }))).toEqual({
    ...usual,
    trial: { effect: 'ask', policies: ['pii'], role: 'privacy' },
  })
  const approvals = [{ role: 'privacy', by: 'ann' }]
  expect(set.decide(toolCall({ labels: ['pii'], approvals }))).toBe(usual)
})

it('a log-only permit lets nothing through', () => {
  const set = loadPolicies([{ ...own, mode: 'log-only' }], app)
  expect(set.decide(toolCall())).toEqual({
    ...{ effect: 'deny', policies: [], set: set.hash },
    trial: { effect: 'allow', policies: ['all'] },
  })
})

it('a set that is log-only in part has another hash; mistakes in that part are found too', () => {
  const hashes = [[own], [own, next], [own, { file: 'next.cedar', text }]].map(
    (sources) => loadPolicies(sources, app).hash,
  )
  expect(new Set(hashes).size).toBe(3)
  expect(() =>
    loadPolicies([own, { ...next, text: 'forbid (principal, action, resource) when { context.no };' }], app),
  ).toThrow(expect.objectContaining({ code: 'policy.invalid', message: expect.stringContaining('next.cedar:1:') }))
  expect(() => loadPolicies([own, { ...own, mode: 'log-only' }], app)).toThrow(/another policy has the id "all"/)
})

it('is loaded again from what is published', () => {
  const set = loadPolicies([own, next], app)
  const { sources, app: published } = JSON.parse(JSON.stringify(set.published)) as typeof set.published
  expect(loadPolicies(sources, published).hash).toBe(set.hash)
})
