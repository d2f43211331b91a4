import { mkdir, readdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect } from 'vitest'
import { documents } from './demo-home.ts'
import { parseDocument, readDocument } from './document.ts'
import { isIban } from './iban.ts'
import { readPurchasing } from './order.ts'
import { test } from './test-home.ts'

const folder = join(documents, 'invoices')
const broken = {
  'volthaven-2026-1230.xml': /cut off/,
  'cobaltina-a-4502.xml': /DOCTYPE/,
  'scan-0117.txt': /empty/,
  'lunch-menu-week-47.txt': /no invoice number/,
  'scan-0118.json': /not text/,
}

describe('the documents of the demo', async () => {
  const files = await readdir(folder)

  test('are many, in three formats', () => {
    expect(files.length).toBeGreaterThanOrEqual(34)
    expect(new Set(files.map((file) => file.split('.').at(-1)))).toEqual(new Set(['xml', 'json', 'txt']))
  })

  test.for(files.filter((file) => !(file in broken)))('%s is an invoice', async (file) => {
    const read = await readDocument({ file, folder }, '')
    expect(read).toMatchObject({ ok: true })
    if (!read.ok) return
    const { invoice } = read
    expect(invoice.issued).toMatch(/^2026-11-/)
    expect(invoice.vendor).not.toContain('&amp;')
    expect(isIban(invoice.iban)).toBe(true)
    expect(invoice.lines.every(({ description }) => description !== '')).toBe(true)
    expect(invoice.vendorId === undefined ? file : invoice.vendorId).toMatch(/\w/)
  })

  test.for(Object.entries(broken))('%s is none: %s', async ([file, reason]) => {
    const read = await readDocument({ file, folder }, '')
    expect(read).toMatchObject({ ok: false, reason: expect.stringMatching(reason) })
    expect(read.ok ? '' : read.reason).not.toContain('\n')
  })

  test('the orders hold valid accounts and add up', async () => {
    for (const { iban, lines, tax, total } of (await readPurchasing()).orders) {
      expect(isIban(iban)).toBe(true)
      expect(lines.reduce((sum, { quantity, price }) => sum + quantity * price, tax)).toBeCloseTo(total, 2)
    }
  })
})

describe('XML', () => {
  test.for([
    '<?xml version="1.0"?><!DOCTYPE Invoice [<!ENTITY x SYSTEM "file:///etc/passwd">]><Invoice>&x;</Invoice>',
    '<!doctype Invoice SYSTEM "http://localhost/x.dtd"><Invoice/>',
    '<?xml version="1.0"?>\n<!-- harmless -->\n<! DOCTYPE Invoice [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><Invoice>&b;</Invoice>',
  ])('with a document type is refused unread', (xml) => {
    expect(parseDocument(xml)).toMatchObject({ ok: false, reason: expect.stringMatching(/DOCTYPE/) })
  })

  test.for([
    ['<menu/>', /a <menu>, not a UBL/],
    ['<Invoice/>', /no valid AccountingSupplierParty/],
    ['<Invoice><ID>1</Invoice>', /damaged/],
    ['<', /damaged|cut off/],
  ] as const)('%s is no invoice', ([xml, reason]) => {
    expect(parseDocument(xml)).toMatchObject({ ok: false, reason: expect.stringMatching(reason) })
  })
})

describe('JSON', () => {
  test.for([
    ['{"number": "1"', /damaged/],
    ['[]', /document is not as expected/],
    ['{"number": "a b"}', /no vendor, iban, currency, amount, issued, lines; number is not an invoice number/],
    ['{"number": "1", "vendor": 7}', /vendor is not as expected/],
  ] as const)('%s is no invoice', ([json, reason]) => {
    expect(parseDocument(json)).toMatchObject({ ok: false, reason: expect.stringMatching(reason) })
  })
})

test('a text without lines is taken as one line', () => {
  const text =
    'Some Vendor\nInvoice no: 7\nDate: November 3, 2026\nTotal: EUR 1,190.00\nVAT: 190.00\nIBAN DE17000000000532013041'
  expect(parseDocument(text)).toMatchObject({
    ok: true,
    invoice: {
      number: '7',
      vendor: 'Some Vendor',
      issued: '2026-11-03',
      amount: 1190,
      tax: 190,
      lines: [{ amount: 1000 }],
    },
  })
})

describe('a file', () => {
  test.for(['../ledger.jsonl', 'a/b', '..', '.hidden', '', 'a\\b', 'a\0b'])(
    'named %j is refused',
    async (file, { home }) => {
      await mkdir(home.inbox, { recursive: true })
      await expect(readDocument({ file }, home.inbox)).rejects.toMatchObject({ code: 'input.invalid' })
    },
  )

  test('that is a link, or is not there, is refused', async ({ home }) => {
    await mkdir(home.inbox, { recursive: true })
    await writeFile(join(home.inbox, '..', 'outside.txt'), 'Invoice no: 1')
    await symlink('../outside.txt', join(home.inbox, 'link.txt'))
    await expect(readDocument({ file: 'link.txt' }, home.inbox)).rejects.toThrow('not a plain file')
    await expect(readDocument({ file: 'none.txt' }, home.inbox)).rejects.toThrow('no file "none.txt"')
    await expect(readDocument({}, home.inbox)).rejects.toThrow('either')
  })
})
