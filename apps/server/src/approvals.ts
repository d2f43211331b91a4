import {
  ANSWERS_MAX,
  type Answer,
  answer,
  areApart,
  type Entry,
  isEditable,
  isForPerson,
  type Json,
  MusterError,
  question,
  type Run,
  type Waiting,
} from '@muster/protocol'
import { z } from 'zod'
import type { Context, Server } from './context.ts'
import { type ApiKey, actorOf, hasRole } from './keys.ts'
import { knownError, problemSchema, problemsOf } from './problems.ts'
import { runCursor } from './run-cursor.ts'

const tags = ['approvals']
const security = [{ key: [] }]

function byRequester(who: ApiKey, { id, by }: Run): string {
  return `${by.user} began run ${id}${handsText(who, by.user)}, so somebody else must approve this`
}

/** Why somebody of another name may be the same. */
function handsText({ user }: ApiKey, other: string): string {
  return user === other ? '' : `, and one person has had keys of ${other} and ${user} in hand`
}

/** Routes of what waits for people. */
export function approvalRoutes(server: Server, context: Context): void {
  const { journal, reader, records, admission, redact, keyOf } = context

  /** @throws MusterError `approval.…` or `auth.forbidden` where it would not count */
  const give = async (who: ApiKey, id: string, { step, verdict, digest, reason, input }: Answer): Promise<void> => {
    const { tenant, user, service } = who
    const run = await reader.run(tenant, id)
    const waiting = run.waiting.find((one) => one.step === step && isForPerson(one))
    if (!waiting) throw await whyNothing(tenant, run, step)
    if (waiting.digest !== digest) throw new MusterError('approval.mismatch', 'What is to be approved has changed')
    // Where no worker has ended the wait yet, its time is over all the same.
    if (verdict === 'approve' && waiting.until !== undefined && waiting.until <= Date.now())
      throw new MusterError(
        'approval.expired',
        `Step "${step}" of run ${id} waited for an approval until ${new Date(waiting.until).toISOString()}`,
      )
    if (service)
      throw new MusterError('auth.forbidden', `Approvals are given by people; this key belongs to the service ${user}`)
    const { role = 'operator', rule = {}, escalated } = waiting
    const isAsked = hasRole(who, role)
    const as = !isAsked && escalated !== undefined && hasRole(who, escalated) ? escalated : undefined
    if (!isAsked && as === undefined)
      throw new MusterError(
        'auth.forbidden',
        `This approval needs the role "${role}"${escalated === undefined ? '' : ` or "${escalated}"`}`,
      )
    if (rule.reason && reason === undefined)
      throw new MusterError('approval.reason_required', 'This approval needs a reason', {
        issues: [{ path: '/reason', message: 'is missing' }],
      })
    if (verdict === 'approve' && rule.requester === false && !areApart(who, run.by))
      throw new MusterError('approval.by_requester', byRequester(who, run))
    const same =
      verdict === 'approve' && waiting.approvals?.find(({ by, hands }) => !areApart(who, { user: by, hands }))
    if (same)
      throw new MusterError(
        'approval.repeated',
        `${same.by} has approved this${handsText(who, same.by)}; ${rule.people} people must`,
      )
    if (input !== undefined) await checkEdit(waiting, verdict, input)
    const given = { ...(reason === undefined ? {} : { reason }), ...(input === undefined ? {} : { input }) }
    const { value, redacted } = redact(tenant, given)
    await journal.post(id, {
      ...{ type: 'approval', step, verdict, shown: digest, by: actorOf(who), role },
      ...(as === undefined ? {} : { as }),
      ...value,
      ...(redacted ? { redacted } : {}),
    })
  }

  const checkEdit = async (waiting: Waiting, verdict: Answer['verdict'], input: Json): Promise<void> => {
    const { kind } = (waiting.shown ?? {}) as { kind?: string } // an object: see shownText
    if (verdict === 'deny') throw new MusterError('approval.not_editable', 'What is refused needs no input')
    if (!isEditable(waiting.for, kind)) throw new MusterError('approval.not_editable', `${waiting.target} is no tool`)
    await admission.checkToolInput(waiting.target, input)
  }

  /** Why nobody is asked: it was answered, has expired, or never was. */
  const whyNothing = async (tenant: string, { id }: Run, step: string): Promise<MusterError> => {
    let why = new MusterError('approval.not_found', `Step "${step}" of run ${id} does not wait for a person`)
    for await (const { bytes } of (await reader.stored(tenant, id)).read(0)) {
      const entry = JSON.parse(bytes) as Entry // what the journal wrote
      if (!('step' in entry) || entry.step !== step) continue
      if (entry.type === 'approval.given') {
        const { verdict, by, at } = entry
        const done = verdict === 'approve' ? 'approved' : 'refused'
        why = new MusterError(
          'approval.late',
          `Step "${step}" of run ${id} was ${done} by ${by.user} at ${new Date(at).toISOString()}`,
        )
      } else if (entry.type === 'step.ended' && entry.error?.code === 'approval.expired')
        why = new MusterError('approval.expired', entry.error.message)
    }
    return why
  }

  server.post(
    '/v1/runs/:id/approvals',
    {
      config: { access: 'own-run' },
      schema: {
        tags,
        security,
        summary: 'Answer an approval',
        description:
          'For a step that waits for a person, by who has the role that it asks for. `digest` must be that of what the run shows, so that nothing else is approved.',
        params: z.object({ id: z.string().max(64).describe('run id') }),
        body: answer,
        response: { 202: z.object({ id: z.string() }), ...problemsOf(400, 401, 403, 404, 409, 410, 413, 422, 503) },
      },
    },
    async (request, reply) => {
      const { id } = request.params
      await give(keyOf(request), id, request.body)
      return reply.code(202).send({ id })
    },
  )

  server.get(
    '/v1/approvals',
    {
      config: { access: 'any-role' },
      schema: {
        tags,
        security,
        summary: 'What waits for people, the oldest run first',
        querystring: z.object({
          role: z.string().max(128).optional().describe('that this role may answer'),
          target: z.string().max(256).optional().describe('of this tool, model or agent'),
          limit: z.coerce.number().int().min(1).max(100).default(50).describe('runs that are looked at'),
          cursor: runCursor.optional(),
        }),
        response: {
          200: z.object({ approvals: z.array(question), cursor: z.string().optional() }),
          ...problemsOf(400, 401, 503),
        },
      },
    },
    async (request) => {
      const who = keyOf(request)
      const { tenant } = who
      const { role, target, limit, cursor } = request.query
      const ids = await journal.asking(tenant, limit, cursor)
      const runs = await Promise.all(ids.map((id) => reader.run(tenant, id).catch(() => undefined)))
      const approvals = runs.flatMap((run) =>
        run === undefined
          ? []
          : run.waiting
              .filter((one) => isForPerson(one))
              .filter((one) => role === undefined || one.role === role || one.escalated === role)
              .filter((one) => target === undefined || one.target === target)
              .map((one) => {
                const { id, kind, name, version, by, createdAt } = run
                return { run: id, kind, name, version, by, createdAt, ...one }
              }),
      )
      const shown = new Set(approvals.map(({ run }) => run))
      await Promise.all(runs.map((run) => run && shown.has(run.id) && records.read(who, run, 'approval')))
      const last = ids.length < limit ? undefined : ids.at(-1)
      return { approvals, ...(last === undefined ? {} : { cursor: last }) }
    },
  )

  server.post(
    '/v1/approvals',
    {
      config: { access: 'any-role' },
      schema: {
        tags,
        security,
        summary: `Answer many approvals, up to ${ANSWERS_MAX} with a request`,
        description: 'Each is answered by itself, in their order.',
        body: z.strictObject({
          answers: z
            .array(answer.extend({ run: z.string().max(64) }))
            .min(1)
            .max(ANSWERS_MAX),
        }),
        response: {
          200: z.object({
            results: z.array(z.object({ run: z.string(), step: z.string(), error: problemSchema.optional() })),
          }),
          ...problemsOf(400, 401, 413, 503),
        },
      },
    },
    async (request) => {
      const who = keyOf(request)
      const results = await Promise.all(
        request.body.answers.map(async ({ run, ...rest }) => {
          const { step } = rest
          try {
            await give(who, run, rest)
            return { run, step }
          } catch (error) {
            const known = knownError(error as Error)
            if (known.status >= 500) request.log.error({ err: known }, known.message)
            return { run, step, error: known.toProblem() }
          }
        }),
      )
      return { results }
    },
  )
}
