import type { Actor, Json } from '@muster/protocol'
import { type Item, numberOf, textOf } from './item.ts'
import { partition, sort } from './key.ts'
import type { Table } from './table.ts'

/** Something that was done to a tenant's data or keys, and by whom. It never holds content. */
export interface NewRecord {
  /** Milliseconds since the Unix epoch. */
  at: number
  by: Actor
  action: string
  about: Record<string, Json>
}

/** A tenant's book of what was done besides its runs. */
export interface Records {
  /** Durable when it resolves. @throws MusterError `memory.unavailable` */
  append(tenant: string, records: readonly NewRecord[]): Promise<void>
  /** In their order. */
  list(tenant: string): AsyncIterable<NewRecord & { seq: number }>
}

export function openRecords(table: Table): Records {
  const pageOf = (tenant: string) => partition(tenant, 'RECORDS')
  return {
    async append(tenant, records) {
      const pk = pageOf(tenant)
      for (const record of records)
        for (let isWritten = false; !isWritten; ) {
          let seq = 1
          for await (const item of table.query({ pk, descending: true, page: 1 })) {
            seq = numberOf(item, 'seq') + 1
            break
          }
          // Of several that write at once one has this place; the others look again.
          isWritten = await table.create({ pk, sk: sort('RECORD', seq), seq, record: JSON.stringify(record) })
        }
    },

    async *list(tenant) {
      for await (const item of table.query({ pk: pageOf(tenant) })) yield recordOf(item)
    },
  }
}

function recordOf(item: Item): NewRecord & { seq: number } {
  const record: NewRecord = JSON.parse(textOf(item, 'record'))
  return { ...record, seq: numberOf(item, 'seq') }
}
