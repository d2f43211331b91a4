import { agent, plan, type ToolContext, tool } from '@muster/sdk'
import { z } from 'zod'
import type { Effect } from './effect.ts'
import { CONTENT } from './work.ts'

/** What the workers of a campaign carry. Every effect is done over HTTP, at the recorder. */
const outside = process.env.RECORDER ?? ''

type Call = Pick<ToolContext, 'idempotencyKey' | 'fencingToken'>

async function act(kind: Effect['kind'], call: Call & { signal: AbortSignal }): Promise<void> {
  const { idempotencyKey: key, fencingToken: token, signal } = call
  const body = JSON.stringify({ kind, key, token, pid: process.pid })
  const response = await fetch(`${outside}/act`, { method: 'POST', body, signal })
  if (!response.ok) throw new Error(`the outside answered ${response.status}`)
  await response.text()
}

async function happened({ idempotencyKey: key, fencingToken: token }: Call): Promise<boolean> {
  const response = await fetch(`${outside}/done?${new URLSearchParams({ key, token: String(token) })}`)
  return z.object({ text: z.string() }).parse(await response.json()).text === 'yes'
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
const item = z.object({ item: z.string(), ms: z.number().default(0) })

const double = tool({
  name: 'double',
  effect: 'pure',
  labels: ['doubled'],
  input: z.object({ n: z.number() }),
  output: z.object({ n: z.number() }),
  run: ({ n }) => ({ n: 2 * n }),
})

const look = tool({
  name: 'look',
  effect: 'read',
  labels: ['shelf'],
  input: item,
  output: z.object({ seen: z.string() }),
  run: async ({ item }, call) => {
    await act('read', call)
    return { seen: item }
  },
})

const write = tool({
  name: 'write',
  effect: 'write',
  attempts: 10,
  input: item,
  output: z.object({ written: z.string() }),
  run: async ({ item, ms }, call) => {
    await act('write', call)
    await sleep(ms)
    return { written: item }
  },
})

/** Nobody can look up whether it happened: in doubt, a person decides. */
const launch = tool({
  name: 'launch',
  effect: 'once',
  input: item,
  output: z.object({ launched: z.string() }),
  run: async ({ item, ms }, call) => {
    await act('once', call)
    await sleep(ms)
    return { launched: item }
  },
})

/** The outside can be asked whether it happened. */
const pay = tool({
  name: 'pay',
  effect: 'once',
  declassifies: ['shelf'],
  input: item,
  output: z.object({ paid: z.string() }),
  run: async ({ item, ms }, call) => {
    await act('once', call)
    await sleep(ms)
    return { paid: item }
  },
  reconcile: async (call) => ((await happened(call)) ? { paid: 'found' } : undefined),
})

/** Holds the event loop, as a tool does that computes for long; when it is tried again it is quick. */
const spin = tool({
  name: 'spin',
  effect: 'read',
  input: z.object({ ms: z.number() }),
  output: z.object({ spun: z.boolean() }),
  run: async ({ ms }, call) => {
    const spun = await happened(call)
    await act('read', call)
    const end = performance.now() + (spun ? 0 : ms)
    while (performance.now() < end);
    return { spun: true }
  },
})

export const errand = plan({
  name: 'errand',
  version: '1.0.0',
  input: z.object({ n: z.number(), ms: z.number() }),
  run: async (step, { n, ms }) => {
    const { seen } = await step.tool(look, { item: CONTENT })
    const written: string[] = []
    for (let i = 0; i < n; i++) written.push((await step.tool(write, { item: `${seen}${i}`, ms })).written)
    await step.tool(pay, { item: written.join(), ms })
    return written.length
  },
})

/** A model takes turns: each run of it is a child of `office`. */
export const teller = agent({
  name: 'teller',
  version: '1.0.0',
  model: 'default',
  instructions: 'Play the turns.',
  tools: [double, write],
  input: z.object({ turns: z.array(z.unknown()) }),
  output: z.object({ answer: z.number() }),
})

export const office = plan({
  name: 'office',
  version: '1.0.0',
  input: z.object({ n: z.number(), ms: z.number() }),
  run: async (step, { n, ms }) => {
    const answers = await step.map(
      Array.from({ length: n }, (_, i) => i),
      (i) => {
        const note = { name: 'write', arguments: { item: `note ${i}`, ms } }
        return step.agent(teller, {
          turns: [{ calls: [{ name: 'double', arguments: { n: i } }, note] }, { calls: [note] }, { answer: 2 * i }],
        })
      },
    )
    return answers.reduce((sum, { answer }) => sum + answer, 0)
  },
})

export const fan = plan({
  name: 'fan',
  version: '1.0.0',
  input: z.object({ n: z.number(), ms: z.number() }),
  run: async (step, { n, ms }) => {
    const doubled = await step.map(
      Array.from({ length: n }, (_, i) => i),
      async (i) => {
        const { n } = await step.tool(double, { n: i })
        await step.tool(write, { item: String(n), ms })
        return n
      },
      { concurrency: 4 },
    )
    return doubled.reduce((sum, n) => sum + n, 0)
  },
})

export const rocket = plan({
  name: 'rocket',
  version: '1.0.0',
  input: z.object({ ms: z.number() }),
  run: async (step, { ms }) => {
    const [, launched] = await step.all([
      step.tool(write, { item: 'log', ms }),
      step.tool(launch, { item: 'rocket', ms }),
    ])
    return launched
  },
})

export const asking = plan({
  name: 'asking',
  version: '1.0.0',
  input: z.object({ ms: z.number() }),
  run: async (step, { ms }) => {
    await step.tool(look, { item: 'request' })
    await step.approval('may it?', { role: 'officer' })
    return step.tool(launch, { item: 'approved', ms })
  },
})

export const waiting = plan({
  name: 'waiting',
  version: '1.0.0',
  input: z.object({ sleepMs: z.number() }),
  signals: { go: z.object({ n: z.number() }) },
  run: async (step, { sleepMs }) => {
    await step.sleep(sleepMs)
    const { n } = await step.signal('go')
    await step.tool(write, { item: String(n) })
    return n
  },
})

export const busy = plan({
  name: 'busy',
  version: '1.0.0',
  input: z.object({ ms: z.number() }),
  run: async (step, { ms }) => {
    await step.tool(spin, { ms })
    return step.tool(write, { item: 'after' })
  },
})

/** Content that does not lie in the journal, but in the blob store. */
export const bulk = plan({
  name: 'bulk',
  version: '1.0.0',
  input: z.object({ size: z.number() }),
  run: async (step, { size }) => (await step.tool(write, { item: 'x'.repeat(size) })).written.length,
})

/** The same kind of work as data: any shelf that answers will do, and what fails does not end it. */
export const graph = plan({
  name: 'graph',
  version: '1.0.0',
  input: z.object({ item: z.string() }),
  tools: [look, write, pay],
  steps: {
    left: { tool: 'look', input: { item: { $ref: '#/input/item' } }, onFailure: 'continue' },
    right: { tool: 'look', input: { item: { $ref: '#/input/item' } }, onFailure: 'continue' },
    note: { tool: 'write', input: { item: { $ref: '#/input/item' } }, after: ['left', 'right'], join: 'settled' },
    pay: { tool: 'pay', input: { item: { $ref: '#/steps/note/output/written' } } },
  },
  output: { $ref: '#/steps/note/output/written' },
})
