import { z } from 'zod'

const line = z.object({
  description: z.string().max(500),
  quantity: z.number(),
  price: z.number(),
  /** Without tax. */
  amount: z.number(),
})
export type InvoiceLine = z.infer<typeof line>

/** An invoice as it stands in a document, whatever the document's format. Nothing in it is to be trusted. */
const invoice = z.object({
  /** Without spaces and short, so that it can name an invoice and cannot say anything to a model. */
  number: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._/-]{0,39}$/, 'is not an invoice number'),
  vendor: z.string().min(1).max(200),
  /** The vendor's VAT number. */
  vendorId: z.string().max(40).optional(),
  iban: z.string().regex(/^[A-Z]{2}\d{2}[A-Z0-9]{11,30}$/, 'is not an IBAN'),
  currency: z.string().regex(/^[A-Z]{3}$/, 'is not a currency code'),
  /** To be paid, with tax, with two decimals. */
  amount: z.number().positive().max(1e9),
  tax: z.number(),
  /** Number of the purchase order that it refers to. */
  order: z.string().min(1).max(40).optional(),
  issued: z.iso.date(),
  lines: z.array(line).min(1).max(1000),
  memo: z.string().max(4000).optional(),
})
export type Invoice = z.infer<typeof invoice>

/** What a document turned out to be: an invoice, or the reason why it is none, in one line. */
export const parsed = z.discriminatedUnion('ok', [
  z.object({ ok: z.literal(true), invoice }),
  z.object({ ok: z.literal(false), reason: z.string() }),
])
export type Parsed = z.infer<typeof parsed>

export function noInvoice(reason: string): Parsed {
  return { ok: false, reason: reason.replaceAll(/\s+/g, ' ').trim().slice(0, 300) }
}

/** Checks what a format's parser has found; names the fields that are missing or wrong. */
export function checkInvoice(found: { [Field in keyof Invoice]: unknown }, format: string): Parsed {
  const result = invoice.safeParse(found)
  if (result.success) return { ok: true, invoice: result.data }
  const missing: string[] = []
  const wrong: string[] = []
  for (const { path, message } of result.error.issues) {
    const [field] = path
    const name = path.join('.')
    const given = Object.entries(found).find(([key]) => key === field)?.[1]
    if (given === undefined || given === '' || (Array.isArray(given) && given.length === 0)) missing.push(name)
    else wrong.push(`${name} ${message}`)
  }
  const reasons = [missing.length > 0 ? `it has no ${missing.join(', ')}` : '', wrong.join(', ')]
  return noInvoice(`${format} is no invoice that can be paid: ${reasons.filter(Boolean).join('; ')}`)
}
