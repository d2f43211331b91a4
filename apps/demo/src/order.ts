import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { documents } from './demo-home.ts'

const order = z.object({
  number: z.string(),
  vendor: z.string(),
  vendorId: z.string(),
  /** The account on file: the only one to which money goes. */
  iban: z.string(),
  currency: z.string(),
  lines: z.array(z.object({ item: z.string(), description: z.string(), quantity: z.number(), price: z.number() })),
  tax: z.number(),
  /** With tax. */
  total: z.number(),
})
export type Order = z.infer<typeof order>

const receipt = z.object({
  receipt: z.string(),
  date: z.iso.date(),
  lines: z.array(z.object({ item: z.string(), quantity: z.number() })),
})
type Receipt = z.infer<typeof receipt>

/** What was ordered and what has arrived: the demo's stand-in for an ERP system. */
export interface Purchasing {
  orders: readonly Order[]
  /** Goods receipts by order number. */
  receipts: Readonly<Record<string, readonly Receipt[]>>
}

export async function readPurchasing(folder = documents): Promise<Purchasing> {
  const read = async (file: string): Promise<unknown> => JSON.parse(await readFile(join(folder, file), 'utf8'))
  return {
    orders: z.array(order).parse(await read('orders.json')),
    receipts: z.record(z.string(), z.array(receipt)).parse(await read('receipts.json')),
  }
}
