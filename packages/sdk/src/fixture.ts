import { tool } from '@muster/tools'
import { z } from 'zod'
import { agent } from './agent.ts'
import { plan } from './plan.ts'

/** The example of `docs`: the same tools, agent and plan, for tests of types and values. */
export const match = tool({
  name: 'invoice.match',
  effect: 'read',
  input: z.object({ invoice: z.string() }),
  output: z.object({
    payee: z.string(),
    amount: z.number(),
    lines: z.array(z.object({ 'a/b': z.boolean() })),
    po: z.string().optional(),
  }),
  run: ({ invoice }) => ({ payee: invoice, amount: 1, lines: [] }),
})

export const pay = tool({
  name: 'ledger.pay',
  effect: 'once',
  input: z.object({ payee: z.string(), amount: z.number() }),
  output: z.object({ receipt: z.string() }),
  run: () => ({ receipt: 'r' }),
})

export const clerk = agent({
  name: 'payables.clerk',
  version: '1.2.0',
  model: 'default',
  instructions: 'Process one invoice.',
  tools: [match, pay],
  input: z.object({ invoice: z.string(), urgent: z.boolean().default(false) }),
  output: z.object({ paid: z.boolean() }),
})

export const writer = agent({ name: 'writer', version: '1', model: 'default', instructions: 'Write.' })

export const monthEnd = plan({
  name: 'payables.month-end',
  version: '1.0.0',
  input: z.object({ folder: z.string() }),
  run: async (step, { folder }) => ({ first: await step.tool(match, { invoice: folder }), count: 1 }),
})
