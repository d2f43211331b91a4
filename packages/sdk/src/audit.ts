import type { AuditFilter, AuditPage, RemovedRuns } from '@muster/protocol'
import type { Muster } from './client.ts'

/** What steps of ended runs came to, for who audits them. */
export interface AuditClient {
  /** A page, newest hour first. One that is not full may have a cursor all the same: a page looks at so many steps at most. */
  search(filter?: AuditFilter & { limit?: number; cursor?: string }): Promise<AuditPage>
  /** Runs that were removed whole, the oldest first, page by page. */
  removed(): AsyncGenerator<RemovedRuns['removed'][number]>
}

export function auditClient(request: Muster['request']): AuditClient {
  return {
    search(filter = {}) {
      const query = new URLSearchParams()
      for (const [name, value] of Object.entries(filter)) if (value !== undefined) query.set(name, String(value))
      return request('GET', `/v1/audit/search?${query}`)
    },
    async *removed() {
      for (let cursor: string | undefined; ; ) {
        const query = new URLSearchParams(cursor === undefined ? {} : { cursor })
        const page = await request<RemovedRuns>('GET', `/v1/audit/removed?${query}`)
        yield* page.removed
        cursor = page.cursor
        if (cursor === undefined) return
      }
    },
  }
}
