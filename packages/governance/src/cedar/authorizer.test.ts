import type { AuthorizationCall, CedarValueJson, EntityJson, PolicyJson } from '@cedar-policy/cedar-wasm/nodejs'
import * as cedar from '@cedar-policy/cedar-wasm/nodejs'
import { describe, expect, it } from 'vitest'
import { isAuthorized, preparsePolicySet, preparseSchema, statefulIsAuthorized } from './authorizer.ts'

const call = (change: Partial<AuthorizationCall> = {}): AuthorizationCall => ({
  principal: { type: 'User', id: 'ann' },
  action: { type: 'Action', id: 'view' },
  resource: { type: 'Photo', id: 'p' },
  context: {},
  policies: { staticPolicies: { p: 'permit (principal, action, resource);' } },
  entities: [],
  ...change,
})
const when = (condition: string, change: Partial<AuthorizationCall> = {}) =>
  call({
    policies: { staticPolicies: { p: `permit (principal, action, resource) when { ${condition} };` } },
    ...change,
  })

/** An answer without the words of its errors, and in an order. */
function gist(answer: cedar.AuthorizationAnswer) {
  if (answer.type === 'failure') return { type: answer.type, errors: answer.errors.map(({ message }) => message) }
  const { decision, diagnostics } = answer.response
  return {
    type: answer.type,
    decision,
    reason: [...diagnostics.reason].sort(),
    errors: diagnostics.errors.map(({ policyId }) => policyId).sort(),
  }
}

const big: CedarValueJson = 9007199254740993n as unknown as CedarValueJson // as callers may, beyond cedar-wasm's types

describe('isAuthorized', () => {
  it.each<[string, AuthorizationCall]>([
    ['a permit', call()],
    ['no policy', call({ policies: {} })],
    [
      'a forbid over a permit',
      call({
        policies: { staticPolicies: 'permit (principal, action, resource); forbid (principal, action, resource);' },
      }),
    ],
    [
      'ids of a text of many policies',
      call({
        policies: {
          staticPolicies: Array.from(
            { length: 12 },
            (_, i) => `permit (principal, action, resource) when { ${i} > 3 };`,
          ).join('\n'),
        },
      }),
    ],
    ['policies in a list', call({ policies: { staticPolicies: ['permit (principal, action, resource);'] } })],
    ['a policy that errs', when('context.nothing')],
    [
      'a hierarchy',
      when('principal in Team::"all"', {
        entities: [
          { uid: { type: 'User', id: 'ann' }, attrs: {}, parents: [{ type: 'Team', id: 'a' }] },
          { uid: { type: 'Team', id: 'a' }, attrs: {}, parents: [{ type: 'Team', id: 'all' }] },
        ],
      }),
    ],
    [
      'a linked template',
      call({
        policies: {
          templates: { t: 'permit (principal == ?principal, action, resource in ?resource);' },
          templateLinks: [
            {
              templateId: 't',
              newId: 'l',
              values: { '?principal': { type: 'User', id: 'ann' }, '?resource': { type: 'Photo', id: 'p' } },
            },
          ],
        },
      }),
    ],
    [
      'names that objects have by birth',
      when('context has toString || context has constructor || principal has __proto__'),
    ],
    ['a field of such a name', when('context["__proto__"] == 1', { context: JSON.parse('{ "__proto__": 1 }') })],
  ])('answers as cedar-wasm: %s', (_, call) => {
    expect(gist(isAuthorized(call))).toEqual(gist(cedar.isAuthorized(call)))
    expect(isAuthorized(call).type).toBe('success')
  })

  const schema = `entity User, Photo; action view appliesTo { principal: User, resource: Photo, context: { n: Long } };`
  it.each<[string, AuthorizationCall]>([
    ['a policy that does not parse', when('1 +')],
    ['an unknown extension function', call({ context: { x: { __extn: { fn: 'date', arg: '' } } } })],
    ['a decimal that is none', call({ context: { x: { __extn: { fn: 'decimal', arg: '1' } } } })],
    ['a fraction', call({ context: { x: 1.5 } })],
    ['null', call({ context: { x: null } })],
    [
      'an entity in itself',
      call({ entities: [{ uid: { type: 'User', id: 'a' }, attrs: {}, parents: [{ type: 'User', id: 'a' }] }] }),
    ],
    ['a type that is no name', call({ principal: { type: 'User-1', id: 'a' } })],
    [
      'two policies of one id',
      call({
        policies: {
          staticPolicies: { p: 'permit (principal, action, resource);' },
          templates: { t: 'permit (principal == ?principal, action, resource);' },
          templateLinks: [{ templateId: 't', newId: 'p', values: { '?principal': { type: 'User', id: 'a' } } }],
        },
      }),
    ],
    [
      'a link without its slot',
      call({
        policies: {
          templates: { t: 'permit (principal == ?principal, action, resource);' },
          templateLinks: [{ templateId: 't', newId: 'l', values: {} }],
        },
      }),
    ],
    ['a context against the schema', call({ schema, context: { n: 'x' } })],
    [
      'an action that the schema does not have',
      call({ schema, action: { type: 'Action', id: 'edit' }, context: { n: 1 } }),
    ],
    [
      'a principal to whom the action does not apply',
      call({ schema, principal: { type: 'Photo', id: 'p' }, context: { n: 1 } }),
    ],
    ['a schema that does not parse', call({ schema: 'entity', context: {} })],
    ['a schema with a type that is not there', call({ schema: 'entity A in [B];', context: {} })],
  ])("refuses in Cedar's words: %s", (_, call) => {
    const answer = isAuthorized(call)
    expect(answer).toEqual(cedar.isAuthorized(call))
    expect(answer.type).toBe('failure')
  })

  it('rounds no integer: in text, in JSON, in a request, in sums', () => {
    const allows = (call: AuthorizationCall) => {
      const answer = isAuthorized(call)
      return answer.type === 'success' && answer.response.decision
    }
    const at = (n: bigint) => when(`context.n == ${n}`, { context: { n: big } })
    expect([at(9007199254740992n), at(9007199254740993n), at(9007199254740994n)].map(allows)).toEqual([
      'deny',
      'allow',
      'deny',
    ])
    expect(allows(when('-9223372036854775808 < -9223372036854775807'))).toBe('allow')
    expect(
      allows(when('9007199254740992 + 1 == 9007199254740993 && 3037000499 * 3037000499 == 9223372030926249001')),
    ).toBe('allow')
    const json = (n: CedarValueJson): PolicyJson => ({
      ...{ effect: 'permit', principal: { op: 'All' }, action: { op: 'All' }, resource: { op: 'All' } },
      conditions: [
        {
          kind: 'when',
          body: { '==': { left: { '.': { left: { Var: 'context' }, attr: 'n' } }, right: { Value: n } } },
        },
      ],
    })
    const of = (n: CedarValueJson) => call({ policies: { staticPolicies: { p: json(n) } }, context: { n: big } })
    expect([of(big), of(9007199254740992)].map(allows)).toEqual(['allow', 'deny'])
    const tooBig = (2n ** 63n) as unknown as CedarValueJson
    expect(isAuthorized(call({ context: { n: tooBig } }))).toMatchObject({
      type: 'failure',
      errors: [{ message: 'context.n: a number must be an integer of 64 bits' }],
    })
  })

  it('takes no text of a policy for the place of an integer', () => {
    for (const text of ['long:1', '_long:1', 'long:', '__long:9007199254740993']) {
      const same = when(`context.t == "${text}" && 9007199254740993 > 9007199254740992`, { context: { t: text } })
      expect(isAuthorized(same)).toMatchObject({ response: { decision: 'allow' } })
    }
  })
})

describe('statefulIsAuthorized', () => {
  const stateful = {
    ...{ principal: { type: 'User', id: 'ann' }, action: { type: 'Action', id: 'view' } },
    ...{ resource: { type: 'Photo', id: 'p' }, context: { n: 3 }, entities: [] as EntityJson[] },
  }

  it('decides by what was prepared under a name, and by what is prepared there later', () => {
    const decide = () =>
      statefulIsAuthorized({ ...stateful, preparsedPolicySetId: 'set', preparsedSchemaName: 'schema' })
    expect(
      preparseSchema(
        'schema',
        'entity User, Photo; action view appliesTo { principal: User, resource: Photo, context: { n: Long } };',
      ),
    ).toEqual({ type: 'success' })
    expect(
      preparsePolicySet('set', { staticPolicies: 'permit (principal, action, resource) when { context.n > 2 };' }),
    ).toEqual({ type: 'success' })
    expect(gist(decide())).toMatchObject({ decision: 'allow', reason: ['policy0'] })
    preparsePolicySet('set', { staticPolicies: 'permit (principal, action, resource) when { context.n > 3 };' })
    expect(gist(decide())).toMatchObject({ decision: 'deny' })
  })

  it('refuses a set that does not parse, and what was not prepared', () => {
    expect(preparsePolicySet('broken', { staticPolicies: 'permit' })).toMatchObject({ type: 'failure' })
    expect(statefulIsAuthorized({ ...stateful, preparsedPolicySetId: 'broken' }).type).toBe('failure')
    expect(statefulIsAuthorized({ ...stateful, preparsedPolicySetId: 'none' }).type).toBe('failure')
  })
})
