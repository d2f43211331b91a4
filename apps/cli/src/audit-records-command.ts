import type { AuditRecord, RecordFilter, RecordPage } from '@muster/protocol'
import type { Muster } from '@muster/sdk'
import Table from 'cli-table3'
import pc from 'picocolors'
import { plain, print } from './output.ts'
import { readTime } from './read-time.ts'

/** Pages that are asked for on end where few records match. */
const PAGES_MAX = 20

export type RecordsOptions = Omit<RecordFilter, 'since' | 'until'> & {
  since?: string
  until?: string
  limit: number
  cursor?: number
}

/** `muster audit records`: what was done besides runs, newest first. */
export async function auditRecordsCommand(muster: Muster, options: RecordsOptions, json: boolean): Promise<number> {
  const now = Date.now()
  const { since, until, limit, cursor, ...rest } = options
  const filter = {
    ...rest,
    ...(since === undefined ? {} : { since: readTime(since, now) }),
    ...(until === undefined ? {} : { until: readTime(until, now) }),
  }
  const found: RecordPage = { records: [], ...(cursor === undefined ? {} : { cursor }) }
  for (let pages = 0; pages < PAGES_MAX && found.records.length < limit; pages++) {
    const next = found.cursor === undefined ? {} : { cursor: found.cursor }
    const page = await muster.audit.records({ ...filter, ...next, limit: Math.min(200, limit - found.records.length) })
    found.records.push(...page.records)
    delete found.cursor
    if (page.cursor === undefined) break
    found.cursor = page.cursor
  }
  if (json) print(found)
  else {
    console.log(found.records.length === 0 ? 'no records' : recordsTable(found.records))
    if (found.cursor !== undefined) console.log(pc.dim(`more: --cursor ${found.cursor}`))
  }
  return 0
}

function recordsTable(records: readonly AuditRecord[]): string {
  const table = new Table({ head: ['record', 'at', 'who', 'did', 'about'], style: { head: [], compact: true } })
  for (const { seq, at, by, action, about } of records) {
    const what = Object.entries(about).map(([name, value]) => `${name}=${plainValue(value)}`)
    table.push([String(seq), new Date(at).toISOString(), `${by.user} (${by.key})`, action, what.join(', ')].map(plain))
  }
  return table.toString()
}

function plainValue(value: AuditRecord['about'][string]): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}
