import { collect, plan, tool } from '@muster/sdk'
import { afterAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { ended, stopRedis, withWorker } from './fixture.ts'

afterAll(stopRedis)

const none = z.object({})
/** What `look` gave to each call of `peek`. */
const seen: number[] = []
let look = async (_run: string): Promise<number> => 0
/** Calls of `pure` since the event loop last came round, and the most of them. */
let burst = 0
let longest = 0
const pure = tool({
  name: 'pure',
  effect: 'pure',
  input: none,
  output: z.string(),
  run: () => {
    longest = Math.max(longest, ++burst)
    return 'x'
  },
})
const peek = tool({
  name: 'peek',
  effect: 'pure',
  input: none,
  output: z.number(),
  run: async (_input, { run }) => {
    const count = await look(run)
    seen.push(count)
    return count
  },
})
const common = { version: '1', input: none }
const app = collect({
  pure,
  peek,
  endless: plan({
    ...common,
    name: 'endless',
    run: async (step) => {
      for (;;) await step.tool(pure, {})
    },
  }),
  looking: plan({
    ...common,
    name: 'looking',
    run: async (step) => {
      for (let i = 0; i < 3; i++) {
        await step.tool(pure, {})
        await step.tool(peek, {})
      }
      return 'done'
    },
  }),
})

describe('a plan of steps that end at once', () => {
  it('gives way to others: an endless one can be cancelled, and another run ends beside it', async () => {
    await withWorker(app, {}, async (journal, start) => {
      const round = () => {
        burst = 0
        turn = setImmediate(round)
      }
      let turn = setImmediate(round)
      const endless = await start('endless')
      const other = await start('looking')
      expect(await ended(journal, other)).toMatchObject({ status: 'succeeded' })
      await journal.post(endless, { type: 'cancel', by: { key: 'k', user: 'u' } })
      expect(await ended(journal, endless)).toMatchObject({ status: 'cancelled' })
      clearImmediate(turn)
      expect(longest).toBeLessThan(3000)
    })
  })
})

describe('what a step sees of the outcomes before it', () => {
  it('is durable when outcomes are strict', async () => {
    seen.length = 0
    await withWorker(app, { outcomes: 'strict' }, async (journal, start) => {
      look = async (run) => {
        let count = 0
        for await (const { bytes } of journal.read(run)) if (JSON.parse(bytes).type === 'step.ended') count++
        return count
      }
      const run = await start('looking')
      expect(await ended(journal, run)).toMatchObject({ status: 'succeeded' })
    })
    expect(seen).toEqual([1, 3, 5])
  })
})
