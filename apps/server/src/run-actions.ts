import { json, type RunStatus, run, runStatus, runSummary } from '@muster/protocol'
import { z } from 'zod'
import type { Context, Server } from './context.ts'
import { controls } from './control.ts'
import { forks } from './fork.ts'
import { knownError, problemSchema, problemsOf } from './problems.ts'
import { onlyUser } from './roleless.ts'
import { runCursor } from './run-cursor.ts'

const params = z.object({ id: z.string().max(64).describe('run id') })
const tags = ['runs']
const security = [{ key: [] }]
const headers = z.object({ 'idempotency-key': z.string().min(1).max(256).optional() })
const begun = { 201: run, ...problemsOf(400, 401, 403, 404, 409, 422, 503) }

const actions = ['cancel', 'terminate', 'pause', 'resume', 'restart'] as const
type Action = (typeof actions)[number]

/** Runs that an action may mean, where the filter does not say. */
const MEANT: Record<Action, readonly RunStatus[]> = {
  cancel: ['queued', 'running', 'waiting'],
  terminate: ['queued', 'running', 'waiting'],
  pause: ['queued', 'running', 'waiting'],
  resume: ['waiting'],
  restart: ['failed'],
}

/** Runs of one request: each is read and told by itself. */
const PAGE_MAX = 100

/** Routes that begin runs from others, and that act on many runs at once. */
export function runActionRoutes(server: Server, context: Context): void {
  const { reader, keyOf } = context
  const control = controls(context)
  const { fork, restart } = forks(context)

  server.post(
    '/v1/runs/:id/fork',
    {
      config: { access: 'own-run' },
      schema: {
        tags,
        security,
        summary: 'Begin a new run from a step of this one',
        description:
          'Outcomes from before the step are taken over and nothing of them is done again; from the step on it goes on by itself, with other input or another version where these are given.',
        params,
        headers,
        body: z.strictObject({
          step: z.string().max(512).optional().describe('done anew; from the start unless given'),
          input: json.optional(),
          version: z.string().max(64).optional(),
        }),
        response: begun,
      },
    },
    async (request, reply) => {
      const who = keyOf(request)
      const id = await fork(who, request.params.id, request.body, request.headers['idempotency-key'])
      return reply.code(201).send(await reader.run(who.tenant, id))
    },
  )

  server.post(
    '/v1/runs/:id/restart',
    {
      config: { access: 'own-run' },
      schema: {
        tags,
        security,
        summary: 'Begin a run that failed or was cancelled anew from there',
        params,
        headers,
        response: begun,
      },
    },
    async (request, reply) => {
      const who = keyOf(request)
      const id = await restart(who, request.params.id, request.headers['idempotency-key'])
      return reply.code(201).send(await reader.run(who.tenant, id))
    },
  )

  server.post(
    '/v1/runs/actions',
    {
      config: { access: 'own' },
      schema: {
        tags,
        security,
        summary: `Act on all runs of a filter, up to ${PAGE_MAX} with a request`,
        description:
          'Each run is answered by itself. `cursor` says where to go on; with `dryRun` nothing is done. A run is restarted once, however often it is asked for. With a key without a role, of the runs of its own user.',
        body: z.strictObject({
          action: z.enum(actions),
          status: runStatus.optional(),
          name: z.string().max(128).optional().describe('agent or plan'),
          error: z.string().max(64).optional().describe('code of the error with which it ended'),
          dryRun: z.boolean().default(false),
          limit: z.number().int().min(1).max(PAGE_MAX).default(PAGE_MAX),
          cursor: runCursor.optional(),
        }),
        response: {
          200: z.object({
            results: z.array(
              z.object({ run: runSummary, begun: z.string().optional(), error: problemSchema.optional() }),
            ),
            cursor: z.string().optional(),
          }),
          ...problemsOf(400, 401, 503),
        },
      },
    },
    async (request) => {
      const who = keyOf(request)
      const { action, dryRun, cursor: before, ...filter } = request.body
      const { runs, cursor } = await reader.list(who.tenant, { ...filter, before, ...onlyUser(who) })
      const meant = runs.filter(({ status }) => MEANT[action].includes(status))
      const results = await Promise.all(
        meant.map(async (summary) => {
          if (dryRun) return { run: summary }
          try {
            if (action === 'restart')
              return { run: summary, begun: await restart(who, summary.id, `\nrestart ${summary.id}`) }
            await control(who, summary.id, action)
            return { run: summary }
          } catch (error) {
            const known = knownError(error as Error)
            if (known.status >= 500) request.log.error({ err: known }, known.message)
            return { run: summary, error: known.toProblem() }
          }
        }),
      )
      return { results, ...(cursor === undefined ? {} : { cursor }) }
    },
  )
}
