import { limit, limitName, setLimit } from '@muster/protocol'
import { z } from 'zod'
import type { Context, Server } from './context.ts'
import { problemsOf } from './problems.ts'
import { bearsOn, isRoleless } from './roleless.ts'
import { takingBackRoute } from './taking-back.ts'

const tags = ['limits']
const security = [{ key: [] }]

/** Routes of how much at once and per minute a tenant lets its users, teams and keys ask. */
export function limitRoutes(server: Server, context: Context): void {
  const { controls, records, keyOf } = context
  const params = z.object({
    name: limitName.describe('`tenant`, or `key:`, `user:` or `team:` and a name; `*` is for every other one'),
  })
  server.get(
    '/v1/limits',
    {
      config: { access: 'own' },
      schema: {
        tags,
        security,
        summary: 'Limits that were set, by whom and when; not those of MUSTER_LIMITS',
        description:
          'With a key without a role, those of the tenant, the key, its user and its team, and of every other one.',
        response: { 200: z.object({ limits: z.array(setLimit) }), ...problemsOf(401, 503) },
      },
    },
    async (request) => {
      await controls.refresh()
      const who = keyOf(request)
      const set = [...(controls.limits(who.tenant)?.values() ?? [])]
      const told = isRoleless(who) ? set.filter(({ name }) => bearsOn(who, name)) : set
      return { limits: told.sort((a, b) => (a.name < b.name ? -1 : 1)) }
    },
  )
  server.put(
    '/v1/limits/:name',
    {
      config: { access: ['operator'] },
      schema: {
        tags,
        security,
        summary: 'Set how many model calls at once and per minute; it holds before MUSTER_LIMITS of the same name',
        description:
          'On all servers and workers within a second, for what is under way too. What was used of the limit before counts: raised, it brings nothing at once. `tenant` limits all steps of its runs, beside what MUSTER_LIMITS has for the tenant.',
        params,
        body: limit,
        response: { 200: setLimit, ...problemsOf(400, 401, 403, 409, 503) },
      },
    },
    async (request) => {
      const { name } = request.params
      const who = keyOf(request)
      const { tenant, user } = who
      await controls.checkLimit(tenant, name)
      await records.add(who, 'limit.set', { name, limit: request.body })
      const made = { name, limit: request.body, by: user, at: Date.now() }
      await controls.setLimit(tenant, made)
      return made
    },
  )
  takingBackRoute(server, context, {
    ...{ path: '/v1/limits/:name', tags, params, action: 'limit.removed' },
    summary: 'Take back what was set: what MUSTER_LIMITS has holds again',
    set: (tenant) => controls.limits(tenant),
    remove: (tenant, name) => controls.removeLimit(tenant, name),
  })
}
