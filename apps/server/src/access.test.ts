import fastify from 'fastify'
import { describe, expect, it } from 'vitest'
import { needAccess } from './access.ts'

/** A server to which routes are added as Muster's are. */
function server() {
  const app = fastify()
  app.addHook('onRoute', needAccess)
  return app
}

describe('a route that does not say who may use it', () => {
  it('is refused with what to write, and no server starts with it', async () => {
    const app = server()
    const why = "GET /v1/secrets does not say who may use it: give it a config, such as { access: ['operator'] }"
    expect(() => app.get('/v1/secrets', async () => 'all')).toThrow(why)
    await expect(
      app.register(async (scope) => scope.delete('/v1/secrets', { config: { follows: true } }, async () => 'gone')),
    ).rejects.toThrow('DELETE /v1/secrets does not say')
    expect(app.hasRoute({ method: 'GET', url: '/v1/secrets' })).toBe(false)
    await expect(app.ready()).rejects.toThrow('DELETE /v1/secrets does not say')
  })

  it('is there where it says so, as is one outside of /v1', async () => {
    const app = server()
    app.get('/v1/secrets', { config: { access: ['operator'] } }, async () => 'all')
    app.get('/healthz', async () => 'ok')
    await app.ready()
    expect(app.hasRoute({ method: 'HEAD', url: '/v1/secrets' })).toBe(true)
    await app.close()
  })
})
