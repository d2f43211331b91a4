import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { ended, type Harness, startHarness, until } from './harness.ts'

let harness: Harness
let muster: Harness['muster']

beforeAll(async () => {
  harness = await startHarness()
  muster = harness.muster
})
afterEach(() => harness.killWorkers())
afterAll(() => harness.close())

const positive = {
  type: 'object',
  properties: { amount: { type: 'number', exclusiveMinimum: 0 } },
  required: ['amount'],
}
/** Waits for a payment and for a while, then adds the two amounts. */
const order = {
  signals: { paid: positive },
  steps: {
    first: { signal: 'paid' },
    second: { signal: 'paid', after: ['first'] },
    nap: { sleepMs: 3000, after: ['second'] },
    sum: {
      tool: 'math.add',
      input: { a: { $ref: '#/steps/first/output/amount' }, b: { $ref: '#/steps/second/output/amount' } },
      after: ['nap'],
    },
  },
  output: { $ref: '#/steps/sum/output/sum' },
}

it('takes signals and time without a worker that waits, whichever worker dies', async () => {
  const first = await harness.worker()
  const run = await muster.runs.start(order, {})
  const state = await until(run.get, ({ status }) => status === 'waiting')
  expect(state.waiting).toMatchObject([{ step: 'first', for: 'signal', target: 'paid' }])
  first.kill('SIGKILL')
  // Nobody is there to take them; sent twice under one key, the first comes once.
  await run.signal('paid', { amount: 3 }, { idempotencyKey: 'a' })
  await run.signal('paid', { amount: 3 }, { idempotencyKey: 'a' })
  await run.signal('paid', { amount: 4 })
  const second = await harness.worker()
  const napping = await until(run.get, ({ waiting, status }) => status === 'waiting' && waiting[0]?.step === 'nap')
  expect(napping.waiting[0]).toMatchObject({ for: 'timer' })
  expect(napping.waiting[0]?.until).toBeGreaterThan(Date.now())
  second.kill('SIGKILL')
  await harness.worker()
  expect(await run.result()).toBe(7)
})

it('says what is wrong with a signal, and leaves the run as it was', async () => {
  await harness.worker()
  const run = await muster.runs.start(order, {})
  const before = await until(run.get, ({ status }) => status === 'waiting')
  await expect(run.signal('paid', { amount: 0 })).rejects.toMatchObject({
    code: 'input.invalid',
    issues: [{ path: '/payload/amount', message: 'must be > 0' }],
  })
  await expect(run.signal('payed', {})).rejects.toMatchObject({ code: 'signal.unknown' })
  await expect(run.signal('payed', {})).rejects.toThrow('It takes: paid')
  await expect(run.signal('../cancel', {})).rejects.toMatchObject({ code: 'request.invalid' })
  await expect(harness.stranger.runs.signal(run.id, 'paid', { amount: 1 })).rejects.toMatchObject({
    code: 'run.not_found',
  })
  expect(await run.get()).toEqual(before)
  await run.cancel()
  await until(run.get, ended)
  await expect(run.signal('paid', { amount: 1 })).rejects.toMatchObject({ code: 'run.ended' })
})

it('refuses a plan whose signals have no schema, or whose steps wait for ever too long', async () => {
  await harness.worker()
  await expect(
    muster.runs.start({ steps: { a: { signal: 'x' } }, signals: { x: { type: 'nothing' } } }, {}),
  ).rejects.toMatchObject({ code: 'plan.invalid', issues: [{ path: '/plan/signals/x' }] })
  await expect(muster.runs.start({ steps: { a: { sleepMs: -1 } } }, {})).rejects.toMatchObject({
    code: 'request.invalid',
  })
  await expect(muster.runs.start({ steps: { a: { sleepMs: 1e15 } } }, {})).rejects.toMatchObject({
    code: 'request.invalid',
  })
})

it('lets a step of a plan ask a person, bound to what was shown', async () => {
  await harness.worker()
  const run = await muster.runs.start(
    { steps: { ok: { approval: 'chief', show: { pay: { $ref: '#/input/amount' } } } } },
    { amount: 5 },
  )
  const { waiting } = await until(run.get, ({ status }) => status === 'waiting')
  expect(waiting).toMatchObject([{ for: 'approval', role: 'chief', shown: { input: { pay: 5 } } }])
  await muster.runs.approve(run.id, { step: 'ok', verdict: 'approve', digest: waiting[0]?.digest ?? '' })
  expect(await run.result()).toEqual({ ok: { approved: true, by: 'acme-user', role: 'chief' } })
})
