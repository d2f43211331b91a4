import { plan, type Step } from '@muster/sdk'
import { z } from 'zod'
import { clerk } from './clerk.ts'
import { listInvoices, readInvoice } from './invoice-tools.ts'

const about = { file: z.string(), run: z.string(), vendor: z.string(), amount: z.number() }

export const monthEndOutput = z.object({
  paid: z.array(z.object({ ...about, receipt: z.string(), reason: z.string() })),
  blocked: z.array(z.object({ ...about, reason: z.string() })),
  /** Runs that wait: `role` is who may approve. */
  needsApproval: z.array(z.object({ ...about, role: z.string(), reason: z.string() })),
  setAside: z.array(z.object({ file: z.string(), run: z.string(), reason: z.string() })),
  /** Runs that failed; without a run, it could not be started. */
  failed: z.array(z.object({ file: z.string(), run: z.string().optional(), reason: z.string() })),
  costUsd: z.number(),
})
export type MonthEndOutput = z.infer<typeof monthEndOutput>

type Item = {
  [Kind in Exclude<keyof MonthEndOutput, 'costUsd'>]: {
    kind: Kind
    item: MonthEndOutput[Kind][number]
    costUsd: number
  }
}[Exclude<keyof MonthEndOutput, 'costUsd'>]

/** Gives every invoice of a folder to a clerk of its own; one that waits for a person does not hold up the others. */
export const monthEnd = plan({
  name: 'payables.month-end',
  version: '1.0.0',
  input: z.object({ folder: z.string().optional() }),
  limits: { usd: 50, steps: 10_000, wallTime: '4h' },
  run: async (step, { folder }): Promise<MonthEndOutput> => {
    const where = folder === undefined ? {} : { folder }
    const { files } = await step.tool(listInvoices, where)
    const { ok, failed } = await step.map(files, (file) => processOne(step, { file, ...where }), {
      concurrency: 8,
      settle: true,
    })
    const output: MonthEndOutput = {
      paid: [],
      blocked: [],
      needsApproval: [],
      setAside: [],
      failed: failed.map(({ index, code, message }) => ({ file: files[index] ?? '', reason: `${code}: ${message}` })),
      costUsd: 0,
    }
    for (const each of ok) {
      add(output, each)
      output.costUsd += each.costUsd
    }
    return output
  },
})

function add(output: MonthEndOutput, { kind, item }: Item): void {
  switch (kind) {
    case 'paid':
      output.paid.push(item)
      break
    case 'blocked':
      output.blocked.push(item)
      break
    case 'needsApproval':
      output.needsApproval.push(item)
      break
    case 'setAside':
      output.setAside.push(item)
      break
    case 'failed':
      output.failed.push(item)
  }
}

async function processOne(step: Step, input: { file: string; folder?: string }): Promise<Item> {
  const { file } = input
  const child = await step.agent(clerk, input, { until: 'parked' })
  const { run, costUsd } = child
  if (child.status === 'succeeded') {
    const { status, vendor, amount, reason, receipt = '' } = child.output
    if (status === 'set-aside') return { kind: 'setAside', item: { file, run, reason }, costUsd }
    if (status === 'blocked') return { kind: 'blocked', item: { file, run, vendor, amount, reason }, costUsd }
    return { kind: 'paid', item: { file, run, vendor, amount, reason, receipt }, costUsd }
  }
  if (child.status !== 'waiting') {
    const { code, message } = child.error
    return { kind: 'failed', item: { file, run, reason: `${code}: ${message}` }, costUsd }
  }
  // The run has not said yet what it is about; the document says it.
  const read = await step.tool(readInvoice, input)
  const { vendor, amount } = read.ok ? read.invoice : { vendor: '', amount: 0 }
  const reason = child.waiting.map(({ target, role }) => `${target} waits for ${role ?? 'a person'}`).join('; ')
  const role = child.waiting.find((waiting) => waiting.role)?.role ?? ''
  return { kind: 'needsApproval', item: { file, run, vendor, amount, role, reason }, costUsd }
}
