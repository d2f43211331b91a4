import { normalIban } from './iban.ts'
import { checkInvoice, type InvoiceLine, noInvoice, type Parsed } from './invoice.ts'
import { parseAmount } from './money.ts'

const labels = {
  number: /^(?:invoice|rechnung)\s*(?:no|nr|number|nummer|#)[.:#]*\s*(\S+)\s*$/im,
  order: /^(?:your order|purchase order|order|po|bestellung)(?:\s*(?:no|nr|number))?[.:]+\s*(\S+)\s*$/im,
  issued: /^(?:invoice date|date|issued|rechnungsdatum|datum)\s*:\s*(.+?)\s*$/im,
  vendor: /^(?:from|vendor|supplier)\s*:\s*(.+?)\s*(?:<[^>]*>)?\s*$/im,
  vendorId: /^(?:vat id|vat no|ust-idnr)[.:]*\s*(\S+)\s*$/im,
  iban: /\bIBAN:?\s*([A-Z]{2}\d{2}(?: ?[A-Z0-9]{1,4})+)\b/,
  total: /^(?:total due|amount due|total|gesamtbetrag)\b:?(.*)$/im,
  net: /^(?:subtotal|net|nettobetrag)\b:?(.*)$/im,
  tax: /^(?:vat|mwst)\b(?!\s+(?:id|no)\b)[^\n:]*?(?:\d+\s*%)?:?([^%\n]*)$/im,
  memo: /^(?:note|memo|remark)s?\s*:\s*([\s\S]+?)(?:\n\s*\n|$(?![\s\S]))/im,
}

const amountText = String.raw`-?\d[\d.,']*`
/** `4 x Toner   72.00   288.00`, or a table's row `Toner   4   72.00   288.00`. */
const countFirst = new RegExp(
  String.raw`^\s*(\d+(?:[.,]\d+)?)\s*[x×]\s+(\S.*?)\s{2,}(${amountText})\s+(${amountText})\s*$`,
)
const countAfter = new RegExp(String.raw`^\s*(\S.*?)\s{2,}(\d+(?:[.,]\d+)?)\s{2,}(${amountText})\s+(${amountText})\s*$`)

/** Reads an invoice from plain text, by the words that people use on invoices in English and German. */
export function parseTextInvoice(text: string): Parsed {
  const lines = text.replaceAll('\r\n', '\n')
  const first = (label: RegExp) => label.exec(lines)?.[1]?.trim()
  const number = first(labels.number)
  const iban = first(labels.iban)
  const total = money(first(labels.total))
  if (number === undefined && (iban === undefined || total === undefined)) {
    return noInvoice('the text is no invoice: it has no invoice number, and no IBAN with a total')
  }
  const tax = money(first(labels.tax))?.amount ?? 0
  const items = itemsOf(lines)
  const net = money(first(labels.net))?.amount ?? (total === undefined ? undefined : total.amount - tax)
  return checkInvoice(
    {
      number,
      vendor: first(labels.vendor) ?? lines.trimStart().split('\n')[0]?.trim(),
      vendorId: first(labels.vendorId),
      iban: iban === undefined ? undefined : normalIban(iban),
      currency: total?.currency,
      amount: total?.amount,
      tax,
      order: first(labels.order),
      issued: date(first(labels.issued)),
      // Many texts name no lines; their sum is checked all the same.
      lines:
        items.length > 0 || net === undefined
          ? items
          : [{ description: 'as invoiced', quantity: 1, price: net, amount: net }],
      memo: first(labels.memo)?.replaceAll(/\s+/g, ' '),
    },
    'the text',
  )
}

function itemsOf(text: string): InvoiceLine[] {
  const items: InvoiceLine[] = []
  for (const line of text.split('\n')) {
    const before = countFirst.exec(line)
    const after = before ? null : countAfter.exec(line)
    const [description, count, price, amount] = before
      ? [before[2], before[1], before[3], before[4]]
      : [after?.[1], after?.[2], after?.[3], after?.[4]]
    const numbers = [count, price, amount].map((part) => parseAmount(part ?? ''))
    const [quantity, each, sum] = numbers
    if (description === undefined || quantity === undefined || each === undefined || sum === undefined) continue
    items.push({ description, quantity, price: each, amount: sum })
  }
  return items
}

/** An amount with its currency before or behind it, or in the words before. */
function money(text: string | undefined): { amount: number; currency: string | undefined } | undefined {
  const found = /(-?\d[\d.,' ]*)(?:\s|[A-Z]|€|$)/.exec(text ?? '')?.[1]
  const amount = found === undefined ? undefined : parseAmount(found)
  if (text === undefined || amount === undefined) return undefined
  return { amount, currency: /\b([A-Z]{3})\b/.exec(text)?.[1] ?? (text.includes('€') ? 'EUR' : undefined) }
}

const months = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec']

/** `2026-11-03`, `03.11.2026`, `03/11/2026` (day first), `3 November 2026`, `November 3, 2026` as an ISO date. */
function date(text: string | undefined): string | undefined {
  if (text === undefined || /^\d{4}-\d{2}-\d{2}$/.test(text)) return text
  const digits = /^(\d{1,2})[./](\d{1,2})[./](\d{4})$/.exec(text)
  if (digits) return iso(digits[3], digits[2], digits[1])
  const words = /^(\d{1,2})\.?\s+([A-Za-z]{3,9})\s+(\d{4})$/.exec(text)
  if (words) return iso(words[3], month(words[2]), words[1])
  const american = /^([A-Za-z]{3,9})\s+(\d{1,2}),?\s+(\d{4})$/.exec(text)
  if (american) return iso(american[3], month(american[1]), american[2])
  return text
}

function month(word = ''): string {
  return String(months.indexOf(word.slice(0, 3).toLowerCase()) + 1)
}

function iso(year = '', month = '', day = ''): string {
  return `${year}-${month.padStart(2, '0')}-${day.padStart(2, '0')}`
}
