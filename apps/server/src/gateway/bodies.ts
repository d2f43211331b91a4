import { exactJson, mayBeChanged } from '@muster/protocol'
import { Places } from '@muster/runtime'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Context, Server } from '../context.ts'
import { GATEWAY_BYTES_MAX } from './requests.ts'

/** Bytes of all bodies that are on their way, which are in memory until they are whole. */
const COMING_MAX = 16 * GATEWAY_BYTES_MAX

/**
 * Keeps each number of a body as it was written. What routes ask of bodies is looked at in one that was read as others are, so
 * that nothing else changes; one that may have such a number is then read once more.
 */
export function keepNumbers(server: Server): void {
  server.decorateRequest('written', null)
  const parse = server.getDefaultJsonParser('error', 'error')
  server.addContentTypeParser<string>('application/json', { parseAs: 'string' }, (request, text, done) => {
    if (mayBeChanged(text)) request.written = text
    return parse(request, text, done)
  })
  server.addHook('preHandler', (request: FastifyRequest, _reply: FastifyReply, done: () => void) => {
    // The default parser has passed over a mark of the order of bytes.
    if (request.written !== null) request.body = exactJson(request.written.replace(/^\ufeff/, ''))
    request.written = null
    done()
  })
}

/** Refuses bodies that would be too many at once: they may come slowly, and each may be large. */
export function boundBodies(server: Server, { keyOf }: Pick<Context, 'keyOf'>): void {
  const coming = new Places(COMING_MAX, 'bytes of bodies')
  server.decorateRequest('leaveBodies', null)

  server.addHook('onRequest', (request: FastifyRequest, reply: FastifyReply, done: () => void) => {
    const { headers } = request
    const isChunked = headers['transfer-encoding'] !== undefined
    // What says to be larger is refused for that.
    const size = isChunked ? GATEWAY_BYTES_MAX : Math.min(Number(headers['content-length'] ?? 0), GATEWAY_BYTES_MAX)
    if (size === 0) {
      done()
      return
    }
    const { tenant } = keyOf(request)
    coming.take(tenant, size)
    let isLeft = false
    const leave = () => {
      if (!isLeft) coming.leave(tenant, size)
      isLeft = true
    }
    request.leaveBodies = leave
    reply.raw.on('close', leave)
    done()
  })
  server.addHook('preValidation', (request: FastifyRequest, _reply: FastifyReply, done: () => void) => {
    request.leaveBodies?.()
    done()
  })
}
