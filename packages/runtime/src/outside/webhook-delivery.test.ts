import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Journal, Webhooks } from '@muster/journal'
import { newId, type WebhookPayload } from '@muster/protocol'
import { pino } from 'pino'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { stopRedis, theRedis } from '../fixture.ts'
import { startWebhooks } from './webhook-delivery.ts'

const received: string[] = []
const server = createServer((request, response) => {
  received.push(String(request.headers['webhook-id']))
  response.writeHead(204).end()
})
let journal: Journal
beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  journal = await Journal.open({ url: (await theRedis()).url, namespace: 'webhooks', partitions: 1 })
})
afterAll(async () => {
  server.close()
  await journal.close()
  await stopRedis()
})

it('reads the webhooks of a tenant once for all events that it takes at a time', async () => {
  const { redis } = journal
  const [{ keys }] = journal.partitions
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}` // it listens on a port
  const webhooks = new Webhooks(journal)
  const hook = { id: newId(), url, rotation: 0, createdAt: 0, rotatedAt: 0 }
  await webhooks.create('ann', { ...hook, events: ['run.failed'] })
  await webhooks.create('bob', { ...hook, id: newId(), events: ['run.succeeded'] })
  const payload: WebhookPayload = { type: 'run.succeeded', timestamp: '', data: {} }
  const add = (tenant: string, run: string) =>
    redis.xadd(keys.events, '*', 'run', run, 'seq', '1', 'tenant', tenant, 'payload', JSON.stringify(payload))
  for (let i = 0; i < 31; i++) await add('ann', newId())
  const theirs = newId()
  await add('bob', theirs)

  const reads: string[] = []
  const monitor = await redis.monitor()
  monitor.on('monitor', (_time: string, [command = '', key = '']: string[]) => {
    reads.push(`${command.toLowerCase()} ${key}`)
  })
  const log = pino({ level: 'silent' })
  const running = startWebhooks({ journal, worker: 'w', log, webhooks: { secret: 's', anywhere: true } })
  try {
    await expect.poll(() => received).toEqual([`evt_${theirs}_1`])
    await expect.poll(() => redis.xlen(keys.events)).toBe(0)
    await redis.echo('seen')
    await expect.poll(() => reads).toContain('echo seen')
    expect(reads.filter((read) => read === `hgetall ${keys.webhooks('ann')}`)).toHaveLength(1)
  } finally {
    monitor.disconnect()
    await running.close()
  }
})
