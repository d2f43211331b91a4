import { hash } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Journal } from '@muster/journal'
import type { Memory } from '@muster/memory'
import { createModels, type ModelMessage } from '@muster/models'
import type { Entry, StoredEntry } from '@muster/protocol'
import { agent, collect, tool } from '@muster/sdk'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { stopMemory, stopRedis, theMemory, withWorker } from '../fixture.ts'
import { recalled, standing, trimResult } from './compaction.ts'

/** Turns of every run before its model answers. */
const TURNS = 9
/** Bodies as a model server was sent them, by run and step. */
const sent = new Map<string, Map<string, string[]>>()

/** A server of Chat Completions: by the step that asks, it has the tool called, summarises, or answers. */
const server = createServer(async (request, response) => {
  let body = ''
  for await (const piece of request) body += piece
  const [run = '', step = ''] = String(request.headers['idempotency-key']).split('/')
  const steps = sent.get(run) ?? new Map<string, string[]>()
  sent.set(run, steps.set(step, [...(steps.get(step) ?? []), body]))
  const [turn = 0, kind] = [Number.parseInt(step, 10), step.split('.')[1]]
  const said =
    kind === 'summary'
      ? { content: `digest ${hash('sha256', body, 'hex').slice(0, 12)}` }
      : turn <= TURNS
        ? {
            content: null,
            tool_calls: [{ id: `c${turn}`, type: 'function', function: { name: 'look', arguments: `{"n":${turn}}` } }],
          }
        : { content: 'done' }
  const message = { role: 'assistant', ...said }
  const usage = { prompt_tokens: 10, completion_tokens: 2, total_tokens: 12 }
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify({ id: 'x', object: 'chat.completion', model: 'm', choices: [{ message }], usage }))
})

let memory: Memory
let models: ReturnType<typeof createModels>
let counted = 1
/** Called by the tool before it gives what it has found. */
let looked: (run: string, n: number) => Promise<unknown> = async () => {}

beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`
  const real = createModels({ routes: { default: { model: 'm', baseUrl, apiKey: 'k', free: true } } })
  models = { ...real, inputTokens: (route, request) => real.inputTokens(route, request) * counted }
  memory = await theMemory()
})
afterAll(async () => {
  server.close()
  await stopMemory()
  await stopRedis()
})

const look = tool({
  name: 'look',
  effect: 'read',
  input: z.object({ n: z.number() }),
  output: z.object({ seen: z.string() }),
  async run({ n }, { run }) {
    await looked(run, n)
    return { seen: String(n).repeat(300 + ((n * 7919) % 1200)) }
  },
})
const about = { version: '1', model: 'default', instructions: 'Look.', tools: [look], input: z.object({}) }
const context = { compactAt: 1200, keepLast: 2, trimToolResults: 1000 }
const app = collect({
  look,
  watcher: agent({ ...about, name: 'watcher', context, memory: { session: true } }),
  plain: agent({ ...about, name: 'plain' }),
  small: agent({ ...about, name: 'small', context: { maxTokens: 400 } }),
})
const of = (name: string) => ({ definition: { kind: 'agent' as const, name, version: '1', hash: '' } })

async function endOf(journal: Journal, run: string): Promise<{ entry: Entry; content: string | undefined }[]> {
  const all: { entry: Entry; content: string | undefined }[] = []
  for await (const { bytes, content } of journal.follow(
    run,
    0,
    AbortSignal.timeout(60_000),
  ) as AsyncIterable<StoredEntry>) {
    const entry: Entry = JSON.parse(bytes)
    all.push({ entry, content })
    if (entry.type === 'run.ended') break
  }
  return all
}

/** A request, but for whether it is to be streamed: the server cannot, of which a worker learns once. */
function spoken(body: string): unknown {
  const { stream: _, stream_options: __, ...rest } = JSON.parse(body)
  return rest
}

function messagesOf(run: string, step: string): { role: string; content: string }[] {
  return JSON.parse(sent.get(run)?.get(step)?.[0] ?? '{"messages":[]}').messages
}

const sizeOf = (run: string, step: string) => JSON.stringify(messagesOf(run, step)).length

it('what a model is sent stays bounded, and is the same when the run is taken up again in any turn', async () => {
  await withWorker(app, { models, memory }, async (journal, start) => {
    const whole = await start('', of('watcher'))
    const entries = await endOf(journal, whole)
    const steps = entries.flatMap(({ entry }) => (entry.type === 'step.ended' ? [entry] : []))
    const summaries = steps.filter(({ step }) => step.endsWith('.summary'))
    expect(summaries.length).toBeGreaterThan(1)
    for (const one of summaries)
      expect(one).toMatchObject({ kind: 'model', target: 'default', status: 'ok', usage: { inputTokens: 10 } })
    expect(
      entries.filter(({ entry }) => entry.type === 'step.intent' && entry.step.endsWith('.summary'))[0]?.entry,
    ).toMatchObject({ decision: { effect: 'allow' } })
    // The journal has what the model was not sent.
    const first = entries.find(({ entry }) => entry.type === 'step.ended' && entry.step === '1.look')
    expect(first?.content).toContain('1'.repeat(300 + (7919 % 1200)))
    const [result] = messagesOf(whole, '2.model').filter(({ role }) => role === 'tool')
    expect(JSON.parse(result?.content ?? '')).toMatchObject({
      ref: '#/steps/1.look/output',
      leftOut: expect.any(Number),
    })

    const last = messagesOf(whole, `${TURNS + 1}.model`)
    expect(last.slice(0, 3).map(({ role }) => role)).toEqual(['system', 'user', 'user'])
    expect(last[1]?.content).toBe('{}')
    expect(last[2]?.content).toMatch(/in place of \d+ earlier messages.*\ndigest/)
    const all = await start('', of('plain'))
    await endOf(journal, all)
    expect(sizeOf(whole, `${TURNS + 1}.model`)).toBeLessThan(sizeOf(all, `${TURNS + 1}.model`) / 2)
    expect([...(sent.get(all) ?? [])].some(([step]) => step.endsWith('summary'))).toBe(false)

    // Another takes it, before the first summary and after several, at last with another way of counting tokens.
    for (const at of [3, 9]) {
      let lost = false
      looked = async (run, n) => {
        if (n !== at || lost) return
        lost = true
        if (at === 9) counted = 0.1
        await journal.redis.hincrby(journal.partitions[0].keys.run(run), 'epoch', 1)
      }
      const cut = await start('', of('watcher'))
      const told = await endOf(journal, cut)
      counted = 1
      expect(told.filter(({ entry }) => entry.type === 'run.activated')).toHaveLength(2)
      expect(told.at(-1)?.entry).toMatchObject({ status: 'succeeded' })
      const steps = [...(sent.get(whole)?.keys() ?? [])].filter((step) => at === 3 || !step.startsWith('10.'))
      expect([...(sent.get(cut)?.keys() ?? [])].slice(0, steps.length)).toEqual(steps)
      for (const step of steps)
        for (const body of sent.get(cut)?.get(step) ?? [])
          expect(spoken(body)).toEqual(spoken(sent.get(whole)?.get(step)?.[0] ?? '{}'))
    }
  })
}, 60_000)

it('a session goes on from the summary of an earlier run, and one that is too long fails with what to do', async () => {
  await withWorker(app, { models, memory }, async (journal, start) => {
    const first = await start('', { ...of('watcher'), session: 's' })
    await endOf(journal, first)
    const second = await start('', { ...of('watcher'), session: 's' })
    await endOf(journal, second)
    // What it is asked first has the summary and the last turns of the run before, and not what that stands for.
    const [asked] = [...(sent.get(second)?.values() ?? [])].flat()
    expect(asked).toContain('digest')
    expect(asked).toMatch(/c8\b/)
    expect(asked).not.toMatch(/c1\b/)
    expect(asked).not.toContain('standsFor')

    const small = await endOf(journal, await start('', of('small')))
    expect(small.at(-1)?.entry).toMatchObject({ status: 'failed', error: { code: 'model.context_full' } })
  })
}, 60_000)

describe('what is kept', () => {
  it('of a long result are its ends, at characters', () => {
    const content = { ref: '#/steps/1.x/output', output: `${'a'.repeat(11)}😀${'b'.repeat(40)}` }
    expect(trimResult(content, 16)).toEqual({
      ref: '#/steps/1.x/output',
      begins: `${'a'.repeat(11)}\u{fffd}`,
      ends: 'bbbb',
      leftOut: 37,
    })
    expect(trimResult(content, 53)).toBe(content)
    expect(trimResult({ error: 'x' }, 1)).toEqual({ error: 'x' })
  })

  it('of a session is what no summary stands for, whoever wrote meanwhile', () => {
    const turn = (messages: unknown[]) =>
      ({ run: 'r', at: 0, labels: [], messages }) as Parameters<typeof recalled>[1][number]
    const user = (content: string): ModelMessage => ({ role: 'user', content })
    const turns = [
      turn([user('one')]),
      turn([user('two'), standing(user('S1'), 1)]),
      turn([user('three')]),
      turn([user('four'), standing(user('S2'), 2), user('five')]),
      turn([standing(user('S3'), 2), user('six')]),
    ]
    expect(recalled(5, turns).map((message) => (message as { content: string }).content)).toEqual([
      ...['S3', 'three', 'four', 'S2', 'five', 'six'],
    ])
    expect(recalled(2, turns.slice(0, 1))).toEqual([user('one')])
  })
})
