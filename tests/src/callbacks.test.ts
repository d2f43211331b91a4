import { CallbackTokens } from '@muster/runtime'
import { createMuster } from '@muster/sdk'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { ended, type Harness, startHarness, stopProcess, until } from './harness.ts'

const MUSTER_SECRET = 'the secret of these tests, no other'

let harness: Harness
/** As the outside has it: without an API key. */
let outside: Harness['muster']

beforeAll(async () => {
  harness = await startHarness({ MUSTER_SECRET })
  outside = createMuster({ url: harness.url })
})
afterEach(() => harness.killWorkers())
afterAll(() => harness.close())

const booking = (input: { sleepMs?: number; timeoutMs?: number } = {}) =>
  harness.muster.runs.start({ steps: { book: { tool: 'world.book', input } } }, {})

/** The token that the run's tool gave to the outside. */
async function tokenOf(run: string): Promise<string> {
  const subject = (token: string) => JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()).sub
  const effects = await until(
    () => harness.effects().filter(({ effect, key }) => effect === 'token' && subject(key) === run),
    (found) => found.length > 0,
  )
  return effects.at(-1)?.key ?? ''
}

const booked = (run: string) => harness.effects().filter(({ effect, key }) => effect === 'book' && key.startsWith(run))

describe('a step that goes on outside', () => {
  it('ends with what the outside calls back, on any worker, without its key and with its labels', async () => {
    const first = await harness.worker()
    const run = await booking()
    const token = await tokenOf(run.id)
    const { waiting } = await until(run.get, ({ status }) => status === 'waiting')
    expect(waiting).toMatchObject([{ step: 'book', for: 'callback', target: 'world.book' }])
    await stopProcess(first, 'SIGKILL')
    await outside.callbacks.complete(token, { seat: '12A' })
    // Its sender may send it again, or something else: the first counts.
    await outside.callbacks.complete(token, { seat: '12A' })
    await outside.callbacks.complete(token, { seat: '13B' })
    await harness.worker()
    expect(await until(run.get, ended)).toMatchObject({
      ...{ status: 'succeeded', output: { book: { seat: '12A' } }, labels: ['untrusted'], steps: 1 },
    })
    expect(booked(run.id)).toHaveLength(1)
    await expect(outside.callbacks.complete(token, { seat: '12A' })).rejects.toMatchObject({ code: 'run.ended' })
  })

  it('may be called back before its function is over', async () => {
    await harness.worker()
    const run = await booking({ sleepMs: 1500 })
    await outside.callbacks.complete(await tokenOf(run.id), { seat: '1A' })
    expect(await run.result()).toEqual({ book: { seat: '1A' } })
    expect(booked(run.id)).toHaveLength(1)
  })

  it('fails when the outside says so, and is not tried again', async () => {
    await harness.worker()
    const run = await booking()
    await outside.callbacks.fail(await tokenOf(run.id), 'no seat is left')
    expect(await until(run.get, ended)).toMatchObject({
      ...{ status: 'failed', error: { code: 'tool.failed', message: expect.stringContaining('no seat is left') } },
    })
    expect(booked(run.id)).toHaveLength(1)
  })

  it('fails when nobody calls back in time', async () => {
    await harness.worker()
    const run = await booking({ timeoutMs: 2500 })
    const token = await tokenOf(run.id)
    expect(await until(run.get, ended)).toMatchObject({ status: 'failed', error: { code: 'step.timeout' } })
    await expect(
      until(
        () => outside.callbacks.complete(token, { seat: '1A' }).catch(({ code }) => code),
        (code) => code === 'callback.expired',
        5000,
      ),
    ).resolves.toBe('callback.expired')
    expect(booked(run.id)).toHaveLength(1)
  })

  it('needs no person after a crash when the outside calls back: then it happened', async () => {
    const first = await harness.worker()
    const run = await booking({ sleepMs: 60_000 })
    const token = await tokenOf(run.id)
    await stopProcess(first, 'SIGKILL')
    await harness.worker()
    await until(run.get, ({ waiting }) => waiting.some((one) => one.for === 'doubt'))
    await outside.callbacks.complete(token, { seat: '7C' })
    expect(await run.result()).toEqual({ book: { seat: '7C' } })
    expect(booked(run.id)).toHaveLength(1)
  })
})

describe('a callback that is not right', () => {
  it('is refused, and the step waits on', async () => {
    await harness.worker()
    const run = await booking()
    const token = await tokenOf(run.id)
    await until(run.get, ({ status }) => status === 'waiting')
    await expect(outside.callbacks.complete(token, { row: 1 })).rejects.toMatchObject({
      ...{ code: 'input.invalid', issues: expect.arrayContaining([expect.objectContaining({ path: '/output' })]) },
    })
    const send = (body: unknown, authorization?: string) =>
      fetch(`${harness.url}/v1/callbacks`, {
        ...{ method: 'POST', body: JSON.stringify(body) },
        headers: { 'content-type': 'application/json', ...(authorization === undefined ? {} : { authorization }) },
      })
    const output = { seat: '1A' }
    for (const [body, authorization, status, code] of [
      [{ output }, undefined, 401, 'callback.invalid'],
      [{ output }, `Bearer ${harness.key}`, 401, 'callback.invalid'],
      [{ output }, `Bearer ${token.slice(0, -2)}`, 401, 'callback.invalid'],
      [{ output, error: { message: 'both' } }, `Bearer ${token}`, 400, 'request.invalid'],
      [{}, `Bearer ${token}`, 400, 'request.invalid'],
    ] as const) {
      const response = await send(body, authorization)
      expect([response.status, ((await response.json()) as { code: string }).code]).toEqual([status, code])
    }
    const others = new CallbackTokens('the secret of somebody else, no other')
    const forged = await others.sign({ run: run.id, tenant: 'acme', step: 'book' })
    await expect(outside.callbacks.complete(forged, output)).rejects.toMatchObject({ code: 'callback.invalid' })
    const elsewhere = await new CallbackTokens(MUSTER_SECRET).sign({ run: run.id, tenant: 'other', step: 'book' })
    await expect(outside.callbacks.complete(elsewhere, output)).rejects.toMatchObject({ code: 'run.not_found' })
    await outside.callbacks.complete(token, output)
    expect(await run.result()).toEqual({ book: output })
  })

  it('is journaled as ignored when its step is none', async () => {
    await harness.worker()
    const run = await booking()
    const token = await tokenOf(run.id)
    const none = await new CallbackTokens(MUSTER_SECRET).sign({ run: run.id, tenant: 'acme', step: 'nothing' })
    await outside.callbacks.complete(none, 1)
    await outside.callbacks.complete(token, { seat: '1A' })
    await run.result()
    const ignored = []
    for await (const { entry } of run.events()) if (entry.type === 'message.ignored') ignored.push(entry)
    expect(ignored).toMatchObject([{ about: 'callback', step: 'nothing' }])
  })

  it('cannot be made by a worker without a secret: its tool says so', async () => {
    await harness.worker({ MUSTER_SECRET: '' })
    const run = await booking()
    expect(await until(run.get, ended)).toMatchObject({ status: 'failed', error: { code: 'config.invalid' } })
    expect(booked(run.id)).toHaveLength(0)
  })
})
