import type { EntryOf, RunSummary } from '@muster/protocol'
import type { ScheduleOptions } from '@muster/sdk'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { type Harness, startHarness, stopProcess, until } from './harness.ts'

let harness: Harness
let muster: Harness['muster']

beforeAll(async () => {
  harness = await startHarness({ MUSTER_PARTITIONS: '3' })
  muster = harness.muster
  // Makes the definitions known.
  await stopProcess(await harness.worker())
})
afterEach(() => harness.killWorkers())
afterAll(() => harness.close())

const run = { plan: 'chain', input: { n: 1, ms: 0 } }
const create = (body: object) => muster.schedules.create(body as ScheduleOptions)
const read = (id: string) => muster.schedules.get(id)

/** The planned times of a schedule's runs, in order, with how often each was started. */
async function planned(id: string): Promise<number[]> {
  const { runs } = await muster.request<{ runs: RunSummary[] }>('GET', '/v1/runs?limit=200')
  const created = await Promise.all(
    runs.map(async (summary) => {
      for await (const { entry } of muster.runs.stream(summary.id)) return entry as EntryOf<'run.created'>
    }),
  )
  return created.flatMap((entry) => (entry?.schedule?.id === id ? [entry.schedule.at] : [])).sort((a, b) => a - b)
}

it('fires each planned time once, though workers are killed', { timeout: 120_000 }, async () => {
  const { id, createdAt } = await create({ when: { everyS: 1 }, run, overlap: 'allow', catchUpS: 600, firings: 20 })
  for (let kill = 0; kill < 2; kill++) {
    const workers = await Promise.all([harness.worker(), harness.worker()])
    const { fired } = await read(id)
    await until(
      () => read(id),
      (now) => now.fired > fired,
    )
    await Promise.all(workers.map((worker) => stopProcess(worker, 'SIGKILL')))
  }
  await harness.worker()
  await until(
    () => read(id),
    ({ next }) => next === undefined,
  )
  expect(await read(id)).toMatchObject({ fired: 20, missed: 0, upcoming: [] })
  expect(await planned(id)).toEqual(Array.from({ length: 20 }, (_, i) => createdAt + (i + 1) * 1000))
})

it('counts what it missed, and what overlapped', { timeout: 120_000 }, async () => {
  const late = await create({ when: { everyS: 1 }, run, catchUpS: 0 })
  await new Promise((resolve) => setTimeout(resolve, 7000))
  await harness.worker()
  await until(
    () => read(late.id),
    ({ fired }) => fired > 0,
  )
  expect((await read(late.id)).missed).toBeGreaterThan(0)
  await muster.schedules.remove(late.id)
  await expect(read(late.id)).rejects.toMatchObject({ code: 'schedule.not_found' })

  const slow = await create({ when: { everyS: 1 }, run: { plan: 'chain', input: { n: 1, ms: 60_000 } } })
  await until(
    () => read(slow.id),
    ({ overlapped }) => overlapped > 1,
  )
  expect(await read(slow.id)).toMatchObject({ fired: 1 })
  await muster.schedules.pause(slow.id)
})

it('keeps one firing until the run before has ended', { timeout: 90_000 }, async () => {
  await harness.worker()
  const { id, createdAt } = await create({
    ...{ when: { everyS: 1 }, overlap: 'queue', firings: 2 },
    run: { plan: 'chain', input: { n: 1, ms: 4000 } },
  })
  const waits = await until(
    () => read(id),
    ({ queued, overlapped }) => queued !== undefined && overlapped > 0,
  )
  expect(waits).toMatchObject({ fired: 1, queued: createdAt + 2000 })
  await until(
    () => read(id),
    ({ fired }) => fired === 2,
  )
  expect(await planned(id)).toEqual([createdAt + 1000, createdAt + 2000])
  const done = await read(id)
  expect(done.queued).toBeUndefined()
  expect(done.next).toBeUndefined()
  const { runs } = await muster.runs.list({ name: 'chain', limit: 5 })
  const [second, first] = await Promise.all(
    runs.slice(0, 2).map((one) =>
      until(
        () => muster.runs.get(one.id),
        ({ status }) => status === 'succeeded',
      ),
    ),
  )
  expect(second?.createdAt).toBeGreaterThanOrEqual(first?.endedAt ?? Number.POSITIVE_INFINITY)
})

it('cancels the run before, and starts when that has ended', { timeout: 90_000 }, async () => {
  await harness.worker()
  const { id } = await create({
    ...{ when: { everyS: 2 }, overlap: 'cancel', firings: 2 },
    run: { plan: 'chain', input: { n: 2000, ms: 100 } },
  })
  const { lastRun: second = '' } = await until(
    () => read(id),
    ({ fired }) => fired === 2,
  )
  const { runs } = await muster.runs.list({ name: 'chain', status: 'cancelled' })
  expect(runs).toHaveLength(1)
  expect((await muster.runs.get(second)).createdAt).toBeGreaterThanOrEqual(runs[0]?.endedAt ?? Number.POSITIVE_INFINITY)
  await muster.runs.cancel(second)
})

it('makes up for planned times that have passed, each once', async () => {
  await harness.worker()
  const { id } = await create({ when: { cron: '0 9 * * *' }, run })
  const day = 86_400_000
  const to = Math.floor(Date.now() / day) * day
  const span = { from: to - 3 * day, to }
  const wanted = [3, 2, 1].map((days) => to - days * day + 9 * 3_600_000)
  expect(await muster.schedules.backfill(id, { ...span, dryRun: true })).toEqual(wanted.map((at) => ({ at })))
  expect(await planned(id)).toEqual([])
  const begun = await muster.schedules.backfill(id, span)
  expect(begun.map(({ at }) => at)).toEqual(wanted)
  // Asked again, also for a part or for more, it starts what is new.
  const more = await muster.schedules.backfill(id, { from: to - 5 * day, to })
  expect(more.slice(-3)).toEqual(begun)
  expect(await planned(id)).toEqual(more.map(({ at }) => at))
  expect(more).toHaveLength(5)
  for (const [span, path] of [
    [{ from: to, to: to - 1 }, '/from'],
    [{ from: 0, to: Date.now() + day }, '/to'],
    [{ from: 0, to }, '/from'],
  ] as const)
    await expect(muster.schedules.backfill(id, span)).rejects.toMatchObject({
      ...{ code: 'schedule.invalid', issues: [{ path }] },
    })
  await expect(harness.stranger.schedules.backfill(id, span)).rejects.toMatchObject({ code: 'schedule.not_found' })
})

it('pauses, resumes, is triggered, replaced, and hidden from other tenants', async () => {
  const { id, upcoming } = await create({ when: { cron: '0 9 * * *', timeZone: 'Europe/Berlin' }, run })
  expect(upcoming).toHaveLength(5)
  expect(await muster.schedules.pause(id)).toMatchObject({ paused: true, upcoming: [] })
  expect((await muster.schedules.resume(id)).upcoming).toEqual(upcoming)
  const started = await muster.schedules.trigger(id)
  expect((await planned(id)).length).toBe(1)
  expect(started).toBeTypeOf('string')
  expect(await muster.schedules.replace(id, { when: { everyS: 3600 }, run })).toMatchObject({
    when: { everyS: 3600 },
  })
  await expect(harness.stranger.request('GET', `/v1/schedules/${id}`)).rejects.toMatchObject({
    code: 'schedule.not_found',
  })
  expect(await harness.stranger.request('GET', '/v1/schedules')).toEqual({ schedules: [] })
})

it.each([
  ['schedule.invalid', '/when/cron', { when: { cron: '0 0 30 2 *' }, run }],
  ['schedule.invalid', '/when/timeZone', { when: { cron: '@daily', timeZone: 'Mars/Olympus' }, run }],
  ['request.invalid', '/when/everyS', { when: { everyS: 0.5 }, run }],
  ['definition.not_found', '/run/plan', { when: { everyS: 5 }, run: { plan: 'nothing' } }],
  ['input.invalid', '/run/input/n', { when: { everyS: 5 }, run: { plan: 'chain', input: { n: 'x', ms: 0 } } }],
])('refuses with %s at %s', async (code, path, body) => {
  await expect(create(body)).rejects.toMatchObject({
    code,
    issues: expect.arrayContaining([expect.objectContaining({ path })]),
  })
})
