import { fileURLToPath } from 'node:url'
import type { Json, PlanData, Run } from '@muster/protocol'
import type { RunHandle } from '@muster/sdk'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { actor } from './fixtures/app.ts'
import { ended, type Harness, type Ran, runCli, startHarness, stopProcess, until } from './harness.ts'

const policy = fileURLToPath(new URL('./fixtures/approvals.cedar', import.meta.url))

let harness: Harness
let people: Harness['people']

beforeAll(async () => {
  harness = await startHarness({ MUSTER_POLICY: policy })
  people = harness.people
})
afterEach(() => harness.killWorkers())
afterAll(() => harness.close())

type Person = 'ann' | 'bob' | 'cid' | 'robot'
type Asked = Awaited<ReturnType<typeof asked>>

const start = (steps: Record<string, Json>, by = harness.muster) => by.runs.start({ steps } as PlanData, {})
const paying = (amount: number) => start({ pay: { tool: 'world.pay', input: { amount } } })
const effects = (run: string) => harness.effects().filter(({ key }) => key.startsWith(run))

/** What a run asks next: of `people` who have approved so far. */
async function asked(run: { id: string; get(): Promise<Run> }, so = 0) {
  const { waiting } = await until(run.get, ({ status, waiting: [one] }) =>
    Boolean(status === 'waiting' && one && (one.approvals?.length ?? 0) === so),
  )
  const [one] = waiting
  if (!one?.digest) throw new Error('asks nothing')
  return { ...one, run: run.id, digest: one.digest }
}

function answer(
  who: Person,
  { run, step, digest }: Asked,
  more: { verdict?: 'deny'; reason?: string; input?: Json } = {},
) {
  return people[who].runs.approve(run, { step, digest, verdict: 'approve', ...more })
}

async function given(run: RunHandle<never> | RunHandle<unknown>) {
  const all = []
  for await (const { entry, content } of run.events())
    if (entry.type === 'approval.given' || entry.type === 'message.ignored' || entry.type === 'approval.escalated')
      all.push({ ...entry, content })
  return all
}

describe('an approval by two who did not ask for it', () => {
  it('goes on when the second has approved the same, with the reasons of both in the journal', async () => {
    const worker = await harness.worker()
    const run = await paying(5000)
    const first = await asked(run)
    expect(first).toMatchObject({
      ...{ role: 'finance', target: 'world.pay', rule: { people: 2, requester: false, reason: true } },
      shown: { input: { amount: 5000 } },
    })
    await expect(answer('ann', first)).rejects.toMatchObject({
      code: 'approval.reason_required',
      issues: [{ path: '/reason' }],
    })
    await expect(answer('cid', first, { reason: 'mine' })).rejects.toMatchObject({ code: 'auth.forbidden' })
    await expect(answer('robot', first, { reason: 'mine' })).rejects.toMatchObject({ code: 'auth.forbidden' })
    await expect(
      harness.muster.runs.approve(run.id, { step: 'pay', verdict: 'approve', digest: first.digest, reason: 'mine' }),
    ).rejects.toMatchObject({ code: 'approval.by_requester' })
    await answer('ann', first, { reason: 'matches order 7' })
    const second = await asked(run, 1)
    expect(second).toMatchObject({ digest: first.digest, approvals: [{ by: 'ann' }] })
    await expect(answer('ann', second, { reason: 'again' })).rejects.toMatchObject({ code: 'approval.repeated' })
    expect(effects(run.id)).toEqual([])
    // Another worker knows of the first approval.
    await stopProcess(worker)
    await harness.worker()
    await answer('bob', second, { reason: 'matches it' })
    await run.result()
    expect(effects(run.id)).toHaveLength(1)
    const entries = await given(run as never)
    expect(entries).toMatchObject([
      { by: { user: 'ann' }, more: 1, content: { reason: 'matches order 7' } },
      { by: { user: 'bob' }, content: { reason: 'matches it' } },
    ])
    expect(entries[1]).not.toHaveProperty('more')
    await expect(answer('bob', second, { reason: 'late' })).rejects.toMatchObject({
      code: 'approval.late',
      message: expect.stringMatching(/^Step "pay" of run \S+ was approved by bob at /),
    })
  })

  it('counts one person once, however many answers are on their way', async () => {
    const run = await paying(2000)
    await harness.worker()
    const question = await asked(run)
    await Promise.allSettled(Array.from({ length: 5 }, () => answer('ann', question, { reason: 'quick' })))
    await asked(run, 1)
    expect(effects(run.id)).toEqual([])
    await answer('bob', question, { reason: 'slow' })
    await run.result()
    const counted = (await given(run as never)).filter(({ type }) => type === 'approval.given')
    expect(counted.map((entry) => 'by' in entry && entry.by?.user)).toEqual(['ann', 'bob'])
  })

  it('is refused by one, also by who began it', async () => {
    await harness.worker()
    const run = await paying(3000)
    const { step, digest } = await asked(run)
    await harness.muster.runs.approve(run.id, { step, digest, verdict: 'deny', reason: 'changed my mind' })
    expect(await until(run.get, ended)).toMatchObject({ status: 'failed', error: { code: 'approval.denied' } })
  })
})

describe('an edit', () => {
  it('is decided on anew: what needs nobody goes on, with the edited input', async () => {
    await harness.worker()
    const run = await paying(5000)
    const question = await asked(run)
    const edit = (input: Json) => answer('ann', question, { reason: 'half of it', input })
    await expect(edit({ amount: 'half' })).rejects.toMatchObject({
      code: 'input.invalid',
      issues: [{ path: '/input/amount' }],
    })
    await expect(
      answer('ann', question, { verdict: 'deny', reason: 'no', input: { amount: 1 } }),
    ).rejects.toMatchObject({ code: 'approval.not_editable' })
    await edit({ amount: 500 })
    expect(await run.result()).toMatchObject({ pay: { receipt: 'paid 500' } })
    expect(await given(run as never)).toMatchObject([
      { edited: true, content: { reason: 'half of it', input: { amount: 500 } } },
    ])
  })

  it('is approved by the others as it then is; what was approved before counts no more', async () => {
    const worker = await harness.worker()
    const run = await paying(5000)
    const first = await asked(run)
    await answer('ann', first, { reason: 'as it is' })
    const second = await asked(run, 1)
    await answer('bob', second, { reason: 'more', input: { amount: 7000 } })
    const edited = await until(
      () => asked(run, 1),
      ({ digest }) => digest !== first.digest,
    )
    expect(edited).toMatchObject({ shown: { input: { amount: 7000 } }, approvals: [{ by: 'bob' }] })
    await expect(answer('ann', first, { reason: 'old' })).rejects.toMatchObject({ code: 'approval.mismatch' })
    await stopProcess(worker)
    await harness.worker()
    await answer('ann', edited, { reason: 'fine' })
    expect(await run.result()).toMatchObject({ pay: { receipt: 'paid 7000' } })
    expect(effects(run.id)).toHaveLength(1)
  })

  it('is told to the model', async () => {
    await harness.worker()
    const run = await harness.muster.runs.start(actor, {
      turns: [{ calls: [{ name: 'world_pay', arguments: { amount: 5000 } }] }, { answer: '$messages' }],
    })
    await answer('ann', await asked(run), { reason: 'too much', input: { amount: 10 } })
    const { answer: messages } = (await run.result()) as { answer: { content: string }[] }
    expect(messages.at(-1)?.content).toContain('{"amount":10}')
    expect(messages.at(-1)?.content).toContain('paid 10')
  })
})

describe('time', () => {
  it('ends the wait: nobody can approve any more, and the run goes on as refused', async () => {
    await harness.worker()
    const run = await start({ launch: { tool: 'world.launch', input: {} } })
    const question = await asked(run)
    expect(question.until).toBeGreaterThan(Date.now() - 60_000)
    expect(await until(run.get, ended)).toMatchObject({ status: 'failed', error: { code: 'approval.expired' } })
    await expect(answer('ann', question)).rejects.toMatchObject({ code: 'approval.expired' })
    expect(effects(run.id)).toEqual([])
  })

  it('cannot be given after its time where no worker was there to end it', async () => {
    await harness.worker()
    const run = await start({ launch: { tool: 'world.launch', input: {} } })
    const { until: end = 0, ...question } = await asked(run)
    await harness.killWorkers()
    await until(
      () => Date.now(),
      (now) => now > end,
    )
    await expect(answer('ann', question)).rejects.toMatchObject({ code: 'approval.expired' })
    await harness.worker()
    expect(await until(run.get, ended)).toMatchObject({ status: 'failed', error: { code: 'approval.expired' } })
    expect(effects(run.id)).toEqual([])
  })

  it('lets another role answer as well, and the journal says for whom', async () => {
    await harness.worker()
    const run = await start({ write: { tool: 'world.write', input: { text: 'x' } } })
    const question = await asked(run)
    await expect(answer('cid', question)).rejects.toMatchObject({ code: 'auth.forbidden' })
    const escalated = await until(
      () => asked(run),
      (one) => one.escalated !== undefined,
    )
    expect(escalated).toMatchObject({ role: 'finance', escalated: 'cfo', digest: question.digest })
    await answer('cid', escalated)
    await run.result()
    expect(await given(run as never)).toMatchObject([
      { type: 'approval.escalated', role: 'cfo' },
      { type: 'approval.given', by: { user: 'cid' }, role: 'finance', as: 'cfo' },
    ])
  })
})

describe('a plan that asks', () => {
  it('can want more people too, and says who they were', async () => {
    await harness.worker()
    const run = await start({ ask: { approval: 'finance', people: 2, requester: false, show: { what: 1 } } })
    await answer('ann', await asked(run))
    const second = await asked(run, 1)
    await expect(answer('bob', second, { input: {} })).rejects.toMatchObject({ code: 'approval.not_editable' })
    await answer('bob', second)
    expect(await run.result()).toMatchObject({ ask: { approved: true, by: 'bob', people: ['ann', 'bob'] } })
  })
})

describe('many', () => {
  it('are listed for their tenant and answered at once, each by itself', async () => {
    await harness.worker()
    const runs = await Promise.all([1, 2, 3].map(() => start({ ask: { approval: 'finance' } }, people.robot)))
    const questions = await Promise.all(runs.map((run) => asked(run)))
    const listed = []
    for await (const question of people.ann.approvals.list({ role: 'finance', target: 'finance' }))
      listed.push(question)
    expect(listed.map(({ run }) => run).sort()).toEqual(runs.map(({ id }) => id).sort())
    expect(listed[0]).toMatchObject({ by: { user: 'robot', service: true }, step: 'ask', role: 'finance' })
    for await (const question of harness.stranger.approvals.list()) expect(question).toBeUndefined()
    for await (const question of people.ann.approvals.list({ role: 'cfo' })) expect(question).toBeUndefined()
    const [one, two, three] = questions as [Asked, Asked, Asked]
    const answers = [one, { ...two, digest: 'f'.repeat(64) }, { ...three, step: 'no' }].map(
      ({ run, step, digest }) => ({
        ...{ run, step, digest, verdict: 'approve' as const },
      }),
    )
    expect(await people.ann.approvals.answer(answers)).toMatchObject([
      { run: one.run },
      { run: two.run, error: { code: 'approval.mismatch' } },
      { run: three.run, error: { code: 'approval.not_found' } },
    ])
    expect(await muster(['approvals', '--target', 'finance', '--yes'], 'ann')).toMatchObject({
      code: 1,
      err: expect.stringContaining('--force'),
    })
    expect(await muster(['approvals', '--target', 'finance'], 'ann')).toMatchObject({
      code: 0,
      out: expect.stringContaining('begun by service robot'),
    })
    expect(
      await muster(['approvals', '--target', 'finance', '--yes', '--force', '--reason', 'all'], 'ann'),
    ).toMatchObject({
      code: 0,
      out: expect.stringContaining('answered 2'),
    })
    for (const run of runs) await run.result()
    for await (const question of people.ann.approvals.list({ target: 'finance' })) expect(question).toBeUndefined()
  })

  it('are answered one by one at the command line, with a reason and an edit', async () => {
    await harness.worker()
    const run = await paying(5000)
    await asked(run)
    const shown = await muster(['approve', run.id], 'ann')
    expect(shown.out).toContain('2 people; not who began it; with a reason')
    const edit = ['approve', run.id, '--yes', '--reason', 'less', '--edit', '{"amount":900}']
    expect(await muster(edit, 'ann')).toMatchObject({ code: 0 })
    expect(await run.result()).toMatchObject({ pay: { receipt: 'paid 900' } })
    const { out } = await muster(['trace', run.id], 'ann')
    expect(out).toContain('ann')
  })
})

function muster(args: string[], who: Person): Promise<Ran> {
  return runCli(args, { MUSTER_URL: harness.url, MUSTER_KEY: people[who].key })
}
