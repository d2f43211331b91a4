import type { Entry } from '@muster/protocol'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { readJournal } from '../faults/src/journal.ts'
import { chain, fanOut, parent, slowPayment } from './fixtures/app.ts'
import { type Effect, ended, type Harness, startHarness, stopProcess, until } from './harness.ts'

let harness: Harness
let muster: Harness['muster']

beforeAll(async () => {
  harness = await startHarness({ MUSTER_PARTITIONS: '3' })
  muster = harness.muster
})
afterEach(() => harness.killWorkers())
afterAll(() => harness.close())

const effectsOf = (run: string): Effect[] => harness.effects().filter(({ key }) => key.startsWith(run))

async function entriesOf(run: string): Promise<Entry[]> {
  const entries: Entry[] = []
  for await (const { entry } of muster.runs.stream(run)) entries.push(entry)
  return entries
}

const verified = async (run: string): Promise<boolean> => (await readJournal(muster, run)).verification.ok

/** Every effect outside is preceded by a durable intent that allows it: here, that the journal has one for its key. */
function expectIntents(entries: readonly Entry[], effects: readonly Effect[]): void {
  const intended = new Set(
    entries.flatMap((entry) =>
      entry.type === 'step.intent' && entry.decision.effect === 'allow' ? [entry.idempotencyKey] : [],
    ),
  )
  for (const { key } of effects) expect(intended).toContain(key)
}

describe('a worker that dies (kill -9)', () => {
  it('in the middle of a run: another goes on where it stopped, under the same keys', async () => {
    const first = await harness.worker()
    const run = await muster.runs.start(chain, { n: 8, ms: 60 })
    await until(
      () => effectsOf(run.id),
      (effects) => effects.length >= 4,
    )
    await stopProcess(first, 'SIGKILL')
    const second = await harness.worker()
    expect(await run.result()).toBe('01234567')
    const effects = effectsOf(run.id)
    expect(new Set(effects.map(({ key }) => key)).size).toBe(8)
    // One step was under way when the worker died: it alone may have been repeated.
    expect(effects.length).toBeLessThanOrEqual(9)
    expect(new Set(effects.map(({ pid }) => pid)).size).toBe(2)
    const entries = await entriesOf(run.id)
    expect(entries.flatMap((entry) => (entry.type === 'run.activated' ? [entry.epoch] : []))).toEqual([1, 2])
    expectIntents(entries, effects)
    expect(await verified(run.id)).toBe(true)
    await stopProcess(second)
  })

  it('again and again: the run still ends, and right', async () => {
    const run = await muster.runs.start(fanOut, { n: 200, ms: 100 })
    const long = await muster.runs.start(chain, { n: 12, ms: 80 })
    for (let i = 0; i < 3; i++) {
      const worker = await harness.worker()
      await new Promise((resolve) => setTimeout(resolve, 250))
      await stopProcess(worker, 'SIGKILL')
    }
    const last = await harness.worker()
    expect(await run.result()).toBe((200 * 201) / 2)
    expect(await long.result()).toBe('01234567891011')
    for (const { id } of [run, long]) {
      expectIntents(await entriesOf(id), effectsOf(id))
      expect(await verified(id)).toBe(true)
    }
    await stopProcess(last)
  })

  it('during a payment that can be looked up: it is found and not made again', async () => {
    const worker = await harness.worker()
    const run = await muster.runs.start(slowPayment, { ms: 60_000, reconcilable: true })
    await until(
      () => effectsOf(run.id),
      (effects) => effects.length === 1,
    )
    await stopProcess(worker, 'SIGKILL')
    const second = await harness.worker()
    expect(await run.result()).toEqual({ receipt: 'found' })
    expect(effectsOf(run.id)).toHaveLength(1)
    await stopProcess(second)
  })

  it('during an effect that nobody can look up: a person decides, and it is never repeated silently', async () => {
    const worker = await harness.worker()
    const run = await muster.runs.start(slowPayment, { ms: 60_000, reconcilable: false })
    const other = await muster.runs.start(slowPayment, { ms: 60_000, reconcilable: false })
    await until(
      () => [...effectsOf(run.id), ...effectsOf(other.id)],
      (effects) => effects.length === 2,
    )
    await stopProcess(worker, 'SIGKILL')
    const second = await harness.worker()
    for (const { id, get } of [run, other]) {
      const { waiting } = await until(get, ({ status }) => status === 'waiting')
      expect(waiting).toMatchObject([
        {
          step: 'world.launch',
          for: 'doubt',
          role: 'operator',
          shown: { target: 'world.launch', input: { ms: 60_000 } },
        },
      ])
      expect(effectsOf(id)).toHaveLength(1)
    }
    const digestOf = async (id: string) => (await muster.runs.get(id)).waiting[0]?.digest ?? ''
    // Refused: it is not tried again, and the run fails with what is known.
    await muster.runs.approve(run.id, { step: 'world.launch', verdict: 'deny', digest: await digestOf(run.id) })
    await expect(run.result()).rejects.toMatchObject({ code: 'step.in_doubt' })
    expect(effectsOf(run.id)).toHaveLength(1)
    // Approved: a person vouches that it did not happen, so it may run.
    await muster.runs.approve(other.id, { step: 'world.launch', verdict: 'approve', digest: await digestOf(other.id) })
    await until(
      () => effectsOf(other.id),
      (effects) => effects.length === 2,
    )
    await muster.runs.cancel(other.id)
    await until(other.get, ended)
    await stopProcess(second)
  })

  it('while a child run is under way: parent and child both end', async () => {
    const turns = [{ calls: [{ name: 'world_write', arguments: { text: 'child', ms: 800 } }] }, { answer: 'grown' }]
    const worker = await harness.worker()
    const run = await muster.runs.start(parent, { turns })
    await until(
      () => harness.effects(),
      (effects) => effects.some(({ effect, pid }) => effect === 'write' && pid === worker.pid),
    )
    await stopProcess(worker, 'SIGKILL')
    const second = await harness.worker()
    expect(await run.result()).toEqual({ answer: 'grown' })
    await stopProcess(second)
  })

  it('loses to nobody what was acknowledged while no worker lived', async () => {
    const runs = await Promise.all(Array.from({ length: 30 }, () => muster.runs.start(chain, { n: 2, ms: 0 })))
    const worker = await harness.worker()
    expect(await Promise.all(runs.map((run) => run.result()))).toEqual(runs.map(() => '01'))
    await stopProcess(worker)
  })
})

describe('two workers on one run', () => {
  it('a worker that was paused past its lock is fenced: its late writes have no effect', async () => {
    const first = await harness.worker()
    const run = await muster.runs.start(chain, { n: 6, ms: 150 })
    await until(
      () => effectsOf(run.id),
      (effects) => effects.length >= 2,
    )
    first.kill('SIGSTOP')
    const second = await harness.worker()
    await until(
      () => effectsOf(run.id),
      (effects) => effects.some(({ pid }) => pid === second.pid),
    )
    first.kill('SIGCONT')
    expect(await run.result()).toBe('012345')
    const entries = await entriesOf(run.id)
    expect(entries.filter(({ type }) => type === 'run.ended')).toHaveLength(1)
    expect(new Set(effectsOf(run.id).map(({ key }) => key)).size).toBe(6)
    expect(await verified(run.id)).toBe(true)
    // The fenced worker is still of use.
    await stopProcess(second)
    expect(await (await muster.runs.start(chain, { n: 1, ms: 0 })).result()).toBe('0')
    await stopProcess(first)
  })
})

describe('Redis that goes away', () => {
  it('in the middle: new runs are refused plainly, the acknowledged one goes on when it is back', async () => {
    const worker = await harness.worker()
    const run = await muster.runs.start(chain, { n: 20, ms: 100 })
    await until(
      () => effectsOf(run.id),
      (effects) => effects.length >= 2,
    )
    await harness.restartRedis(500, async () => {
      await expect(muster.request('POST', '/v1/runs', { plan: 'chain', input: { n: 1, ms: 0 } })).rejects.toMatchObject(
        { code: 'redis.unavailable', status: 503 },
      )
      await expect(muster.open('GET', '/readyz')).rejects.toMatchObject({ code: 'redis.unavailable' })
      expect((await muster.open('GET', '/healthz')).status).toBe(200)
      expect(worker.exitCode).toBe(null)
    })
    expect(await run.result()).toBe(Array.from({ length: 20 }, (_, i) => i).join(''))
    expect(new Set(effectsOf(run.id).map(({ key }) => key)).size).toBe(20)
    expect(await verified(run.id)).toBe(true)
    await stopProcess(worker)
  }, 60_000)
})

describe('a worker that is told to stop (SIGTERM)', () => {
  // Last, because the workers of one Redis should agree on the lock: this one's long one slows the others' watch for dead workers.
  it('hands its runs over without waiting for a lock to expire', async () => {
    const first = await harness.worker({ MUSTER_LOCK_MS: '60000' })
    const run = await muster.runs.start(chain, { n: 1000, ms: 250 })
    await until(
      () => effectsOf(run.id),
      (effects) => effects.length >= 1,
    )
    const second = await harness.worker({ MUSTER_LOCK_MS: '60000' })
    const stopped = stopProcess(first)
    await until(
      () => effectsOf(run.id),
      (effects) => effects.some(({ pid }) => pid === second.pid),
      40_000,
    )
    await stopped
    expect(first.exitCode).toBe(0)
    await run.cancel()
    await until(run.get, ended)
    await stopProcess(second)
  }, 90_000)
})
