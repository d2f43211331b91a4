import { afterAll, beforeAll, expect, it } from 'vitest'
import { chain, slowPayment } from './fixtures/app.ts'
import { type Harness, startHarness, stopProcess, until } from './harness.ts'

/** They last longer than it takes to start two workers. */
const STEPS = 60

let harness: Harness

beforeAll(async () => {
  // Nobody waits for a lock: it lasts longer than the test.
  harness = await startHarness({ MUSTER_LOCK_MS: '120000' })
})
afterAll(() => harness.close())

it('a worker that is told to end hands its runs over between two steps', async () => {
  const { muster } = harness
  let worker = await harness.worker()
  const runs = await Promise.all(Array.from({ length: 5 }, () => muster.runs.start(chain, { n: STEPS, ms: 300 })))
  const payment = await muster.runs.start(slowPayment, { ms: 8000, reconcilable: false })
  await until(
    () => harness.effects(),
    (effects) => effects.some(({ effect }) => effect === 'launch'),
  )
  // As in a rolling deploy: the next is there before the last goes, twice over.
  for (let i = 0; i < 2; i++) {
    const next = await harness.worker()
    await stopProcess(worker)
    worker = next
    await new Promise((resolve) => setTimeout(resolve, 500))
  }
  for (const run of runs) expect(await run.result()).toBe(Array.from({ length: STEPS }, (_, i) => i).join(''))
  expect(await payment.result()).toEqual({ launched: true })
  const keys = harness.effects().map(({ key }) => key)
  // Not even what may be repeated was.
  expect(new Set(keys).size).toBe(keys.length)
  expect((await Promise.all(runs.map((run) => run.get()))).some(({ epoch }) => epoch > 1)).toBe(true)
  const took = await Promise.all(runs.map(async (run) => (await run.get()).endedAt ?? 0))
  expect(Math.max(...took) - ((await runs[0]?.get())?.createdAt ?? 0)).toBeLessThan(60_000)
}, 90_000)
