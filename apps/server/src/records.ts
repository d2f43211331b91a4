import { Readable } from 'node:stream'
import { type Json, type RecordAction, type Run, recordFilter, recordPage } from '@muster/protocol'
import type { RecordBook } from '@muster/runtime'
import { LRUCache } from 'lru-cache'
import { z } from 'zod'
import type { Context, Server } from './context.ts'
import { type ApiKey, actorOf } from './keys.ts'
import { problemsOf } from './problems.ts'

/** What of a run's content is read. */
export type ReadContent = 'run' | 'events' | 'journal' | 'approval'

/** One who reads the same again within this time has one record of it. */
const READ_MS = 3_600_000
/** Reads that are remembered; of one that is forgotten there is one record more. */
const READS_MAX = 10_000

/** Records what people do besides runs, before they do it: what cannot be recorded does not happen. */
export class ServerRecords {
  readonly #book: RecordBook
  readonly #reads: boolean
  /** Reads that were recorded of late. */
  readonly #known = new LRUCache<string, true>({ max: READS_MAX, ttl: READ_MS })

  /** With `reads` also who reads content. */
  constructor(book: RecordBook, reads: boolean) {
    this.#book = book
    this.#reads = reads
  }

  /** @throws MusterError `memory.unavailable` */
  async add(who: ApiKey, action: RecordAction, about: Record<string, Json>): Promise<void> {
    await this.#book.append(who.tenant, { at: Date.now(), by: actorOf(who), action, about })
  }

  /**
   * That somebody reads a run's content: anybody but who began it.
   *
   * @throws MusterError `memory.unavailable`
   */
  async read(who: ApiKey, { id, by }: Pick<Run, 'id' | 'by'>, what: ReadContent): Promise<void> {
    if (!this.#reads || by.user === who.user) return
    const key = JSON.stringify([who.tenant, who.id, id, what])
    if (this.#known.has(key)) return
    await this.add(who, 'content.read', { run: id, what })
    this.#known.set(key, true)
  }
}

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
