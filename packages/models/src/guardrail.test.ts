import type { ServerResponse } from 'node:http'
import { ACCESS_KEY, bedrockServer, refuse, SECRET_KEY, type Seen } from '@muster/stack/bedrock-server'
import { afterAll, beforeAll, beforeEach, expect, it, vi } from 'vitest'
import { guarded } from './guardrail.ts'
import type { ModelMessage } from './message.ts'
import { createModels, type Models } from './models.ts'

const MAIL = /[a-z]+@example\.com/g
let server: Awaited<ReturnType<typeof bedrockServer>>
let models: Models
/** What the model writes, and how the guardrail answers where it is not as usual. */
let says: object[] = []
let strange: ((response: ServerResponse) => void) | undefined

/** A guardrail that masks addresses of mail and blocks what is violent, as Bedrock's would say it. */
function guardrail(response: ServerResponse, { body }: Seen): void {
  if (strange) {
    strange(response)
    return
  }
  const [{ text: { text = '' } = {} } = {}] = body.content as { text?: { text: string } }[]
  const mails = text.match(MAIL) ?? []
  const isViolent = text.includes('fight')
  const piiEntities = mails.map((match) => ({ match, type: 'EMAIL', action: 'ANONYMIZED', detected: true }))
  const filters = isViolent ? [{ type: 'VIOLENCE', confidence: 'HIGH', action: 'BLOCKED', detected: true }] : []
  const found = mails.length > 0 || isViolent
  const answer = {
    action: found ? 'GUARDRAIL_INTERVENED' : 'NONE',
    outputs: found ? [{ text: isViolent ? 'Blocked.' : text.replace(MAIL, '{EMAIL}') }] : [],
    assessments: [{ sensitiveInformationPolicy: { piiEntities, regexes: [] }, contentPolicy: { filters } }],
    usage: { topicPolicyUnits: 0 },
  }
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
}

beforeAll(async () => {
  vi.stubEnv('AWS_ACCESS_KEY_ID', ACCESS_KEY)
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', SECRET_KEY)
  server = await bedrockServer((response, seen) => {
    if (seen.path.startsWith('/guardrail/')) return guardrail(response, seen)
    const output = { message: { role: 'assistant', content: says } }
    const usage = { inputTokens: 10, outputTokens: 5, totalTokens: 15 }
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ output, stopReason: 'end_turn', usage }))
  })
  const { endpoint } = server
  const target = { bedrock: { model: 'nova', region: 'eu-central-1', endpoint }, free: true }
  const setting = { id: 'gr-1', version: '2', region: 'eu-central-1', endpoint }
  models = guarded(createModels({ routes: { default: target } }), setting)
})
beforeEach(() => {
  server.seen.length = 0
  strange = undefined
  says = [{ text: 'Fine.' }]
})
afterAll(() => {
  server.close()
  vi.unstubAllEnvs()
})

const user = (content: string): ModelMessage => ({ role: 'user', content })
const checks = () =>
  server.seen.filter(({ path }) => path === '/guardrail/gr-1/version/2/apply').map(({ body }) => body)
const asked = () => server.seen.filter(({ path }) => path.startsWith('/model/')).map(({ body }) => body)

it('masks what a model is sent and what it writes, counts it, and looks at a message once', async () => {
  says = [
    { text: 'Written to ben@example.com.' },
    { toolUse: { toolUseId: 'c1', name: 'send', input: { to: 'ann@example.com' } } },
  ]
  const messages = [{ role: 'system' as const, content: 'Help bob@example.com.' }, user('I am ann@example.com')]
  const deltas: string[] = []
  const reply = await models.invoke('default', { messages, onDelta: (text) => deltas.push(text) })
  expect(reply).toMatchObject({
    text: 'Written to {EMAIL}.',
    toolCalls: [{ arguments: '{"to":"{EMAIL}"}' }],
    guardrail: { 'pii.EMAIL': 3 },
    usage: { inputTokens: 10 },
  })
  expect(deltas).toEqual([])
  expect(asked()).toMatchObject([{ messages: [{ content: [{ text: 'I am {EMAIL}' }] }] }])
  expect(checks().map(({ source }) => source)).toEqual(['INPUT', 'OUTPUT', 'OUTPUT'])

  server.seen.length = 0
  says = [{ text: 'Fine.' }]
  const later = [...messages, { role: 'tool' as const, callId: 'c1', content: 'sent' }]
  expect(await models.invoke('default', { messages: later })).not.toHaveProperty('guardrail')
  expect(checks()).toMatchObject([{ content: [{ text: { text: 'sent' } }] }, { source: 'OUTPUT' }])
  expect(JSON.stringify(asked())).not.toContain('ann@')
  await models.invoke('default', { messages: [user('x'.repeat(50_000))] })
  expect(checks()).toHaveLength(2 + 3 + 1)
})

it('passes on nothing that is blocked, and says what was found and not its text', async () => {
  const refused = await models
    .invoke('default', { messages: [user('a fight, ann@example.com')] })
    .catch((error) => error)
  expect(refused).toMatchObject({ code: 'model.blocked', message: expect.stringContaining('1 content.VIOLENCE') })
  expect(refused.message).not.toContain('ann')
  expect(asked()).toEqual([])
  says = [{ text: 'a fight' }]
  await expect(models.invoke('default', { messages: [user('hello')] })).rejects.toMatchObject({
    code: 'model.blocked',
    message: expect.stringContaining('what the model wrote'),
  })
})

it.each<[string, (response: ServerResponse) => void, string]>([
  ['is overloaded', (response) => refuse(response, 503, 'ServiceUnavailableException', 'busy'), 'model.unavailable'],
  ['throttles', (response) => refuse(response, 429, 'ThrottlingException', 'slow'), 'rate.limited'],
  ['refuses', (response) => refuse(response, 403, 'AccessDeniedException', 'no'), 'model.failed'],
  ['resets', (response) => response.destroy(), 'model.unavailable'],
  ['intervenes and does not say why', (response) => response.end('{"action":"GUARDRAIL_INTERVENED"}'), 'model.blocked'],
  ['says what nobody knows', (response) => response.end('{"action":"MAYBE"}'), 'model.blocked'],
])('asks no model where the guardrail %s', async (_, answer, code) => {
  strange = answer
  await expect(models.invoke('default', { messages: [user('hello')] })).rejects.toMatchObject({ code })
  expect(asked()).toEqual([])
})

it('lets nothing by unseen: no image, and nothing of a client of the gateway', async () => {
  const image = { type: 'image' as const, mediaType: 'image/png', data: 'AAAA' }
  const unsupported = { code: 'model.unsupported' }
  await expect(models.invoke('default', { messages: [{ role: 'user', content: [image] }] })).rejects.toMatchObject(
    unsupported,
  )
  const request = { dialect: 'chat' as const, body: {}, signal: new AbortController().signal, idempotencyKey: 'k' }
  await expect(models.relay('default', request)).rejects.toMatchObject(unsupported)
  expect(server.seen).toEqual([])
})
