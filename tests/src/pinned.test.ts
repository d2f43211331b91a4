import { afterAll, beforeAll, expect, it } from 'vitest'
import { pinned, unpinned } from './fixtures/app.ts'
import { type Harness, startHarness, stopProcess, until } from './harness.ts'

let harness: Harness

beforeAll(async () => {
  harness = await startHarness()
})
afterAll(() => harness.close())

it('a run goes on only with the code that began it, unless its plan says that any of its version will do', async () => {
  const { muster } = harness
  const was = await harness.worker()
  const kept = await muster.runs.start(pinned, {})
  const free = await muster.runs.start(unpinned, {})
  for (const run of [kept, free]) await until(run.get, ({ status }) => status === 'waiting')
  await stopProcess(was)

  const is = await harness.worker({ REWORKED: '1' })
  for (const run of [kept, free]) await run.signal('go', null)
  expect(await free.result()).toBe('as it is now')
  const { status, heldUp } = await until(kept.get, (run) => run.heldUp !== undefined)
  expect(status).toBe('waiting')
  expect(heldUp?.code).toBe('definition.absent')
  expect(heldUp?.message).toMatch(
    /no worker that runs carries plan:pinned@1\.0\.0#[0-9a-f]{12}; they carry plan:pinned@1\.0\.0#[0-9a-f]{12}\. Its code was changed/,
  )
  // New ones begin with the code that is there.
  const next = await muster.runs.start(pinned, {})
  await next.signal('go', null)
  expect(await next.result()).toBe('as it is now')

  await harness.worker()
  expect(await kept.result()).toBe('as it was')
  await stopProcess(is)
})
