import type { AuditFilter, AuditHit, AuditPage } from '@muster/protocol'
import type { Muster } from '@muster/sdk'
import Table from 'cli-table3'
import pc from 'picocolors'
import { plain, print } from './output.ts'
import { readTime } from './read-time.ts'

/** Pages that are asked for on end where few steps match. */
const PAGES_MAX = 20

export type SearchOptions = Omit<AuditFilter, 'since' | 'until'> & {
  since?: string
  until?: string
  limit: number
  cursor?: string
}

/** `muster audit search`: what steps of runs came to, newest first. */
export async function auditSearchCommand(muster: Muster, options: SearchOptions, json: boolean): Promise<number> {
  const now = Date.now()
  const { since, until, limit, cursor, ...rest } = options
  const filter = {
    ...rest,
    ...(since === undefined ? {} : { since: readTime(since, now) }),
    ...(until === undefined ? {} : { until: readTime(until, now) }),
  }
  const found: AuditPage = { hits: [], scanned: 0, ...(cursor === undefined ? {} : { cursor }) }
  for (let pages = 0; pages < PAGES_MAX && found.hits.length < limit; pages++) {
    const next = found.cursor === undefined ? {} : { cursor: found.cursor }
    const page = await muster.audit.search({ ...filter, ...next, limit: limit - found.hits.length })
    found.hits.push(...page.hits)
    found.scanned += page.scanned
    delete found.cursor
    if (page.cursor === undefined) break
    found.cursor = page.cursor
  }
  if (json) print(found)
  else {
    console.log(found.hits.length === 0 ? `nothing found in ${found.scanned} steps` : hitsTable(found.hits))
    if (found.cursor !== undefined) console.log(pc.dim(`more: --cursor '${found.cursor}'`))
  }
  return 0
}

function hitsTable(hits: readonly AuditHit[]): string {
  const table = new Table({
    head: ['at', 'run', 'step', 'of', 'status', 'decided', 'people', 'labels', 'numbers'],
    style: { head: [], compact: true },
  })
  for (const hit of hits) {
    const { at, run, step, target, status, error, decisions, policies, by, approvers, labels, amounts } = hit
    table.push(
      [
        ...[new Date(at).toISOString(), run, step ?? '', target, error === undefined ? status : `${status}: ${error}`],
        decisions.length === 0 ? '' : `${decisions.join(', ')}: ${policies.join(', ') || 'no policy permits'}`,
        [by, ...approvers].join(', '),
        labels.join(', '),
        Object.entries(amounts ?? {})
          .map(([name, value]) => `${name}=${value}`)
          .join(', '),
      ].map(plain),
    )
  }
  return table.toString()
}
