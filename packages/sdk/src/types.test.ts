import type { Json } from '@muster/protocol'
import { tool } from '@muster/tools'
import { describe, expectTypeOf, it } from 'vitest'
import { z } from 'zod'
import { agent } from './agent.ts'
import type { Muster, RunHandle } from './client.ts'
import { clerk, match, monthEnd, pay, writer } from './fixture.ts'
import { type ChildResult, plan, type Settled, type Step } from './plan.ts'
import { ref } from './ref.ts'

/**
 * What a developer sees in the editor. The compiler checks these: nothing here is called, since there
 * is no run behind it.
 */
const editor = (_: (muster: Muster, step: Step) => unknown) => {}
interface Matched {
  payee: string
  amount: number
  lines: { 'a/b': boolean }[]
  po?: string | undefined
}

describe('types', () => {
  it('lead from an agent’s schemas to what a client starts and gets', () => {
    editor(async (muster) => {
      const run = await muster.runs.start(clerk, { invoice: 'i1' })
      expectTypeOf(run).toEqualTypeOf<RunHandle<{ paid: boolean }>>()
      expectTypeOf(await run.result()).toEqualTypeOf<{ paid: boolean }>()
      expectTypeOf(await (await muster.runs.start(writer, 'a poem')).result()).toEqualTypeOf<string>()
      // @ts-expect-error the input has no such field
      await muster.runs.start(clerk, { invoce: 'i1' })
      // @ts-expect-error an agent without a schema takes text
      await muster.runs.start(writer, { text: 'a poem' })
      // @ts-expect-error a tool is no run
      await muster.runs.start(pay, { payee: 'x', amount: 1 })
    })
  })

  it('lead from a plan’s code to what a client gets', () => {
    editor(async (muster) => {
      const run = await muster.runs.start(monthEnd, { folder: 'in' })
      expectTypeOf(await run.result()).toEqualTypeOf<{ first: Matched; count: number }>()
      // @ts-expect-error the plan takes a folder
      await muster.runs.start(monthEnd, {})
    })
  })

  it('of a run by name or by data are JSON', () => {
    editor(async (muster) => {
      expectTypeOf(await (await muster.runs.start('payables.clerk', { any: 1 })).result()).toEqualTypeOf<Json>()
      const data = { steps: { a: { tool: 't', input: {} } } }
      expectTypeOf(await (await muster.runs.start(data, {})).result()).toEqualTypeOf<Json>()
      expectTypeOf(await muster.runs.of<{ paid: boolean }>('id').result()).toEqualTypeOf<{ paid: boolean }>()
    })
  })

  it('of a plan’s steps are those of its tools and agents', () => {
    editor(async (_, step) => {
      expectTypeOf(await step.tool(match, { invoice: 'i' })).toEqualTypeOf<Matched>()
      expectTypeOf(await step.agent(clerk, { invoice: 'i' })).toEqualTypeOf<{ paid: boolean }>()
      expectTypeOf(await step.agent(clerk, { invoice: 'i' }, { until: 'parked' })).toEqualTypeOf<
        ChildResult<{ paid: boolean }>
      >()
      expectTypeOf(await step.model('default', 'hello')).toEqualTypeOf<string>()
      // @ts-expect-error a tool gets its own input
      await step.tool(pay, { payee: 'x', amount: 'ten' })
      // @ts-expect-error an agent gets its own input
      await step.agent(clerk, 'text')
      // @ts-expect-error an agent is no tool
      await step.tool(clerk, { invoice: 'i' })
      // @ts-expect-error a tool is no agent
      await step.agent(pay, { payee: 'x', amount: 1 })
    })
  })

  it('of a map are a list, or with `settle` what went well and what did not', () => {
    editor(async (_, step) => {
      const each = (invoice: string) => step.tool(match, { invoice })
      expectTypeOf(await step.map(['a', 'b'], each)).toEqualTypeOf<Matched[]>()
      expectTypeOf(await step.map(['a', 'b'], each, { concurrency: 2 })).toEqualTypeOf<Matched[]>()
      const settled = await step.map(['a', 'b'], each, { concurrency: 2, settle: true })
      expectTypeOf(settled).toEqualTypeOf<Settled<Matched>>()
      expectTypeOf(
        await step.map(settled.ok, (m) => step.tool(pay, { payee: ref(m, '/payee'), amount: ref(m, '/amount') })),
      ).toEqualTypeOf<{ receipt: string }[]>()
      // @ts-expect-error items are what `each` takes
      await step.map([1], each)
    })
  })

  it('of a reference are those of what it points to', () => {
    editor((_, step) => {
      const m = {} as Matched
      expectTypeOf(ref(m)).toEqualTypeOf<Matched>()
      expectTypeOf(ref(m, '/payee')).toEqualTypeOf<string>()
      expectTypeOf(ref(m, '/amount')).toEqualTypeOf<number>()
      expectTypeOf(ref(m, '/po')).toEqualTypeOf<string | undefined>()
      expectTypeOf(ref(m, '/lines')).toEqualTypeOf<{ 'a/b': boolean }[]>()
      expectTypeOf(ref(m, '/lines/0')).toEqualTypeOf<{ 'a/b': boolean }>()
      expectTypeOf(ref(m, '/lines/0/a~1b')).toEqualTypeOf<boolean>()
      expectTypeOf(ref([m], '/0/amount')).toEqualTypeOf<number>()
      // @ts-expect-error a payee is no amount
      void step.tool(pay, { payee: 'x', amount: ref(m, '/payee') })
      // @ts-expect-error there is no such field
      void step.tool(pay, { payee: ref(m, '/paye'), amount: 1 })
      // @ts-expect-error a pointer begins with a slash
      void ref(m, 'payee')
      // @ts-expect-error a number has no fields, so it is no output to refer into
      void ref(1, '/x')
    })
  })

  it('of definitions keep their names, and refuse a wrong one', () => {
    expectTypeOf(clerk.name).toEqualTypeOf<'payables.clerk'>()
    expectTypeOf(monthEnd.name).toEqualTypeOf<'payables.month-end'>()
    editor(() => {
      // @ts-expect-error an agent has a version
      agent({ name: 'a', model: 'm', instructions: '' })
      // @ts-expect-error tools are tools
      agent({ name: 'a', version: '1', model: 'm', instructions: '', tools: [clerk] })
      // @ts-expect-error a wall time is a duration
      agent({ name: 'a', version: '1', model: 'm', instructions: '', limits: { wallTime: 'soon' } })
      // @ts-expect-error a plan has code or steps
      plan({ name: 'p', version: '1', input: z.object({}) })
      // @ts-expect-error the input has no such field
      plan({ name: 'p', version: '1', input: z.object({ file: z.string() }), run: async (_, { folder }) => folder })
      // @ts-expect-error an effect is one of four
      tool({ name: 't', effect: 'sometimes', input: z.object({}), output: z.object({}), run: () => ({}) })
    })
  })
})
