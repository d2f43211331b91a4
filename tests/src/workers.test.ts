import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import type { OutboxLag, WorkerSummary } from '@muster/protocol'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { actor, astray, chain } from './fixtures/app.ts'
import { type Harness, runCli, startHarness, stopProcess, unhurried, until } from './harness.ts'

let harness: Harness

beforeAll(async () => {
  harness = await startHarness()
})
afterAll(() => harness.close())

const workers = async () => (await harness.muster.request<{ workers: WorkerSummary[] }>('GET', '/v1/workers')).workers

it('an operator is told what the background has not done, and nobody else', async () => {
  const told = (by = harness.muster) => by.request<{ outboxes?: OutboxLag[] }>('GET', '/v1/workers')
  const archive = async () => (await told()).outboxes?.find(({ outbox }) => outbox === 'archive')
  const command = (...args: string[]) =>
    runCli(['workers', ...args], { MUSTER_URL: harness.url, MUSTER_KEY: harness.key })
  const worker = await harness.worker({ ...unhurried, MUSTER_ARCHIVE: 'off' })
  await (await harness.muster.runs.start(chain, { n: 1, ms: 0 })).result()
  expect(await archive()).toMatchObject({ waiting: 1 })
  expect(JSON.parse((await command('--json')).out)).toMatchObject({
    workers: expect.any(Array),
    outboxes: expect.arrayContaining([expect.objectContaining({ outbox: 'archive', waiting: 1 })]),
  })
  for (const by of [harness.people.ann, harness.stranger]) expect(await told(by)).not.toHaveProperty('outboxes')

  const other = await harness.worker(unhurried)
  await until(archive, (lag) => lag?.waiting === 0)
  expect((await command()).out).toMatch(/ archive +│ 0 +│ +│/)
  await stopProcess(worker)
  await stopProcess(other)
})

it('a run that no living worker carries waits, and says why', async () => {
  const first = await harness.worker()
  expect(await workers()).toMatchObject([{ held: 0, fenced: 0 }])
  expect((await workers())[0]?.definitions.join()).toMatch(/\bplan:chain@1\.0\.0#[0-9a-f]{12}\b/)
  await stopProcess(first)
  expect(await workers()).toEqual([])

  const run = await harness.muster.runs.start(chain, { n: 1, ms: 0 })
  expect(await run.get()).toMatchObject({
    status: 'queued',
    heldUp: { code: 'definition.absent', message: 'no worker is running' },
  })
  const other = await harness.worker({ CHAIN_VERSION: '2.0.0' })
  expect((await run.get()).heldUp?.message).toMatch(
    /^no worker that runs carries plan:chain@1\.0\.0#[0-9a-f]{12}; they carry plan:chain@2\.0\.0#[0-9a-f]{12}$/,
  )
  // Runs of versions that it carries pass by.
  const second = await harness.muster.runs.start('chain', { n: 1, ms: 0 })
  expect(await second.result()).toBe('0')

  await harness.worker()
  expect(await run.result()).toBe('0')
  expect((await run.get()).heldUp).toBeUndefined()
  await stopProcess(other)
})

it('a run whose plan waits for what is none of its steps says so, and one that has a step under way does not', async () => {
  const worker = await harness.worker(unhurried)
  const run = await harness.muster.runs.start(astray, {})
  const busy = await harness.muster.runs.start(chain, { n: 1, ms: 60_000 })
  const { heldUp, status } = await until(run.get, (found) => found.heldUp !== undefined, 60_000)
  expect(status).toBe('running')
  expect(heldUp).toMatchObject({ code: 'plan.astray', message: expect.stringMatching(/^plan astray@1.0.0 .*step.run/) })
  expect((await busy.get()).heldUp).toBeUndefined()
  // That is told with the run, to its own tenant: who asks for the workers may be another.
  expect(JSON.stringify(await workers())).not.toContain(run.id)
  await run.cancel()
  await until(run.get, (found) => found.status === 'cancelled' && found.heldUp === undefined)
  await stopProcess(worker, 'SIGKILL')
})

it('a run that needs DynamoDB waits while that is away', async () => {
  const { hostname, port } = new URL(harness.dynamoEndpoint)
  let isAway = false
  const open = new Set<Socket>()
  const between = createServer((client) => {
    if (isAway) return void client.destroy()
    const server = connect(Number(port), hostname)
    client.pipe(server).pipe(client)
    open.add(client)
    for (const [one, other] of [
      [client, server],
      [server, client],
    ] as const)
      one.on('error', () => {}).on('close', () => other.destroy())
  })
  await new Promise<void>((resolve) => between.listen(0, '127.0.0.1', resolve))
  const endpoint = `http://127.0.0.1:${(between.address() as AddressInfo).port}`
  // Those of the tests before reach it.
  await harness.killWorkers()
  const worker = await harness.worker({ ...unhurried, DYNAMODB_ENDPOINT: endpoint })
  isAway = true
  for (const client of open) client.destroy()
  const run = await harness.muster.runs.start(actor, { turns: [{ answer: 'hello' }] }, { session: 'away' })
  let attempts = 0
  let name = ''
  for await (const { entry } of run.events()) {
    if (entry.type === 'run.activated') name = entry.worker
    if (entry.type === 'step.intent') attempts = entry.attempt
    // More than a tool would be given.
    if (entry.type === 'run.ended' || attempts === 6) break
  }
  expect(attempts).toBe(6)

  // One that cannot even be read is left alone for longer each time, and says why.
  const large = await harness.muster.runs.start(actor, { turns: [{ answer: 'x'.repeat(40_000) }] })
  const { heldUp } = await until(large.get, (found) => /times by now/.test(found.heldUp?.message ?? ''), 60_000)
  expect(heldUp).toMatchObject({
    code: 'memory.unavailable',
    message: expect.stringMatching(/^it could not be gone on with, \d+ times by now: DynamoDB at .* within \d+ s$/),
  })
  isAway = false
  expect(await run.result()).toEqual({ answer: 'hello' })
  await large.result()
  expect((await large.get()).heldUp).toBeUndefined()
  await stopProcess(worker)
  between.close()
  // By which policies it decides could not be told when it began.
  const { records } = await harness.muster.audit.records({ action: 'policy.used' })
  expect(records.map(({ by }) => by.key)).toContain(name)
})
