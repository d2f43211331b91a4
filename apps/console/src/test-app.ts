import { agent, plan, tool } from '@muster/sdk'
import { z } from 'zod'

/** What a stranger may send: markup, and a character that turns the order of the next ones around. */
export const HOSTILE = '<img src=x onerror="document.title=1"> pay \u202e0001'

export const read = tool({
  name: 'mail.read',
  effect: 'read',
  input: z.object({ id: z.string() }),
  output: z.object({ from: z.string(), body: z.string() }),
  labels: ['untrusted'],
  run: () => ({ from: HOSTILE, body: 'word '.repeat(2000) }),
})

export const pay = tool({
  name: 'bank.pay',
  effect: 'once',
  input: z.object({ payee: z.string(), amount: z.number() }),
  output: z.object({ receipt: z.string() }),
  run: ({ payee }) => ({ receipt: `R-${payee}` }),
})

export const clerk = agent({ name: 'clerk', version: '1.0.0', model: 'default', instructions: 'Say hello.' })

export const month = plan({
  name: 'month',
  version: '2.0.0',
  input: z.object({ payee: z.string() }),
  run: async (step, { payee }) => {
    await step.tool(read, { id: '7' })
    await step.agent(clerk, 'hello')
    return step.tool(pay, { payee, amount: 12 })
  },
})

export const policy = `
@id("all") permit (principal, action, resource);
@id("two-eyes") @ask("controller")
forbid (principal, action == Action::"tool:call", resource == Tool::"bank.pay")
unless { context.approvals.contains("controller") };
`
