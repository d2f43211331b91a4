import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { openMemory } from '@muster/memory'
import { createMuster, verifyWebhook } from '@muster/sdk'
import { createServer as createApi, newApiKey } from '@muster/server'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { actor, chain } from './fixtures/app.ts'
import { type Harness, startHarness, stopProcess, until } from './harness.ts'

interface Received {
  headers: IncomingHttpHeaders
  body: string
  at: number
}

/** A receiver on a port of its own, which answers as it is told. */
class Receiver {
  readonly received: Received[] = []
  readonly #server: Server
  answer: (count: number) => number | 'never' = () => 204

  constructor() {
    this.#server = createServer(async (request, response) => {
      let body = ''
      for await (const part of request) body += part
      this.received.push({ headers: request.headers, body, at: Date.now() })
      const status = this.answer(this.received.length)
      if (status !== 'never') response.writeHead(status).end()
    })
  }

  async url(): Promise<string> {
    if (!this.#server.listening) await new Promise<void>((done) => this.#server.listen(0, '127.0.0.1', done))
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/hook` // it listens on a port
  }

  /** Those of a run, in order. */
  of(run: string): Received[] {
    return this.received.filter(({ body }) => JSON.parse(body).data.run === run)
  }

  close(): void {
    this.#server.closeAllConnections()
    this.#server.close()
  }
}

let harness: Harness
let muster: Harness['muster']
const receivers: Receiver[] = []

async function receiver(): Promise<{ receiver: Receiver; url: string }> {
  const made = new Receiver()
  receivers.push(made)
  return { receiver: made, url: await made.url() }
}

beforeAll(async () => {
  harness = await startHarness({
    MUSTER_SECRET: 'the secret of these tests, no other',
    MUSTER_WEBHOOKS: 'anywhere',
    MUSTER_WEBHOOK_PAUSES_MS: '200,200,200',
    MUSTER_PARTITIONS: '2',
  })
  muster = harness.muster
  // Makes the definitions known.
  await stopProcess(await harness.worker())
})
afterEach(async () => {
  await harness.killWorkers()
  for (const { id } of await muster.webhooks.list()) await muster.webhooks.remove(id)
  for (const made of receivers.splice(0)) made.close()
})
afterAll(() => harness.close())

const header = ({ headers }: Received, name: string) => String(headers[name])
const verified = (one: Received, secret: string) =>
  verifyWebhook(one.body, { ...(one.headers as Record<string, string>) }, secret)

describe('a webhook', () => {
  it('is told of its tenant’s runs that end or wait for a person, signed, and of no others', async () => {
    const { receiver: all, url } = await receiver()
    const { receiver: failures, url: failuresUrl } = await receiver()
    const { receiver: stranger, url: strangersUrl } = await receiver()
    const { secret } = await muster.webhooks.create({ url })
    await muster.webhooks.create({ url: failuresUrl, events: ['run.failed'] })
    const theirs = await harness.stranger.webhooks.create({ url: strangersUrl })
    await harness.worker()
    const good = await muster.runs.start(chain, { n: 1, ms: 0 })
    const paying = await muster.runs.start(actor, {
      turns: [{ calls: [{ name: 'world_pay', arguments: { amount: 5000 } }] }, { answer: 1 }],
    })
    const bad = await muster.runs.start({ steps: { pay: { tool: 'world.check', input: {} } } }, {})
    await until(
      () => [...all.of(good.id), ...all.of(paying.id), ...all.of(bad.id)],
      ({ length }) => length === 3,
    )
    const [succeeded] = all.of(good.id)
    if (!succeeded) throw new Error('nothing came')
    expect(verified(succeeded, secret)).toEqual({
      type: 'run.succeeded',
      timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
      data: { run: good.id, kind: 'plan', name: 'chain', version: '1.0.0' },
    })
    expect(header(succeeded, 'webhook-id')).toMatch(new RegExp(`^evt_${good.id}_\\d+$`))
    expect(() => verified({ ...succeeded, body: `${succeeded.body} ` }, secret)).toThrow('signature')
    expect(all.of(paying.id).map((one) => verified(one, secret))).toMatchObject([
      { type: 'run.waiting', data: { waiting: [{ step: '1.world.pay', for: 'approval', role: 'controller' }] } },
    ])
    expect(all.of(bad.id).map((one) => verified(one, secret))).toMatchObject([
      { type: 'run.failed', data: { error: { code: 'input.invalid' } } },
    ])
    await until(
      () => failures.received,
      ({ length }) => length === 1,
    )
    expect(failures.of(bad.id)).toHaveLength(1)
    await paying.cancel()
    await until(
      () => all.of(paying.id),
      ({ length }) => length === 2,
    )
    expect(stranger.received).toEqual([])
    await expect(muster.webhooks.get(theirs.id)).rejects.toMatchObject({ code: 'webhook.not_found' })
    await harness.stranger.webhooks.remove(theirs.id)
  })

  it('is told again under the same id until it takes it, and what became of each attempt can be read', async () => {
    const { receiver: hook, url } = await receiver()
    hook.answer = (count) => (count < 3 ? 500 : 200)
    const { id, secret } = await muster.webhooks.create({ url })
    await harness.worker()
    const run = await muster.runs.start(chain, { n: 1, ms: 0 })
    const received = await until(
      () => hook.of(run.id),
      ({ length }) => length === 3,
    )
    expect(new Set(received.map((one) => header(one, 'webhook-id'))).size).toBe(1)
    for (const one of received) verified(one, secret)
    const deliveries = await until(
      () => muster.webhooks.deliveries(id),
      ({ length }) => length === 3,
    )
    expect(deliveries.map(({ attempt, delivered, status }) => [attempt, delivered, status])).toEqual([
      [3, true, 200],
      [2, false, 500],
      [1, false, 500],
    ])
    expect(deliveries[1]?.nextAt).toBeGreaterThan(deliveries[1]?.at ?? 0)
    // It can be sent once more, and not what was never sent.
    const event = deliveries[0]?.event ?? ''
    expect(await muster.webhooks.replay(id, { event })).toEqual([event])
    await until(
      () => hook.of(run.id),
      ({ length }) => length === 4,
    )
    expect(await muster.webhooks.replay(id, { since: 0 })).toEqual([])
    await expect(muster.webhooks.replay(id, { event: 'evt_none' })).rejects.toMatchObject({
      code: 'delivery.not_found',
    })
  })

  it('is disabled when it is gone, or takes nothing for long; then nothing is sent until it is enabled', async () => {
    const { receiver: gone, url: goneUrl } = await receiver()
    const { receiver: broken, url: brokenUrl } = await receiver()
    gone.answer = () => 410
    broken.answer = () => 503
    const one = await muster.webhooks.create({ url: goneUrl })
    const other = await muster.webhooks.create({ url: brokenUrl })
    await harness.worker()
    const run = await muster.runs.start(chain, { n: 1, ms: 0 })
    const disabled = async (id: string) => (await muster.webhooks.get(id)).disabled?.reason
    expect(
      await until(
        () => disabled(one.id),
        (reason) => reason !== undefined,
      ),
    ).toContain('410')
    expect(
      await until(
        () => disabled(other.id),
        (reason) => reason !== undefined,
      ),
    ).toMatch(/could not be delivered in 4 attempts/)
    expect(gone.received).toHaveLength(1)
    expect(broken.of(run.id)).toHaveLength(4)
    await (await muster.runs.start(chain, { n: 1, ms: 0 })).result()
    broken.answer = () => 200
    expect((await muster.webhooks.replace(other.id, { url: brokenUrl })).disabled).toBeUndefined()
    expect(await muster.webhooks.replay(other.id, { since: run ? 0 : 1 })).toHaveLength(1)
    await until(
      () => broken.of(run.id),
      ({ length }) => length === 5,
    )
    expect(broken.received).toHaveLength(5)
  })

  it('loses nothing when workers are killed, nor when one hangs', { timeout: 90_000 }, async () => {
    const { receiver: hook, url } = await receiver()
    const { receiver: slow, url: slowUrl } = await receiver()
    slow.answer = () => 'never'
    await muster.webhooks.create({ url })
    await muster.webhooks.create({ url: slowUrl })
    const workers = await Promise.all([harness.worker(), harness.worker()])
    const runs = await muster.runs.startMany(
      chain,
      Array.from({ length: 60 }, () => ({ input: { n: 1, ms: 20 } })),
    )
    for (const worker of workers) {
      await new Promise((resolve) => setTimeout(resolve, 400))
      await stopProcess(worker, 'SIGKILL')
      await harness.worker()
    }
    const ids = runs.flatMap((started) => (started.run ? [started.run.id] : []))
    expect(ids).toHaveLength(60)
    await until(
      () => ids.filter((id) => hook.of(id).length === 0),
      ({ length }) => length === 0,
      80_000,
    )
    for (const id of ids) expect(new Set(hook.of(id).map((one) => header(one, 'webhook-id'))).size).toBe(1)
  })

  it('signs with the old secret as well for a while after it got a new one', async () => {
    const { receiver: hook, url } = await receiver()
    const { id, secret } = await muster.webhooks.create({ url })
    const rotated = await muster.webhooks.rotate(id)
    expect(rotated.secret).not.toBe(secret)
    await harness.worker()
    const event = await muster.webhooks.test(id)
    const [ping] = await until(
      () => hook.received,
      ({ length }) => length === 1,
    )
    if (!ping) throw new Error('nothing came')
    expect(header(ping, 'webhook-id')).toBe(event)
    for (const either of [secret, rotated.secret]) expect(verified(ping, either).type).toBe('ping')
    // What is not told twice is told nowhere else.
    expect(JSON.stringify([await muster.webhooks.list(), await muster.webhooks.get(id)])).not.toContain('whsec_')
  })
})

describe('an address that is not right', () => {
  it('is refused, also when only its name leads inside', async () => {
    const keys = newApiKey({ id: 'k', tenant: 'strict', user: 'u', roles: ['operator'] })
    const memory = await openMemory({ table: 'muster', endpoint: harness.dynamoEndpoint })
    const api = await createApi({
      ...{ redisUrl: harness.redisUrl, namespace: harness.namespace, partitions: 2, memory, keys: [keys.stored] },
      secret: 'the secret of these tests, no other',
    })
    try {
      const strict = createMuster({ url: await api.listen('127.0.0.1', 0), key: keys.key })
      for (const url of [
        'http://example.com/hook',
        'https://127.0.0.1/hook',
        'https://[::1]/hook',
        'https://169.254.169.254/latest/meta-data',
        'https://10.0.0.1/',
        'https://[::ffff:10.0.0.1]/',
        'https://user:password@example.com/',
      ])
        await expect(strict.webhooks.create({ url })).rejects.toMatchObject({
          ...{ code: 'webhook.invalid', issues: [{ path: '/url' }] },
        })
      // The name is looked at when it is connected to: a worker that may not send there does not.
      await strict.webhooks.create({ url: 'https://localhost/hook' })
      await harness.worker({ MUSTER_WEBHOOKS: 'public' })
      const [made] = await strict.webhooks.list()
      await strict.webhooks.test(made?.id ?? '')
      const attempts = await until(
        () => strict.webhooks.deliveries(made?.id ?? ''),
        ({ length }) => length > 0,
      )
      expect(attempts[0]).toMatchObject({ delivered: false, error: 'localhost is no public address' })
    } finally {
      await api.close()
      memory.close()
    }
  })

  it.each([
    [{ url: 'nonsense' }, 'request.invalid'],
    [{ url: 'ftp://example.com' }, 'request.invalid'],
    [{ url: 'https://example.com', events: ['run.paid'] }, 'request.invalid'],
    [{ url: 'https://example.com', events: [] }, 'request.invalid'],
    [{ url: 'https://example.com', secret: 'mine' }, 'request.invalid'],
  ])('%j gets %s', async (body, code) => {
    await expect(muster.request('POST', '/v1/webhooks', body)).rejects.toMatchObject({ code })
  })

  it('is one of twenty at most', async () => {
    for (let i = 0; i < 20; i++) await muster.webhooks.create({ url: `https://example.com/${i}` })
    await expect(muster.webhooks.create({ url: 'https://example.com/more' })).rejects.toMatchObject({
      code: 'webhook.too_many',
    })
    expect(await muster.webhooks.list()).toHaveLength(20)
  })
})
