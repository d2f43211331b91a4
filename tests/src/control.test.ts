import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { chain } from './fixtures/app.ts'
import { ended, type Harness, startHarness, until } from './harness.ts'

let harness: Harness
let muster: Harness['muster']

beforeAll(async () => {
  harness = await startHarness()
  muster = harness.muster
})
afterEach(() => harness.killWorkers())
afterAll(() => harness.close())

const writes = (run: string) => harness.effects().filter(({ effect, key }) => effect === 'write' && key.startsWith(run))

describe('a paused run', () => {
  it('begins no step and holds no worker until it is resumed, whichever worker dies', async () => {
    const first = await harness.worker()
    const run = await muster.runs.start(chain, { n: 3, ms: 500 })
    await until(
      () => writes(run.id),
      ({ length }) => length === 1,
    )
    await run.pause()
    const paused = await until(run.get, ({ status }) => status === 'waiting')
    expect(paused).toMatchObject({ steps: 1, paused: { by: { user: 'acme-user' } } })
    await expect(run.pause()).rejects.toMatchObject({ code: 'run.paused' })
    first.kill('SIGKILL')
    await harness.worker()
    await new Promise((resolve) => setTimeout(resolve, 1500))
    expect(writes(run.id)).toHaveLength(1)
    await run.resume()
    expect(await run.result()).toBe('012')
    expect(writes(run.id)).toHaveLength(3)
    expect((await run.get()).paused).toBeUndefined()
    await expect(run.resume()).rejects.toMatchObject({ code: 'run.ended' })
  })

  it('is not woken by its timer, and goes on at once when it is resumed later', async () => {
    await harness.worker()
    const run = await muster.runs.start({ steps: { nap: { sleepMs: 2500 } } }, {})
    await until(run.get, ({ status }) => status === 'waiting')
    await run.pause()
    await until(run.get, ({ status, paused }) => status === 'waiting' && paused !== undefined)
    await new Promise((resolve) => setTimeout(resolve, 3500))
    expect(await run.get()).toMatchObject({ status: 'waiting' })
    const { epoch } = await run.get()
    await run.resume()
    expect(await until(run.get, ended)).toMatchObject({ status: 'succeeded', epoch: epoch + 1 })
  })

  it('can be paused before any worker has taken it, and be ended', async () => {
    await harness.worker()
    await harness.killWorkers()
    const run = await muster.runs.start(chain, { n: 1, ms: 0 })
    await run.pause()
    await harness.worker()
    await until(run.get, ({ status }) => status === 'waiting')
    expect(writes(run.id)).toEqual([])
    await run.terminate()
    expect(await until(run.get, ended)).toMatchObject({ status: 'cancelled' })
  })

  it('is asked for what it cannot do: an error, and nothing else', async () => {
    await harness.worker()
    const run = await muster.runs.start(chain, { n: 1, ms: 1000 })
    await expect(run.resume()).rejects.toMatchObject({ code: 'run.not_paused' })
    await expect(harness.stranger.runs.of(run.id).pause()).rejects.toMatchObject({ code: 'run.not_found' })
    const results = await Promise.allSettled([run.pause(), run.cancel(), run.pause()])
    expect(results[1]?.status).toBe('fulfilled')
    expect(await until(run.get, ended)).toMatchObject({ status: 'cancelled' })
  })
})
