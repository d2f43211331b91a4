import { MusterError, type PlanData } from '@muster/protocol'
import { tool } from '@muster/tools'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { type AgentOptions, agent, wireName } from './agent.ts'
import { collect } from './app.ts'
import { clerk, match, monthEnd, pay, writer } from './fixture.ts'
import { plan } from './plan.ts'

const open = z.object({})
const named = (name: string) => tool({ name, effect: 'read', input: open, output: open, run: () => ({}) })

function invalid(define: () => unknown): string {
  try {
    define()
  } catch (error) {
    if (error instanceof MusterError) return `${error.code}: ${error.message}`
    throw error
  }
  throw new Error('accepted')
}

describe('agent', () => {
  const valid = { name: 'a', version: '1.0.0', model: 'default', instructions: 'Do.' }

  it.each<[string, Partial<AgentOptions<string, z.ZodString, z.ZodString>>]>([
    ['a name with a space', { name: 'a b' }],
    ['an empty version', { version: '' }],
    ['a version with a space', { version: '1 0' }],
    ['a limit of no money', { limits: { usd: 0 } }],
    ['half a step', { limits: { steps: 0.5 } }],
    ['more steps than a run may have', { limits: { steps: 10_000_001 } }],
    ['a wall time that is no duration', { limits: { wallTime: 'soon' as '1m' } }],
    ['a context of no tokens', { context: { maxTokens: 0 } }],
    ['a summary from more tokens on than there may be', { context: { maxTokens: 10, compactAt: 11 } }],
    ['what a context has not', { context: { keepLast: 1, keep: 1 } as { keepLast: number } }],
    ['answers that are kept for ever', { cache: { ttl: '31 days' } }],
    ['answers that are kept for no time', { cache: { ttl: 'long' as '1m' } }],
    ['a negative wall time', { limits: { wallTime: '-1m' } }],
  ])('refuses %s, naming the agent', (_, change) => {
    expect(invalid(() => agent({ ...valid, ...change }))).toMatch(
      new RegExp(`^definition.invalid: .*"${change.name ?? 'a'}"`),
    )
  })

  it('refuses tools that a model could not tell apart', () => {
    expect(invalid(() => agent({ ...valid, tools: [named('a.b'), named('a_b')] }))).toContain(
      '"a.b" and "a_b" look the same',
    )
    expect(wireName('ledger.pay')).toBe('ledger_pay')
  })

  it('reads limits in words', () => {
    expect(agent({ ...valid, limits: { usd: 0.5, steps: 40, wallTime: '10m' } }).manifest.limits).toEqual({
      usd: 0.5,
      steps: 40,
      wallTimeMs: 600_000,
    })
  })

  it('takes and gives text unless it says otherwise', () => {
    expect(writer.manifest).toMatchObject({
      input: { type: 'string' },
      output: { type: 'string' },
      memory: { session: false, facts: [] },
      limits: {},
    })
  })

  it('has a hash that changes with its instructions, its limits and its tools', () => {
    const { hash } = agent(valid).manifest
    expect(agent(valid).manifest.hash).toBe(hash)
    for (const change of [
      { instructions: 'Do not.' },
      { limits: { usd: 1 } },
      { tools: [pay] },
      { version: '1.0.1' },
    ]) {
      expect(agent({ ...valid, ...change }).manifest.hash).not.toBe(hash)
    }
  })
})

describe('plan', () => {
  const valid = { name: 'p', version: '1', input: z.object({ invoice: z.string() }) }

  it('as data is checked when it is defined', () => {
    const ref = (step: string) => ({ $ref: `#/steps/${step}/output` })
    const of = (steps: PlanData['steps']) => () => plan({ ...valid, steps })
    expect(invalid(of({ a: { tool: 't', input: ref('b') }, b: { tool: 't', input: ref('a') } }))).toMatch(/^plan.cycle/)
    expect(invalid(of({ a: { tool: 't', input: ref('b') } }))).toMatch(/^plan.unknown_reference/)
    expect(invalid(of({}))).toMatch(/^plan.invalid/)
    expect(invalid(() => plan({ ...valid, steps: { 'a/b': { tool: 't', input: {} } } }))).toMatch(
      /^definition.invalid: .*"p"/,
    )
  })

  it('has a hash that changes with its code or its steps', () => {
    const code = (run: () => Promise<string>) => plan({ ...valid, run }).manifest.hash
    expect(code(async () => 'a')).not.toBe(code(async () => 'b'))
    const data = (name: string) => plan({ ...valid, steps: { a: { tool: name, input: {} } } }).manifest.hash
    expect(data('t')).toBe(data('t'))
    expect(data('t')).not.toBe(data('u'))
  })
})

describe('collect', () => {
  it('finds the definitions among exports, and the tools that they name', () => {
    const app = collect({
      clerk,
      monthEnd,
      default: clerk,
      helper: () => 1,
      text: 'x',
      nothing: null,
      like: { kind: 'tool' },
    })
    expect([...app.tools.keys()].sort()).toEqual(['invoice.match', 'ledger.pay'])
    expect(app.agents.get('payables.clerk')).toBe(clerk)
    expect(app.agents.get('payables.clerk@1.2.0')).toBe(clerk)
    expect(app.plans.get('payables.month-end@1.0.0')).toBe(monthEnd)
    expect(app.manifest.definitions.map(({ name }) => name)).toEqual(['payables.clerk', 'payables.month-end'])
  })

  it('finds what a plan as data names', () => {
    const data = plan({
      name: 'p',
      version: '1',
      input: open,
      steps: { a: { agent: 'writer', input: 'x' } },
      agents: [writer],
      tools: [match],
    })
    const app = collect({ data })
    expect(app.agents.get('writer')).toBe(writer)
    expect(app.tools.get('invoice.match')).toBe(match)
  })

  it('carries two versions of one agent, and gives the last by its bare name', () => {
    const next = agent({ name: 'writer', version: '2', model: 'default', instructions: 'Write more.' })
    const app = collect({ writer, next })
    expect(app.agents.get('writer')).toBe(next)
    expect(app.agents.get('writer@1')).toBe(writer)
    expect(app.manifest.definitions).toHaveLength(2)
  })

  it('refuses two definitions of one name', () => {
    expect(invalid(() => collect({ a: named('x'), b: named('x') }))).toContain('two tools have the name "x"')
    const twin = agent({ name: 'writer', version: '1', model: 'default', instructions: 'Else.' })
    expect(invalid(() => collect({ writer, twin }))).toContain('writer@1')
    const namesake = plan({ name: 'writer', version: '1', input: open, run: async () => null })
    expect(invalid(() => collect({ namesake, writer }))).toMatch(/an agent and a plan .* writer@1: .* Rename/)
    expect(collect({ namesake: { ...namesake, version: '2' }, writer }).plans.has('writer')).toBe(true)
    const data = plan({ name: 'd', version: '1', input: open, steps: { one: { tool: 'ledger.pya', input: {} } } })
    expect(invalid(() => collect({ pay, data }))).toMatch(
      /^definition.invalid: plan "d": \/steps\/one\/tool: there is no tool "ledger.pya"/,
    )
    expect(invalid(() => collect({ clerk, other: named('ledger.pay') }))).toContain(
      'two tools have the name "ledger.pay"',
    )
  })

  it('hashes the app by what it carries, in whatever order', () => {
    expect(collect({ clerk, writer }).manifest.hash).toBe(collect({ writer, clerk }).manifest.hash)
    expect(collect({ clerk }).manifest.hash).not.toBe(collect({ writer }).manifest.hash)
  })
})
