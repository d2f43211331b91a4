import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { leaseSlices } from '@muster/journal'
import { createModels, type Meter, type Models } from '@muster/models'
import type { Entry, Json, LimitsByName } from '@muster/protocol'
import { collect, plan, tool } from '@muster/sdk'
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest'
import { z } from 'zod'
import { ended, entries, stopRedis, withWorker } from '../fixture.ts'
import { startWorker } from '../worker.ts'

afterAll(stopRedis)

const none = z.object({})
const hold = 30
/** Calls under way, and the most there were, by what they count under. */
let running: Record<string, number> = {}
let most: Record<string, number> = {}
let calls = 0

async function counted(name: string): Promise<string> {
  running[name] = (running[name] ?? 0) + 1
  most[name] = Math.max(most[name] ?? 0, running[name])
  await new Promise((resolve) => setTimeout(resolve, hold))
  running[name]--
  return 'x'
}

const common = { effect: 'read', input: none, output: z.string() } as const
const never = () => new Promise<string>(() => {})
const app = collect({
  narrow: tool({ ...common, name: 'narrow', run: (_, { tenant }) => counted(`narrow ${tenant}`) }),
  wide: tool({ ...common, name: 'wide', run: (_, { tenant }) => counted(`wide ${tenant}`) }),
  stuck: tool({ ...common, name: 'stuck', timeoutMs: 30, attempts: 2, run: never }),
  stuckOnce: tool({ ...common, name: 'stuck.once', timeoutMs: 30, retries: { 'step.timeout': false }, run: never }),
  broken: tool({
    ...common,
    name: 'broken',
    attempts: 1000,
    deadlineMs: 300,
    retries: { 'tool.failed': { baseMs: 20, capMs: 20 } },
    run: () => {
      calls++
      throw new Error('no')
    },
  }),
  elsewhere: tool({
    ...{ effect: 'read', name: 'elsewhere', attempts: 1, output: z.string() },
    input: z.object({ usd: z.number(), fails: z.boolean() }),
    run: ({ usd, fails }, { spent }) => {
      spent({ usd, inputTokens: 5 })
      spent({ outputTokens: 2 })
      if (fails) throw new Error('after it has cost')
      return 'x'
    },
  }),
  late: tool({ ...common, name: 'late', timeoutMs: 60_000, deadlineMs: 50, run: never }),
  any: plan({ name: 'any', version: '1', input: none, run: async () => 'done' }),
})

afterEach(() => {
  running = {}
  most = {}
  calls = 0
})

const steps = (count: number, step: Json): { steps: Json } => ({
  steps: Object.fromEntries(Array.from({ length: count }, (_, i) => [`s${i}`, step])),
})

function outcomes(all: readonly Entry[]): (string | undefined)[] {
  return all.flatMap((entry) => (entry.type === 'step.ended' ? [entry.error?.code ?? 'ok'] : []))
}

describe('limits', () => {
  it('of a run count what its tools have used elsewhere, whether they fail or not', async () => {
    await withWorker(app, {}, async (journal, start) => {
      const call = (usd: number, fails: boolean, after: string[]) => ({
        tool: 'elsewhere',
        input: { usd, fails },
        after,
      })
      const plan = {
        steps: {
          a: { ...call(0.6, true, []), onFailure: 'continue' },
          b: { ...call(0.6, false, ['a']), join: 'settled' },
          c: call(0, false, ['b']),
        },
      }
      const run = await start(plan as unknown as Parameters<typeof start>[0], { limits: { usd: 1 } })
      const all = await entries(journal, run)
      const used = all.flatMap((entry) => (entry.type === 'step.ended' ? [[entry.costUsd, entry.usage]] : []))
      const usage = { inputTokens: 5, outputTokens: 2, cachedTokens: 0 }
      expect(used.slice(0, 2)).toEqual([
        [0.6, usage],
        [0.6, usage],
      ])
      expect(outcomes(all)).toEqual(['tool.failed', 'ok', 'budget.exceeded'])
      expect(all.at(-1)).toMatchObject({ status: 'failed', costUsd: 1.2 })
      const negative = await start(steps(1, { tool: 'elsewhere', input: { usd: -1, fails: false } }))
      expect(outcomes(await entries(journal, negative))).toEqual(['input.invalid'])
    })
  })

  it('of a tool hold over all runs of the worker, and hold back nothing else', async () => {
    const limits = { 'tool:narrow': { concurrency: 2 } }
    await withWorker(app, { limits }, async (journal, start) => {
      const runs = [
        await start(steps(4, { tool: 'narrow' })),
        await start(steps(4, { tool: 'narrow' })),
        await start(steps(8, { tool: 'wide' })),
      ]
      for (const run of runs)
        expect(await ended(journal, run)).toMatchObject({ status: 'succeeded', steps: expect.any(Number) })
    })
    expect(most['narrow t']).toBe(2)
    expect(most['wide t']).toBeGreaterThan(2)
  })

  it('with * hold for each of a class on its own, where it has none by name', async () => {
    const limits = { 'tenant:*': { concurrency: 2 }, 'tenant:big': { concurrency: 5 } }
    await withWorker(app, { limits }, async (journal, start) => {
      const runs = await Promise.all(['a', 'b', 'big'].map((tenant) => start(steps(8, { tool: 'wide' }), { tenant })))
      for (const run of runs) expect(await ended(journal, run)).toMatchObject({ status: 'succeeded' })
    })
    expect(most).toEqual({ 'wide a': 2, 'wide b': 2, 'wide big': 5 })
  })
})

describe('limits over several workers', () => {
  /** Runs of `narrow` steps, and a second worker beside the first. */
  const together = async (limits: LimitsByName, runs: number, perRun: number) => {
    const began = Date.now()
    await withWorker(app, { limits, concurrency: 2 }, async (journal, start, options) => {
      const other = await startWorker(options)
      try {
        const ids = await Promise.all(Array.from({ length: runs }, () => start(steps(perRun, { tool: 'narrow' }))))
        const by = new Set<string>()
        for (const id of ids)
          for (const entry of await entries(journal, id)) {
            if (entry.type === 'run.activated') by.add(entry.worker)
            if (entry.type === 'run.ended') expect(entry.status).toBe('succeeded')
          }
        expect(by.size).toBe(2)
      } finally {
        await other.close(0)
      }
    })
    return Date.now() - began
  }

  it('are never exceeded by all together', async () => {
    await together({ 'tool:narrow': { concurrency: 3 } }, 8, 5)
    expect(most['narrow t']).toBe(3)
  })

  it('let each work though there is one place', async () => {
    await together({ 'tool:narrow': { concurrency: 1 } }, 4, 3)
    expect(most['narrow t']).toBe(1)
  })

  it('per minute hold for the sum: a burst, and then no more than is earned', async () => {
    // Ten at once and twenty a second: the other thirty take 1.5 s, however many workers there are.
    const limits = { 'tool:narrow': { requestsPerMinute: 1200, burstMs: 500 } }
    expect(await together(limits, 8, 5)).toBeGreaterThanOrEqual(1500)
  })

  it('come back from a worker that died', async () => {
    await withWorker(app, { limits: { 'tool:narrow': { concurrency: 2 } } }, async (journal, start) => {
      const all = {
        places: 2,
        shares: 0,
        burstMs: 0,
        placeTurnMs: 1000,
        shareTurnMs: 1000,
        used: 2,
        wants: true,
        held: { places: 2, shares: 0 },
      }
      await leaseSlices(journal, 'dead', 600, [{ limit: 'tool:narrow', ...all }])
      const died = Date.now()
      expect(await ended(journal, await start(steps(2, { tool: 'narrow' })))).toMatchObject({ status: 'succeeded' })
      expect(Date.now() - died).toBeGreaterThanOrEqual(600)
    })
  })
})

describe('time limits', () => {
  const only = async (name: string) => {
    let all: Entry[] = []
    await withWorker(app, {}, async (journal, start) => {
      all = await entries(journal, await start(steps(1, { tool: name })))
    })
    expect(all.at(-1)).toMatchObject({ type: 'run.ended', status: 'failed' })
    return all
  }

  it('end an attempt, and the next is made', async () => {
    expect(outcomes(await only('stuck'))).toEqual(['step.timeout', 'step.timeout'])
  })

  it('end a step at once where its author wants no other attempt', async () => {
    expect(outcomes(await only('stuck.once'))).toEqual(['step.timeout'])
  })

  it('of a whole step end it though attempts are left, with its last error', async () => {
    const found = outcomes(await only('broken'))
    expect(found.length).toBeGreaterThan(2)
    expect(found.length).toBe(calls)
    expect(new Set(found)).toEqual(new Set(['tool.failed']))
  })

  it('of a whole step end the attempt that is under way', async () => {
    const all = await only('late')
    expect(all.at(-2)).toMatchObject({
      error: { code: 'step.timeout', message: 'step "s0" took longer than the 50 ms that it has with all attempts' },
    })
  })
})

describe('a budget', () => {
  it('counts what a call of a lost run may have used, and nobody waits for it to be given back', async () => {
    const called = Promise.withResolvers<void>()
    const silent = createServer(() => called.resolve())
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
    const baseUrl = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`
    const price = { inputUsd: 1, cachedUsd: 1, outputUsd: 1 }
    const models = createModels({ routes: { default: { model: 'dear', baseUrl, apiKey: 'none', price } } })
    const step = { model: 'default', prompt: 'x' }
    const usd = 1.5 * models.reserveUsd('default', { messages: [{ role: 'user', content: 'x' }] })
    await withWorker(app, { models, budgets: { 'tenant:t': { day: { usd } } } }, async (journal, start) => {
      const run = await start(steps(1, step))
      await called.promise
      await journal.activate(run)
      // With its next entry the worker learns that it is not its own any more; then it takes it up again.
      await journal.post(run, { type: 'pause', by: { key: 'k', user: 'u' } })
      await journal.post(run, { type: 'resume', by: { key: 'k', user: 'u' } })
      expect(outcomes(await entries(journal, run))).toEqual(['budget.exceeded'])
    })
    silent.closeAllConnections()
    silent.close()
  })
})

describe('an answer that is cut short', () => {
  it('is paid for: by the run, and in budgets', async () => {
    const cut = createServer((request, response) => {
      const message = { role: 'assistant', content: 'a' }
      const usage = { prompt_tokens: 10, completion_tokens: 20_000 }
      request
        .resume()
        .on('end', () =>
          response
            .writeHead(200, { 'content-type': 'application/json' })
            .end(JSON.stringify({ model: 'm', usage, choices: [{ index: 0, finish_reason: 'length', message }] })),
        )
    })
    await new Promise<void>((resolve) => cut.listen(0, '127.0.0.1', resolve))
    const baseUrl = `http://127.0.0.1:${(cut.address() as AddressInfo).port}`
    const price = { inputUsd: 0, cachedUsd: 0, outputUsd: 1 }
    const models = createModels({ routes: { default: { model: 'm', baseUrl, apiKey: 'none', price } } })
    // Each may cost 0.4 cents as far as is known, and costs 2.
    await withWorker(app, { models, budgets: { 'tenant:t': { day: { usd: 0.021 } } } }, async (journal, start) => {
      const all = await entries(journal, await start(steps(1, { model: 'default', prompt: 'x' })))
      const used = { inputTokens: 10, outputTokens: 20_000, cachedTokens: 0 }
      const [step] = all.filter((entry) => entry.type === 'step.ended')
      expect(step).toMatchObject({ status: 'failed', usage: used, costUsd: 0.02, model: 'm' })
      expect(all.at(-1)).toMatchObject({ type: 'run.ended', usage: used, costUsd: 0.02 })
      const more = await start(steps(1, { model: 'default', prompt: 'x' }))
      expect(outcomes(await entries(journal, more))).toEqual(['budget.exceeded'])
    })
    cut.closeAllConnections()
    cut.close()
  })
})

describe('an answer that never comes to its end', () => {
  /** A server of Messages that tells how much it has read, and writes nothing; and what a call may cost as far as is known. */
  async function cutOff(read: number, usd: number) {
    const server = createServer((request, response) => {
      const usage = { input_tokens: read, output_tokens: 1 }
      const value = { type: 'message_start', message: { id: 'm', role: 'assistant', model: 'm', content: [], usage } }
      request.resume().on('end', () => {
        response.writeHead(200, { 'content-type': 'text/event-stream' })
        response.write(`event: message_start\ndata: ${JSON.stringify(value)}\n\n`)
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const price = { inputUsd: 1, cachedUsd: 1, outputUsd: 1 }
    const models = createModels({ routes: { default: { anthropic: { model: 'm', baseUrl }, apiKey: 'none', price } } })
    const plan = steps(1, { model: 'default', prompt: 'x' })
    let all: Entry[] = []
    let meter: Meter | undefined
    const watched: Models = {
      ...models,
      invoke(route, request) {
        meter = request.meter
        return models.invoke(route, request)
      },
    }
    await withWorker(app, { models: watched, budgets: { 'tenant:t': { day: { usd } } } }, async (journal, start) => {
      const run = await start(plan)
      await vi.waitFor(() => expect(meter?.spent?.usage.inputTokens).toBe(read))
      await journal.post(run, { type: 'cancel', by: { key: 'k', user: 'u' } })
      all = [...(await entries(journal, run)), ...(await entries(journal, await start(plan)))]
    })
    server.closeAllConnections()
    server.close()
    return all
  }

  it('is paid for: by the run, and in budgets with what was set aside at least', async () => {
    // 0.4 cents are set aside, and it has cost 2.
    const dear = await cutOff(20_000, 0.021)
    const used = { inputTokens: 20_000, outputTokens: 1, cachedTokens: 0 }
    const [step] = dear.filter((entry) => entry.type === 'step.ended')
    expect(step).toMatchObject({ status: 'cancelled', usage: used, costUsd: 0.020_001, model: 'm' })
    expect(dear.find(({ type }) => type === 'run.ended')).toMatchObject({ usage: used, costUsd: 0.020_001 })
    expect(outcomes(dear)).toEqual(['ok', 'budget.exceeded'])
    // It has cost next to nothing, as far as is known.
    const cheap = await cutOff(10, 0.005)
    expect(cheap.find(({ type }) => type === 'run.ended')).toMatchObject({ costUsd: 0.000_011 })
    expect(outcomes(cheap)).toEqual(['ok', 'budget.exceeded'])
  })
})

describe('a model that answers with Retry-After', () => {
  let server: Server

  afterEach(() => {
    server.closeAllConnections()
    server.close()
  })

  it.each([
    [429, 'rate.limited'],
    [503, 'model.unavailable'],
  ])('is left alone for as long as its %i asks for, and no other is', async (status, code) => {
    /** When each call came, by model. */
    const came: Record<string, number[]> = {}
    const waitMs = 2000
    server = createServer(async (request, response) => {
      let body = ''
      for await (const chunk of request) body += chunk
      const { model } = JSON.parse(body)
      const first = !came[model]
      came[model] ??= []
      came[model].push(Date.now())
      if (model === 'busy' && first) response.writeHead(status, { 'retry-after-ms': String(waitMs) }).end('{}')
      else
        response.writeHead(200, { 'content-type': 'application/json' }).end(
          JSON.stringify({
            model,
            choices: [{ index: 0, message: { role: 'assistant', content: 'hello' } }],
            usage: { prompt_tokens: 5, completion_tokens: 1 },
          }),
        )
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const models = createModels({ routes: { default: { model: 'busy', baseUrl, apiKey: 'none', free: true } } })
    await withWorker(app, { models }, async (journal, start) => {
      const refused = await start(steps(1, { model: 'busy', prompt: 'x' }))
      // The worker knows of the refusal once the journal does.
      for await (const { bytes } of journal.follow(refused, 0, AbortSignal.timeout(30_000)))
        if (bytes.includes(code)) break
      const others = [
        await start(steps(3, { model: 'busy', prompt: 'x' })),
        await start(steps(3, { model: 'free', prompt: 'x' })),
      ]
      expect(outcomes(await entries(journal, refused))).toEqual([code, 'ok'])
      for (const run of others) expect(outcomes(await entries(journal, run))).toEqual(['ok', 'ok', 'ok'])
    })
    const [refusal = 0, ...later] = came.busy ?? []
    expect(later.length).toBe(4)
    expect(Math.min(...later) - refusal).toBeGreaterThanOrEqual(waitMs)
    expect(Math.max(...(came.free ?? []))).toBeLessThan(Math.min(...later))
  })
})
