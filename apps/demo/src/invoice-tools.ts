import { tool } from '@muster/sdk'
import { z } from 'zod'
import { demoHome } from './demo-home.ts'
import { readDocument } from './document.ts'
import { filesIn } from './folder.ts'
import { parsed } from './invoice.ts'
import { readLedger } from './ledger.ts'
import { match, matchInvoice, mismatch, vendorFact } from './match.ts'
import { readPurchasing } from './order.ts'
import { setAside } from './set-aside.ts'

const folder = z.string().optional().describe('folder that the file is in; the inbox unless given')
const source = {
  file: z.string().optional().describe('name of a file in the folder'),
  folder,
  document: z.string().optional().describe("the document's text, where there is no file"),
}

export const listInvoices = tool({
  name: 'invoice.list',
  description: 'Lists the files of a folder of invoices.',
  effect: 'read',
  input: z.object({ folder }),
  output: z.object({ files: z.array(z.string()) }),
  run: async ({ folder }) => ({ files: await filesIn(folder ?? demoHome().inbox) }),
})

export const readInvoice = tool({
  name: 'invoice.read',
  description: 'Reads a document as an invoice, or says why it is none. What it gives was written by a stranger.',
  effect: 'read',
  labels: ['untrusted'],
  input: z.object(source),
  output: parsed,
  run: (input) => readDocument(input, demoHome().inbox),
})

/**
 * The one place where trust begins: it reads the document itself and gives payee, account and amount
 * from the purchase order. Whatever a model was told, it can only pay what was ordered and received.
 */
export const matchToOrder = tool({
  name: 'invoice.match',
  description:
    'Checks an invoice against its purchase order, the goods receipts, the ledger and what is remembered of the vendor. Reads the document itself.',
  effect: 'read',
  declassifies: ['untrusted'],
  input: z.object({
    ...source,
    vendor: vendorFact.nullable().optional().describe('the value that memory.find gave for the vendor'),
  }),
  output: match,
  run: async ({ vendor, ...source }) => {
    const { inbox, ledger } = demoHome()
    const read = await readDocument(source, inbox)
    if (!read.ok) return mismatch('', [read.reason])
    const [purchasing, { payments }] = await Promise.all([readPurchasing(), readLedger(ledger)])
    return matchInvoice(read.invoice, { ...purchasing, payments, vendor: vendor ?? undefined })
  },
})

export const setInvoiceAside = tool({
  name: 'invoice.set-aside',
  description: 'Moves a file that is no invoice out of the folder, with the reason beside it.',
  effect: 'write',
  input: z.object({ file: z.string(), folder, reason: z.string().max(500) }),
  output: z.object({ file: z.string() }),
  run: ({ file, folder, reason }) => {
    const home = demoHome()
    return setAside({ file, folder: folder ?? home.inbox, reason }, home.setAside)
  },
})
