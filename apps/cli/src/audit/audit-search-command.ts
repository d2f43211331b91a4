import type { AuditFilter, AuditHit } from '@muster/protocol'
import type { Muster } from '@muster/sdk'
import pc from 'picocolors'
import { dateOf, plain, print, tableOf } from '../output.ts'
import { withTimes } from '../read-time.ts'
import { askOn } from './ask-on.ts'

export type SearchOptions = Omit<AuditFilter, 'since' | 'until'> & {
  since?: string
  until?: string
  limit: number
  cursor?: string
}

/** `muster audit search`: what steps of runs came to, newest first. */
export async function auditSearchCommand(muster: Muster, options: SearchOptions, json: boolean): Promise<number> {
  const { limit, cursor, ...rest } = options
  const filter = withTimes(rest)
  let scanned = 0
  const { found: hits, cursor: next } = await askOn(limit, cursor, async (page) => {
    const { hits, cursor, scanned: looked } = await muster.audit.search({ ...filter, ...page })
    scanned += looked
    return { found: hits, cursor }
  })
  if (json) print({ hits, scanned, ...(next === undefined ? {} : { cursor: next }) })
  else {
    console.log(hits.length === 0 ? `nothing found in ${scanned} steps` : hitsTable(hits))
    if (next !== undefined) console.log(pc.dim(`more: --cursor '${next}'`))
  }
  return 0
}

function hitsTable(hits: readonly AuditHit[]): string {
  const table = tableOf(['at', 'run', 'step', 'of', 'status', 'decided', 'people', 'labels', 'numbers'])
  for (const hit of hits) {
    const { at, run, step, target, status, error, decisions, policies, by, approvers, labels, amounts } = hit
    table.push(
      [
        ...[dateOf(at), run, step ?? '', target, error === undefined ? status : `${status}: ${error}`],
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
