import type { AuditRecord, RecordFilter } from '@muster/protocol'
import type { Muster } from '@muster/sdk'
import pc from 'picocolors'
import { dateOf, plain, print, tableOf } from '../output.ts'
import { withTimes } from '../read-time.ts'
import { askOn } from './ask-on.ts'

export type RecordsOptions = Omit<RecordFilter, 'since' | 'until'> & {
  since?: string
  until?: string
  limit: number
  cursor?: number
}

/** `muster audit records`: what was done besides runs, newest first. */
export async function auditRecordsCommand(muster: Muster, options: RecordsOptions, json: boolean): Promise<number> {
  const { limit, cursor, ...rest } = options
  const filter = withTimes(rest)
  const { found: records, cursor: next } = await askOn(limit, cursor, async (page) => {
    const { records, cursor } = await muster.audit.records({ ...filter, ...page })
    return { found: records, cursor }
  })
  if (json) print({ records, ...(next === undefined ? {} : { cursor: next }) })
  else {
    console.log(records.length === 0 ? 'no records' : recordsTable(records))
    if (next !== undefined) console.log(pc.dim(`more: --cursor ${next}`))
  }
  return 0
}

function recordsTable(records: readonly AuditRecord[]): string {
  const table = tableOf(['record', 'at', 'who', 'did', 'about'])
  for (const { seq, at, by, action, about } of records) {
    const what = Object.entries(about).map(([name, value]) => `${name}=${plainValue(value)}`)
    table.push([String(seq), dateOf(at), `${by.user} (${by.key})`, action, what.join(', ')].map(plain))
  }
  return table.toString()
}

function plainValue(value: AuditRecord['about'][string]): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}
