import type { Entry, Json } from '@muster/protocol'
import { collect, plan, tool } from '@muster/sdk'
import { afterAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { stopRedis, withWorker } from '../fixture.ts'

afterAll(stopRedis)

const STEPS = 10_000
const any = z.record(z.string(), z.json())
let calls = 0
/** What the first call of `end` does. */
let meanwhile: (() => Promise<unknown>) | undefined
const count = tool({
  name: 'count',
  effect: 'pure',
  input: any,
  output: any,
  run: ({ n }) => {
    calls++
    return { n: Number(n) + 1 }
  },
})
const end = tool({
  name: 'end',
  effect: 'read',
  input: any,
  output: any,
  run: async (input) => {
    const first = meanwhile
    meanwhile = undefined
    await first?.()
    return input
  },
})
const chain = Array.from({ length: STEPS }, (_, i): [string, { tool: string; input: Json }] => [
  `s${i}`,
  { tool: 'count', input: { n: i === 0 ? 0 : { $ref: `#/steps/s${i - 1}/output/n` } } },
])
const app = collect({
  count,
  end,
  long: plan({
    name: 'long',
    version: '1',
    input: z.object({}),
    tools: [count, end],
    steps: {
      ...Object.fromEntries(chain),
      end: { tool: 'end', input: { n: { $ref: `#/steps/s${STEPS - 1}/output/n` } } },
    },
  }),
})

describe('a run of 10,000 steps', () => {
  it('is taken up where it stood: no step is done again, and it ends with what they gave', async () => {
    await withWorker(app, {}, async (journal, start) => {
      const { promise, resolve } = Promise.withResolvers<string>()
      // As if another had taken it: what this activation appends from here on is refused.
      meanwhile = async () => journal.redis.hincrby(journal.partitions[0].keys.run(await promise), 'epoch', 1)
      const id = await start('long')
      resolve(id)
      const ended = new Map<string, number>()
      let activations = 0
      let last: Entry | undefined
      let output: string | undefined
      for await (const { bytes, content } of journal.follow(id, 0, AbortSignal.timeout(60_000))) {
        last = JSON.parse(bytes) as Entry
        output = content
        if (last.type === 'run.activated') activations++
        if (last.type === 'step.ended') ended.set(last.step, (ended.get(last.step) ?? 0) + 1)
        if (last.type === 'run.ended') break
      }
      expect(last).toMatchObject({ type: 'run.ended', status: 'succeeded', steps: STEPS + 1 })
      expect(output).toContain(`{"end":{"n":${STEPS}}}`)
      expect(activations).toBe(2)
      expect(ended.size).toBe(STEPS + 1)
      expect(Math.max(...ended.values())).toBe(1)
      expect(calls).toBe(STEPS)
    })
  }, 90_000)
})
