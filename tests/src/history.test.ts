import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { loadPolicies } from '@muster/governance'
import type { Json, PlanData, RunEvent } from '@muster/protocol'
import { collect } from '@muster/sdk'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { readJournal } from '../faults/src/journal.ts'
import * as fixture from './fixtures/history-app.ts'
import { ended, type Harness, startHarness, stopProcess, until } from './harness.ts'

const policy = fileURLToPath(new URL('./fixtures/history.cedar', import.meta.url))

let harness: Harness
let muster: Harness['muster']

beforeAll(async () => {
  harness = await startHarness({
    MUSTER_POLICY: policy,
    MUSTER_APP: fileURLToPath(new URL('./fixtures/history-app.ts', import.meta.url)),
  })
  muster = harness.muster
})
afterEach(() => harness.killWorkers())
afterAll(() => harness.close())

type Steps = Record<string, Json>

const match = (payee = 'ACME') => ({ tool: 'invoice.match', input: { payee } })
const pay = (amount: number, more: Steps = {}, payee = 'ACME') => ({
  ...{ tool: 'ledger.pay', input: { payee, amount, ...(more.input as Steps | undefined) } },
  onFailure: 'continue',
  after: more.after ?? ['match'],
})
const start = (steps: Steps, session?: string) =>
  muster.runs.start({ steps } as PlanData, {}, session === undefined ? {} : { session })

async function eventsOf(run: string): Promise<RunEvent[]> {
  const events: RunEvent[] = []
  for await (const event of muster.runs.stream(run)) events.push(event)
  return events
}

/** How the run's payments ended, by their steps. */
async function payments(run: { id: string; get(): Promise<{ status: string }> }): Promise<Record<string, string>> {
  const outcomes: Record<string, string> = {}
  for (const { entry } of await eventsOf(run.id))
    if (entry.type === 'step.ended' && entry.target === 'ledger.pay')
      outcomes[entry.step] =
        entry.status === 'denied' ? (entry.decision?.policies.join() ?? 'by a person') : entry.status
  return outcomes
}

const effects = (run: string) => harness.effects().filter(({ key }) => key.startsWith(run))

/** Every decision that was made by what happened before is the same again by what it says of that. */
async function expectSameAgain(run: string): Promise<number> {
  const set = loadPolicies(
    [{ file: policy, text: readFileSync(policy, 'utf8') }],
    collect(fixture as never).manifest, // what a worker exports
  )
  let decided = 0
  for (const { entry, content } of await eventsOf(run)) {
    if (!('decision' in entry) || !entry.decision?.history || entry.type === 'step.waiting') continue
    expect(entry.v).toBe(3)
    const again = set.decide({
      ...{ tenant: 'acme', principal: { type: 'Plan', name: 'any' }, action: 'tool:call' },
      resource: { type: 'Tool', name: entry.target, effect: 'once' },
      ...{ labels: entry.labels, approvals: [], user: '', spentUsd: 0, input: content as Json },
      history: { step: '', now: 0, recorded: entry.decision.history },
    })
    expect(again).toMatchObject({ effect: entry.decision.effect, policies: entry.decision.policies })
    decided++
  }
  return decided
}

async function expectVerified(run: string): Promise<void> {
  expect((await readJournal(muster, run)).verification).toMatchObject({ ok: true })
}

describe('what happened before in the run', () => {
  it('lets a payment through only to whom an invoice was matched', async () => {
    await harness.worker()
    const run = await start({ match: match(), acme: pay(10), other: pay(10, {}, 'Other') })
    expect(await payments(run)).toEqual({ acme: 'ok', other: 'matched' })
    const early = await start({
      early: pay(10, { after: [] }),
      match: { ...match(), after: ['early'], join: 'settled' },
    })
    expect(await payments(early)).toEqual({ early: 'matched' })
    const failed = await start({
      match: { ...match('nobody'), onFailure: 'continue' },
      pay: { ...pay(10, {}, 'nobody'), join: 'settled' },
    })
    expect(await payments(failed)).toEqual({ pay: 'matched' })
    expect(await expectSameAgain(run.id)).toBe(2)
    await expectVerified(run.id)
  })

  it('allows three payments, of which those that failed are none', async () => {
    await harness.worker()
    const run = await start({
      match: match(),
      one: pay(1),
      refused: { ...pay(1, { after: ['one'], input: { fails: true } }) },
      two: { ...pay(1, { after: ['refused'] }), join: 'settled' },
      three: pay(1, { after: ['two'] }),
      four: pay(1, { after: ['three'] }),
    })
    expect(await payments(run)).toEqual({ one: 'ok', refused: 'failed', two: 'ok', three: 'ok', four: 'three-a-run' })
    expect(await expectSameAgain(run.id)).toBe(5)
  })

  it('counts what is under way: of payments side by side no more pass than one after the other', async () => {
    await harness.worker()
    const run = await start({
      match: match(),
      ...Object.fromEntries([1, 2, 3, 4, 5].map((i) => [`p${i}`, pay(2000, { input: { ms: 300 } })])),
    })
    const outcomes = Object.values(await payments(run)).sort()
    expect(outcomes).toEqual(['five-thousand-a-day', 'five-thousand-a-day', 'five-thousand-a-day', 'ok', 'ok'])
    expect(effects(run.id)).toHaveLength(2)
  })

  it('knows who has approved', async () => {
    await harness.worker()
    const run = await start({ match: match(), one: pay(2600), two: pay(2400.5, { after: ['one'] }) })
    const { waiting } = await until(run.get, ({ status }) => status === 'waiting')
    await harness.people.ann.runs.approve(run.id, {
      step: 'one',
      digest: waiting[0]?.digest ?? '',
      verdict: 'approve',
    })
    expect(await payments(run)).toEqual({ one: 'ok', two: 'five-thousand-a-day' })
    const again = await start({ match: match(), one: pay(2501), two: pay(2499, { after: ['one'] }) })
    const second = await until(again.get, ({ status }) => status === 'waiting')
    const digest = second.waiting[0]?.digest ?? ''
    await harness.people.bob.runs.approve(again.id, { step: 'one', digest, verdict: 'approve' })
    expect(await payments(again)).toEqual({ one: 'ok', two: 'ok' })
  })
})

describe('a run that another worker takes up', () => {
  it('is decided as if it had never stopped: what was under way when its worker died is decided by the same again', async () => {
    const first = await harness.worker()
    const run = await start({
      match: match(),
      one: pay(1500),
      two: pay(1500, { after: ['one'], input: { ms: 60_000 } }),
      three: pay(2400, { after: ['one'] }),
      four: pay(2000, { after: ['two'] }),
      five: pay(0, { after: ['four'] }),
      six: { ...pay(0, { after: ['five'] }), join: 'settled' },
    })
    await until(
      () => effects(run.id),
      (paid) => paid.length === 2,
    )
    await stopProcess(first, 'SIGKILL')
    await harness.worker()
    expect(await payments(run)).toEqual({
      ...{ one: 'ok', two: 'ok', three: 'five-thousand-a-day', four: 'ok', five: 'three-a-run', six: 'three-a-run' },
    })
    expect(effects(run.id)).toHaveLength(3)
    await expectSameAgain(run.id)
    await expectVerified(run.id)
  })

  it('knows at a checkpoint what came before it', async () => {
    const first = await harness.worker()
    const run = await muster.runs.start(fixture.salaries, { amounts: [1000, 2000.25, 1999.76] })
    await until(run.get, ({ status }) => status === 'waiting')
    await stopProcess(first)
    await harness.worker()
    await muster.runs.signal(run.id, 'go', null)
    expect(await until(run.get, ended)).toMatchObject({ status: 'failed', error: { code: 'policy.denied' } })
    expect(Object.values(await payments(run))).toEqual(['ok', 'ok', 'five-thousand-a-day'])
    const decisions = (await eventsOf(run.id)).flatMap(({ entry }) =>
      'decision' in entry && entry.decision?.history ? [entry.decision.history] : [],
    )
    expect(decisions).toMatchObject([
      { matched: true, payments: 0, paid: '1000.0000' },
      { matched: true, payments: 1, paid: '3000.2500' },
      { paid: '5000.0100' },
    ])
  })
})

describe('a run that is begun from another', () => {
  it('has done what it takes over, and does not count it twice in their session', async () => {
    await harness.worker()
    const run = await start(
      { match: match(), one: pay(1000), two: pay(1000, { after: ['one'] }), three: pay(3000.5, { after: ['two'] }) },
      'forked',
    )
    expect(await payments(run)).toEqual({ one: 'ok', two: 'ok', three: 'five-thousand-a-day,large-by-somebody' })
    const fork = await run.fork({ step: 'two' })
    expect(await payments(fork)).toMatchObject({ one: 'ok', two: 'ok' })
    const decisions = (await eventsOf(fork.id)).flatMap(({ entry }) =>
      entry.type === 'step.intent' ? [entry.decision.history] : [],
    )
    expect(decisions).toMatchObject([{ payments: 1, paid: '3000.0000' }])
  })
})

describe('what happened before in the session', () => {
  it('counts with what later runs of it do, whatever worker has them; runs of others do not', async () => {
    const first = await harness.worker()
    const one = await start({ match: match(), pay: pay(2400) }, 's1')
    expect(await payments(one)).toEqual({ pay: 'ok' })
    await stopProcess(first)
    await harness.worker()
    const two = await start({ match: match(), a: pay(2400), b: pay(200.5, { after: ['a'] }) }, 's1')
    expect(await payments(two)).toEqual({ a: 'ok', b: 'five-thousand-a-day' })
    const three = await start(
      { match: match(), pay: pay(200.01), exact: { ...pay(200, { after: ['pay'] }), join: 'settled' } },
      's1',
    )
    expect(await payments(three)).toEqual({ pay: 'five-thousand-a-day', exact: 'ok' })
    const other = await start({ match: match(), pay: pay(2400) }, 's2')
    expect(await payments(other)).toEqual({ pay: 'ok' })
    // Only what a policy asks of the session is of the session.
    const unmatched = await start({ pay: pay(1, { after: [] }) }, 's1')
    expect(Object.values(await payments(unmatched))).toEqual([expect.stringContaining('matched')])
  })

  it('counts what runs side by side have under way, on whatever workers: together no more pass than in one', async () => {
    await Promise.all([harness.worker(), harness.worker(), harness.worker()])
    const runs = await Promise.all(
      Array.from({ length: 8 }, () => start({ match: match(), pay: pay(1250, { input: { ms: 200 } }) }, 's4')),
    )
    const outcomes = await Promise.all(runs.map((run) => payments(run)))
    expect(outcomes.map(({ pay }) => pay).sort()).toEqual([
      ...Array.from({ length: 4 }, () => 'five-thousand-a-day'),
      ...Array.from({ length: 4 }, () => 'ok'),
    ])
    expect(runs.flatMap(({ id }) => effects(id))).toHaveLength(4)
    for (const { id } of runs) await expectSameAgain(id)
  })

  it('goes on counting what was under way when its worker died, and lets go of what has failed', async () => {
    const first = await harness.worker()
    const dying = await start(
      {
        match: match(),
        pay: pay(2400, { input: { ms: 60_000 } }),
        no: pay(2400, { after: ['pay'], input: { fails: true } }),
      },
      's5',
    )
    await until(
      () => effects(dying.id),
      (paid) => paid.length === 1,
    )
    await stopProcess(first, 'SIGKILL')
    await harness.worker()
    expect(await payments(dying)).toEqual({ pay: 'ok', no: 'failed' })
    const after = await start({ match: match(), a: pay(2400), b: pay(2400, { after: ['a'] }) }, 's5')
    expect(await payments(after)).toEqual({ a: 'ok', b: 'five-thousand-a-day' })
  })

  it('has what a run did before it waits', async () => {
    await harness.worker()
    const waiting = await start(
      { match: match(), pay: pay(2400), go: { signal: 'go', after: ['pay'] }, more: pay(2400, { after: ['go'] }) },
      's3',
    )
    await until(waiting.get, ({ status }) => status === 'waiting')
    const beside = await start({ match: match(), a: pay(2400), b: pay(2400, { after: ['a'] }) }, 's3')
    expect(await payments(beside)).toEqual({ a: 'ok', b: 'five-thousand-a-day' })
    await muster.runs.signal(waiting.id, 'go', null)
    expect(await payments(waiting)).toEqual({ pay: 'ok', more: 'five-thousand-a-day' })
  })
})
