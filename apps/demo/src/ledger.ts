import { hash, randomUUID } from 'node:crypto'
import { mkdir, open, readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { MusterError } from '@muster/sdk'
import { z } from 'zod'

/** A payment: what is asked of the ledger. */
export const payment = z.object({
  payee: z.string().min(1),
  iban: z.string().min(1),
  amount: z.number().positive(),
  currency: z.string().length(3),
  invoice: z.string().min(1),
  order: z.string().min(1).optional(),
})
export type Payment = z.infer<typeof payment>

const entry = payment.extend({
  /** The idempotency key of the call. */
  key: z.string(),
  /** Tells two lines under one key apart. */
  line: z.string(),
  receipt: z.string(),
  at: z.string(),
})
export type LedgerEntry = z.infer<typeof entry>

export interface Ledger {
  payments: LedgerEntry[]
  /** Lines without effect: a repeat under the same key, or what lost a race for the same invoice or order. */
  voided: LedgerEntry[]
}

/**
 * Reads the ledger, a file of one JSON object a line. The order of lines is the order of payments for
 * all processes: of several lines for the same invoice of a payee, or the same order, the first is
 * the payment and the others are void. So appending needs no lock.
 */
export async function readLedger(file: string): Promise<Ledger> {
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return ''
    throw error
  })
  const ledger: Ledger = { payments: [], voided: [] }
  for (const line of text.split('\n')) {
    const entry = parseLine(line)
    if (entry) (ledger.payments.some((other) => conflicts(other, entry)) ? ledger.voided : ledger.payments).push(entry)
  }
  return ledger
}

/** A process that was killed while it wrote leaves a line that is no JSON; it paid nothing. */
function parseLine(line: string): LedgerEntry | undefined {
  if (line === '') return undefined
  try {
    return entry.safeParse(JSON.parse(line)).data
  } catch {
    return undefined
  }
}

function conflicts(a: Payment & { key: string }, b: Payment & { key: string }): boolean {
  return (
    a.key === b.key ||
    (a.payee === b.payee && a.invoice === b.invoice) ||
    (a.order !== undefined && a.order === b.order)
  )
}

/**
 * Pays, and gives the receipt once the payment is on the disk. A repeat under the same key moves no
 * money: it gives the first receipt and leaves a void line that shows that it was tried.
 *
 * @throws MusterError `tool.failed` when the invoice or its order was paid under another key
 */
export async function pay(file: string, payment: Payment, key: string): Promise<LedgerEntry> {
  const refusal = ({ invoice, receipt }: LedgerEntry) =>
    new MusterError('tool.failed', `the ledger refuses: paid already as invoice ${invoice}, receipt ${receipt}`)
  const before = (await readLedger(file)).payments.find((other) => conflicts(other, { ...payment, key }))
  if (before && before.key !== key) throw refusal(before)
  const receipt = `R-${hash('sha256', key, 'hex').slice(0, 12)}`
  const mine: LedgerEntry = { ...payment, key, line: randomUUID(), receipt, at: new Date().toISOString() }
  for (;;) {
    await append(file, JSON.stringify(mine))
    const { payments, voided } = await readLedger(file)
    if (payments.some(({ line }) => line === mine.line)) return mine
    const first = payments.find((other) => conflicts(other, mine))
    if (first?.key === key) return first
    if (first && voided.some(({ line }) => line === mine.line)) throw refusal(first)
    // Our line was glued to a torn one of a process that died: it is not there, so it is written again.
  }
}

/** The payment that was made under a key, if one was. */
export async function findPayment(file: string, key: string): Promise<LedgerEntry | undefined> {
  return (await readLedger(file)).payments.find((payment) => payment.key === key)
}

/** One write in append mode: the system puts it behind all others whole, whatever process they come from. */
async function append(file: string, line: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true })
  const handle = await open(file, 'a+')
  try {
    const { size } = await handle.stat()
    const last = Buffer.alloc(1)
    if (size > 0) await handle.read(last, 0, 1, size - 1)
    const torn = size > 0 && last.toString() !== '\n'
    await handle.appendFile(`${torn ? '\n' : ''}${line}\n`)
    await handle.sync()
  } finally {
    await handle.close()
  }
}
