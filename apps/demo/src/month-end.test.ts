import { randomUUID } from 'node:crypto'
import type { Step, Tool } from '@muster/sdk'
import { expect } from 'vitest'
import { prepareDemo, readLedger, summary } from './index.ts'
import { type MonthEndOutput, monthEnd, monthEndOutput } from './month-end.ts'
import { test } from './test-home.ts'
import { play } from './test-stage.ts'

const context = {
  signal: AbortSignal.timeout(60_000),
  idempotencyKey: 'k',
  fencingToken: 1,
  run: 'r',
  step: 's',
  tenant: 't',
}

/** Steps in process; the one in `failing` fails to start, as when its child run is denied. */
function stage(failing: string): Step {
  const memory = new Map<string, unknown>()
  const step = {
    tool: (tool: Tool, input: { file?: string }) => tool.call(input, context),
    agent: async (_agent: unknown, input: { file: string }) => {
      if (input.file === failing) throw Object.assign(new Error('no'), { code: 'policy.denied' })
      const { status, output, role } = await play(input, { memory })
      const child = { run: randomUUID(), costUsd: 0.001 }
      if (status === 'ended') return { ...child, status: 'succeeded', output }
      return { ...child, status: 'waiting', waiting: [{ step: '6', for: 'approval', role, target: 'ledger.pay' }] }
    },
    map: async (items: string[], each: (item: string) => Promise<unknown>) => {
      const settled = await Promise.allSettled(items.map(each))
      const failed = settled.flatMap(({ status }, index) =>
        status === 'rejected' ? [{ index, code: 'policy.denied', message: 'no' }] : [],
      )
      return { ok: settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : [])), failed }
    },
  }
  // Only what the plan uses of the overloaded interface is played.
  return step as unknown as Step
}

async function runMonthEnd(input: { folder?: string }, failing = ''): Promise<MonthEndOutput> {
  if (!('run' in monthEnd.body)) throw new Error('the plan is code')
  // The body takes the input of its schema, which the plan's type hides.
  const run = monthEnd.body.run as (step: Step, input: { folder?: string }) => Promise<MonthEndOutput>
  return monthEndOutput.parse(JSON.parse(JSON.stringify(await run(stage(failing), input))))
}

test('a month of invoices: each ends where it belongs', async ({ home }) => {
  await prepareDemo()
  const output = await runMonthEnd({ folder: home.inbox }, 'alpenzirbe-3318.json')
  expect(output.paid).toHaveLength(19)
  expect(output.needsApproval.map(({ file }) => file)).toEqual(['oxbarrow-1415.json', 'volthaven-2026-1201.xml'])
  expect(output.needsApproval[0]).toMatchObject({
    vendor: 'Oxbarrow IT Services Ltd',
    amount: 15_144,
    role: 'controller',
    reason: 'ledger.pay waits for controller',
  })
  expect(output.blocked).toHaveLength(16)
  expect(output.setAside).toHaveLength(5)
  expect(output.failed).toEqual([{ file: 'alpenzirbe-3318.json', reason: 'policy.denied: no' }])
  expect(output.costUsd).toBeCloseTo(0.042)
  const { payments } = await readLedger(home.ledger)
  expect(payments.map(({ receipt }) => receipt).sort()).toEqual(output.paid.map(({ receipt }) => receipt).sort())

  const text = summary(output)
  expect(text).toContain('Paid (19)')
  expect(text).toContain('19 paid, 2 to approve, 16 blocked, 5 set aside, 1 failed. The models cost $0.0420.')
  for (const row of text.split('\n')) expect(row.length).toBeLessThanOrEqual(120)

  // A second run finds nothing more to pay.
  const again = await runMonthEnd({})
  expect(again.paid.map(({ file }) => file)).toEqual(['alpenzirbe-3318.json'])
  expect(again.setAside).toEqual([])
})
