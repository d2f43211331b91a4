import type { RecordAction } from '@muster/protocol'
import { z } from 'zod'
import type { Context, Server } from './context.ts'
import { problemsOf } from './problems.ts'

interface TakingBack {
  path: `${string}/:name`
  tags: string[]
  summary: string
  params: z.ZodObject<{ name: z.ZodString }>
  action: RecordAction
  /** What a tenant has set, by name. */
  set: (tenant: string) => ReadonlyMap<string, unknown> | undefined
  remove: (tenant: string, name: string) => Promise<void>
}

/** The route by which an operator takes back what was set under a name. */
export function takingBackRoute(server: Server, { controls, records, keyOf }: Context, what: TakingBack): void {
  const { path, tags, summary, params, action, set, remove } = what
  server.delete(
    path,
    {
      config: { access: ['operator'] },
      schema: {
        tags,
        security: [{ key: [] }],
        summary,
        params,
        response: { 204: z.null(), ...problemsOf(401, 403, 404, 503) },
      },
    },
    async (request, reply) => {
      const who = keyOf(request)
      const { name } = request.params
      // It may just have been set at another server.
      await controls.refresh()
      if (set(who.tenant)?.has(name)) await records.add(who, action, { name })
      await remove(who.tenant, name)
      return reply.code(204).send(null)
    },
  )
}
