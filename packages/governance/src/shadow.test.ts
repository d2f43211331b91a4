import { describe, expect, it } from 'vitest'
import { appOf, toolCall } from './fixture.ts'
import { loadPolicies } from './load.ts'
import { Questions } from './question.ts'
import { cedarSchema } from './schema.ts'
import { type Difference, Shadow } from './shadow.ts'

const app = appOf({ 'ledger.pay': { amount: { type: 'number' }, tags: { type: 'array', items: { type: 'string' } } } })
const text = `permit (principal in Tenant::"acme", action, resource);
  forbid (principal, action == Action::"tool:call", resource)
  when { context.input has amount && context.input.amount.greaterThan(decimal("10.0")) };
  forbid (principal, action == Action::"tool:call", resource) when { context.input has tags && context.input.tags.contains("x") };`

describe('A shadow', () => {
  it('asks cedar-wasm for the part of the decisions that it is told, and finds the same', () => {
    const set = loadPolicies([{ file: 'p', text }], app)
    const differences: Difference[] = []
    let rolled = 0
    set.shadow({
      rate: 0.5,
      random: () => (rolled++ % 4) / 4,
      onDifference: (difference) => differences.push(difference),
    })
    for (let i = 0; i < 40; i++) {
      const tenant = i % 3 ? 'acme' : 'other'
      set.decide(toolCall({ tenant, input: { amount: i - 0.5, ...(i % 2 ? { tags: ['x'] } : {}) } }))
    }
    expect(rolled).toBe(40)
    expect(differences).toEqual([])
  })

  it('alarms when the two differ, without a value of the input', () => {
    const { schema, inputTypes } = cedarSchema(app)
    const differences: Difference[] = []
    const policies = new Map([['p', { ask: undefined, text: 'permit (principal, action, resource);' }]])
    const shadow = new Shadow('wrong', policies, schema, {
      ...{ rate: 1, random: () => 0, onDifference: (difference: Difference) => differences.push(difference) },
    })
    const question = new Questions(inputTypes).read(toolCall({ input: { amount: 123.45 } }))
    if (typeof question === 'string') throw new Error(question)
    shadow.watch(question, { decision: 'deny', reasons: [], errors: [] })
    shadow.watch(question, { decision: 'allow', reasons: ['p'], errors: [] })
    expect(differences).toEqual([
      {
        ...{ set: 'wrong', principal: 'Agent::"clerk"', action: 'Action::"tool:call"', resource: 'Tool::"ledger.pay"' },
        ...{ compiled: 'deny by none', cedar: 'allow by p' },
      },
    ])
  })
})
