import { auditFilter, auditPage } from '@muster/protocol'
import { z } from 'zod'
import type { Context, Server } from './context.ts'
import { problemsOf } from './problems.ts'

/** Routes for who audits a tenant's runs. */
export function auditRoutes(server: Server, { memory, keyOf }: Context): void {
  server.get(
    '/v1/audit/search',
    {
      config: { access: 'any-role' },
      schema: {
        tags: ['audit'],
        security: [{ key: [] }],
        summary: 'Find steps of runs, newest hour first',
        description:
          'All that is given must hold of one step. A page looks at a bounded number of steps: one that is not full, or empty, may have a cursor all the same.',
        querystring: auditFilter.extend({
          limit: z.coerce.number().int().min(1).max(200).default(50),
          cursor: z.string().max(128).optional().describe('`cursor` of the page before, with the same filter'),
        }),
        response: { 200: auditPage, ...problemsOf(400, 401, 503) },
      },
    },
    (request) => {
      const { limit, cursor, ...filter } = request.query
      return memory.auditIndex.search(keyOf(request).tenant, filter, { limit, cursor })
    },
  )
}
