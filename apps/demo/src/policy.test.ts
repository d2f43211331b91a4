import { describe, expect, test } from 'vitest'
import { decide, policies, validatePolicies } from './test-policy.ts'

const pay = { action: 'tool:call', resource: { type: 'Tool', name: 'ledger.pay', effect: 'once' } }
const payment = { payee: 'A', iban: 'X', amount: 100, currency: 'EUR', invoice: '1', order: 'PO-1' }

test('every policy has an id, and all agree with the schema', () => {
  expect([...policies.keys()]).toContain('untrusted-to-payment')
  expect(policies.get('large-payment')?.ask).toBe('controller')
  expect(validatePolicies()).toMatchObject({ type: 'success', validationErrors: [], validationWarnings: [] })
})

describe('payments', () => {
  test.each([
    ['values by reference', { input: payment }, 'allow', 'clerk-works'],
    ['values that a model copied', { input: payment, labels: ['untrusted'] }, 'deny', 'untrusted-to-payment'],
    ['exactly 10,000.00', { input: { ...payment, amount: 10_000 } }, 'allow', 'clerk-works'],
    ['a cent above', { input: { ...payment, amount: 10_000.01 } }, 'ask', 'large-payment'],
    ['large, approved', { input: { ...payment, amount: 20_000 }, approvals: ['controller'] }, 'allow', 'clerk-works'],
    [
      'large, approved by another',
      { input: { ...payment, amount: 20_000 }, approvals: ['auditor'] },
      'ask',
      'large-payment',
    ],
    [
      'large, approved and untrusted',
      { input: { ...payment, amount: 20_000 }, approvals: ['controller'], labels: ['untrusted'] },
      'deny',
      'untrusted-to-payment',
    ],
    ['by another agent', { input: payment, name: 'other' }, 'deny', undefined],
    ['by the plan', { input: payment, principal: 'Plan' as const, name: 'payables.month-end' }, 'deny', undefined],
  ])('%s', (_name, question, effect, policy) => {
    const decision = decide({ ...pay, ...question })
    expect(decision.effect).toBe(effect)
    if (policy !== undefined) expect(decision.policies).toContain(policy)
  })

  test('no approval lifts a deny: large and untrusted is not even asked', () => {
    expect(decide({ ...pay, input: { ...payment, amount: 20_000 }, labels: ['untrusted'] }).effect).toBe('deny')
  })
})

describe('what the two need, and no more', () => {
  const tool = (name: string, effect: string) => ({ action: 'tool:call', resource: { type: 'Tool', name, effect } })
  const plan = { principal: 'Plan', name: 'payables.month-end' } as const
  test.each([
    ['the clerk thinks', { action: 'model:invoke', resource: { type: 'Model', name: 'default' } }, 'allow'],
    ['the clerk thinks elsewhere', { action: 'model:invoke', resource: { type: 'Model', name: 'costly' } }, 'deny'],
    ['the clerk reads untrusted things', { ...tool('invoice.read', 'read'), labels: ['untrusted'] }, 'allow'],
    ['the clerk sets aside', { ...tool('invoice.set-aside', 'write'), labels: ['untrusted'] }, 'allow'],
    ['the clerk uses another tool', tool('shell.run', 'write'), 'deny'],
    ['the clerk remembers', { action: 'memory:write', resource: { type: 'Memory', name: 'vendor' } }, 'allow'],
    [
      'the clerk looks into other facts',
      { action: 'memory:read', resource: { type: 'Memory', name: 'staff' } },
      'deny',
    ],
    ['the plan lists', { ...plan, ...tool('invoice.list', 'read') }, 'allow'],
    [
      'the plan delegates',
      { ...plan, action: 'agent:delegate', resource: { type: 'Agent', name: 'payables.clerk' } },
      'allow',
    ],
    [
      'the plan delegates to others',
      { ...plan, action: 'agent:delegate', resource: { type: 'Agent', name: 'other' } },
      'deny',
    ],
    ['the plan thinks', { ...plan, action: 'model:invoke', resource: { type: 'Model', name: 'default' } }, 'deny'],
  ])('%s', (_name, question, effect) => {
    expect(decide(question).effect).toBe(effect)
  })
})
