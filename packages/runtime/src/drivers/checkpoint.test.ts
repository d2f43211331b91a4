import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { verifyJournal } from '@muster/audit'
import { collect, plan, tool } from '@muster/sdk'
import { afterAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { ended, stopRedis, withWorker } from '../fixture.ts'

afterAll(stopRedis)

const STEPS = 200_000
const EVERY = 1000
/** Where it parks, between two checkpoints. */
const PARKED_AT = 150_500

setFlagsFromString('--expose-gc')
const gc: () => void = runInNewContext('gc')
const heapMb = () => {
  gc()
  return process.memoryUsage().heapUsed / 2 ** 20
}

/** Where the plan's code has begun, and the heap at some of its steps, MB. */
const begun: number[] = []
const heap = new Map<number, number>()
const state = z.object({ i: z.number() })
const by = { key: 'k', user: 'u' }

const next = tool({
  name: 'next',
  effect: 'pure',
  input: state,
  output: state,
  run: ({ i }) => {
    if (i === 20_500 || i === 140_500 || i === 190_500) heap.set(i, heapMb())
    return { i: i + 1 }
  },
})
const note = tool({ name: 'note', effect: 'write', input: state, output: state, run: (input) => input, undo: () => {} })
const common = { version: '1', input: z.object({}) }
const app = collect({
  next,
  long: plan({
    ...common,
    name: 'long',
    signals: { go: z.number() },
    run: async (step) => {
      let { i } = step.restored(state) ?? { i: 0 }
      begun.push(i)
      let told = 0
      while (i < STEPS) {
        ;({ i } = await step.tool(next, { i }))
        if (i % EVERY === 0) await step.checkpoint({ i })
        if (i === PARKED_AT) told = await step.signal('go')
      }
      return { i, told }
    },
  }),
  hasty: plan({
    ...common,
    name: 'hasty',
    run: async (step) => {
      const under = step.sleep(60_000, { name: 'nap' })
      await step.checkpoint({})
      await under
    },
  }),
  careless: plan({
    ...common,
    name: 'careless',
    rollback: true,
    run: async (step) => {
      await step.tool(note, { i: 1 })
      await step.checkpoint({})
    },
  }),
  early: plan({
    ...common,
    name: 'early',
    signals: { go: z.number() },
    run: async (step) => {
      if (step.restored(state) === undefined) {
        await step.tool(next, { i: 1 })
        await step.sleep(2500)
        await step.checkpoint({ i: 1 })
      }
      await step.sleep(2500)
      return step.signal('go')
    },
  }),
})

describe('a plan that makes checkpoints', () => {
  it('takes 200,000 steps in bounded memory, and is taken up again at the last checkpoint', async () => {
    await withWorker(app, {}, async (journal, start) => {
      const run = await start('long')
      const status = async (wanted: string) => {
        while ((await journal.get(run))?.status !== wanted) await new Promise((resolve) => setTimeout(resolve, 50))
      }
      await status('waiting')
      await journal.redis.config('RESETSTAT')
      await journal.post(run, { type: 'signal', name: 'go', payload: 7, by, labels: [] })
      await status('succeeded')
      expect(begun).toEqual([0, PARKED_AT - (PARKED_AT % EVERY)])
      // Of the 150,000 entries before, at 200 with a call, hardly any was read.
      const calls = /cmdstat_xrange:calls=(\d+)/.exec(await journal.redis.info('commandstats'))?.[1]
      expect(Number(calls)).toBeLessThan(20)
      const first = heap.get(20_500) ?? 0
      for (const later of [140_500, 190_500]) expect(heap.get(later)).toBeLessThan(first + 30)
      const record = await journal.get(run)
      expect(record?.summary).toMatchObject({ steps: STEPS + 1 })
      const verified = await verifyJournal(run, journal.read(run))
      expect(verified.findings).toEqual([])
      let output = ''
      for await (const { content } of journal.read(run, (record?.seq ?? 1) - 1)) output = content ?? ''
      expect(JSON.parse(output.slice(22))).toEqual({ i: STEPS, told: 7 })
    })
  })

  it('finds a signal that came before the checkpoint, and takes it once', async () => {
    await withWorker(app, {}, async (journal, start) => {
      const run = await start('early')
      await journal.post(run, { type: 'signal', name: 'go', payload: 1, by, labels: [] })
      await journal.post(run, { type: 'signal', name: 'go', payload: 2, by, labels: [] })
      expect(await ended(journal, run)).toMatchObject({ status: 'succeeded', steps: 4 })
      let output = ''
      for await (const { content } of journal.read(run)) output = content ?? ''
      expect(JSON.parse(output.slice(22))).toBe(1)
    })
  })

  it.each([
    ['hasty', 'step "nap" has not ended'],
    ['careless', 'step "note" could not be undone'],
  ])('is told when it cannot: %s', async (name, why) => {
    await withWorker(app, {}, async (journal, start) => {
      const end = await ended(journal, await start(name))
      expect(end).toMatchObject({ status: 'failed', error: { code: 'plan.failed' } })
      expect(JSON.stringify(end)).toContain(JSON.stringify(why).slice(1, -1))
    })
  })
})
