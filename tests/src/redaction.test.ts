import { createServer, type Server } from 'node:http'
import { fileURLToPath } from 'node:url'
import { createModels } from '@muster/models'
import type { RunEvent } from '@muster/protocol'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { clerk, REAL, writer } from './fixtures/redaction-app.ts'
import { ScriptedModel } from './fixtures/scripted-model.ts'
import { ended, type Harness, startHarness, until } from './harness.ts'

const rules = { kinds: { email: 'token', iban: 'token' }, patterns: [{ kind: 'employee-id', pattern: 'E\\d{6}' }] }
const app = fileURLToPath(new URL('./fixtures/redaction-app.ts', import.meta.url))

let harness: Harness
let redis: Redis
let proxy: Server
/** What was sent to the model server, to the byte. */
let sent = ''
/** Of the gateway's clients. */
const clientsModel = new ScriptedModel()

beforeAll(async () => {
  const target = { model: 'scripted', baseUrl: await clientsModel.listen(), apiKey: 'none', free: true }
  const policies = [{ file: 'all.cedar', text: 'permit (principal, action, resource);' }]
  harness = await startHarness(
    {
      MUSTER_REDACT: JSON.stringify(rules),
      MUSTER_REDACT_SECRET: 'a secret of the test, of 32 characters and more',
    },
    { gateway: { models: createModels({ routes: { default: target } }), policies: () => policies, lockMs: 1000 } },
  )
  proxy = createServer(async (request, response) => {
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part)
    const body = Buffer.concat(parts)
    sent += body.toString()
    const { url = '', method = 'POST' } = request
    const reply = await fetch(harness.modelUrl + url, { method, body, headers: { 'content-type': 'application/json' } })
    response.writeHead(reply.status, { 'content-type': reply.headers.get('content-type') ?? '' })
    response.end(Buffer.from(await reply.arrayBuffer()))
  })
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
  const address = proxy.address()
  const port = address !== null && typeof address === 'object' ? address.port : 0
  await harness.worker({ MUSTER_APP: app, MUSTER_MODEL_BASE_URL: `http://127.0.0.1:${port}/v1` })
  redis = new Redis(harness.redisUrl)
  // So that what is dumped can be read.
  await redis.config('SET', 'rdbcompression', 'no')
})
afterAll(async () => {
  redis.disconnect()
  proxy.close()
  clientsModel.close()
  await harness.close()
})

/** Every key of Redis with all that it holds, as bytes. */
async function everything(): Promise<string> {
  const keys = await redis.keys('*')
  const dumps = await Promise.all(keys.map((key) => redis.dumpBuffer(key)))
  return [...keys, ...dumps.map((dump) => dump?.toString('latin1') ?? '')].join('\n')
}

function expectNothingOf(real: readonly string[], where: string): void {
  for (const value of real) {
    expect(where).not.toContain(value)
    expect(where).not.toContain(value.replaceAll(' ', ''))
  }
}

const real = [...Object.values(REAL), 'bob@example.com', 'E123456', 'dora@example.com']

describe('a run of an agent', () => {
  it('leaves no byte of what is to be redacted in Redis or with the model, and a tool that reveals gets it', async () => {
    const { muster } = harness
    const to = { $ref: '#/steps/1.crm.read/output/to' }
    const output = '#/steps/1.crm.read/output'
    const run = await muster.runs.start(clerk, {
      turns: [
        { calls: [{ name: 'crm_read', arguments: { id: `E123456, asked by bob@example.com, call ${REAL.phone}` } }] },
        {
          calls: [
            { name: 'mail_send', arguments: { to, text: { $ref: `${output}/nested` } } },
            { name: 'note_write', arguments: { to, text: 'bob@example.com' } },
            { name: 'crm_fail', arguments: {} },
            { name: 'memory_save', arguments: { kind: 'customer', subject: 'bob@example.com', value: { mail: to } } },
          ],
        },
        { calls: [{ name: 'memory_find', arguments: { kind: 'customer', subject: 'bob@example.com' } }] },
        { answer: '$messages' },
      ],
    })
    const state = await until(run.get, ended)
    expect(state.status).toBe('succeeded')
    const stored = await everything()
    // The dump can be read, and has what came beside.
    expect(stored).toContain('A plain marker. Pays from [iban:')
    expect(sent).toContain('A plain marker. Pays from [iban:')
    expect(sent).toContain('In doubt ask [email:')
    expectNothingOf(real, stored)
    expectNothingOf(real, sent)
    expectNothingOf(real, JSON.stringify(state))
    const effects = harness.effects()
    const mailed = effects.find(({ effect }) => effect === 'sent')?.key ?? ''
    // The kind that it reveals, in a text that is JSON too; and no other.
    expect(mailed).toMatch(/^carla\.customer@example\.com \{/)
    expect(JSON.parse(mailed.slice(mailed.indexOf(' ') + 1))).toEqual({
      contact: { mail: `first\n${REAL.email}`, iban: expect.stringMatching(/^\[iban:[\w-]+\]$/) },
    })
    expect(effects.find(({ effect }) => effect === 'noted')?.key).toMatch(/^\[email:[\w-]+\] \[email:[\w-]+\]$/)
    const events: RunEvent[] = []
    for await (const event of run.events()) events.push(event)
    expectNothingOf(real, JSON.stringify(events))
    const counts = (type: string, step?: string) =>
      events.flatMap(({ entry }) =>
        entry.type === type && (step === undefined || ('step' in entry && entry.step === step))
          ? ['redacted' in entry ? entry.redacted : undefined]
          : [],
      )
    expect(counts('run.created')).toEqual([{ 'employee-id': 1, email: 4, phone: 1 }])
    expect(counts('step.ended', '1.crm.read')).toEqual([{ email: 3, iban: 2, secret: 1 }])
    expect(counts('step.ended', '2.crm.fail')).toEqual([{ email: 1 }])
    // A fact is found again by a token, since the same value gives the same.
    const found = events.find(({ entry }) => entry.type === 'step.ended' && entry.step === '3.memory.find')
    expect(found?.content).toEqual({ value: { mail: expect.stringMatching(/^\[email:/) } })
  })
})

describe('a run of a plan as code', () => {
  it('has its signals, what its code writes and its output redacted, and goes on after a crash', async () => {
    const { muster } = harness
    const run = await muster.runs.start(writer, { name: 'dora' })
    await until(run.get, ({ status }) => status === 'waiting')
    await harness.killWorkers()
    await harness.worker({ MUSTER_APP: app })
    await muster.request('POST', `/v1/runs/${run.id}/signals/go`, { payload: { to: 'bob@example.com' } })
    expect(await run.result()).toMatch(/^wrote to \[email:[\w-]+\]$/)
    expect(harness.effects().find(({ key }) => key.startsWith('bob'))?.key).toBe('bob@example.com for dora@example.com')
    expectNothingOf(real, await everything())
  })
})

describe('a request through the gateway', () => {
  it('leaves no byte of what is to be redacted in Redis or with the model, and what models write about it neither', async () => {
    clientsModel.script = ({ body }) => ({
      text: `carol@example.com, of ${JSON.stringify(body.messages)}`,
      calls: [{ name: 'mail', arguments: { to: 'carol@example.com' } }],
    })
    for (const stream of [false, true]) {
      const answer = await fetch(`${harness.url}/v1/chat/completions`, {
        method: 'POST',
        headers: { authorization: `Bearer ${harness.key}`, 'content-type': 'application/json' },
        body: JSON.stringify({
          ...{ model: 'default', stream },
          messages: [{ role: 'user', content: 'Tell bob@example.com of E123456.' }],
          tools: [{ type: 'function', function: { name: 'mail', parameters: { type: 'object' } } }],
        }),
      })
      expect(answer.status).toBe(200)
      expect(await answer.text()).toContain('[employee-id]')
      const run = answer.headers.get('x-muster-run') ?? ''
      const state = await until(() => harness.muster.runs.get(run), ended)
      expect(state.status).toBe('succeeded')
      expect(JSON.stringify(state)).toContain('[email:')
    }
    const asked = JSON.stringify(clientsModel.asked)
    expect(asked).toMatch(/Tell \[email:[\w-]+\] of \[employee-id\]/)
    expectNothingOf(real, asked)
    expectNothingOf([...real, 'carol@example.com'], await everything())
  })

  it('has its numbers passed on as they were written: numbers are not looked at', async () => {
    const card = '4111111111111111110'
    clientsModel.script = () => ({ text: 'carol@example.com' })
    const numbers = `{"id":9007199254740993,"card":${card},"rate":0.12345678901234567891}`
    for (const said of ['nothing', `bob@example.com with ${card}`]) {
      const tools = `[{"type":"function","name":"pay","parameters":{"enum":[${numbers}]}}]`
      const answer = await fetch(`${harness.url}/v1/responses`, {
        method: 'POST',
        headers: { authorization: `Bearer ${harness.key}`, 'content-type': 'application/json' },
        body: `{"model":"default","input":"${said}","metadata":${numbers},"tools":${tools}}`,
      })
      expect(answer.status, await answer.text()).toBe(200)
      const asked = clientsModel.asked.at(-1)?.text ?? ''
      expect(asked).toContain(`"enum":[${numbers}]`)
      if (said !== 'nothing') expect(asked).toMatch(/"\[email:[\w-]+\] with \[credit-card\]"/)
      const stored = await fetch(`${harness.url}/v1/responses/resp_${answer.headers.get('x-muster-run')}`, {
        headers: { authorization: `Bearer ${harness.key}` },
      })
      const text = await stored.text()
      expect(text).toMatch(/"\[email:[\w-]+\]"/)
      expect(text).toContain(`"metadata":${numbers}`)
    }
  })
})
