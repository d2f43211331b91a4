import { randomUUID } from 'node:crypto'
import { genesis, link } from '@muster/audit'
import {
  type AuditRecord,
  MusterError,
  type NewRecord,
  RECORD_BOOK,
  type RecordFilter,
  type RecordPage,
  type StoredEntry,
} from '@muster/protocol'
import { type Item, numberOf, textOf } from './item.ts'
import { LAST, partition, sort } from './key.ts'
import type { Table } from './table.ts'

/** Where a record book ends. */
export interface BookHead {
  seq: number
  head: string
  at: number
}

/** Each tenant's record book: what was done besides runs, hash-chained as a run's journal is. */
export interface Records {
  /**
   * Appends records, up to `RECORDS_MAX` of them at once, in this order.
   *
   * @throws MusterError `memory.too_large`, `memory.conflict` where too many others append, or `memory.unavailable`
   */
  append(tenant: string, records: readonly NewRecord[]): Promise<BookHead>
  /** Undefined where there is nothing yet. */
  head(tenant: string): Promise<BookHead | undefined>
  /** As they are stored, in order, from the one after seq `after`. */
  read(tenant: string, after?: number): AsyncIterable<StoredEntry>
  /** A page, newest first. It looks at `SCAN_MAX` records at most, and gives a cursor where it stopped. */
  list(tenant: string, filter: RecordFilter, page: { limit: number; before?: number | undefined }): Promise<RecordPage>
}

/** Records that one append takes. */
export const RECORDS_MAX = 100
const SCAN_MAX = 2000
const BYTES_MAX = 350_000
/** What clocks of those who append may differ by: records are in the order in which they were appended. */
const CLOCKS_MS = 3_600_000
/** Each lost round means that another has appended. */
const ROUNDS_MAX = 100

/*
 * An item holds what one append brought, and is written where the one before ends, on the condition that nothing is there:
 * so of several that append at once one wins, and the others go on behind it.
 */
export function openRecords(table: Table): Records {
  const partitionOf = (tenant: string) => partition(tenant, 'RECORDS')
  const newest = async (pk: string): Promise<Item | undefined> => {
    for await (const item of table.query({ pk, descending: true, page: 1 })) return item
    return undefined
  }

  return {
    async append(tenant, records) {
      if (records.length === 0 || records.length > RECORDS_MAX)
        throw new RangeError(`${records.length} records cannot be appended at once`)
      const pk = partitionOf(tenant)
      const id = randomUUID()
      for (let round = 0; round < ROUNDS_MAX; round++) {
        const before = headOf(await newest(pk)) ?? { seq: 0, head: genesis(RECORD_BOOK) }
        const { entries, ...head } = chain(tenant, before, records)
        const item = { pk, sk: sort('RECORD', before.seq + 1), id, ...head, entries }
        if (await table.create(item)) return head
        // Ours, where an answer was lost and the write was tried again.
        const taken = await table.get(pk, item.sk)
        if (taken && textOf(taken, 'id') === id) return head
      }
      throw new MusterError('memory.conflict', 'Too many others write into the record book')
    },

    async head(tenant) {
      return headOf(await newest(partitionOf(tenant)))
    },

    async *read(tenant, after = 0) {
      // The item that holds a record begins at most this far before it.
      const sk = { from: sort('RECORD', Math.max(0, after + 1 - RECORDS_MAX)), to: sort('RECORD', LAST) }
      for await (const item of table.query({ pk: partitionOf(tenant), sk }))
        for (const entry of entriesOf(item)) if (entry.seq > after) yield entry
    },

    async list(tenant, filter, { limit, before = Number.POSITIVE_INFINITY }) {
      const page: RecordPage = { records: [] }
      let scanned = 0
      const sk = { from: sort('RECORD', 0), to: sort('RECORD', Number.isFinite(before) ? before : LAST) }
      for await (const item of table.query({ pk: partitionOf(tenant), sk, descending: true, page: limit })) {
        for (const { seq, bytes } of entriesOf(item).reverse()) {
          if (seq >= before) continue
          if (page.records.length >= limit || scanned >= SCAN_MAX) return page
          const record: AuditRecord = JSON.parse(bytes)
          if (filter.since !== undefined && record.at < filter.since - CLOCKS_MS) return { records: page.records }
          scanned++
          if (matches(record, filter)) page.records.push(record)
          page.cursor = seq
        }
      }
      return { records: page.records }
    },
  }
}

/** Records as entries that follow one another. */
function chain(tenant: string, before: { seq: number; head: string }, records: readonly NewRecord[]) {
  let { seq, head } = before
  let at = 0
  const entries: StoredEntry[] = records.map(({ at: when, by, action, about }) => {
    seq++
    at = when
    const record: AuditRecord = { v: 1, seq, tenant, at, by, action, about }
    const bytes = JSON.stringify(record)
    head = link(head, bytes)
    return { seq, hash: head, bytes }
  })
  const text = JSON.stringify(entries)
  if (Buffer.byteLength(text) > BYTES_MAX)
    throw new MusterError('memory.too_large', `The records take more than ${BYTES_MAX} bytes`)
  return { seq, head, at, entries: text }
}

function headOf(item: Item | undefined): BookHead | undefined {
  return item && { seq: numberOf(item, 'seq'), head: textOf(item, 'head'), at: numberOf(item, 'at') }
}

function entriesOf(item: Item): StoredEntry[] {
  return JSON.parse(textOf(item, 'entries'))
}

function matches({ action, by, about, at }: AuditRecord, filter: RecordFilter): boolean {
  const { run } = filter
  return (
    (filter.action === undefined || action === filter.action) &&
    (filter.user === undefined || by.user === filter.user) &&
    (run === undefined || about.run === run || (isObject(about.runs) && run in about.runs)) &&
    (filter.since === undefined || at >= filter.since) &&
    (filter.until === undefined || at < filter.until)
  )
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null
}
