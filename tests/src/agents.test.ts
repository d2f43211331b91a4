import { isEnded, type Run } from '@muster/protocol'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { lead, starter } from './fixtures/app.ts'
import { ended, type Harness, startHarness, until } from './harness.ts'

let harness: Harness
let muster: Harness['muster']

beforeAll(async () => {
  harness = await startHarness()
  muster = harness.muster
  await harness.worker()
})
afterAll(() => harness.close())

const call = (name: string, args: object) => ({ name, arguments: args })
const ask = (...turns: object[]) => call('ask_actor', { turns })
const look = { calls: [call('world_look', { what: 'letter' })] }

interface Message {
  role: string
  content: string | null
}

async function childrenOf(run: string): Promise<Run[]> {
  const { runs } = await muster.runs.list({ name: 'actor', limit: 100 })
  return Promise.all(runs.filter(({ parent }) => parent?.run === run).map(({ id }) => muster.runs.get(id)))
}

/** What the model was told of each call in the turn before the last. */
function results(answer: unknown): { output?: unknown; error?: { code: string } }[] {
  return (answer as Message[]).filter(({ role }) => role === 'tool').map(({ content }) => JSON.parse(content ?? ''))
}

describe('an agent that asks another', () => {
  it('gets its answer from a run of its own, with its labels and its cost', async () => {
    const run = await muster.runs.start(lead, {
      turns: [
        { calls: [ask(look, { answer: 5 }), ask({ answer: 6 })] },
        { calls: [call('world_pay', { amount: 1 })] },
        { answer: '$messages' },
      ],
    })
    const { answer } = await run.result()
    expect(results(answer)).toMatchObject([
      { output: { answer: 5 } },
      { output: { answer: 6 } },
      // The letter that the other has read is untrusted here as well.
      { error: { code: 'policy.denied' } },
    ])
    const children = await childrenOf(run.id)
    expect(children.map(({ status, parent }) => [status, parent?.step]).sort()).toEqual([
      ['succeeded', '1.ask.actor'],
      ['succeeded', '1.ask.actor.2'],
    ])
    const { labels, usage, costUsd } = await run.get()
    expect(labels).toEqual(['untrusted'])
    for (const child of children) expect(usage.inputTokens).toBeGreaterThan(child.usage.inputTokens)
    expect(costUsd).toBeGreaterThan(0)
  })

  it('is told what is wrong with its call, and no run begins of that', async () => {
    const run = await muster.runs.start(lead, {
      turns: [
        { calls: [call('ask_actor', {}), call('ask_greeter', {}), call('transfer_to_actor', { turns: 'all' })] },
        { calls: [call('ask_greeter', { input: 'Ann' })] },
        { answer: '$messages' },
      ],
    })
    const { answer } = await run.result()
    const invalid = (of: string) => ({
      error: { code: 'input.invalid', message: expect.stringContaining(`the input of ${of}`) },
    })
    expect(results(answer)).toMatchObject([invalid('actor'), invalid('greeter'), invalid('actor'), {}])
    expect(results(answer)[3]?.error?.code).not.toBe('input.invalid')
    expect(await childrenOf(run.id)).toEqual([])
  })

  it('is told when it may not: levels and numbers of children are limited', async () => {
    const limited = (limits: object, turns: object[]) =>
      muster.request<Run>('POST', '/v1/runs', { agent: 'lead', input: { turns }, limits })
    const turns = [{ calls: [ask({ answer: 1 }), ask({ answer: 2 })] }, { answer: '$messages' }]
    const flat = await limited({ depth: 0 }, turns)
    const few = await limited({ children: 1, depth: 3 }, turns)
    const codes = async ({ id }: Run) => {
      const { answer } = await muster.runs.of<{ answer: unknown }>(id).result()
      return results(answer).map(({ error }) => error?.code)
    }
    expect(await codes(flat)).toEqual(['child.too_deep', 'child.too_deep'])
    expect((await codes(few)).sort()).toEqual(['child.too_many', undefined])
    const [child] = await childrenOf(few.id)
    for await (const { entry } of muster.runs.of(child?.id ?? '').events())
      if (entry.type === 'run.created') expect(entry.limits.depth).toBe(2)
  })
})

describe('an agent that hands its run over', () => {
  it('gives the conversation to the other, whose answer is the run’s', async () => {
    const run = await muster.runs.start(lead, {
      turns: [
        { calls: [call('math_add', { a: 1, b: 2 })] },
        { calls: [call('transfer_to_actor', { turns: [{ answer: '$messages' }] })] },
      ],
    })
    const messages = (await run.result()).answer as Message[]
    expect(messages.map(({ role }) => role)).toEqual(['system', 'user', 'assistant', 'tool', 'user'])
    expect(messages[0]?.content).toContain('Play the turns.')
    expect(JSON.parse(messages[3]?.content ?? '')).toEqual({ output: { sum: 3 } })
    expect(await childrenOf(run.id)).toMatchObject([{ status: 'succeeded' }])
  })

  it('goes on itself when the other fails', async () => {
    const tooMany = Array.from({ length: 60 }, () => ({ calls: [call('math_add', { a: 1, b: 1 })] }))
    const run = await muster.runs.start(lead, {
      turns: [{ calls: [call('transfer_to_actor', { turns: tooMany })] }, { answer: '$messages' }],
    })
    expect(results((await run.result()).answer)).toMatchObject([{ error: { code: 'budget.exceeded' } }])
  })
})

describe('a child run that nobody waits for', () => {
  it('goes on when its parent has ended', async () => {
    const slow = { calls: [call('world_write', { text: 'late', ms: 2000 })] }
    const run = await muster.runs.start(starter, { turns: [slow, { answer: 'done' }] })
    const child = muster.runs.of<{ answer: string }>(await run.result())
    expect(isEnded((await child.get()).status)).toBe(false)
    expect(await until(child.get, ended)).toMatchObject({ status: 'succeeded', output: { answer: 'done' } })
    expect((await child.get()).parent).toEqual({ run: run.id, step: 'actor', until: 'started' })
  })
})
