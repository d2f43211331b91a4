import type { Dialect } from '@muster/models'
import { MusterError } from '@muster/protocol'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import type { Context, Server } from '../context.ts'
import { actorOf } from '../keys.ts'
import { knownError } from '../problems.ts'
import { absentRoutes } from './absent.ts'
import { boundBodies, keepNumbers } from './bodies.ts'
import { clientOf } from './client.ts'
import { give } from './give.ts'
import { modelRoutes } from './models.ts'
import { asIs, asIsOrStream, refusalFor, refusalsOf } from './refusal.ts'
import { type Body, GATEWAY_BYTES_MAX, Requests } from './requests.ts'
import { responseRoutes } from './responses.ts'

const model = z.string().min(1).max(200).describe('a route of MUSTER_MODELS')
const stream = z.boolean().nullish()
const messages = z.looseObject({ model, stream, messages: z.array(z.unknown()).min(1) })
const chat = messages.extend({
  // Before they are paid for: their calls are not delivered.
  functions: z.array(z.unknown()).max(0, 'make calls that nobody can decide on: offer `tools`').nullish(),
})
const embeddings = z.looseObject({ model, input: z.union([z.string(), z.array(z.unknown())]) })

const shared = { tags: ['gateway'], security: [{ key: [] }] }

/** Routes that speak as OpenAI and Anthropic do. Each request is a run. */
export function gatewayRoutes(server: Server, context: Context): void {
  const { gateway, keyOf } = context
  const requests = gateway && new Requests(gateway, context)
  const need = (): Requests => {
    if (requests) return requests
    throw new MusterError('gateway.off', 'This server has no gateway')
  }
  sendRefusals(server)
  boundBodies(server, context)
  keepNumbers(server)

  const answer =
    (dialect: Dialect) =>
    async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
      const held = await need().begin(request, dialect, request.body as Body) // by the route's schema, and JSON
      return give(held, reply, actorOf(keyOf(request)))
    }

  server.post(
    '/v1/chat/completions',
    {
      bodyLimit: GATEWAY_BYTES_MAX,
      config: { dialect: 'chat', access: 'open' },
      schema: {
        ...shared,
        summary: 'Chat Completions, as OpenAI has them',
        description: 'Streamed where `stream` is true. `x-muster-run` names the run that the request is.',
        body: chat,
        response: { 200: asIsOrStream, ...refusalsOf('chat') },
      },
    },
    answer('chat'),
  )
  server.post(
    '/v1/messages',
    {
      bodyLimit: GATEWAY_BYTES_MAX,
      config: { dialect: 'messages', access: 'open' },
      schema: {
        ...shared,
        summary: 'Messages, as Anthropic has them',
        body: messages,
        response: { 200: asIsOrStream, ...refusalsOf('messages') },
      },
    },
    answer('messages'),
  )
  server.post(
    '/v1/messages/count_tokens',
    {
      bodyLimit: GATEWAY_BYTES_MAX,
      config: { dialect: 'messages', access: 'open' },
      schema: {
        ...shared,
        summary: 'Count the tokens of a message, as Anthropic has it',
        description: 'Counted by Anthropic where the route leads there; else it is an estimate. It is no run.',
        body: messages,
        response: { 200: z.object({ input_tokens: z.number() }), ...refusalsOf('messages') },
      },
    },
    async (request, reply) => {
      const gone = new AbortController()
      reply.raw.on('close', () => gone.abort())
      const body = request.body as Body // by the schema, and JSON
      return { input_tokens: await need().countTokens(request, 'messages', { body, labels: [] }, gone.signal) }
    },
  )
  server.post(
    '/v1/embeddings',
    {
      bodyLimit: GATEWAY_BYTES_MAX,
      config: { dialect: 'embeddings', access: 'open' },
      schema: {
        ...shared,
        summary: 'Embeddings, as OpenAI has them',
        body: embeddings,
        response: { 200: asIs, ...refusalsOf('embeddings') },
      },
    },
    answer('embeddings'),
  )
  responseRoutes(server, context, need)
  modelRoutes(server, context, need)
  absentRoutes(server, need)
}

/** Every error leaves in the words of the vendor as whom the route speaks. */
function sendRefusals(server: Server): void {
  server.setErrorHandler((error: FastifyError, request, reply) => {
    const { dialect: spoken = 'chat' } = request.routeOptions.config
    // Both vendors have models at the same address.
    const isAnthropic = spoken === 'chat' && request.headers['anthropic-version'] !== undefined
    const dialect = isAnthropic ? 'messages' : spoken
    const known =
      error.code === 'FST_ERR_CTP_BODY_TOO_LARGE'
        ? new MusterError('request.too_large', `The body is larger than ${GATEWAY_BYTES_MAX >> 20} MB`)
        : knownError(error)
    if (known.status >= 500) request.log.warn({ err: error }, known.message)
    const { status, headers, body } = refusalFor({ name: clientOf(request.headers), dialect }, known)
    return reply.code(status).headers(headers).header('content-type', 'application/json').send(JSON.stringify(body))
  })
}
