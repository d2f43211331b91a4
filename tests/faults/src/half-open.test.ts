import { expect, it } from 'vitest'
import { Deployment } from './deployment.ts'

/** Ten seconds are promised; the machine may be busy with something else meanwhile. */
const WITHIN_MS = 30_000

it('a worker whose connections to Redis were forgotten on the way takes runs again', async () => {
  const deployment = await Deployment.start({ seed: 1, workers: 1, partitions: 1, unreliable: 0, lockMs: 2000 })
  try {
    const { muster, workers } = deployment
    const took = async () => {
      const from = performance.now()
      const run = await muster.runs.start('errand', { n: 1, ms: 0 })
      expect(await run.result()).toBe(1)
      return performance.now() - from
    }
    await took()
    // One that is under way when nothing comes through any more ends as well, with each of its effects done once.
    const underWay = await muster.runs.start('errand', { n: 30, ms: 20 })
    await new Promise((resolve) => setTimeout(resolve, 500))
    for (const { redis } of workers) redis.blackhole()
    expect(await took()).toBeLessThan(WITHIN_MS)
    expect(await underWay.result()).toBe(30)
    // And once more while it has nothing to do.
    await new Promise((resolve) => setTimeout(resolve, 1000))
    for (const { redis } of workers) redis.blackhole()
    expect(await took()).toBeLessThan(WITHIN_MS)
  } finally {
    await deployment.close()
  }
})
