import { policyCase } from '@muster/protocol'
import { describe, expect, it } from 'vitest'
import { replay } from './dry-run.ts'
import { explain } from './explain.ts'
import { appOf, toolCall } from './fixture.ts'
import { loadPolicies } from './load.ts'
import { tryCase } from './policy-case.ts'
import type { RecordedDecision } from './recorded.ts'
import { refusedTargets } from './target.ts'

const permit = '@id("all") permit (principal, action, resource);\n'
const home = `@id("home") forbid (principal, action == Action::"model:invoke", resource)
when { context.labels.contains("pii") && context.region != "eu-central-1" };\n`
const load = (text: string, by?: 'cedar-wasm') => loadPolicies([{ file: 'a.cedar', text }], appOf({}), by ? { by } : {})

const us = { name: 'us', provider: 'openai', model: 'gpt-5', region: '' }
const eu = { name: 'eu', provider: 'bedrock', model: 'claude', region: 'eu-central-1' }
const call = (labels: string[], targets = [us, eu]) =>
  toolCall({ action: 'model:invoke', resource: { type: 'Model', name: 'default' }, labels, targets })

describe.each([undefined, 'cedar-wasm'] as const)('where a model call goes, decided by %s', (by) => {
  it('is decided on for each target: one that may have it is enough', () => {
    const set = load(permit + home, by)
    const free = set.decide(call([]))
    expect(free).toMatchObject({ effect: 'allow', policies: ['all'] })
    expect(refusedTargets(free).size).toBe(0)
    const kept = set.decide(call(['pii']))
    expect(kept).toMatchObject({
      ...{ effect: 'allow', policies: ['all'] },
      targets: [
        { ...us, effect: 'deny', policies: ['home'] },
        { ...eu, effect: 'allow', policies: ['all'] },
      ],
    })
    expect([...refusedTargets(kept)]).toEqual([[0, 'denied by policy "home"']])
    expect(set.decide(call(['pii'], [us]))).toMatchObject({ effect: 'deny', policies: ['home'] })
    expect(explain(set, call(['pii'])).text).toContain('It may not go to us: home.')
  })

  it('that nobody has recorded fails who looks at it, and nobody else', () => {
    const request = { ...call(['pii']), targets: undefined }
    expect(load(permit, by).decide(request)).toMatchObject({ effect: 'allow' })
    const { effect, errors } = load(permit + home, by).decide(request)
    expect({ effect, recorded: errors?.every((error) => error.endsWith('was not recorded')) }).toEqual({
      ...{ effect: 'deny', recorded: true },
    })
  })
})

describe('where a model call goes', () => {
  it('is asked about only where no target may have it without', () => {
    const asks = home
      .replace('forbid', '@ask("dpo") forbid')
      .replace(';', ' unless { context.approvals.contains("dpo") };')
    const set = load(permit + asks)
    expect(set.decide(call(['pii']))).toMatchObject({ effect: 'allow' })
    expect(set.decide(call(['pii'], [us]))).toMatchObject({ effect: 'ask', role: 'dpo' })
    const approved = { ...call(['pii'], [us]), approvals: [{ role: 'dpo', by: 'bob' }] }
    expect(set.decide(approved)).toMatchObject({ effect: 'allow', targets: [{ effect: 'allow' }] })
  })

  it('is tried by policies that only log, and changes no set that does not look at it', () => {
    const next = { file: 'b.cedar', text: home, mode: 'log-only' as const }
    const set = loadPolicies([{ file: 'a.cedar', text: permit }, next], appOf({}))
    expect(set.decide(call(['pii'], [us]))).toMatchObject({ effect: 'allow', trial: { effect: 'deny' } })
    expect(set.decide(call(['pii']))).not.toHaveProperty('trial')
    expect(load(permit).decide(call(['pii']))).not.toHaveProperty('targets')
    expect(
      load(`${permit}@id("i") forbid (principal, action, resource) when { context.user == "region" };`).ofTarget,
    ).toBe(false)
    for (const reads of ['context.model like "gpt*"', 'context["provider"] == "x"', 'context has region'])
      expect(load(`forbid (principal, action == Action::"model:invoke", resource) when { ${reads} };`).ofTarget).toBe(
        true,
      )
  })

  it('is in cases, and in decisions that are made anew', () => {
    const target = { provider: 'openai', model: 'gpt-5', region: 'us' }
    const request = { principal: 'agent:a', action: 'model:invoke', resource: 'default', labels: ['pii'], target }
    const one = policyCase.parse({ name: 'n', request, expect: { effect: 'deny', policies: ['home'] } })
    expect(tryCase(one, load(permit + home)).differences).toEqual([])
    const set = load(permit + home)
    const decision = set.decide(call(['pii']))
    const recorded: RecordedDecision = {
      ...{ run: 'r', seq: 1, step: 's', target: 'default', decision },
      requests: [{ ...call(['pii']), targets: decision.targets }],
    }
    expect(replay(recorded, set, set).outcome).toBe('same')
    // Allowed too, and somewhere else.
    expect(replay(recorded, load(home.replace('!=', '==') + permit))).toMatchObject({
      ...{ outcome: 'changed', decision: { targets: [{ effect: 'allow' }, { effect: 'deny' }] } },
    })
    expect(replay(recorded, load(permit)).outcome).toBe('changed')
    expect(replay(recorded, load(permit + home.replace(' && context.region != "eu-central-1"', ''))).outcome).toBe(
      'changed',
    )
    const [first, ...others] = decision.targets ?? []
    const forged = { ...decision, targets: [{ ...first, effect: 'allow' as const }, ...others] }
    expect(replay({ ...recorded, decision: forged as typeof decision }, set, set)).toMatchObject({ outcome: 'unknown' })
    expect(replay({ ...recorded, decision: forged as typeof decision }, set)).toMatchObject({ outcome: 'changed' })
    expect(replay({ ...recorded, requests: [{ ...call(['pii']), targets: undefined }] }, set).outcome).toBe('unknown')
  })
})
