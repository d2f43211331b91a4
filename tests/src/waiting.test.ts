import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { actor, family, shifting } from './fixtures/app.ts'
import { ended, type Harness, startHarness, stopProcess, until } from './harness.ts'

let harness: Harness
let muster: Harness['muster']

beforeAll(async () => {
  harness = await startHarness()
  muster = harness.muster
})
afterEach(() => harness.killWorkers())
afterAll(() => harness.close())

const paying = (amount: number) => ({
  turns: [{ calls: [{ name: 'world_pay', arguments: { amount } }] }, { answer: 'done' }],
})
const payments = (run: string) => harness.effects().filter(({ effect, key }) => effect === 'pay' && key.startsWith(run))

describe('a step that policy asks a person about', () => {
  it('parks the run; it goes on, on any worker, when exactly that was approved', async () => {
    const first = await harness.worker()
    const run = await muster.runs.start(actor, paying(5000))
    const state = await until(run.get, ({ status }) => status === 'waiting')
    expect(state.waiting).toMatchObject([
      {
        step: '1.world.pay',
        for: 'approval',
        role: 'controller',
        target: 'world.pay',
        shown: { input: { amount: 5000 }, labels: [] },
      },
    ])
    expect(payments(run.id)).toEqual([])
    await stopProcess(first)
    const second = await harness.worker()
    const digest = state.waiting[0]?.digest ?? ''
    await expect(
      muster.runs.approve(run.id, { step: '1.world.pay', verdict: 'approve', digest: 'f'.repeat(64) }),
    ).rejects.toMatchObject({ code: 'approval.mismatch' })
    await expect(muster.runs.approve(run.id, { step: '9.nothing', verdict: 'approve', digest })).rejects.toMatchObject({
      code: 'approval.not_found',
    })
    await expect(
      harness.stranger.runs.approve(run.id, { step: '1.world.pay', verdict: 'approve', digest }),
    ).rejects.toMatchObject({ code: 'run.not_found' })
    await muster.runs.approve(run.id, { step: '1.world.pay', verdict: 'approve', digest })
    expect(await run.result()).toEqual({ answer: 'done' })
    expect(payments(run.id)).toHaveLength(1)
    await expect(
      muster.runs.approve(run.id, { step: '1.world.pay', verdict: 'approve', digest }),
    ).rejects.toMatchObject({ code: 'approval.late' })
    const given = []
    for await (const { entry } of run.events())
      if (entry.type === 'approval.given') given.push([entry.verdict, entry.by.user, entry.role, entry.shown])
    expect(given).toEqual([['approve', 'acme-user', 'controller', digest]])
    await stopProcess(second)
  })

  it('ends as denied when it was refused, and the model is told', async () => {
    const worker = await harness.worker()
    const run = await muster.runs.start(actor, {
      turns: [{ calls: [{ name: 'world_pay', arguments: { amount: 2000 } }] }, { answer: '$messages' }],
    })
    const { waiting } = await until(run.get, ({ status }) => status === 'waiting')
    await muster.runs.approve(run.id, { step: '1.world.pay', verdict: 'deny', digest: waiting[0]?.digest ?? '' })
    const { answer } = (await run.result()) as { answer: { content: string }[] }
    expect(JSON.parse(answer.at(-1)?.content ?? '')).toMatchObject({ error: { code: 'approval.denied' } })
    expect(payments(run.id)).toEqual([])
    await stopProcess(worker)
  })

  it('can be cancelled while it waits', async () => {
    const worker = await harness.worker()
    const run = await muster.runs.start(actor, paying(3000))
    await until(run.get, ({ status }) => status === 'waiting')
    await run.cancel()
    expect(await until(run.get, ended)).toMatchObject({ status: 'cancelled' })
    await stopProcess(worker)
  })
})

describe('child runs', () => {
  it('report to their parent that they ended, failed or wait for a person', async () => {
    const worker = await harness.worker()
    const run = await muster.runs.start(family, {
      children: [
        { turns: [{ answer: 1 }] },
        paying(9000),
        { turns: Array.from({ length: 60 }, () => ({ calls: [{ name: 'math_add', arguments: { a: 1, b: 1 } }] })) },
        paying(3),
      ],
    })
    expect(await run.result()).toEqual(['succeeded', 'waiting', 'failed', 'succeeded'])
    const state = await run.get()
    expect(state.costUsd).toBeGreaterThan(0)
    // The parent is over; the child that waits can still be answered and tells nobody.
    const waiting = (await muster.runs.list({ status: 'waiting' })).runs.find(({ parent }) => parent?.run === run.id)
    const child = muster.runs.of(waiting?.id ?? '')
    const { waiting: asked } = await child.get()
    await muster.runs.approve(child.id, {
      step: asked[0]?.step ?? '',
      verdict: 'approve',
      digest: asked[0]?.digest ?? '',
    })
    expect(await child.result()).toEqual({ answer: 'done' })
    await stopProcess(worker)
  })

  it('do not need a free place of the pool that their parents hold', async () => {
    const worker = await harness.worker({ MUSTER_CONCURRENCY: '1' })
    const children = Array.from({ length: 6 }, (_, i) => ({ turns: [{ answer: i }] }))
    const runs = await Promise.all(Array.from({ length: 3 }, () => muster.runs.start(family, { children })))
    for (const run of runs) expect(await run.result()).toEqual(children.map(() => 'succeeded'))
    await stopProcess(worker)
  })
})

describe('a plan that was changed under a running run', () => {
  it('ends with an error that names the step, and does nothing else', async () => {
    const first = await harness.worker()
    const run = await muster.runs.start(shifting, {})
    await until(run.get, ({ steps }) => steps >= 1)
    await stopProcess(first, 'SIGKILL')
    const second = await harness.worker({ SHIFTED: '1' })
    const state = await until(run.get, ended)
    expect(state).toMatchObject({ status: 'failed', error: { code: 'plan.non_deterministic' } })
    expect(state.error?.message.split('\n')).toEqual([
      'the journal has step "world.write", which the plan did not take (- in the journal, + in the plan as it is now)',
      '- world.write: tool world.write',
      '+ world.look: tool world.look',
    ])
    expect(harness.effects().filter(({ effect, key }) => effect === 'look' && key.startsWith(run.id))).toEqual([])
    await stopProcess(second)
  })
})

describe('time that a run waits for a person', () => {
  it('does not count against its wall time', async () => {
    const worker = await harness.worker()
    const run = await muster.request<{ id: string }>('POST', '/v1/runs', {
      agent: 'actor',
      input: paying(4000),
      limits: { wallTimeMs: 1500 },
    })
    const { waiting } = await until(
      () => muster.runs.get(run.id),
      ({ status }) => status === 'waiting',
    )
    await new Promise((resolve) => setTimeout(resolve, 2000))
    await muster.runs.approve(run.id, { step: '1.world.pay', verdict: 'approve', digest: waiting[0]?.digest ?? '' })
    expect(await muster.runs.of(run.id).result()).toEqual({ answer: 'done' })
    const late = await muster.request<{ id: string }>('POST', '/v1/runs', {
      agent: 'actor',
      input: { turns: [{ calls: [{ name: 'world_write', arguments: { text: 'slow', ms: 20_000 } }] }, { answer: 1 }] },
      limits: { wallTimeMs: 500 },
    })
    await expect(muster.runs.of(late.id).result()).rejects.toMatchObject({ code: 'run.deadline' })
    await stopProcess(worker)
  })
})

describe('a parent that is cancelled', () => {
  it('takes the children that it waits for with it', async () => {
    const worker = await harness.worker()
    const child = {
      turns: [{ calls: [{ name: 'world_write', arguments: { text: 'child', ms: 25_000 } }] }, { answer: 1 }],
    }
    const run = await muster.runs.start(family, { children: [child, child] })
    await until(
      () => muster.runs.list({ status: 'running', name: 'actor' }),
      ({ runs }) => runs.filter(({ parent }) => parent?.run === run.id).length === 2,
    )
    await run.cancel()
    expect(await until(run.get, ended)).toMatchObject({ status: 'cancelled' })
    const { runs } = await until(
      () => muster.runs.list({ name: 'actor', limit: 10 }),
      (page) => page.runs.filter(({ parent }) => parent?.run === run.id).every(({ status }) => status === 'cancelled'),
    )
    expect(runs.filter(({ parent }) => parent?.run === run.id)).toHaveLength(2)
    await stopProcess(worker)
  })
})
