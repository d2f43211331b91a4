import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadPolicies } from '@muster/governance'
import { Journal } from '@muster/journal'
import type { Memory } from '@muster/memory'
import type { Models } from '@muster/models'
import { type Entry, newId } from '@muster/protocol'
import { collect, plan, tool } from '@muster/sdk'
import { type RedisService, startRedis } from '@muster/stack'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { startWorker, type WorkerOptions } from './worker.ts'

const dir = mkdtempSync(join(tmpdir(), 'muster-engine-'))
let redis: RedisService
let namespaces = 0

beforeAll(async () => {
  redis = await startRedis({ dir })
})
afterAll(async () => {
  await redis.stop()
  rmSync(dir, { recursive: true })
})

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

async function withWorker<T>(
  extra: Partial<WorkerOptions>,
  work: (journal: Journal, start: (name: string) => Promise<string>) => Promise<T>,
): Promise<T> {
  const namespace = `engine${namespaces++}`
  const journal = await Journal.open({ url: redis.url, namespace })
  const worker = await startWorker({
    redisUrl: redis.url,
    namespace,
    app,
    policy: loadPolicies([{ file: 'all', text: 'permit (principal, action, resource);' }], app.manifest),
    // Neither is reached by these plans: no model, no large content, no archive.
    models: {} as Models,
    memory: { blobs: {} } as Memory,
    concurrency: 4,
    lockMs: 5000,
    journalTtlS: 60,
    archive: false,
    ...extra,
  })
  const start = async (name: string) => {
    const definition = { kind: 'plan' as const, name, version: '1', hash: '' }
    const run = { run: newId(), tenant: 't', definition, by: { key: 'k', user: 'u' }, labels: [], limits: {} }
    await journal.create(run, { input: {} }, { offload: async () => {} })
    return run.run
  }
  try {
    return await work(journal, start)
  } finally {
    await worker.close(0)
    await journal.close()
  }
}

async function ended(journal: Journal, run: string): Promise<Entry | undefined> {
  let last: Entry | undefined
  for await (const { bytes } of journal.follow(run, 0, AbortSignal.timeout(20_000))) {
    last = JSON.parse(bytes)
    if (last?.type === 'run.ended') break
  }
  return last
}

describe('a plan of steps that end at once', () => {
  it('gives way to others: an endless one can be cancelled, and another run ends beside it', async () => {
    await withWorker({}, async (journal, start) => {
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
    await withWorker({ outcomes: 'strict' }, async (journal, start) => {
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
