import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { openMemory } from '@muster/memory'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { actor, chain, gazer, viewer } from './fixtures/app.ts'
import { type Harness, runCli, startHarness, unhurried, until } from './harness.ts'

let harness: Harness
let muster: Harness['muster']

beforeAll(async () => {
  harness = await startHarness()
  muster = harness.muster
})
afterEach(() => harness.killWorkers())
afterAll(() => harness.close())

const looking = (ms: number) => ({
  turns: [{ calls: [{ name: 'world_look', arguments: { what: 'sky', ms } }] }, { answer: '$messages' }],
})
const looks = (run: string) => harness.effects().filter(({ effect, key }) => effect === 'look' && key.startsWith(run))

interface Shown {
  role: string
  content: string
}

async function shown(run: { result(): Promise<unknown> }): Promise<Shown[]> {
  const { answer } = (await run.result()) as { answer: Shown[] }
  return answer.slice(-3)
}

it('an agent hears what a person says between two turns, once, whichever worker dies', async () => {
  const worker = await harness.worker()
  const run = await muster.runs.start(actor, looking(1500))
  await until(
    () => looks(run.id),
    ({ length }) => length === 1,
  )
  await run.say('look up', { idempotencyKey: 'once' })
  await run.say('look up', { idempotencyKey: 'once' })
  worker.kill('SIGKILL')
  await harness.worker()
  const messages = await shown(run)
  expect(messages.map(({ role }) => role)).toEqual(['assistant', 'tool', 'user'])
  expect(messages.at(-1)?.content).toBe('look up')
})

it('what is under way is cancelled when the person interrupts', async () => {
  await harness.worker(unhurried)
  const run = await muster.runs.start(actor, looking(120_000))
  await until(
    () => looks(run.id),
    ({ length }) => length === 1,
  )
  await run.say('never mind', { interrupt: true })
  const messages = await shown(run)
  expect(JSON.parse(messages[1]?.content ?? '')).toEqual({
    error: { code: 'run.cancelled', message: 'interrupted' },
  })
  expect(messages[2]).toMatchObject({ role: 'user', content: 'never mind' })
})

it('is refused for a plan, and for a stranger', async () => {
  await harness.worker(unhurried)
  const run = await muster.runs.start(chain, { n: 1, ms: 1000 })
  await expect(run.say('hello')).rejects.toMatchObject({ code: 'signal.unknown' })
  await expect(harness.stranger.runs.of(run.id).say('hello')).rejects.toMatchObject({ code: 'run.not_found' })
  await expect(run.say('')).rejects.toMatchObject({ code: 'request.invalid' })
})

it('images and files come to the model in the form of each vendor, from who starts it, who speaks to it and a tool', async () => {
  const image = Buffer.from('\xff\xd8\xff\xe0 a photo', 'latin1').toString('base64')
  const pdf = Buffer.from(`%PDF-1.7 a page${' '.repeat(5000)}`).toString('base64')
  const bodies: { url: string; body: Record<string, never> }[] = []
  const said = Promise.withResolvers<void>()
  // Responses and Converse are overloaded, so that each is asked, and Anthropic answers.
  const vendors = createServer(async (request, response) => {
    let text = ''
    for await (const piece of request) text += piece
    const url = request.url ?? ''
    bodies.push({ url, body: JSON.parse(text) })
    if (!url.endsWith('/messages')) return void response.writeHead(503).end('{}')
    await said.promise
    const isFirst = !text.includes('tool_result')
    const block = isFirst
      ? { type: 'tool_use', id: 't1', name: 'world_photo', input: {} }
      : { type: 'text', text: 'I have seen it' }
    const usage = { input_tokens: 9, output_tokens: 3 }
    const events = [
      { type: 'message_start', message: { type: 'message', model: 'claude', content: [], usage } },
      { type: 'content_block_start', index: 0, content_block: block },
      { type: 'content_block_stop', index: 0 },
      { type: 'message_delta', delta: { stop_reason: isFirst ? 'tool_use' : 'end_turn' }, usage },
      { type: 'message_stop' },
    ]
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.end(events.map((one) => `event: ${one.type}\ndata: ${JSON.stringify(one)}\n\n`).join(''))
  })
  await new Promise<void>((resolve) => vendors.listen(0, '127.0.0.1', resolve))
  const at = `http://127.0.0.1:${(vendors.address() as AddressInfo).port}`
  const price = { inputUsd: 0, cachedUsd: 0, outputUsd: 0 }
  const policy = join(harness.dir, 'near.cedar')
  writeFileSync(
    policy,
    'permit (principal, action, resource);\n@id("near") forbid (principal, action == Action::"model:invoke", resource) when { context.region == "far" };',
  )
  await harness.worker({
    ...{ ...unhurried, MUSTER_POLICY: policy, VENDOR_KEY: 'key-of-vendor' },
    MUSTER_MODELS: JSON.stringify({
      default: [{ openai: { model: 'scripted', baseUrl: `${harness.modelUrl}/v1` }, price }],
      sight: [
        { anthropic: { model: 'm', baseUrl: at }, key: 'VENDOR_KEY', price, about: { inputs: ['text', 'image'] } },
      ],
      eyes: [
        { openai: { model: 'm', baseUrl: `${at}/v1` }, price, region: 'far' },
        { openai: { model: 'blind', baseUrl: `${at}/v1` }, price, about: { inputs: ['text'] } },
        { openai: { model: 'm', baseUrl: `${at}/v1`, api: 'responses' }, price },
        { bedrock: { model: 'm', region: 'eu-central-1', endpoint: at }, key: 'VENDOR_KEY', price },
        { anthropic: { model: 'm', baseUrl: at }, key: 'VENDOR_KEY', price },
      ],
    }),
  })
  const bad = muster.runs.start('viewer', [{ type: 'image', mediaType: 'image/png', data: image }])
  await expect(bad).rejects.toMatchObject({ code: 'input.invalid', issues: [{ path: '/input/0/data' }] })
  const cli = { MUSTER_URL: harness.url, MUSTER_KEY: harness.key }
  const [photo, page] = [join(harness.dir, 'photo'), join(harness.dir, 'page.pdf')]
  writeFileSync(photo, Buffer.from(image, 'base64'))
  writeFileSync(page, Buffer.from(pdf, 'base64'))
  const options = ['--input', '"What is this?"', '--file', photo, '--session', 'seen', '--detach']
  const run = muster.runs.of((await runCli(['run', 'viewer', ...options], cli)).out.trim())
  await until(
    () => bodies,
    ({ length }) => length === 3,
  )
  await expect(run.say([{ type: 'file', name: 'a', mediaType: 'application/pdf', data: image }])).rejects.toThrow(
    'does not begin as application/pdf does',
  )
  expect(await runCli(['say', run.id, 'and this', '--file', page], cli)).toMatchObject({ code: 0 })
  // Its worker has heard it.
  for await (const { entry } of run.events()) if (entry.type === 'signal.received') break
  said.resolve()
  expect(await run.result()).toBe('I have seen it')
  const [responses, converse, messages] = bodies.slice(-3).map(({ body }) => body)
  expect(bodies.map(({ url }) => url.split('/').at(-1))).toEqual([
    ...['responses', 'converse-stream', 'messages'],
    ...['responses', 'converse-stream', 'messages'],
  ])
  const told = '{"ref":"#/steps/1.world.photo/output","output":{"of":"the sky","image":{"type":"image","part":1}}}'
  const pixel = expect.stringMatching(/^iVBOR/)
  expect(responses?.input).toMatchObject([
    { role: 'system' },
    {
      role: 'user',
      content: [
        { type: 'input_text', text: 'What is this?' },
        { type: 'input_image', image_url: `data:image/jpeg;base64,${image}` },
      ],
    },
    { type: 'function_call', name: 'world_photo' },
    {
      type: 'function_call_output',
      output: [
        { type: 'input_text', text: told },
        { type: 'input_image', image_url: expect.stringMatching(/^data:image\/png;base64,iVBOR/) },
      ],
    },
    {
      role: 'user',
      content: [
        { type: 'input_text', text: 'and this' },
        { type: 'input_file', filename: 'page.pdf', file_data: `data:application/pdf;base64,${pdf}` },
      ],
    },
  ])
  expect(converse?.messages).toMatchObject([
    { content: [{ text: 'What is this?' }, { image: { format: 'jpeg', source: { bytes: image } } }] },
    { role: 'assistant' },
    {
      content: [
        { toolResult: { content: [{ text: told }, { image: { format: 'png', source: { bytes: pixel } } }] } },
        { text: 'and this' },
        { document: { format: 'pdf', name: 'page pdf', source: { bytes: pdf } } },
      ],
    },
  ])
  expect(messages?.messages).toMatchObject([
    {
      content: [
        { type: 'text', text: 'What is this?' },
        { type: 'image', source: { type: 'base64', media_type: 'image/jpeg', data: image } },
      ],
    },
    { role: 'assistant' },
    {
      content: [
        { type: 'tool_result', content: [{ text: told }, { type: 'image', source: { data: pixel } }] },
        { type: 'text', text: 'and this' },
        { type: 'document', title: 'page.pdf', source: { media_type: 'application/pdf', data: pdf } },
      ],
    },
  ])
  const steps = []
  for await (const { entry } of run.events())
    if (entry.type === 'step.ended' && entry.kind === 'model') steps.push(entry.via?.passed?.slice(0, 2))
  // What was said is there once, where it came.
  let journal = ''
  for await (const event of run.events()) journal += JSON.stringify(event)
  expect(journal.split(pdf)).toHaveLength(2)
  const passed = [{ code: 'policy.denied' }, { code: 'model.unsupported' }]
  expect(steps).toMatchObject([passed, passed])
  expect((await run.get()).input).toMatchObject([{}, { data: image }])
  expect(await runCli(['verify', run.id], cli)).toMatchObject({ code: 0 })
  // The next run of the session is told that there was an image; it is sent it again where its model surely sees it.
  const next = await muster.runs.start(viewer, 'And?', { session: 'seen' })
  await next.result()
  const last = JSON.stringify(bodies.at(-1)?.body)
  expect(last).toContain('[the file page.pdf]')
  expect(last).toContain('[an image]')
  expect(last).not.toContain(image)
  const gaze = async () => {
    await (await muster.runs.start(gazer, 'And now?', { session: 'seen' })).result()
    return JSON.stringify(bodies.at(-1)?.body)
  }
  const gazed = await gaze()
  expect(gazed.split(image)).toHaveLength(2)
  // Of what a tool has shown there is a note.
  expect(gazed.split('[an image]')).toHaveLength(2)
  // It goes with the run that was shown it.
  const memory = await openMemory({ table: 'muster', endpoint: harness.dynamoEndpoint })
  await until(
    () => memory.archive.eraseContent('acme', run.id, { at: 1, by: 'retention' }),
    (erased) => erased !== undefined,
  )
  memory.close()
  const erased = await gaze()
  expect(erased.split('[an image]')).toHaveLength(3)
  expect(erased).not.toContain(image)
  vendors.closeAllConnections()
  vendors.close()
})
