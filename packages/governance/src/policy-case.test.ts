import { policyCases, policyQuestion } from '@muster/protocol'
import { expect, it } from 'vitest'
import { appOf } from './fixture.ts'
import { loadPolicies } from './load.ts'
import { requestOfQuestion, tryCase } from './policy-case.ts'

const base = appOf({ 'mail.send': { to: { type: 'string' } } })
const app = { ...base, tools: base.tools.map((tool) => ({ ...tool, sends: ['to'], destinations: ['*.acme.example'] })) }
const ask = (question: object) =>
  requestOfQuestion(policyQuestion.parse({ principal: 'agent:clerk', ...question }), app)

it('a question is what the runtime would ask', () => {
  expect(
    ask({ resource: 'mail.send', input: { to: 'ann.acme.example' }, approvals: ['cfo', { role: 'cfo', by: 'ann' }] }),
  ).toEqual({
    tenant: 'test',
    principal: { type: 'Agent', name: 'clerk' },
    action: 'tool:call',
    resource: { type: 'Tool', name: 'mail.send', effect: 'once', approved: true },
    newDestination: false,
    labels: [],
    approvals: [
      { role: 'cfo', by: '0:user' },
      { role: 'cfo', by: 'ann' },
    ],
    user: 'user',
    spentUsd: 0,
    input: { to: 'ann.acme.example' },
  })
  expect(ask({ resource: 'mail.send', input: { to: 'eve.example' } }).newDestination).toBe(true)
  expect(ask({ resource: 'mail.send', input: { to: 'eve.example' }, newDestination: false }).newDestination).toBe(false)
  expect(ask({ principal: 'plan:a:b', action: 'model:invoke', resource: 'default' })).toMatchObject({
    principal: { type: 'Plan', name: 'a:b' },
    resource: { type: 'Model', name: 'default' },
  })
})

it('what the app does not have is named by its place', () => {
  const issues = (path: string) =>
    expect.objectContaining({ code: 'request.invalid', issues: [expect.objectContaining({ path })] })
  expect(() => ask({ resource: 'no.tool' })).toThrow(issues('/resource'))
  expect(() => ask({ action: 'code:run', resource: 'plan/note' })).toThrow(issues('/effect'))
})

it('a case tells what differs', () => {
  const set = loadPolicies(
    [
      {
        file: 'own.cedar',
        text: '@id("b") permit (principal, action, resource); @id("a") permit (principal, action, resource);',
      },
    ],
    app,
  )
  const differences = (expected: object) => {
    const [one] = policyCases.parse([
      { name: 'x', request: { principal: 'agent:clerk', resource: 'mail.send' }, expect: expected },
    ])
    return one && tryCase(one, set).differences
  }
  expect(differences({ effect: 'allow', policies: ['b', 'a'] })).toEqual([])
  expect(differences({ effect: 'ask', role: 'cfo', policies: ['a'] })).toEqual([
    'effect is allow, not ask',
    'role is none, not cfo',
    'policies is a, b, not a',
  ])
})

it('cases have names of their own', () => {
  const one = { name: 'x', request: { principal: 'agent:clerk', resource: 'mail.send' }, expect: { effect: 'allow' } }
  expect(policyCases.safeParse([one, one]).error?.issues).toMatchObject([{ path: [1, 'name'] }])
  expect(policyCases.safeParse([]).success).toBe(false)
})
