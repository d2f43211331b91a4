import { type StoredWebhook, WebhookQueue, Webhooks } from '@muster/journal'
import { delivery, MusterError, newId, type Webhook, webhook, webhookRequest } from '@muster/protocol'
import { problemOfUrl, webhookSecret } from '@muster/runtime'
import { z } from 'zod'
import type { Context, Server } from './context.ts'
import { problemsOf } from './problems.ts'

const params = z.object({ id: z.string().max(64).describe('webhook id') })
const shared = { tags: ['webhooks'], security: [{ key: [] }] }
const withSecret = webhook.extend({ secret: z.string().describe('shown now and never again') })

/** Routes of webhooks: a tenant's own, and what was delivered to them. */
export function webhookRoutes(server: Server, { journal, records, keyOf, secret, webhooksAnywhere }: Context): void {
  const webhooks = new Webhooks(journal)
  const queue = new WebhookQueue(journal)
  server.addHook('onClose', () => queue.close())
  const now = journal.partitions[0].clock

  const checkUrl = (url: string) => {
    const message = problemOfUrl(url, webhooksAnywhere)
    if (message !== undefined)
      throw new MusterError('webhook.invalid', `/url ${message}`, { issues: [{ path: '/url', message }] })
  }
  const secretOf = (tenant: string, { id, rotation }: StoredWebhook): string => {
    if (secret === undefined)
      throw new MusterError(
        'webhook.invalid',
        'This server has no MUSTER_SECRET, from which secrets of webhooks are made',
      )
    return webhookSecret(secret, tenant, id, rotation)
  }

  server.post(
    '/v1/webhooks',
    {
      config: { access: 'any-role' },
      schema: {
        ...shared,
        summary: 'Be told of runs',
        description:
          'Events of runs that end or wait for a person from now on are sent to the address, signed as Standard Webhooks says.',
        body: webhookRequest,
        response: { 201: withSecret, ...problemsOf(400, 401, 413, 422, 429, 503) },
      },
    },
    async (request, reply) => {
      const who = keyOf(request)
      const { tenant } = who
      checkUrl(request.body.url)
      const at = now()
      const made: StoredWebhook = { ...request.body, id: newId(), createdAt: at, rotatedAt: at, rotation: 0 }
      const shownOnce = secretOf(tenant, made)
      await records.add(who, 'webhook.set', { id: made.id, ...addressOf(request.body.url) })
      await webhooks.create(tenant, made)
      return reply
        .code(201)
        .header('location', `/v1/webhooks/${made.id}`)
        .send({ ...shown(made), secret: shownOnce })
    },
  )

  server.get(
    '/v1/webhooks',
    {
      config: { access: 'any-role' },
      schema: {
        ...shared,
        summary: 'List webhooks, oldest first',
        response: { 200: z.object({ webhooks: z.array(webhook) }), ...problemsOf(401, 503) },
      },
    },
    async (request) => ({ webhooks: (await webhooks.list(keyOf(request).tenant)).map(shown) }),
  )

  server.get(
    '/v1/webhooks/:id',
    {
      config: { access: 'any-role' },
      schema: {
        ...shared,
        summary: 'Read a webhook',
        params,
        response: { 200: webhook, ...problemsOf(401, 404, 503) },
      },
    },
    async (request) => shown(await webhooks.get(keyOf(request).tenant, request.params.id)),
  )

  server.put(
    '/v1/webhooks/:id',
    {
      config: { access: 'any-role' },
      schema: {
        ...shared,
        summary: 'Replace a webhook',
        description: 'It keeps its secret. One that is disabled is enabled.',
        params,
        body: webhookRequest,
        response: { 200: webhook, ...problemsOf(400, 401, 404, 413, 422, 503) },
      },
    },
    async (request) => {
      checkUrl(request.body.url)
      const who = keyOf(request)
      const { tenant } = who
      await webhooks.get(tenant, request.params.id)
      await records.add(who, 'webhook.set', { id: request.params.id, ...addressOf(request.body.url) })
      return shown(await webhooks.change(tenant, request.params.id, { ...request.body, disabled: undefined }))
    },
  )

  server.delete(
    '/v1/webhooks/:id',
    {
      config: { access: 'any-role' },
      schema: {
        ...shared,
        summary: 'Remove a webhook',
        params,
        response: { 204: z.null(), ...problemsOf(401, 404, 503) },
      },
    },
    async (request, reply) => {
      const who = keyOf(request)
      await webhooks.get(who.tenant, request.params.id)
      await records.add(who, 'webhook.removed', { id: request.params.id })
      await webhooks.remove(who.tenant, request.params.id)
      return reply.code(204).send(null)
    },
  )

  server.post(
    '/v1/webhooks/:id/rotate',
    {
      config: { access: 'any-role' },
      schema: {
        ...shared,
        summary: 'Give a webhook a new secret',
        description: 'For a day deliveries are signed with both.',
        params,
        response: { 200: withSecret, ...problemsOf(401, 404, 422, 503) },
      },
    },
    async (request) => {
      const { tenant } = keyOf(request)
      const { rotation } = await webhooks.get(tenant, request.params.id)
      const changed = await webhooks.change(tenant, request.params.id, { rotation: rotation + 1, rotatedAt: now() })
      return { ...shown(changed), secret: secretOf(tenant, changed) }
    },
  )

  server.post(
    '/v1/webhooks/:id/test',
    {
      config: { access: 'any-role' },
      schema: {
        ...shared,
        summary: 'Send an event of type `ping`',
        params,
        response: { 202: z.object({ event: z.string() }), ...problemsOf(401, 404, 503) },
      },
    },
    async (request, reply) => {
      const { tenant } = keyOf(request)
      const { id } = await webhooks.get(tenant, request.params.id)
      const event = `evt_${newId()}`
      const payload = { type: 'ping' as const, timestamp: new Date(now()).toISOString(), data: {} }
      await queue.add({ tenant, webhook: id, event, payload })
      return reply.code(202).send({ event })
    },
  )

  server.get(
    '/v1/webhooks/:id/deliveries',
    {
      config: { access: 'any-role' },
      schema: {
        ...shared,
        summary: 'Attempts to deliver, newest first',
        description: 'The last 1,000 of a week.',
        params,
        querystring: z.object({ limit: z.coerce.number().int().min(1).max(1000).default(100) }),
        response: { 200: z.object({ deliveries: z.array(delivery) }), ...problemsOf(400, 401, 404, 503) },
      },
    },
    async (request) => {
      const { id } = await webhooks.get(keyOf(request).tenant, request.params.id)
      const attempts = await webhooks.deliveries(id, request.query.limit)
      return { deliveries: attempts.map(({ attempt }) => attempt) }
    },
  )

  server.post(
    '/v1/webhooks/:id/replay',
    {
      config: { access: 'any-role' },
      schema: {
        ...shared,
        summary: 'Deliver again',
        description: 'One event, or all since a time that were not delivered. They keep their ids.',
        params,
        body: z.union([
          z.strictObject({ event: z.string().max(256) }),
          z.strictObject({ since: z.number().int().nonnegative().describe('ms since the Unix epoch') }),
        ]),
        response: { 202: z.object({ events: z.array(z.string()) }), ...problemsOf(400, 401, 404, 503) },
      },
    },
    async (request, reply) => {
      const { tenant } = keyOf(request)
      const { id } = await webhooks.get(tenant, request.params.id)
      const { body } = request
      const latest = new Map<string, Awaited<ReturnType<typeof webhooks.deliveries>>[number]>()
      for (const one of await webhooks.deliveries(id)) {
        const { event } = one.attempt
        // Newest first; one that was delivered once is delivered.
        if (!latest.has(event) || one.attempt.delivered) latest.set(event, one)
      }
      const meant = [...latest.values()].filter(({ attempt }) =>
        'event' in body ? attempt.event === body.event : !attempt.delivered && attempt.at >= body.since,
      )
      if ('event' in body && meant.length === 0)
        throw new MusterError('delivery.not_found', `Webhook ${id} was sent no event ${body.event}`)
      const events: string[] = []
      for (const { attempt, payload } of meant) {
        await queue.add({ tenant, webhook: id, event: attempt.event, payload }, `.${newId()}`)
        events.push(attempt.event)
      }
      return reply.code(202).send({ events })
    },
  )
}

function shown({ rotation: _, ...rest }: StoredWebhook): Webhook {
  return rest
}

/** A webhook's address without what may be a secret in it. */
function addressOf(url: string): { to: string } {
  const { origin, pathname } = new URL(url)
  return { to: origin + pathname }
}
