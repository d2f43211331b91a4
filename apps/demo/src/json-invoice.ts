import { z } from 'zod'
import { normalIban } from './iban.ts'
import { checkInvoice, noInvoice, type Parsed } from './invoice.ts'

/** An invoice as our vendors send it in JSON. */
const shape = z.object({
  number: z.unknown(),
  issued: z.unknown(),
  vendor: z.union([z.string(), z.object({ name: z.string(), id: z.string().optional() })]).optional(),
  iban: z.string().transform(normalIban).optional(),
  currency: z.unknown(),
  order: z.string().optional(),
  lines: z.unknown(),
  tax: z.unknown(),
  total: z.unknown(),
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
  const { vendor, total, tax = 0, ...rest } = found.data
  return checkInvoice(
    {
      ...rest,
      vendor: typeof vendor === 'string' ? vendor : vendor?.name,
      vendorId: typeof vendor === 'string' ? undefined : vendor?.id,
      amount: total,
      tax,
      order: rest.order,
      iban: rest.iban,
      memo: rest.memo,
    },
    'the JSON document',
  )
}
