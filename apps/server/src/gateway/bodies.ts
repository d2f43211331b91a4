import { Places } from '@muster/runtime'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Context, Server } from '../context.ts'
import { GATEWAY_BYTES_MAX } from './requests.ts'

/** Bytes of all bodies that are on their way, which are in memory until they are whole. */
const COMING_MAX = 16 * GATEWAY_BYTES_MAX

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
