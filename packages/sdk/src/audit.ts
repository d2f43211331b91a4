import type { AuditFilter, AuditPage, RecordFilter, RecordPage, RemovedRuns } from '@muster/protocol'
import { everyPage, type Request } from './request.ts'

/** What steps of runs came to, for who audits them. */
export interface AuditClient {
  /** A page, newest hour first. One that is not full may have a cursor all the same: a page looks at so many steps at most. */
  search(filter?: AuditFilter & { limit?: number; cursor?: string }): Promise<AuditPage>
  /** What was done besides runs, newest first, from the tenant's record book. */
  records(filter?: RecordFilter & { limit?: number; cursor?: number }): Promise<RecordPage>
  /** Runs that were removed whole, the oldest first, page by page. */
  removed(): AsyncGenerator<RemovedRuns['removed'][number]>
}

export function auditClient(request: Request): AuditClient {
  return {
    search: (filter = {}) => request('GET', `/v1/audit/search?${queryOf(filter)}`),
    records: (filter = {}) => request('GET', `/v1/audit/records?${queryOf(filter)}`),
    removed: () =>
      everyPage(
        (query) => request<RemovedRuns>('GET', `/v1/audit/removed${query}`),
        ({ removed }) => removed,
      ),
  }
}

function queryOf(filter: object): URLSearchParams {
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(filter)) if (value !== undefined) query.set(name, String(value))
  return query
}
