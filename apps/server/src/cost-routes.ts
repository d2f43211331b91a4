import { COSTS_BY, commitmentState, costs, costsRebuild, MusterError, PERIODS } from '@muster/protocol'
import { z } from 'zod'
import type { Context, Server } from './context.ts'
import { dayOf } from './forecast.ts'
import { problemsOf } from './problems.ts'

const tags = ['costs']
const security = [{ key: [] }]

const DATES = { day: z.iso.date(), month: z.string().regex(/^\d{4}-(0[1-9]|1[0-2])$/) }

const query = z.object({
  by: z.enum(COSTS_BY).default('model'),
  period: z.enum(PERIODS).default('month'),
  date: z.string().max(10).optional().describe('`2026-11-28`, or `2026-11` of a month; now unless given'),
})

/** Routes of what models have cost. */
export function costRoutes(server: Server, { costBook, records, keyOf }: Context): void {
  server.get(
    '/v1/costs',
    {
      config: { access: ['operator', 'auditor'] },
      schema: {
        tags,
        security,
        summary: 'What model calls cost in a day or month, of runs that have ended and of those that go on',
        querystring: query,
        response: { 200: costs, ...problemsOf(400, 401, 403, 503) },
      },
    },
    async (request) => {
      const { tenant } = keyOf(request)
      const { by, period, date = dayOf(Date.now()).slice(0, period === 'day' ? 10 : 7) } = request.query
      if (!DATES[period].safeParse(date).success) {
        const message = period === 'day' ? 'is a day such as 2026-11-28' : 'is a month such as 2026-11'
        throw new MusterError('request.invalid', `date ${message}`, { issues: [{ path: '/date', message }] })
      }
      return costBook.of(tenant, { by, period, date })
    },
  )
  server.post(
    '/v1/costs/rebuild',
    {
      config: { access: ['operator'] },
      schema: {
        tags,
        security,
        summary:
          'Make the totals of costs anew from the journals of all runs: for some seconds, to be asked again until done',
        body: z.strictObject({
          id: z.uuid().optional().describe('of what was begun; without it one begins, or goes on'),
        }),
        response: { 200: costsRebuild, ...problemsOf(400, 401, 403, 503) },
      },
    },
    async (request) => {
      const who = keyOf(request)
      const { id } = request.body
      if (id === undefined) await records.add(who, 'costs.rebuilt', {})
      return costBook.rebuild(who.tenant, id)
    },
  )
  server.get(
    '/v1/commitments',
    {
      config: { access: ['operator', 'auditor'] },
      schema: {
        tags,
        security,
        summary: 'Amounts that are promised to providers, what was used of them, and where that leads',
        response: { 200: z.object({ commitments: z.array(commitmentState) }), ...problemsOf(401, 403, 503) },
      },
    },
    async (request) => {
      const { tenant } = keyOf(request)
      return { commitments: await costBook.commitments(tenant, Date.now()) }
    },
  )
}
