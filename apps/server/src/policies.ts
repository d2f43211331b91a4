import { policySetSummary, publishedPolicies } from '@muster/protocol'
import { z } from 'zod'
import type { Context, Server } from './context.ts'
import { problemsOf } from './problems.ts'

const params = z.object({
  hash: z
    .string()
    .regex(/^[0-9a-f]{64}$/, 'a SHA-256 as 64 lowercase hexadecimal digits')
    .describe('`set` of a decision'),
})
const shared = { tags: ['policies'], security: [{ key: [] }] }

/**
 * Routes of policy sets. They are of the deployment and tell of no run, and who checks the decisions of a run needs
 * them: any key may read them.
 */
export function policyRoutes(server: Server, { journal, memory, keyOf }: Context): void {
  server.get(
    '/v1/policies',
    {
      config: { access: 'open' },
      schema: {
        ...shared,
        summary: 'The policy sets that workers have decided by, newest first',
        response: { 200: z.object({ sets: z.array(policySetSummary) }), ...problemsOf(401, 503) },
      },
    },
    async () => ({ sets: await journal.policySets() }),
  )

  server.get(
    '/v1/policies/:hash',
    {
      config: { access: 'open' },
      schema: {
        ...shared,
        summary: 'A policy set with its texts',
        description: 'As it was when decisions named it, with the app that its policies were checked against.',
        params,
        response: { 200: publishedPolicies, ...problemsOf(400, 401, 404, 503) },
      },
    },
    async (request) => {
      const { hash } = request.params
      // What the tenant's record book speaks of: Redis has that of whichever worker was the first of all, or has lost it.
      const kept = await memory.policies.get(keyOf(request).tenant, hash)
      return kept === undefined ? journal.policySet(hash) : publishedPolicies.parse(JSON.parse(kept))
    },
  )
}
