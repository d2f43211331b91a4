import type { Entry, Json } from '@muster/protocol'
import { collect, plan, tool } from '@muster/sdk'
import { afterAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { entries, stopRedis, withWorker } from '../fixture.ts'

afterAll(stopRedis)

const any = z.record(z.string(), z.json())
/** Names of steps that ran, in their order. */
let ran: string[] = []
/** What the first call of `halt` does. */
let meanwhile: (() => Promise<void>) | undefined
const common = { effect: 'read', input: any, output: any } as const
const app = collect({
  echo: tool({
    ...common,
    name: 'echo',
    run: (input, { step }) => {
      ran.push(step)
      return input
    },
  }),
  fail: tool({
    ...common,
    name: 'fail',
    attempts: 1,
    run: (): Record<string, Json> => {
      throw new Error('no')
    },
  }),
  slow: tool({
    ...common,
    name: 'slow',
    run: async (input) => {
      await new Promise((resolve) => setTimeout(resolve, 100))
      return input
    },
  }),
  halt: tool({
    ...common,
    name: 'halt',
    run: async (input) => {
      const first = meanwhile
      meanwhile = undefined
      await first?.()
      return input
    },
  }),
  none: plan({ name: 'none', version: '1', input: z.object({}), run: async () => null }),
})

const output = (step: string, pointer = ''): Json => ({ $ref: `#/steps/${step}/output${pointer}` })
const echo = (rest: Record<string, Json> = {}): Json => ({ tool: 'echo', ...rest })
const tolerated = { tool: 'fail', onFailure: 'continue' }

interface Result {
  status: string
  statuses: Record<string, string>
  steps: number
  error: string | undefined
}

function resultOf(all: readonly Entry[]): Result {
  const statuses: Record<string, string> = {}
  for (const entry of all) if (entry.type === 'step.ended') statuses[entry.step] = entry.status
  const last = all.at(-1)
  if (last?.type !== 'run.ended') throw new Error('not ended')
  return { status: last.status, statuses, steps: last.steps, error: last.error?.code }
}

async function run(steps: Record<string, Json>): Promise<Result> {
  ran = []
  let all: Entry[] = []
  await withWorker(app, {}, async (journal, start) => {
    all = await entries(journal, await start({ steps }))
  })
  return resultOf(all)
}

describe('a step with a condition', () => {
  it('runs where it holds and is skipped where not, with all that needs it', async () => {
    const result = await run({
      class: echo({ input: { urgent: true, amount: 7 } }),
      page: echo({ when: output('class', '/urgent') }),
      queue: echo({ when: { not: output('class', '/urgent') } }),
      after: echo({ after: ['queue'] }),
      big: echo({ when: { above: [output('class', '/amount'), 10] } }),
      merge: echo({ join: 'any', input: { page: output('page'), queue: output('queue') } }),
    })
    expect(result).toEqual({
      status: 'succeeded',
      statuses: { class: 'ok', page: 'ok', queue: 'skipped', after: 'skipped', big: 'skipped', merge: 'ok' },
      steps: 3,
      error: undefined,
    })
    expect(ran).toEqual(['class', 'page', 'merge'])
  })

  it('fails where the comparison makes no sense', async () => {
    expect(await run({ a: echo({ when: { above: ['x', 1] } }) })).toMatchObject({
      status: 'failed',
      statuses: { a: 'failed' },
      error: 'input.invalid',
    })
  })
})

describe('a step that fails', () => {
  it('fails the run unless its author lets it go on', async () => {
    expect(await run({ a: { tool: 'fail' }, b: { tool: 'slow' } })).toMatchObject({
      status: 'failed',
      error: 'tool.failed',
    })
    expect(await run({ a: tolerated, b: { tool: 'slow' } })).toMatchObject({ status: 'succeeded', steps: 2 })
  })

  it('is seen by joins as they say', async () => {
    const result = await run({
      bad: tolerated,
      good: echo(),
      slow: { tool: 'slow' },
      all: echo({ after: ['bad', 'good'] }),
      any: echo({ after: ['bad', 'good'], join: 'any' }),
      two: echo({ after: ['bad', 'good', 'slow'], join: 2 }),
      three: echo({ after: ['bad', 'good', 'slow'], join: 3 }),
      settled: echo({ after: ['bad', 'good', 'all'], join: 'settled' }),
    })
    expect(result.statuses).toEqual({
      bad: 'failed',
      good: 'ok',
      slow: 'ok',
      all: 'skipped',
      any: 'ok',
      two: 'ok',
      three: 'skipped',
      settled: 'ok',
    })
    expect(ran.indexOf('two')).toBeGreaterThan(ran.indexOf('any'))
  })
})

describe('a run that is taken up again', () => {
  it('skips and starts the same steps', async () => {
    ran = []
    const steps = {
      bad: tolerated,
      good: echo(),
      halt: { tool: 'halt', after: ['bad', 'good'], join: 'settled' },
      skipped: echo({ after: ['bad', 'halt'] }),
      any: echo({ after: ['bad', 'halt'], join: 'any' }),
      settled: echo({ after: ['bad', 'halt'], join: 'settled' }),
      two: echo({ after: ['good', 'halt', 'bad'], join: 2 }),
    }
    await withWorker(app, {}, async (journal, start) => {
      const { promise, resolve } = Promise.withResolvers<string>()
      meanwhile = async () => {
        // As if another had taken it: what this activation appends from here on is refused.
        await journal.redis.hincrby(journal.partitions[0].keys.run(await promise), 'epoch', 1)
      }
      const id = await start({ steps })
      resolve(id)
      const all = await entries(journal, id)
      expect(all.filter((entry) => entry.type === 'run.activated')).toHaveLength(2)
      expect(resultOf(all)).toMatchObject({
        status: 'succeeded',
        statuses: { bad: 'failed', good: 'ok', halt: 'ok', skipped: 'skipped', any: 'ok', settled: 'ok', two: 'ok' },
      })
      expect(ran.toSorted()).toEqual(['any', 'good', 'settled', 'two'])
    })
  })
})
