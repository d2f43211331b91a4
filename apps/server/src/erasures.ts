import { Schedules } from '@muster/journal'
import {
  type Erasure,
  erasure,
  erasurePlan,
  hold,
  isHeld,
  liftHold,
  MusterError,
  newErasure,
  newHold,
  newId,
  type RemovedRuns,
  removedRuns,
  retentionState,
} from '@muster/protocol'
import { foundOf, planErasure, retentionDue, targetOf } from '@muster/runtime'
import { z } from 'zod'
import type { Context, Server } from './context.ts'
import { actorOf } from './keys.ts'
import { problemsOf } from './problems.ts'
import { runCursor } from './run-cursor.ts'

const tags = ['erasure']
const security = [{ key: [] }]
const NOTHING = { runs: 0, entries: 0, turns: 0, facts: 0, blobs: 0 }

/** A page of what has an id in the order of time. */
const page = z.object({
  limit: z.coerce.number().int().min(1).max(1000).default(200),
  cursor: runCursor.optional().describe('`cursor` of the page before'),
})

/** Where a page ended that may not be the last. */
function cursorOf(found: readonly { id: string }[], limit: number): { cursor?: string } {
  const last = found.length === limit ? found.at(-1) : undefined
  return last === undefined ? {} : { cursor: last.id }
}

/** Routes of what is erased, and of what must not be. */
export function erasureRoutes(
  server: Server,
  { journal, memory, reader, records, redact, refusals, keyOf, retention }: Context,
): void {
  const params = z.object({ id: z.string().max(64) })

  server.post(
    '/v1/erasures',
    {
      config: { access: ['eraser'] },
      schema: {
        tags,
        security,
        summary: 'Erase the content of a subject, a run or the tenant, for ever',
        description:
          'It is carried on in the background: runs of the subject are refused until it is done, those that go on are waited for, and its keys are destroyed. Entries stay, and verify. The same again gives the one that is under way. With `dryRun` it tells what there is.',
        body: newErasure,
        response: { 200: erasurePlan, 202: erasure, ...problemsOf(400, 401, 403, 404, 503) },
      },
    },
    async (request, reply) => {
      const who = keyOf(request)
      const { tenant } = who
      const { dryRun, terminate, confirm, tenant: all, ...given } = redact(tenant, request.body).value
      const { subject, run } = request.body
      const target = { ...(subject === undefined ? {} : { subject }), ...(run === undefined ? {} : { run }) }
      if (run !== undefined) await reader.run(tenant, run)
      if (all) await checkWhole(tenant, confirm, dryRun)
      if (dryRun) return reply.code(200).send(await planErasure({ journal, memory }, tenant, target))
      const open = await memory.erasures.openOf(tenant)
      const same = open.find(
        ({ erasure: one }) =>
          one.subject === subject && one.run === run && (one.tenant !== undefined) === (all === true),
      )
      if (same) return reply.code(202).send(same.erasure)
      const by = actorOf(who)
      const made: Erasure = {
        ...{ id: newId(), ...target, ...(all ? { tenant } : {}), reason: given.reason, by, at: Date.now() },
        ...{ state: 'requested', ...(terminate ? { terminate } : {}), erased: NOTHING },
      }
      await records.add(who, 'erasure.requested', { erasure: made.id, ...targetOf(target), reason: made.reason })
      await memory.erasures.create(tenant, made)
      refusals.begins(tenant)
      return reply.code(202).send(made)
    },
  )

  /** What begins by itself would be erased with the rest, or stand in its way. */
  async function checkWhole(tenant: string, confirm: string | undefined, dryRun: boolean | undefined): Promise<void> {
    if (!dryRun && confirm !== tenant)
      throw new MusterError('request.invalid', 'To erase a whole tenant, give its name in confirm', {
        issues: [{ path: '/confirm', message: 'the name of the tenant' }],
      })
    const { length } = await new Schedules(journal).list(tenant)
    if (!dryRun && length > 0)
      throw new MusterError('request.invalid', `The tenant has ${length} schedules: delete them first`, {
        issues: [{ path: '/tenant', message: 'has schedules' }],
      })
  }

  server.get(
    '/v1/erasures',
    {
      config: { access: ['eraser', 'auditor'] },
      schema: {
        tags,
        security,
        summary: 'What was erased, by whom and why, and what is being erased, newest first',
        querystring: page,
        response: {
          200: z.object({ erasures: z.array(erasure), cursor: z.string().optional() }),
          ...problemsOf(400, 401, 403, 503),
        },
      },
    },
    async (request) => {
      const { limit, cursor } = request.query
      const erasures = await memory.erasures.list(keyOf(request).tenant, { limit, before: cursor })
      return { erasures, ...cursorOf(erasures, limit) }
    },
  )

  server.get(
    '/v1/erasures/:id',
    {
      config: { access: ['eraser', 'auditor'] },
      schema: {
        tags,
        security,
        summary: 'Read an erasure',
        params,
        response: { 200: erasure, ...problemsOf(401, 403, 404, 503) },
      },
    },
    (request) => memory.erasures.get(keyOf(request).tenant, request.params.id),
  )

  server.post(
    '/v1/holds',
    {
      config: { access: ['eraser'] },
      schema: {
        tags,
        security,
        summary: 'Hold content: it is neither erased nor does it expire',
        description: 'All that is given must hold of a run.',
        body: newHold,
        response: { 201: hold, ...problemsOf(400, 401, 403, 409, 503) },
      },
    },
    async (request, reply) => {
      const who = keyOf(request)
      const { tenant } = who
      const { reason } = redact(tenant, { reason: request.body.reason }).value
      const made = { id: newId(), ...request.body, reason, by: actorOf(who), at: Date.now() }
      const { by, id, at: _at, ...of } = made
      await records.add(who, 'hold.placed', { hold: id, ...of })
      await memory.holds.place(tenant, made)
      // One that begins meanwhile sees the hold, or is seen here.
      for (const { erasure: one } of await memory.erasures.openOf(tenant)) {
        if ((one.state !== 'erasing' && one.state !== 'settling') || !(await touches(tenant, made, one))) continue
        await memory.holds.remove(tenant, id)
        await records.add(who, 'hold.lifted', { hold: id, reason: `too late for erasure ${one.id}` })
        throw new MusterError('hold.too_late', `Erasure ${one.id} has begun`)
      }
      return reply.code(201).send(made)
    },
  )

  /** Whether what is being erased may be what is to be held. */
  async function touches(tenant: string, made: z.infer<typeof hold>, of: Erasure): Promise<boolean> {
    if (of.tenant !== undefined) return true
    if (of.subject !== undefined && made.subject !== undefined) return of.subject === made.subject
    for await (const some of foundOf(memory, tenant, of)) if (some.some((run) => isHeld(made, run))) return true
    return false
  }

  server.get(
    '/v1/holds',
    {
      config: { access: ['eraser', 'auditor'] },
      schema: {
        tags,
        security,
        summary: 'What is held, by whom and why, and what was, newest first',
        querystring: page,
        response: {
          200: z.object({ holds: z.array(hold), cursor: z.string().optional() }),
          ...problemsOf(400, 401, 403, 503),
        },
      },
    },
    async (request) => {
      const { limit, cursor } = request.query
      const holds = await memory.holds.page(keyOf(request).tenant, { limit, before: cursor })
      return { holds, ...cursorOf(holds, limit) }
    },
  )

  server.delete(
    '/v1/holds/:id',
    {
      config: { access: ['eraser'] },
      schema: {
        tags,
        security,
        summary: 'Lift a hold, and say why',
        params,
        body: liftHold,
        response: { 200: hold, ...problemsOf(400, 401, 403, 404, 503) },
      },
    },
    async (request) => {
      const who = keyOf(request)
      const { tenant } = who
      const { reason } = redact(tenant, request.body).value
      const { id } = request.params
      // Nothing is recorded of what is not done.
      const held = (await memory.holds.list(tenant)).some((one) => one.id === id && !one.lifted)
      if (held) await records.add(who, 'hold.lifted', { hold: id, reason })
      return memory.holds.lift(tenant, id, { by: actorOf(who), at: Date.now(), reason })
    },
  )

  server.get(
    '/v1/retention',
    {
      config: { access: ['eraser', 'auditor', 'operator'] },
      schema: {
        tags,
        security,
        summary: 'How long what is kept, and what is due',
        response: { 200: retentionState, ...problemsOf(401, 403, 503) },
      },
    },
    async (request) => {
      const { tenant } = keyOf(request)
      const rules = retention.filter((rule) => rule.tenant === undefined || rule.tenant === tenant)
      const due = await retentionDue(memory, { tenant, rules, now: Date.now() })
      return { rules: rules.map(({ tenant: _tenant, ...rule }) => rule), due }
    },
  )

  server.get(
    '/v1/audit/removed',
    {
      config: { access: 'any-role' },
      schema: {
        tags: ['audit'],
        security,
        summary: 'Runs that were removed whole, by which rule',
        querystring: page,
        response: { 200: removedRuns, ...problemsOf(400, 401, 503) },
      },
    },
    async (request) => {
      const { limit, cursor } = request.query
      const removed: RemovedRuns['removed'] = []
      for await (const one of memory.archive.removed(keyOf(request).tenant, cursor)) {
        removed.push(one)
        if (removed.length >= limit) return { removed, cursor: one.run }
      }
      return { removed }
    },
  )
}
