import { XMLParser, XMLValidator } from 'fast-xml-parser'
import { z } from 'zod'
import { normalIban } from './iban.ts'
import { checkInvoice, type InvoiceLine, noInvoice, type Parsed } from './invoice.ts'

// With `alwaysCreateTextNode` every element is an object that has its text under `#text`.
const text = z.object({ '#text': z.string() }).transform((element) => element['#text'])
const amount = z.object({ '#text': z.string().regex(/^-?\d+(\.\d+)?$/), '@_currencyID': z.string().optional() })
const number = amount.transform((element) => Number(element['#text']))

const charge = z.object({ ChargeIndicator: text, AllowanceChargeReason: text.optional(), Amount: number })

/** The part of UBL 2.1 that Peppol BIS Billing 3 uses and that we need. */
const ubl = z.object({
  ID: text.optional(),
  IssueDate: text.optional(),
  InvoiceTypeCode: text.optional(),
  Note: z.array(text).default([]),
  DocumentCurrencyCode: text.optional(),
  OrderReference: z.object({ ID: text.optional() }).optional(),
  AccountingSupplierParty: z.object({
    Party: z.object({
      PartyName: z.object({ Name: text }).optional(),
      PartyTaxScheme: z.array(z.object({ CompanyID: text.optional() })).default([]),
      PartyLegalEntity: z.object({ RegistrationName: text.optional() }).optional(),
    }),
  }),
  PaymentMeans: z.array(z.object({ PayeeFinancialAccount: z.object({ ID: text }).optional() })).default([]),
  TaxTotal: z.array(z.object({ TaxAmount: amount })).default([]),
  AllowanceCharge: z.array(charge).default([]),
  LegalMonetaryTotal: z.object({
    PrepaidAmount: number.optional(),
    PayableRoundingAmount: number.optional(),
    PayableAmount: number,
  }),
  InvoiceLine: z
    .array(
      z.object({
        InvoicedQuantity: number,
        LineExtensionAmount: number,
        Item: z.object({ Name: text.optional(), Description: text.optional() }),
        Price: z.object({ PriceAmount: number, BaseQuantity: number.optional() }).optional(),
      }),
    )
    .default([]),
})

const lists = new Set(['Note', 'PartyTaxScheme', 'PaymentMeans', 'TaxTotal', 'AllowanceCharge', 'InvoiceLine'])

const parser = new XMLParser({
  ignoreAttributes: false,
  removeNSPrefix: true,
  parseTagValue: false,
  alwaysCreateTextNode: true,
  isArray: (name, _path, _isLeaf, isAttribute) => !isAttribute && lists.has(name),
})

/** Reads a UBL 2.1 invoice. What declares a document type is refused before it is parsed. */
export function parseUbl(xml: string): Parsed {
  // Entities can pull in files of this machine, or grow without end; no invoice needs them.
  if (/<!\s*(DOCTYPE|ENTITY)/i.test(xml)) {
    return noInvoice('the XML declares a DOCTYPE or entities, which can pull in other files: refused unread')
  }
  const valid = XMLValidator.validate(xml)
  if (valid !== true) {
    const { line, msg } = valid.err
    // The validator lists elements that are still open at the end as JSON and at line 1.
    return noInvoice(
      msg.startsWith("Invalid '[")
        ? 'the XML is cut off: it ends before all elements are closed'
        : `the XML is damaged at line ${line}: ${msg}`,
    )
  }
  const root = z.record(z.string(), z.unknown()).safeParse(parser.parse(xml))
  const names = Object.keys(root.data ?? {}).filter((name) => !name.startsWith('?') && name !== '#text')
  if (names[0] !== 'Invoice') return noInvoice(`the XML is a <${names[0] ?? ''}>, not a UBL <Invoice>`)
  const found = ubl.safeParse(root.data?.Invoice)
  if (!found.success) {
    const at = found.error.issues.map(({ path }) => path.filter((part) => part !== '#text').join('/'))
    return noInvoice(`the UBL invoice has no valid ${at.join(', ')}`)
  }
  const { data } = found
  if (data.InvoiceTypeCode === '381') return noInvoice('the UBL document is a credit note, not an invoice')
  const { Party } = data.AccountingSupplierParty
  const currency = data.DocumentCurrencyCode
  // A second total may state the tax in the tax office's currency.
  const tax = data.TaxTotal.find(({ TaxAmount }) => (TaxAmount['@_currencyID'] ?? currency) === currency)
  const account = data.PaymentMeans.find((means) => means.PayeeFinancialAccount)?.PayeeFinancialAccount?.ID
  return checkInvoice(
    {
      number: data.ID,
      vendor: Party.PartyLegalEntity?.RegistrationName ?? Party.PartyName?.Name,
      vendorId: Party.PartyTaxScheme.find((scheme) => scheme.CompanyID)?.CompanyID,
      iban: account === undefined ? undefined : normalIban(account),
      currency,
      amount: data.LegalMonetaryTotal.PayableAmount,
      tax: tax === undefined ? 0 : Number(tax.TaxAmount['#text']),
      order: data.OrderReference?.ID,
      issued: data.IssueDate,
      lines: [...data.InvoiceLine.map(lineOf), ...documentLines(data)],
      memo: data.Note.length > 0 ? data.Note.join('\n') : undefined,
    },
    'the UBL document',
  )
}

function lineOf({ InvoicedQuantity, LineExtensionAmount, Item, Price }: z.infer<typeof ubl>['InvoiceLine'][number]) {
  const price = Price ? Price.PriceAmount / (Price.BaseQuantity ?? 1) : LineExtensionAmount / InvoicedQuantity
  return {
    description: Item.Name ?? Item.Description ?? '',
    quantity: InvoicedQuantity,
    price,
    amount: LineExtensionAmount,
  }
}

/** What changes the total of the whole document, as lines, so that the sum can be checked in one way. */
function documentLines({ AllowanceCharge, LegalMonetaryTotal }: z.infer<typeof ubl>): InvoiceLine[] {
  const single = (description: string, amount: number): InvoiceLine => ({
    description,
    quantity: 1,
    price: amount,
    amount,
  })
  const { PrepaidAmount = 0, PayableRoundingAmount = 0 } = LegalMonetaryTotal
  return [
    ...AllowanceCharge.map(({ ChargeIndicator, AllowanceChargeReason, Amount }) =>
      ChargeIndicator === 'true'
        ? single(AllowanceChargeReason ?? 'charge', Amount)
        : single(AllowanceChargeReason ?? 'allowance', -Amount),
    ),
    ...(PrepaidAmount === 0 ? [] : [single('paid before', -PrepaidAmount)]),
    ...(PayableRoundingAmount === 0 ? [] : [single('rounding', PayableRoundingAmount)]),
  ]
}
