import { z } from 'zod'
import { normalIban } from './iban.ts'
import { checkInvoice, noInvoice, type Parsed } from './invoice.ts'

/** An invoice as our vendors send it in JSON. */
const shape = z.object({
  number: z.unknown().optional(),
  issued: z.unknown().optional(),
  vendor: z.union([z.string(), z.object({ name: z.string(), id: z.string().optional() })]).optional(),
  iban: z.string().transform(normalIban).optional(),
  currency: z.unknown().optional(),
  order: z.string().optional(),
  lines: z.unknown().optional(),
  tax: z.unknown().optional(),
  total: z.unknown().optional(),
  memo: z.string().optional(),
})

export function parseJsonInvoice(text: string): Parsed {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    return noInvoice(`the JSON is damaged: ${error instanceof Error ? error.message : String(error)}`)
  }
  const found = shape.safeParse(value)
  if (!found.success) {
    const at = found.error.issues.map(({ path }) => path.join('.') || 'document')
    return noInvoice(`the JSON is no invoice: its ${at.join(', ')} is not as expected`)
  }
  const { number, issued, vendor, iban, currency, order, lines, tax = 0, total, memo } = found.data
  const [name, vendorId] = typeof vendor === 'string' ? [vendor] : [vendor?.name, vendor?.id]
  return checkInvoice(
    { number, vendor: name, vendorId, iban, currency, amount: total, tax, order, issued, lines, memo },
    'the JSON document',
  )
}
