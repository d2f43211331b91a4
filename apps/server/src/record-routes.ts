import { Readable } from 'node:stream'
import { recordFilter, recordPage } from '@muster/protocol'
import { z } from 'zod'
import type { Context, Server } from './context.ts'
import { problemsOf } from './problems.ts'

/** Routes of a tenant's record book. */
export function recordRoutes(server: Server, { memory, keyOf }: Context): void {
  const shared = { tags: ['audit'], security: [{ key: [] }] }
  server.get(
    '/v1/audit/records',
    {
      config: { access: 'any-role' },
      schema: {
        ...shared,
        summary: 'What was done besides runs, newest first',
        description:
          'Reads of content, policies and keys that were used, stops, budgets, limits, webhooks, API keys, erasures. A page looks at a bounded number of records: one that is not full may have a cursor all the same.',
        querystring: recordFilter.extend({
          limit: z.coerce.number().int().min(1).max(200).default(50),
          cursor: z.coerce.number().int().min(1).max(9_999_999_999).optional().describe('`cursor` of the page before'),
        }),
        response: { 200: recordPage, ...problemsOf(400, 401, 503) },
      },
    },
    (request) => {
      const { limit, cursor, ...filter } = request.query
      return memory.records.list(keyOf(request).tenant, filter, { limit, before: cursor })
    },
  )

  server.get(
    '/v1/audit/records/stored',
    {
      config: { access: 'any-role' },
      schema: {
        ...shared,
        summary: 'The record book as it is stored',
        description: 'One line of JSON per record: place, hash, exact bytes. It is chained as a journal is.',
        querystring: z.strictObject({ after: z.coerce.number().int().min(0).max(9_999_999_999).default(0) }),
        produces: ['application/x-ndjson'],
        response: { 200: z.custom<Readable>(), ...problemsOf(400, 401, 503) },
      },
    },
    async (request, reply) => {
      const records = memory.records.read(keyOf(request).tenant, request.query.after)
      const lines = async function* () {
        for await (const record of records) yield `${JSON.stringify(record)}\n`
      }
      return reply.header('content-type', 'application/x-ndjson').send(Readable.from(lines()))
    },
  )
}
