import { agent, plan } from '@muster/sdk'
import { z } from 'zod'
import * as changed from './changed-tools.ts'
import * as tools from './tools.ts'

/** The app that the cases' worker carries. Agents play the turns of their input, whatever these are. */
const played = {
  version: '1.0.0',
  model: 'default',
  instructions: 'Play the turns.',
  limits: { usd: 1, steps: 60, wallTime: '2m' },
  input: z.object({ turns: z.array(z.unknown()), data: z.record(z.string(), z.unknown()).optional() }),
  output: z.object({ answer: z.unknown() }),
} as const

const all = Object.values(tools)

export const third = agent({ ...played, name: 'third', tools: all })

/** Whom the office asks, or hands over to. */
export const second = agent({ ...played, name: 'second', tools: all, agents: [third], memory: { facts: ['vendor'] } })

export const office = agent({
  ...played,
  name: 'office',
  tools: all,
  agents: [second],
  handoffs: [second],
  memory: { session: true, facts: ['vendor'] },
})

/** Has tools of a partner that have changed since they were approved. */
export const supplier = agent({
  ...played,
  name: 'supplier',
  tools: [
    changed.described.now,
    changed.widened.now,
    changed.relabelled.now,
    changed.unknown.now,
    tools.ledgerPay,
    tools.mailSend,
    tools.ordersGet,
  ],
})

/** Has tools of the same partner, of which none has changed. */
export const buyer = agent({
  ...played,
  name: 'buyer',
  tools: [changed.steady, tools.ledgerPay, tools.ordersGet],
})

/** A plan reads a mail and pays what it says: values that code has copied are marked as well. */
export const copying = plan({
  name: 'copying',
  version: '1.0.0',
  input: z.object({ mail: z.string() }),
  run: async (step, { mail }) => {
    const { body } = await step.tool(tools.mailRead, { id: mail })
    return step.tool(tools.ledgerPay, { payee: body.slice(-7), amount: 1 })
  },
})

/** A plan that pays what the order says that a mail names. */
export const matching = plan({
  name: 'matching',
  version: '1.0.0',
  input: z.object({ order: z.string() }),
  run: async (step, { order }) => {
    const { payee, amount } = await step.tool(tools.ordersGet, { id: order })
    return step.tool(tools.ledgerPay, { payee, amount })
  },
})
