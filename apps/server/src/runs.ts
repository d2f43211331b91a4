import { Readable } from 'node:stream'
import {
  name as definitionName,
  type Json,
  json,
  label,
  MusterError,
  parts,
  run,
  runStatus,
  runSummary,
  startRun,
} from '@muster/protocol'
import { z } from 'zod'
import { beginRun } from './begin-run.ts'
import type { Context, Server } from './context.ts'
import { controls } from './control.ts'
import { ownSession } from './gateway/client.ts'
import { actorOf } from './keys.ts'
import { checkMedia, MEDIA_BODY_MAX } from './media.ts'
import { problemsOf } from './problems.ts'
import { onlyUser } from './roleless.ts'
import { runCursor } from './run-cursor.ts'
import { PLACE, placeOf, sendEvents } from './sse.ts'

const params = z.object({ id: z.string().max(64).describe('run id') })
const tags = ['runs']
/** Before the id of a session that the gateway's client has named. */
const OWN = '~/'
/** Characters of text that a message may have. */
const TEXT_MAX = 100_000
const security = [{ key: [] }]
const accepted = { 202: z.object({ id: z.string() }), ...problemsOf(401, 404, 409, 429, 503) }

/** Routes of runs. */
export function runRoutes(server: Server, context: Context): void {
  const { journal, reader, records, admission, redact, keyOf } = context
  const control = controls(context)
  server.post(
    '/v1/runs',
    {
      bodyLimit: MEDIA_BODY_MAX,
      config: { access: 'own' },
      schema: {
        tags,
        security,
        summary: 'Start a run',
        description:
          'Acknowledged once the run is durable. The same Idempotency-Key and request give the same run; where another user sent it, a key without a role is refused.',
        headers: z.object({ 'idempotency-key': z.string().min(1).max(256).optional() }),
        body: startRun,
        response: {
          200: run.describe('The run that this key started before'),
          201: run,
          ...problemsOf(400, 401, 403, 404, 409, 413, 422, 423, 429, 503),
        },
      },
    },
    async (request, reply) => {
      const who = keyOf(request)
      const { tenant } = who
      const admitted = await admission.admit(request.body, tenant, actorOf(who))
      const { id, created } = await beginRun(context, who, admitted, request.headers['idempotency-key'])
      const started = await reader.run(tenant, id)
      return reply
        .code(created ? 201 : 200)
        .header('location', `/v1/runs/${id}`)
        .send(started)
    },
  )

  server.get(
    '/v1/runs',
    {
      config: { access: 'own' },
      schema: {
        tags,
        security,
        summary: 'List runs, newest first',
        description:
          'With a key without a role, those of its own user. A page of these, or of a session, looks at a bounded number of runs that are not archived yet: one that is not full, or empty, may have a cursor all the same. Without a cursor there are no more.',
        querystring: z.object({
          status: runStatus.optional(),
          name: z.string().max(128).optional().describe('agent or plan'),
          error: z.string().max(64).optional().describe('code of the error with which it ended'),
          session: z
            .string()
            .max(128)
            .optional()
            .describe("the conversation that it is of; `~/<id>` is that of the key's own user at the gateway"),
          limit: z.coerce.number().int().min(1).max(200).default(50),
          cursor: runCursor.optional().describe('`cursor` of the page before'),
        }),
        response: {
          200: z.object({ runs: z.array(runSummary), cursor: z.string().optional() }),
          ...problemsOf(400, 401, 503),
        },
      },
    },
    async (request) => {
      const { cursor, session, ...filter } = request.query
      const who = keyOf(request)
      const { tenant, user } = who
      const own = session?.startsWith(OWN) ? ownSession(user, session.slice(OWN.length)) : session
      return reader.list(tenant, {
        ...{ ...filter, before: cursor, ...onlyUser(who) },
        ...(own === undefined ? {} : { session: own }),
      })
    },
  )

  server.get(
    '/v1/runs/:id',
    {
      config: { access: 'own-run' },
      schema: { tags, security, summary: 'Read a run', params, response: { 200: run, ...problemsOf(401, 404, 503) } },
    },
    async (request) => {
      const who = keyOf(request)
      const found = await reader.run(who.tenant, request.params.id)
      await records.read(who, found, 'run')
      if (found.status === 'running') {
        const heldUp = await admission.heldUp(found)
        return heldUp ? { ...found, heldUp } : found
      }
      if (found.status !== 'queued' && found.status !== 'waiting') return found
      // One that was parked may have been woken.
      const record = await journal.get(found.id)
      const heldUp =
        record === undefined || record.status === 'waiting'
          ? undefined
          : ((await admission.problemOf(record.created.definition)) ?? (await admission.heldUp(found)))
      return heldUp ? { ...found, heldUp } : found
    },
  )

  server.get(
    '/v1/runs/:id/events',
    {
      config: { follows: true, access: 'own-run' },
      schema: {
        tags,
        security,
        summary: 'Follow a run (server-sent events)',
        description:
          'One event per journal entry, with its place as the id: reconnect with Last-Event-ID (or ?after=) and nothing is missed. Ends after run.ended.',
        params,
        headers: z.object({ 'last-event-id': z.string().regex(PLACE, 'the id of an event').optional() }),
        querystring: z.object({
          after: z.string().regex(PLACE, 'the id of an event').optional(),
          deltas: z
            .stringbool()
            .default(false)
            .describe('also what models write and tools tell, as events `delta`: provisional'),
        }),
        produces: ['text/event-stream'],
        response: { 200: z.string(), ...problemsOf(400, 401, 404, 503) },
      },
    },
    async (request, reply) => {
      const place = placeOf(request.headers['last-event-id'] ?? request.query.after)
      const gone = new AbortController()
      request.raw.on('close', () => gone.abort())
      const who = keyOf(request)
      const { tenant } = who
      const { id } = request.params
      await records.read(who, { id, by: await reader.beganBy(tenant, id) }, 'events')
      const events = request.query.deltas
        ? await reader.watch(tenant, id, place, gone.signal)
        : await reader.events(tenant, id, place.after, gone.signal)
      reply.hijack()
      await sendEvents(reply.raw, events, place, gone.signal)
    },
  )

  server.get(
    '/v1/runs/:id/journal',
    {
      config: { access: 'own-run' },
      schema: {
        tags,
        security,
        summary: 'Read the journal as it is stored',
        description:
          'One line of JSON per entry: place, hash, exact bytes, content. The headers Muster-Head and Muster-Entries say how it must end.',
        params,
        produces: ['application/x-ndjson'],
        response: { 200: z.custom<Readable>(), ...problemsOf(401, 404, 503) },
      },
    },
    async (request, reply) => {
      const who = keyOf(request)
      const { id } = request.params
      const stored = await reader.stored(who.tenant, id)
      await records.read(who, { id, by: stored.by }, 'journal')
      const lines = async function* () {
        for await (const entry of stored.read(0)) yield `${JSON.stringify(entry)}\n`
      }
      return reply
        .header('content-type', 'application/x-ndjson')
        .header('muster-head', stored.head)
        .header('muster-entries', String(stored.entries))
        .send(Readable.from(lines()))
    },
  )

  server.post(
    '/v1/runs/:id/cancel',
    {
      config: { access: 'own-run' },
      schema: {
        tags,
        security,
        summary: 'Cancel a run',
        description:
          'Accepted once the request is durable; the run ends as soon as its worker has heeded it. One of a plan with `rollback` undoes first what it did.',
        params,
        response: accepted,
      },
    },
    async (request, reply) => reply.code(202).send(await control(keyOf(request), request.params.id, 'cancel')),
  )

  server.post(
    '/v1/runs/:id/terminate',
    {
      config: { access: 'own-run' },
      schema: {
        tags,
        security,
        summary: 'End a run at once',
        description: 'As cancelling it, but nothing is undone.',
        params,
        response: accepted,
      },
    },
    async (request, reply) => reply.code(202).send(await control(keyOf(request), request.params.id, 'terminate')),
  )

  server.post(
    '/v1/runs/:id/pause',
    {
      config: { access: 'own-run' },
      schema: {
        tags,
        security,
        summary: 'Pause a run',
        description: 'No step begins any more; those under way end. Then it holds no worker until it is resumed.',
        params,
        response: accepted,
      },
    },
    async (request, reply) => reply.code(202).send(await control(keyOf(request), request.params.id, 'pause')),
  )

  server.post(
    '/v1/runs/:id/resume',
    {
      config: { access: 'own-run' },
      schema: { tags, security, summary: 'Let a paused run go on', params, response: accepted },
    },
    async (request, reply) => reply.code(202).send(await control(keyOf(request), request.params.id, 'resume')),
  )

  server.post(
    '/v1/runs/:id/signals/:name',
    {
      config: { access: 'own-run' },
      schema: {
        tags,
        security,
        summary: 'Send a run a signal',
        description:
          'Accepted once the signal is durable. It is taken once, by the next step that waits for it; one that comes early is kept. The same Idempotency-Key sends it once.',
        params: params.extend({ name: definitionName }),
        headers: z.object({ 'idempotency-key': z.string().min(1).max(256).optional() }),
        body: z.strictObject({
          payload: json.default(null),
          labels: z.array(label).max(32).default([]).describe('labels of the payload'),
        }),
        response: { 202: z.object({ id: z.string() }), ...problemsOf(400, 401, 404, 409, 413, 422, 429, 503) },
      },
    },
    async (request, reply) => {
      const who = keyOf(request)
      const { tenant } = who
      const { id, name } = request.params
      const { payload, labels } = request.body
      await admission.checkSignal(await reader.run(tenant, id), name, payload)
      const message = {
        ...{ type: 'signal' as const, name, by: actorOf(who), labels: [...new Set(labels)].sort() },
        ...carrying(redact(tenant, payload)),
      }
      await journal.post(id, message, request.headers['idempotency-key'])
      return reply.code(202).send({ id })
    },
  )

  server.post(
    '/v1/runs/:id/messages',
    {
      bodyLimit: MEDIA_BODY_MAX,
      config: { access: 'own-run' },
      schema: {
        tags,
        security,
        summary: 'Say something to a running agent',
        description:
          'Accepted once it is durable. The agent hears it between two turns, or before it ends. With `interrupt` what it has under way is cancelled and it hears it at once.',
        params,
        headers: z.object({ 'idempotency-key': z.string().min(1).max(256).optional() }),
        body: z
          .strictObject({
            text: z.string().min(1).max(TEXT_MAX).optional(),
            parts: parts.optional().describe('texts, images and files in their order, in place of `text`'),
            interrupt: z.boolean().default(false),
            labels: z.array(label).max(32).default([]).describe('labels of what is said'),
          })
          .refine((body) => (body.text === undefined) !== (body.parts === undefined), {
            message: 'give either text or parts',
          }),
        response: { 202: z.object({ id: z.string() }), ...problemsOf(400, 401, 404, 409, 413, 429, 503) },
      },
    },
    async (request, reply) => {
      const who = keyOf(request)
      const { tenant } = who
      const { id } = request.params
      const { text, parts, interrupt, labels } = request.body
      const said: Json = parts ? { parts } : { text: text ?? '' }
      if (parts) checkMedia(parts, '/parts', TEXT_MAX)
      const { kind } = await reader.run(tenant, id)
      if (kind !== 'agent')
        throw new MusterError('signal.unknown', `Run ${id} is of a plan: only agents are spoken to. Send it a signal`)
      await journal.post(
        id,
        {
          ...{ type: 'signal', name: 'message', by: actorOf(who) },
          ...carrying(redact(tenant, said)),
          labels: [...new Set(labels)].sort(),
          interrupt,
        },
        request.headers['idempotency-key'],
      )
      return reply.code(202).send({ id })
    },
  )
}

/** A signal's part of what was redacted. */
function carrying({ value: payload, redacted }: ReturnType<Context['redact']>) {
  return { payload, ...(redacted ? { redacted } : {}) }
}
