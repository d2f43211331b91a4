import { ledgerConsistency, ledgerHead, ledgerReceipt } from '@muster/protocol'
import { z } from 'zod'
import { refusal } from './access.ts'
import type { Context, Server } from './context.ts'
import { problemsOf } from './problems.ts'
import { isRoleless } from './roleless.ts'

const tags = ['ledger']
const security = [{ key: [] }]
const size = z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER)
const problems = problemsOf(401, 404, 500, 503)

/** Routes of the ledger of a key's own tenant. Under `/v1/ledger` lies what C2SP tlog-tiles describes. */
export function ledgerRoutes(server: Server, { ledger, keyOf }: Context): void {
  server.get(
    '/v1/ledger',
    {
      config: { access: 'open' },
      schema: { tags, security, summary: 'The ledger as it is now', response: { 200: ledgerHead, ...problems } },
    },
    (request) => ledger.head(keyOf(request).tenant),
  )

  server.get(
    '/v1/ledger/checkpoint',
    {
      config: { access: 'open' },
      schema: {
        tags,
        security,
        summary: "The ledger's signed checkpoint (C2SP tlog-checkpoint)",
        produces: ['text/plain'],
        response: { 200: z.string(), ...problems },
      },
    },
    async (request, reply) => {
      const { checkpoint } = await ledger.head(keyOf(request).tenant)
      return reply
        .header('content-type', 'text/plain; charset=utf-8')
        .header('cache-control', 'no-cache')
        .serializer(String)
        .send(checkpoint)
    },
  )

  server.get(
    '/v1/ledger/tile/*',
    {
      config: { access: 'own' },
      schema: {
        tags,
        security,
        summary: 'A tile of hashes, or under `entries` a bundle of leaves (C2SP tlog-tiles)',
        description:
          '`tile/<level>/<index>` and `tile/entries/<index>`, with `.p/<width>` where it is partial. A key without a role is given hashes, and no leaves, which name runs.',
        params: z.object({ '*': z.string().max(100) }),
        produces: ['application/octet-stream'],
        response: { 200: z.custom<Buffer>(), ...problems },
      },
    },
    async (request, reply) => {
      const who = keyOf(request)
      const place = request.params['*']
      // Leaves name all runs; for the proof of one its receipt and the hashes are enough.
      if (isRoleless(who) && place.startsWith('entries')) throw refusal('any-role')
      const bytes = await ledger.tile(who.tenant, `tile/${place}`)
      return reply
        .header('content-type', 'application/octet-stream')
        .header('cache-control', 'private, max-age=31536000, immutable')
        .send(Buffer.from(bytes))
    },
  )

  server.get(
    '/v1/ledger/consistency',
    {
      config: { access: 'open' },
      schema: {
        tags,
        security,
        summary: 'The proof that the ledger only grew',
        querystring: z.object({ from: size, to: size.optional().describe('now, unless given') }),
        response: { 200: ledgerConsistency, ...problemsOf(400, 401, 404, 500, 503) },
      },
    },
    (request) => ledger.consistency(keyOf(request).tenant, request.query.from, request.query.to),
  )

  server.get(
    '/v1/runs/:id/receipt',
    {
      config: { access: 'own-run' },
      schema: {
        tags,
        security,
        summary: "The proof that a run's head is in the ledger",
        params: z.object({ id: z.string().max(64).describe('run id') }),
        response: { 200: ledgerReceipt, ...problems },
      },
    },
    (request) => ledger.receipt(keyOf(request).tenant, request.params.id),
  )
}
