import { z } from 'zod'
import { isIban } from './iban.ts'
import type { Invoice } from './invoice.ts'
import type { LedgerEntry } from './ledger.ts'
import { looksLike, sameName } from './look-alike.ts'
import { formatAmount, sameAmount } from './money.ts'
import type { Order, Purchasing } from './order.ts'

/** What the clerk remembers of a vendor from the last payment. */
export const vendorFact = z.object({ name: z.string(), iban: z.string() })
type VendorFact = z.infer<typeof vendorFact>

/**
 * What the check against the purchase order says. Payee, account, amount and currency come from the
 * order, never from the invoice; after a mismatch there are none, so that nothing can be paid by it.
 */
export const match = z.object({
  verdict: z.enum(['match', 'mismatch']),
  reasons: z.array(z.string()),
  payee: z.string().nullable(),
  iban: z.string().nullable(),
  amount: z.number().nullable(),
  currency: z.string().nullable(),
  order: z.string().nullable(),
  invoice: z.string(),
})
export type Match = z.infer<typeof match>

export interface MatchAgainst extends Purchasing {
  /** Payments made. */
  payments: readonly LedgerEntry[]
  vendor?: VendorFact | undefined
}

export function mismatch(invoice: string, reasons: string[]): Match {
  return { verdict: 'mismatch', reasons, payee: null, iban: null, amount: null, currency: null, order: null, invoice }
}

/** Three-way match of an invoice against order and goods receipts, and against what was paid before. */
export function matchInvoice(invoice: Invoice, against: MatchAgainst): Match {
  const order = against.orders.find((order) => order.number === invoice.order)
  const reasons = [...sumReasons(invoice), ...orderReasons(invoice, order, against)]
  if (order === undefined || reasons.length > 0) return mismatch(invoice.number, reasons)
  const { vendor: payee, iban, total: amount, currency, number } = order
  return { verdict: 'match', reasons: [], payee, iban, amount, currency, order: number, invoice: invoice.number }
}

/** Whether the invoice agrees with itself. */
function sumReasons({ lines, tax, amount, iban }: Invoice): string[] {
  const reasons: string[] = []
  for (const line of lines) {
    if (!sameAmount(line.quantity * line.price, line.amount)) {
      reasons.push(`line of ${formatAmount(line.amount)} is not ${line.quantity} times ${formatAmount(line.price)}`)
    }
  }
  const sum = lines.reduce((sum, line) => sum + line.amount, tax)
  if (!sameAmount(sum, amount)) {
    reasons.push(`its lines and tax add up to ${formatAmount(sum)}, its total says ${formatAmount(amount)}`)
  }
  if (!isIban(iban)) reasons.push(`the check digits of the account ${iban} are wrong`)
  return reasons
}

function orderReasons(invoice: Invoice, order: Order | undefined, against: MatchAgainst): string[] {
  if (invoice.order === undefined) return ['it names no purchase order']
  // The number on the invoice is a stranger's text: it is repeated only when it is one of ours.
  if (order === undefined) return ['there is no purchase order of the number that it names']
  return [
    ...vendorReasons(invoice, order),
    ...accountReasons(invoice, order, against.vendor),
    ...amountReasons(invoice, order),
    ...receiptReasons(order, against),
    ...paidReasons(invoice, order, against.payments),
  ]
}

function vendorReasons({ vendor, vendorId }: Invoice, order: Order): string[] {
  if (!sameName(vendor, order.vendor)) {
    const like = looksLike(vendor, order.vendor) ? ' but looks like it: a possible fraud' : ''
    return [`its vendor is not "${order.vendor}" of order ${order.number}${like}`]
  }
  if (vendorId !== undefined && vendorId !== order.vendorId) {
    return [`its VAT number is not ${order.vendorId}, which is on file for "${order.vendor}"`]
  }
  return []
}

function accountReasons({ iban }: Invoice, order: Order, remembered: VendorFact | undefined): string[] {
  if (iban !== order.iban) {
    return [`its account ${iban} is not ${order.iban}, which is on file for "${order.vendor}": a possible fraud`]
  }
  if (remembered !== undefined && remembered.iban !== order.iban) {
    return [`the account on file for "${order.vendor}" is not the one that was paid the last time`]
  }
  return []
}

function amountReasons({ amount, currency }: Invoice, order: Order): string[] {
  if (currency !== order.currency) return [`it is in ${currency}, order ${order.number} in ${order.currency}`]
  if (sameAmount(amount, order.total)) return []
  const side = amount > order.total ? 'above' : 'below'
  const [asked, ordered] = [formatAmount(amount, currency), formatAmount(order.total, currency)]
  return [`its amount ${asked} is ${side} the ${ordered} of order ${order.number}`]
}

function receiptReasons(order: Order, { receipts }: Purchasing): string[] {
  const received = new Map<string, number>()
  for (const { item, quantity } of (receipts[order.number] ?? []).flatMap((receipt) => receipt.lines)) {
    received.set(item, (received.get(item) ?? 0) + quantity)
  }
  return order.lines
    .filter(({ item, quantity }) => (received.get(item) ?? 0) < quantity)
    .map(({ item, quantity, description }) => {
      return `only ${received.get(item) ?? 0} of ${quantity} "${description}" were received`
    })
}

function paidReasons({ number }: Invoice, order: Order, payments: readonly LedgerEntry[]): string[] {
  const same = payments.find((payment) => payment.payee === order.vendor && payment.invoice === number)
  if (same) return [`it was paid already: receipt ${same.receipt}`]
  const other = payments.find((payment) => payment.order === order.number)
  if (other) return [`order ${order.number} was paid already, by invoice ${other.invoice}: receipt ${other.receipt}`]
  return []
}
