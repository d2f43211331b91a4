import { Schedules } from '@muster/journal'
import {
  BACKFILL_MAX,
  firstFiring,
  MusterError,
  newId,
  nextFiring,
  nextFirings,
  type Schedule,
  type ScheduleRequest,
  schedule,
  scheduleRequest,
} from '@muster/protocol'
import type { FastifyRequest } from 'fastify'
import { z } from 'zod'
import type { Context, Server } from './context.ts'
import { actorOf } from './keys.ts'
import { problemsOf } from './problems.ts'

const params = z.object({ id: z.string().max(64).describe('schedule id') })
const shared = { tags: ['schedules'], security: [{ key: [] }] }
const shown = schedule.extend({ upcoming: z.array(z.number()).describe('the next firings, up to five') })

/** Routes of schedules. */
export function scheduleRoutes(server: Server, { journal, memory, admission, refusals, keyOf }: Context): void {
  const schedules = new Schedules(journal, async (run) => refusals.check(run))
  const now = journal.partitions[0].clock

  /** What a schedule and its runs are, checked as a run is when it starts. */
  const admit = async (request: FastifyRequest, body: ScheduleRequest, id: string) => {
    const who = keyOf(request)
    const createdAt = now()
    const next = firstFiring(body.when, createdAt)
    const { run, content } = await admission.admit(body.run, who.tenant, actorOf(who)).catch(underRun)
    const { run: _, ...template } = run
    const fresh: Schedule = { ...body, id, createdAt, paused: false, fired: 0, overlapped: 0, missed: 0, next }
    return { schedule: fresh, template, content }
  }

  server.post(
    '/v1/schedules',
    {
      config: { access: 'any-role' },
      schema: {
        ...shared,
        summary: 'Start runs by the clock',
        description:
          'The run is checked now, and stays at the version of its agent or plan that is found now. Acknowledged once the schedule is durable.',
        body: scheduleRequest,
        response: { 201: shown, ...problemsOf(400, 401, 404, 413, 422, 429, 503) },
      },
    },
    async (request, reply) => {
      const stored = await admit(request, request.body, newId())
      await schedules.create(stored)
      return reply
        .code(201)
        .header('location', `/v1/schedules/${stored.schedule.id}`)
        .send(withUpcoming(stored.schedule))
    },
  )

  server.get(
    '/v1/schedules',
    {
      config: { access: 'any-role' },
      schema: {
        ...shared,
        summary: 'List schedules, oldest first',
        response: { 200: z.object({ schedules: z.array(schedule) }), ...problemsOf(401, 503) },
      },
    },
    async (request) => ({ schedules: await schedules.list(keyOf(request).tenant) }),
  )

  server.get(
    '/v1/schedules/:id',
    {
      config: { access: 'any-role' },
      schema: { ...shared, summary: 'Read a schedule', params, response: { 200: shown, ...problemsOf(401, 404, 503) } },
    },
    async (request) => withUpcoming(await schedules.get(keyOf(request).tenant, request.params.id)),
  )

  server.put(
    '/v1/schedules/:id',
    {
      config: { access: 'any-role' },
      schema: {
        ...shared,
        summary: 'Replace a schedule',
        description: 'It counts from now on as a new one does; a paused one stays paused.',
        params,
        body: scheduleRequest,
        response: { 200: shown, ...problemsOf(400, 401, 404, 413, 422, 503) },
      },
    },
    async (request) => {
      const { tenant } = keyOf(request)
      const { id } = request.params
      await schedules.get(tenant, id)
      const fresh = await admit(request, request.body, id)
      return withUpcoming(
        await schedules.change(tenant, id, ({ schedule: { paused, lastRun } }) => ({
          ...fresh,
          schedule: { ...fresh.schedule, paused, ...(lastRun === undefined ? {} : { lastRun }) },
        })),
      )
    },
  )

  server.delete(
    '/v1/schedules/:id',
    {
      config: { access: 'any-role' },
      schema: {
        ...shared,
        summary: 'Delete a schedule',
        description: 'Its runs go on.',
        params,
        response: { 204: z.null(), ...problemsOf(401, 404, 503) },
      },
    },
    async (request, reply) => {
      await schedules.remove(keyOf(request).tenant, request.params.id)
      return reply.code(204).send(null)
    },
  )

  for (const action of ['pause', 'resume'] as const) {
    server.post(
      `/v1/schedules/:id/${action}`,
      {
        config: { access: 'any-role' },
        schema: {
          ...shared,
          summary: action === 'pause' ? 'Pause a schedule' : 'Resume a schedule; what it passed over is not made up',
          params,
          response: { 200: shown, ...problemsOf(401, 404, 503) },
        },
      },
      async (request) =>
        withUpcoming(
          await schedules.change(keyOf(request).tenant, request.params.id, (stored) => ({
            ...stored,
            schedule: action === 'pause' ? { ...stored.schedule, paused: true } : resumed(stored.schedule, now()),
          })),
        ),
    )
  }

  server.post(
    '/v1/schedules/:id/trigger',
    {
      config: { access: 'any-role' },
      schema: {
        ...shared,
        summary: 'Start a run of a schedule now, besides the planned ones',
        params,
        response: { 202: z.object({ run: z.string() }), ...problemsOf(401, 404, 409, 503) },
      },
    },
    async (request, reply) => {
      const run = await schedules.trigger(keyOf(request).tenant, request.params.id, memory.blobs.put)
      return reply.code(202).send({ run })
    },
  )

  server.post(
    '/v1/schedules/:id/backfill',
    {
      config: { access: 'any-role' },
      schema: {
        ...shared,
        summary: 'Start the runs of planned times that have passed',
        description: `Up to ${BACKFILL_MAX}, all at once, whatever overlaps. A planned time that had its run in the last week gets no other. With \`dryRun\` nothing is started.`,
        params,
        body: z.strictObject({
          from: z.number().int().nonnegative().describe('ms since the Unix epoch'),
          to: z.number().int().nonnegative(),
          dryRun: z.boolean().default(false),
        }),
        response: {
          202: z.object({ planned: z.array(z.object({ at: z.number(), run: z.string().optional() })) }),
          ...problemsOf(400, 401, 404, 409, 422, 503),
        },
      },
    },
    async (request, reply) => {
      const { tenant } = keyOf(request)
      const { id } = request.params
      const times = plannedTimes(await schedules.get(tenant, id), request.body, now())
      const planned = request.body.dryRun
        ? times.map((at) => ({ at }))
        : await schedules.backfill(tenant, id, times, memory.blobs.put)
      return reply.code(202).send({ planned })
    },
  )
}

/** @throws MusterError `schedule.invalid` */
function plannedTimes(
  { when, createdAt }: Schedule,
  { from, to }: { from: number; to: number },
  now: number,
): number[] {
  const invalid = (path: string, message: string) =>
    new MusterError('schedule.invalid', `${path} ${message}`, { issues: [{ path, message }] })
  if (to > now) throw invalid('/to', 'is to come: what is planned fires by itself')
  if (from > to) throw invalid('/from', 'is after `to`')
  const times = nextFirings(when, createdAt, from - 1, BACKFILL_MAX + 1).filter((time) => time <= to)
  if (times.length > BACKFILL_MAX)
    throw invalid('/from', `there are more than ${BACKFILL_MAX} planned times: ask for a shorter span`)
  return times
}

function resumed(paused: Schedule, now: number): Schedule {
  if (!paused.paused || paused.next === undefined) return { ...paused, paused: false }
  const { next: _, ...rest } = paused
  const next = nextFiring(rest.when, rest.createdAt, now)
  return { ...rest, paused: false, ...(next === undefined ? {} : { next }) }
}

function withUpcoming(found: Schedule): z.infer<typeof shown> {
  const { when, createdAt, next, paused, firings, fired } = found
  const count = Math.min(5, (firings ?? Number.POSITIVE_INFINITY) - fired)
  const upcoming = next === undefined || paused ? [] : nextFirings(when, createdAt, next - 1, count)
  return { ...found, upcoming }
}

/** A run that is wrong lies under `/run` of what was sent. */
function underRun(error: unknown): never {
  if (!(error instanceof MusterError) || !error.issues) throw error
  const issues = error.issues.map(({ path, message }) => ({ path: `/run${path}`, message }))
  throw new MusterError(error.code, error.message, { issues, cause: error })
}
