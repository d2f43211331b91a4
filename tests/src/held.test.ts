import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { ended, type Harness, startHarness, until } from './harness.ts'

let harness: Harness

beforeAll(async () => {
  harness = await startHarness()
})
afterEach(() => harness.killWorkers())
afterAll(() => harness.close())

describe('a worker whose event loop is held while an intent is on its way', () => {
  it('does not begin an effect that must not repeat once another has its run', async () => {
    const { muster } = harness
    await harness.worker({ HOLDS: '1' })
    const run = await muster.runs.start(
      {
        steps: { launch: { tool: 'world.launch', input: {} }, hold: { tool: 'loop.hold', input: { ms: 10_000 } } },
      },
      {},
    )
    const effects = (name: string) =>
      harness.effects().filter(({ effect, key }) => effect === name && key.startsWith(run.id)).length
    await until(
      () => effects('hold'),
      (count) => count === 1,
    )
    await harness.worker()
    // Only a person knows whether it happened, and may say so while the first worker is still held.
    const state = await until(run.get, ({ status }) => status === 'waiting')
    expect(state.waiting).toMatchObject([{ step: 'launch', for: 'doubt' }])
    await muster.runs.approve(run.id, { step: 'launch', verdict: 'approve', digest: state.waiting[0]?.digest ?? '' })
    expect(await until(run.get, ended)).toMatchObject({ status: 'succeeded' })
    expect(effects('launch')).toBe(1)
    // The first worker goes on, with the answer that its intent is durable.
    await until(
      () => effects('released'),
      (count) => count === 1,
    )
    await new Promise((resolve) => setTimeout(resolve, 1500))
    expect(effects('launch')).toBe(1)
  })
})
