import { budget, budgetName, budgetState, callerNames } from '@muster/protocol'
import { z } from 'zod'
import type { Context, Server } from './context.ts'
import { actorOf } from './keys.ts'
import { problemsOf } from './problems.ts'
import { isRoleless } from './roleless.ts'
import { takingBackRoute } from './taking-back.ts'

const tags = ['budgets']
const security = [{ key: [] }]

/** Routes of what a tenant may use in a day or month. */
export function budgetRoutes(server: Server, context: Context): void {
  const { controls, budgets, records, keyOf } = context
  const params = z.object({
    name: budgetName.describe('`tenant`, or `agent:`, `plan:`, `key:`, `user:` or `team:` and a name'),
  })
  const states = z.object({ budgets: z.array(budgetState) })
  server.get(
    '/v1/budgets',
    {
      config: { access: 'own' },
      schema: {
        tags,
        security,
        summary: 'What may be used in this day and month, and what was',
        description: 'With a key without a role, those of the tenant, the key, its user and its team.',
        response: { 200: states, ...problemsOf(401, 503) },
      },
    },
    async (request) => {
      await controls.refresh()
      const who = keyOf(request)
      return {
        budgets: await budgets.states(
          who.tenant,
          isRoleless(who) ? ['tenant', ...callerNames(actorOf(who))] : undefined,
        ),
      }
    },
  )
  server.put(
    '/v1/budgets/:name',
    {
      config: { access: ['operator'] },
      schema: {
        tags,
        security,
        summary: 'Set what may be used; where the deployment has a budget too, the tighter holds',
        params,
        body: budget,
        response: { 200: states, ...problemsOf(400, 401, 403, 503) },
      },
    },
    async (request) => {
      const { name } = request.params
      const who = keyOf(request)
      await records.add(who, 'budget.set', { name, budget: request.body })
      await controls.setBudget(who.tenant, name, request.body)
      return { budgets: await budgets.states(who.tenant, [name]) }
    },
  )
  takingBackRoute(server, context, {
    ...{ path: '/v1/budgets/:name', tags, params, action: 'budget.removed' },
    summary: 'Take back what was set',
    set: (tenant) => controls.budgets(tenant),
    remove: (tenant, name) => controls.removeBudget(tenant, name),
  })
}
