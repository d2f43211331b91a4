import { type Json, MusterError } from '@muster/protocol'
import { describe, expect, it } from 'vitest'
import { appOf, toolCall } from './fixture.ts'
import { loadPolicies } from './load.ts'
import type { PolicySet } from './policy.ts'
import type { PolicyRequest } from './request.ts'

const app = appOf({
  'ledger.pay': {
    payee: { type: 'string' },
    amount: { type: 'number' },
    count: { type: 'integer' },
    tags: { type: 'array', items: { type: 'string' } },
  },
})
const load = (text: string, file = 'a.cedar'): PolicySet => loadPolicies([{ file, text }], app)
const permit = '@id("all") permit (principal, action, resource);\n'
/** Permits everything but what the condition says. */
const unless = (condition: string) =>
  load(`${permit}@id("no") forbid (principal, action == Action::"tool:call", resource) when { ${condition} };`)

/** Where and what a load complains of. */
function mistakes(...sources: string[]): string[] {
  try {
    loadPolicies(
      sources.map((text, i) => ({ file: `${'abc'[i]}.cedar`, text })),
      app,
    )
    return []
  } catch (error) {
    if (!(error instanceof MusterError) || error.code !== 'policy.invalid') throw error
    return (error.issues ?? []).map((issue) => `${issue.path} ${issue.message}`)
  }
}

/** The text, and where in it the reader finds `mark`: line and column as an editor counts them. */
function at(text: string, mark: string): string {
  const lines = text.split('\n')
  const line = lines.findIndex((line) => line.includes(mark))
  return `${line + 1}:${lines[line].indexOf(mark) + 1}`
}

describe('loadPolicies', () => {
  it('names file, line and column of a syntax error, after text that is not ASCII', () => {
    const text =
      '// Übersicht: größer als 10.000 €\npermit (principal, action, resource);\n  permit (principal, /action resource);'
    expect(mistakes(permit, text)).toEqual([expect.stringContaining(`b.cedar:${at(text, '/action')} `)])
  })

  it('names file, line and column of a mistake in a later policy, behind comments, annotations and text that is not ASCII', () => {
    const text = [
      '// Grüße; "not a string',
      '@id("ä;ö") permit (principal, action, resource); // trailing ; ü',
      '',
      '  // permit (principal, action, resource);',
      '  @id("b")',
      '  @note("größer; // als")  // 10.000 €',
      '  permit (principal, action == Action::"tool:call", resource)',
      '  when { context.user == "ü\\"; ü" && context.nothing == 1 };',
    ].join('\n')
    expect(mistakes(text)).toEqual([expect.stringContaining(`a.cedar:${at(text, 'context.nothing')} `)])
  })

  it('names the right place among many policies, some of which are alike or part of another', () => {
    const policies = Array.from({ length: 25 }, (_, i) =>
      i % 2
        ? `@id("p${i}") permit (principal, action, resource);`
        : `forbid (principal, action, resource) when { context.user == "u${i % 4}" };`,
    )
    for (const wrong of [0, 2, 9, 10, 11, 24]) {
      const text = policies.with(wrong, '   permit (principal, action, resource == Nothing::"x");').join('\n')
      expect(mistakes(text)).toEqual([expect.stringMatching(`^a.cedar:${at(text, 'Nothing')} `)])
    }
  })

  it('names all mistakes of all files', () => {
    const wrong = 'permit (principal, action == Action::"tool:cal", resource);'
    const found = mistakes(wrong, permit, `${permit.replace('all', 'other')}${wrong}`)
    expect(found.map((mistake) => mistake.split(' ')[0])).toEqual(['a.cedar:1:30', 'c.cedar:2:30'])
    expect(found[0]).toContain('did you mean `Action::"tool:call"`')
  })

  it('refuses two policies of one id, an @ask that is not on a forbid, and a template, each at its place', () => {
    expect(
      mistakes('@id("x") permit (principal, action, resource);', '\n  @id("x") permit (principal, action, resource);'),
    ).toEqual(['b.cedar:2:3 another policy has the id "x"'])
    expect(mistakes('\n @ask("boss") permit (principal, action, resource);')).toEqual([
      'a.cedar:2:2 @ask belongs to a forbid',
    ])
    expect(mistakes('\nforbid (principal == ?principal, action, resource);')).toEqual([
      expect.stringContaining('a.cedar:2:'),
    ])
  })

  it('refuses a policy on a field that no tool has, or that tools type differently', () => {
    const on = (field: string) =>
      `permit (principal, action == Action::"tool:call", resource) when { context.input.${field} == "x" };`
    expect(mistakes(on('amuont'))).toHaveLength(1)
    expect(() =>
      loadPolicies(
        [{ file: 'a', text: on('f') }],
        appOf({ a: { f: { type: 'string' } }, b: { f: { type: 'number' } } }),
      ),
    ).toThrow(MusterError)
  })

  it('numbers policies without an id by their place in the file', () => {
    const text = Array.from(
      { length: 12 },
      (_, i) => `permit (principal, action, resource) when { context.user == "u${i + 1}" };`,
    ).join('\n')
    for (const i of [1, 2, 10, 12])
      expect(load(text).decide(toolCall({ user: `u${i}` })).policies).toEqual([`a.cedar#${i}`])
  })

  it('gives a set the hash of what it says: the same for the same, another for another text or app', () => {
    expect(load(permit).hash).toBe(load(permit).hash)
    expect(load(permit).hash).not.toBe(load(`${permit}permit (principal, action, resource);`).hash)
    expect(load(permit).hash).not.toBe(loadPolicies([{ file: 'a.cedar', text: permit }], appOf({})).hash)
  })
})

describe('PolicySet', () => {
  it('denies by default: without policies, and what no policy names', () => {
    expect(loadPolicies([], app).decide(toolCall())).toMatchObject({ effect: 'deny', policies: [] })
    const one = load('permit (principal == Agent::"other", action, resource);')
    expect(one.decide(toolCall())).toMatchObject({ effect: 'deny', policies: [] })
  })

  it('records with each decision the policies that made it and the set', () => {
    const set = unless('context.labels.contains("untrusted")')
    expect(set.decide(toolCall())).toEqual({ effect: 'allow', policies: ['all'], set: set.hash })
    expect(set.decide(toolCall({ labels: ['untrusted'] }))).toEqual({ effect: 'deny', policies: ['no'], set: set.hash })
  })

  it('asks the role of an @ask forbid, until that role has approved', () => {
    const set = load(
      `${permit}@id("large") @ask("controller") forbid (principal, action, resource) unless { context.approvals.contains("controller") };`,
    )
    expect(set.decide(toolCall())).toEqual({ effect: 'ask', policies: ['large'], set: set.hash, role: 'controller' })
    expect(set.decide(toolCall({ approvals: [{ role: 'intern', by: 'ann' }] })).effect).toBe('ask')
    expect(set.decide(toolCall({ approvals: [{ role: 'controller', by: 'ann' }] })).effect).toBe('allow')
  })

  it('asks nobody in vain: not when another forbid stands in the way, nothing permits, or no approval would help', () => {
    const ask = (role: string) =>
      `@ask("${role}") forbid (principal, action, resource) unless { context.approvals.contains("${role}") };`
    expect(load(`${permit}${ask('a')}${ask('a')}`).decide(toolCall())).toMatchObject({ effect: 'ask', role: 'a' })
    expect(load(`${permit}${ask('a')}forbid (principal, action, resource);`).decide(toolCall()).effect).toBe('deny')
    expect(load(ask('a')).decide(toolCall()).effect).toBe('deny')
    expect(load(`${permit}@ask("a") forbid (principal, action, resource);`).decide(toolCall()).effect).toBe('deny')
  })

  it('asks as many different people as it says, and not who began the run where it says so', () => {
    const set = load(
      `${permit}@id("two") @ask("a") @people("2") @requester("no") @reason("required") @expires("4h") @escalate("30m cfo")
      forbid (principal, action, resource) unless { context.approvals.contains("a") };`,
    )
    const by = (...people: string[]) => set.decide(toolCall({ approvals: people.map((by) => ({ role: 'a', by })) }))
    const rule = { people: 2, requester: false, reason: true, expiresMs: 14_400_000 }
    const escalate = { afterMs: 1_800_000, role: 'cfo' }
    expect(by()).toEqual({ effect: 'ask', policies: ['two'], set: set.hash, role: 'a', rule: { ...rule, escalate } })
    const { user } = toolCall()
    for (const people of [['x'], ['x', 'x'], ['x', user]]) expect(by(...people).effect).toBe('ask')
    expect(by('x', 'y').effect).toBe('allow')
    expect(by('x', user, 'y').effect).toBe('allow')
  })

  it('asks what the strictest of the forbids that one role lifts wants', () => {
    const ask = (rules: string) =>
      `@ask("a") ${rules} forbid (principal, action, resource) unless { context.approvals.contains("a") };`
    const rule = (...rules: string[]) => load(permit + rules.map(ask).join('\n')).decide(toolCall()).rule
    expect(rule('', '')).toBeUndefined()
    expect(rule('@people("3") @expires("2h")', '@people("2") @expires("1h") @reason("required")')).toEqual({
      ...{ people: 3, expiresMs: 3_600_000, reason: true },
    })
    expect(rule('@escalate("1m cfo")', '@escalate("5m cfo")')).toEqual({ escalate: { afterMs: 300_000, role: 'cfo' } })
    expect(rule('@escalate("1m cfo")', '')).toBeUndefined()
    expect(rule('@escalate("1m cfo")', '@escalate("5m ceo")')).toBeUndefined()
  })

  it('refuses what it cannot read of an @ask, at its place', () => {
    const forbid = (rules: string) => `\n  ${rules} forbid (principal, action, resource);`
    const cases: [string, string][] = [
      ['@people("2")', '@people belongs to an @ask'],
      ['@ask', '@ask names a role: @ask("finance")'],
      ['@ask("a") @people("two")', '@people is a number from 1 to 16: @people("2")'],
      ['@ask("a") @people("17")', '@people is a number from 1 to 16: @people("2")'],
      ['@ask("a") @requester("yes")', '@requester is "no": whoever began the run may not approve'],
      ['@ask("a") @reason', '@reason is "required": whoever answers must say why'],
      ['@ask("a") @expires("4 hours")', '@expires is a time such as "30m", "4h" or "2d", of a year at most'],
      ['@ask("a") @expires("400d")', '@expires is a time such as "30m", "4h" or "2d", of a year at most'],
      [
        '@ask("a") @escalate("30m")',
        '@escalate is a time and the role that may answer as well from then on: @escalate("30m cfo")',
      ],
      ['@ask("a") @expires("1m") @escalate("1m cfo")', '@escalate comes after @expires'],
    ]
    for (const [rules, message] of cases) expect(mistakes(forbid(rules))).toEqual([`a.cedar:2:3 ${message}`])
  })

  it('asks several roles one after the other', () => {
    const ask = (role: string) =>
      `@ask("${role}") forbid (principal, action, resource) unless { context.approvals.contains("${role}") };`
    const set = load(`${permit}${ask('b')}${ask('a')}`)
    expect(set.decide(toolCall())).toMatchObject({ effect: 'ask', role: 'a' })
    expect(set.decide(toolCall({ approvals: [{ role: 'a', by: 'ann' }] }))).toMatchObject({ effect: 'ask', role: 'b' })
    expect(set.decide(toolCall({ approvals: ['a', 'b'].map((role) => ({ role, by: 'ann' })) })).effect).toBe('allow')
  })

  it('denies when a policy errs, though another permits', () => {
    const set = unless('context.input has count && context.input.count * 9223372036854775807 > 0')
    expect(set.decide(toolCall({ input: { count: 1 } })).effect).toBe('deny')
    expect(set.decide(toolCall({ input: { count: -1 } })).effect).toBe('allow')
    const erred = set.decide(toolCall({ input: { count: 2 } }))
    expect(erred).toMatchObject({ effect: 'deny', policies: ['all'] })
    expect(erred.errors?.[0]).toMatch(/^no: .*overflow/)
  })

  it.each<[string, Json, boolean]>([
    ['exactly the limit', 10_000, false],
    ['the smallest decimal above', 10_000.0001, true],
    ['the smallest decimal below', 9999.9999, false],
    ['a large amount', 900_000_000_000, true],
    ['a negative amount', -10_000.5, false],
    ['a negative amount that rounds to zero', -0.00001, false],
    ['negative zero', -0, false],
    ['a tiny amount', 1e-7, false],
  ])('compares decimals exactly: %s', (_, amount, above) => {
    const set = unless('context.input has amount && context.input.amount.greaterThan(decimal("10000.00"))')
    const decision = set.decide(toolCall({ input: { amount } }))
    expect(decision.errors).toBeUndefined()
    expect(decision.effect).toBe(above ? 'deny' : 'allow')
  })

  it.each<[string, Json]>([
    ['an amount beyond what a double holds exactly', { amount: 1e15 }],
    ['an amount that is text', { amount: '10001' }],
    ['a count beyond the safe integers', { count: 2 ** 53 }],
    ['a count with a fraction', { count: 1.5 }],
    ['text that is an object', { payee: { name: 'x' } }],
    ['text that is an array', { payee: ['x'] }],
    ['an array with a member of another type', { tags: ['a', 1] }],
    ['an array with a null', { tags: ['a', null] }],
    ['an array that is text', { tags: 'a' }],
  ])('denies what cannot be represented, whatever permits: %s', (_, input) => {
    const decision = load(permit).decide(toolCall({ input }))
    expect(decision.effect).toBe('deny')
    expect(decision.errors?.[0]).toMatch(/^input\.\w+ cannot be represented/)
  })

  it('does not let what cannot be represented decide for later calls, or earlier calls for it', () => {
    const set = load(permit)
    const decide = (amount: number, spentUsd = 0) => set.decide(toolCall({ input: { amount }, spentUsd })).effect
    expect([decide(1e15), decide(1), decide(1e15), decide(1, Number.NaN), decide(1)]).toEqual([
      'deny',
      'allow',
      'deny',
      'deny',
      'allow',
    ])
  })

  it('decides a call by its own input, labels, approvals, user and cost, whatever was decided before', () => {
    const fresh = () =>
      load(
        `${permit}forbid (principal, action == Action::"tool:call", resource == Tool::"ledger.pay") when { context.input has amount && context.input.amount.greaterThan(decimal("1.0")) };
         forbid (principal, action, resource) when { context.labels.contains("pii") && !context.approvals.contains("boss") };
         forbid (principal, action == Action::"model:invoke", resource) when { context.spent.greaterThan(decimal("1.0")) };
         forbid (principal, action, resource) when { context.user == "eve" };`,
      )
    const set = fresh()
    const changes: Partial<PolicyRequest>[] = [
      {},
      { labels: ['pii'] },
      { labels: ['pii'], approvals: [{ role: 'boss', by: 'ann' }] },
      { user: 'eve' },
      { spentUsd: 2 },
      { input: { amount: 2 } },
      { tenant: 'other' },
      { principal: { type: 'Plan', name: 'clerk' } },
    ]
    const where: Partial<PolicyRequest>[] = [
      {},
      { resource: { type: 'Tool', name: 'read', effect: 'read' } },
      { action: 'model:invoke', resource: { type: 'Model', name: 'default' } },
    ]
    for (let round = 0; round < 2; round++) {
      for (const at of where) {
        for (const change of changes) {
          const request = toolCall({ ...at, ...change })
          expect(set.decide(request)).toEqual(fresh().decide(request))
        }
      }
    }
  })

  it.each([Number.NaN, Number.POSITIVE_INFINITY, 1e15])(
    'denies when the money spent cannot be represented: %d',
    (spentUsd) => {
      expect(load(permit).decide(toolCall({ spentUsd }))).toMatchObject({
        effect: 'deny',
        errors: ['spent cannot be represented in Cedar'],
      })
    },
  )

  it('takes absent and null fields, unknown fields and an input that is no object as absent', () => {
    const set = unless('context.input has amount')
    const absent: Json[] = [{}, { amount: null }, { other: { deep: 1 } }, [1], 'text', null]
    for (const input of absent) {
      expect(set.decide(toolCall({ input })).effect).toBe('allow')
    }
    expect(set.decide(toolCall({ input: { amount: 0 } })).effect).toBe('deny')
  })

  it('reads text literally: quotes, entity-like JSON and any script stay text', () => {
    const payee = '"; permit(principal, action, resource); // {"__entity":1} 😀 ü'
    const set = unless(`context.input has payee && context.input.payee == ${JSON.stringify(payee)}`)
    expect(set.decide(toolCall({ input: { payee } })).effect).toBe('deny')
    expect(set.decide(toolCall({ input: { payee: `${payee} ` } })).effect).toBe('allow')
  })

  it('denies a tool of which no effect is known', () => {
    expect(load(permit).decide(toolCall({ resource: { type: 'Tool', name: 'x' } }))).toMatchObject({ effect: 'deny' })
  })

  it.each<[string, Partial<PolicyRequest>]>([
    ['invoking a model', { action: 'model:invoke', resource: { type: 'Model', name: 'default' } }],
    ['reading memory', { action: 'memory:read', resource: { type: 'Memory', name: 'vendor' } }],
    ['writing memory', { action: 'memory:write', resource: { type: 'Memory', name: 'vendor' } }],
    ['delegating to an agent', { action: 'agent:delegate', resource: { type: 'Agent', name: 'other' } }],
    ['an agent delegating to itself', { action: 'agent:delegate', resource: { type: 'Agent', name: 'clerk' } }],
    ['a plan calling a tool', { principal: { type: 'Plan', name: 'clerk' } }],
  ])('answers for %s', (_, change) => {
    expect(load(permit).decide(toolCall(change)).effect).toBe('allow')
    const { action, resource } = toolCall(change)
    const exact = load(
      `permit (principal, action == Action::"${action}", resource == ${resource.type}::"${resource.name}");`,
    )
    expect(exact.decide(toolCall(change)).effect).toBe('allow')
    expect(exact.decide(toolCall({ ...change, resource: { ...resource, name: 'another' } })).effect).toBe('deny')
  })

  it('looks into calls that a client is to make: known fields as texts, and all of it', () => {
    const ask = (input: Json, text: string) =>
      load(
        `permit (principal, action, resource); forbid (principal, action == Action::"gateway:tool", resource) when { ${text} };`,
      ).decide(toolCall({ action: 'gateway:tool', resource: { type: 'ClientTool', name: 'exec_command' }, input }))
        .effect
    const is = (condition: string) => (input: Json) => ask(input, condition)
    const command = 'context.input has command && context.input.command like "*rm -rf*"'
    expect(is(command)({ command: ['rm', '-rf', '/'] })).toBe('deny')
    expect(is(command)({ command: 'ls' })).toBe('allow')
    expect(is(command)({ text: 'rm -rf /' })).toBe('allow')
    expect(is('context.input.arguments like "*rm -rf*"')({ other: { deep: 'rm -rf /' } })).toBe('deny')
    expect(is('context.input has path && context.input.path == "{\\"a\\":1}"')({ path: { a: 1 } })).toBe('deny')
    expect(is('context.input.arguments like "*x*"')(null)).toBe('allow')
  })

  it('knows who asks by their key and their team, where they have one', () => {
    const set = load('permit (principal, action, resource) when { context has team && context.team == "blue" };')
    expect(set.decide(toolCall({ team: 'blue' })).effect).toBe('allow')
    expect(set.decide(toolCall({ team: 'red' })).effect).toBe('deny')
    expect(set.decide(toolCall()).effect).toBe('deny')
    const byKey = load('permit (principal, action, resource) when { context has key && context.key == "k1" };')
    expect(byKey.decide(toolCall({ key: 'k1' })).effect).toBe('allow')
  })

  it('knows an agent by its tenant', () => {
    const set = load('permit (principal in Tenant::"acme", action, resource);')
    expect(set.decide(toolCall()).effect).toBe('allow')
    expect(set.decide(toolCall({ tenant: 'other' })).effect).toBe('deny')
  })
})
