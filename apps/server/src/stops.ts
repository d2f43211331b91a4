import type { Controls } from '@muster/journal'
import { type EntryOf, MusterError, REASON_MAX, stop, stopName } from '@muster/protocol'
import { z } from 'zod'
import type { Context, Server } from './context.ts'
import { optional } from './optional.ts'
import { problemsOf } from './problems.ts'
import { takingBackRoute } from './taking-back.ts'

const tags = ['stops']
const security = [{ key: [] }]

/** @throws MusterError `stop.active` where runs of this definition are stopped, or what is `called` */
export function checkNotStopped(
  controls: Controls,
  { tenant, definition: { kind, name } }: Pick<EntryOf<'run.created'>, 'tenant' | 'definition'>,
  called?: string,
): void {
  const stops = controls.stops(tenant)
  if (!stops) return
  const found = stops.get('tenant') ?? stops.get(`${kind}:${name}`) ?? stops.get(called ?? '')
  if (!found) return
  const why = found.reason === undefined ? '' : `: ${found.reason}`
  throw new MusterError('stop.active', `"${found.name}" was stopped by ${found.by}${why}`)
}

/** Routes of the kill switch. */
export function stopRoutes(server: Server, context: Context): void {
  const { controls, records, redact, keyOf } = context
  const params = z.object({
    name: stopName.describe('`tenant`, `agent:<name>`, `plan:<name>`, `tool:<name>` or `model:<route>`'),
  })
  server.get(
    '/v1/stops',
    {
      // They hold for the runs of all users alike, who are told of them when they are refused.
      config: { access: 'open' },
      schema: {
        tags,
        security,
        summary: 'What is stopped, by whom and why',
        response: { 200: z.object({ stops: z.array(stop) }), ...problemsOf(401, 503) },
      },
    },
    async (request) => {
      await controls.refresh()
      return { stops: [...(controls.stops(keyOf(request).tenant)?.values() ?? [])] }
    },
  )
  server.put(
    '/v1/stops/:name',
    {
      config: { access: ['operator'] },
      schema: {
        tags,
        security,
        summary: 'Stop an agent, a plan, a tool, a model or the tenant, in all workers',
        description:
          'Nothing of it begins any more within a second, and what is under way is cut off, but for effects that must not happen twice. Runs wait, and go on when it is lifted.',
        params,
        body: optional(z.strictObject({ reason: z.string().trim().min(1).max(REASON_MAX).optional() })),
        response: { 200: stop, ...problemsOf(400, 401, 403, 503) },
      },
    },
    async (request) => {
      const who = keyOf(request)
      const { tenant, user } = who
      const { value } = redact(tenant, request.body)
      const made = { name: request.params.name, by: user, at: Date.now(), ...value }
      // It holds even where it cannot be recorded.
      await controls.stop(tenant, made)
      await records.add(who, 'stop.set', { name: made.name, ...value })
      return made
    },
  )
  takingBackRoute(server, context, {
    ...{ path: '/v1/stops/:name', tags, params, action: 'stop.lifted' },
    summary: 'Lift a stop: what waits for it goes on',
    set: (tenant) => controls.stops(tenant),
    remove: (tenant, name) => controls.lift(tenant, name),
  })
}
