import { expect, test } from 'vitest'
import type { Invoice } from './invoice.ts'
import { type MatchAgainst, matchInvoice } from './match.ts'

const iban = 'DE17000000000532013041'
const invoice: Invoice = {
  number: 'RE-1',
  vendor: 'Volthaven GmbH',
  vendorId: 'DE1',
  iban,
  currency: 'EUR',
  amount: 119,
  tax: 19,
  order: 'PO-1',
  issued: '2026-11-01',
  lines: [{ description: 'Meter', quantity: 4, price: 25, amount: 100 }],
}
const against: MatchAgainst = {
  orders: [
    {
      number: 'PO-1',
      vendor: 'Volthaven GmbH',
      vendorId: 'DE1',
      iban,
      currency: 'EUR',
      lines: [{ item: 'M', description: 'Meter', quantity: 4, price: 25 }],
      tax: 19,
      total: 119,
    },
  ],
  receipts: {
    'PO-1': [
      { receipt: 'GR-1', date: '2026-10-01', lines: [{ item: 'M', quantity: 1 }] },
      { receipt: 'GR-2', date: '2026-10-02', lines: [{ item: 'M', quantity: 3 }] },
    ],
  },
  payments: [],
}
const paid = {
  payee: 'Volthaven GmbH',
  iban,
  amount: 119,
  currency: 'EUR',
  key: 'k',
  line: 'l',
  receipt: 'R-1',
  at: '',
}

test('a good invoice matches, with the values of the order', () => {
  expect(matchInvoice({ ...invoice, vendor: 'VOLTHAVEN  GmbH' }, against)).toEqual({
    verdict: 'match',
    reasons: [],
    payee: 'Volthaven GmbH',
    iban,
    amount: 119,
    currency: 'EUR',
    order: 'PO-1',
    invoice: 'RE-1',
  })
  const { vendorId: _, ...anonymous } = invoice
  expect(matchInvoice(anonymous, against).verdict).toBe('match')
  expect(matchInvoice(invoice, { ...against, vendor: { name: 'Volthaven GmbH', iban } }).verdict).toBe('match')
})

test.each<[string, Partial<Invoice>, Partial<MatchAgainst>, RegExp]>([
  ['no order', { order: undefined }, {}, /names no purchase order/],
  ['unknown order', { order: 'PO-2' }, {}, /no purchase order of the number/],
  ['another vendor', { vendor: 'Somebody Else' }, {}, /not "Volthaven GmbH" of order PO-1$/],
  ['look-alike', { vendor: 'Vo1thaven GmbH' }, {}, /looks like it/],
  ['look-alike in Cyrillic', { vendor: 'Vоlthaven GmbH' }, {}, /looks like it/],
  ['look-alike by a letter', { vendor: 'Volthafen GmbH' }, {}, /looks like it/],
  ['another VAT number', { vendorId: 'DE2' }, {}, /VAT number/],
  ['another account', { iban: 'DE21000000000948120077' }, {}, /on file/],
  ['an account with a slip', { iban: 'DE18000000000532013041' }, {}, /check digits/],
  ['account changed since', {}, { vendor: { name: 'Volthaven GmbH', iban: 'X' } }, /paid the last time/],
  ['another currency', { currency: 'USD' }, {}, /in USD, order PO-1 in EUR/],
  ['too much', { amount: 120, tax: 20 }, {}, /120.00 EUR is above the 119.00 EUR/],
  ['too little', { amount: 118, tax: 18 }, {}, /below/],
  ['a sum that is wrong', { tax: 18 }, {}, /add up to 118.00, its total says 119.00/],
  ['a line that is wrong', { lines: [{ description: '', quantity: 3, price: 25, amount: 100 }] }, {}, /is not 3 times/],
  ['nothing received', {}, { receipts: {} }, /only 0 of 4 "Meter"/],
  ['paid', {}, { payments: [{ ...paid, invoice: 'RE-1' }] }, /paid already: receipt R-1/],
  ['order paid', {}, { payments: [{ ...paid, invoice: 'RE-0', order: 'PO-1' }] }, /by invoice RE-0/],
])('%s: mismatch, and nothing to pay by', (_name, change, other, reason) => {
  const result = matchInvoice({ ...invoice, ...change }, { ...against, ...other })
  expect(result).toMatchObject({ verdict: 'mismatch', payee: null, iban: null, amount: null, currency: null })
  expect(result.reasons.join('\n')).toMatch(reason)
})
