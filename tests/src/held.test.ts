import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { chain } from './fixtures/app.ts'
import { ended, type Harness, startHarness, stopProcess, until } from './harness.ts'

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

  it('lets the run go without an alarm, counts it, and takes others', async () => {
    const { muster } = harness
    const first = await harness.worker({ HOLDS: '1' })
    const lines: string[] = []
    first.stdout?.on('data', (bytes) => lines.push(String(bytes)))
    const run = await muster.runs.start(
      {
        steps: {
          hold: { tool: 'loop.hold', input: { ms: 6000 } },
          write: { tool: 'world.write', input: { text: 'after' }, after: ['hold'] },
        },
      },
      {},
    )
    const keys = (name: string) =>
      harness.effects().flatMap(({ effect, key }) => (effect === name && key.startsWith(run.id) ? [key] : []))
    await until(
      () => keys('hold'),
      ({ length }) => length === 1,
    )
    const second = await harness.worker()
    expect(await until(run.get, ended)).toMatchObject({ status: 'succeeded' })
    await until(
      () => keys('released'),
      ({ length }) => length === 1,
    )
    const view = () => muster.request<{ workers: { fenced: number; held: number }[] }>('GET', '/v1/workers')
    const { workers } = await until(view, ({ workers }) => workers.some(({ fenced }) => fenced > 0))
    expect(workers.flatMap(({ fenced }) => (fenced > 0 ? [fenced] : []))).toEqual([1])
    await stopProcess(second)
    expect(await (await muster.runs.start(chain, { n: 1, ms: 0 })).result()).toBe('0')
    expect(keys('write').length).toBeLessThanOrEqual(2)
    expect(new Set(keys('write')).size).toBe(1)
    expect(first.exitCode).toBeNull()
    // The harness lets workers log what an operator should look at.
    expect(lines.join('')).toBe('')
  })
})
