import type { Journal } from '@muster/journal'
import type { Entry, EntryOf, EntryType, Json } from '@muster/protocol'
import { collect, plan, tool } from '@muster/sdk'
import { afterAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { entries, stopRedis, withWorker } from '../fixture.ts'
import { startWorker } from '../worker.ts'

afterAll(stopRedis)

const by = { key: 'k', user: 'ann' }
/** Calls of functions in plans, by the step's name. */
const calls: string[] = []

const amount = z.object({ amount: z.number().positive() })
const app = collect({
  note: tool({
    name: 'note',
    effect: 'read',
    input: z.object({ n: z.number() }),
    output: z.object({ n: z.number() }),
    run: ({ n }) => ({ n: n + 1 }),
  }),
  sleeper: plan({
    name: 'sleeper',
    version: '1',
    input: z.object({}),
    run: async (step) => {
      await step.sleep(2500)
      return step.run('after', () => calls.push('after'))
    },
  }),
  payer: plan({
    name: 'payer',
    version: '1',
    input: z.object({}),
    signals: { paid: amount, note: z.string() },
    run: async (step) => {
      const first = await step.signal('paid')
      const second = await step.signal('paid')
      return first.amount - second.amount
    },
  }),
  impatient: plan({
    name: 'impatient',
    version: '1',
    input: z.object({}),
    signals: { paid: amount },
    run: async (step) => {
      const late = await step.signal('paid', { timeoutMs: 100 }).catch((error) => error.code)
      const { by, role } = await step.approval({ pay: 3 }, { role: 'chief' })
      return [late, by, role]
    },
  }),
  race: plan({
    name: 'race',
    version: '1',
    input: z.object({}),
    signals: { paid: amount, never: z.json() },
    run: async (step) => {
      const won = await step.any([
        async () => {
          await step.signal('never')
          return 'never'
        },
        async () => (await step.signal('paid')).amount,
        async () => {
          await step.sleep(new Date(2 ** 42))
          return 'late'
        },
      ])
      await step.sleep(10)
      return won
    },
  }),
  chance: plan({
    name: 'chance',
    version: '1',
    input: z.object({}),
    run: async (step) => {
      await step.run('fine', () => [Math.random(), Date.now(), new Date()])
      return Math.random()
    },
  }),
})

async function waiting(journal: Journal, run: string, count = 1): Promise<EntryOf<'step.waiting'>[]> {
  const all: EntryOf<'step.waiting'>[] = []
  const found = new AbortController()
  for await (const { bytes } of journal.follow(run, 0, found.signal)) {
    const entry: Entry = JSON.parse(bytes)
    if (entry.type === 'step.waiting') all.push(entry)
    if (all.length === count) found.abort()
  }
  return all
}

async function parked(journal: Journal, run: string): Promise<void> {
  while ((await journal.get(run))?.status !== 'waiting') await new Promise((resolve) => setTimeout(resolve, 5))
}

const of = <T extends EntryType>(all: readonly Entry[], type: T) =>
  all.filter((entry): entry is EntryOf<T> => entry.type === type)

async function outputOf(journal: Journal, run: string): Promise<Json> {
  let output: Json = null
  for await (const { content } of journal.read(run)) if (content) output = JSON.parse(content.slice(22))
  return output
}

const signal = (name: string, payload: Json) => ({ type: 'signal' as const, name, payload, by, labels: [] })

describe('a timer', () => {
  it('parks the run, and wakes it at its time', () =>
    withWorker(app, {}, async (journal, start) => {
      calls.length = 0
      const run = await start('sleeper')
      await parked(journal, run)
      expect(calls).toEqual([])
      const all = await entries(journal, run)
      expect(of(all, 'run.activated')).toHaveLength(2)
      const [slept] = of(all, 'step.ended')
      expect(slept).toMatchObject({ step: 'sleep', kind: 'timer', status: 'ok' })
      expect(slept?.durationMs).toBeGreaterThanOrEqual(2500)
      expect(calls).toEqual(['after'])
    }))

  it('that is short does not part the run from its worker', () =>
    withWorker(app, {}, async (journal, start) => {
      const run = await start({
        steps: { nap: { sleepMs: 50 }, next: { tool: 'note', input: { n: 1 }, after: ['nap'] } },
      })
      const all = await entries(journal, run)
      expect(of(all, 'run.activated')).toHaveLength(1)
      expect(await outputOf(journal, run)).toEqual({ next: { n: 2 } })
    }))

  it('goes off on another worker when the one that set it is gone', () =>
    withWorker(app, {}, async (journal, start, options) => {
      const first = await start({ steps: { nap: { sleepMs: 3000 } } })
      await parked(journal, first)
      // Its time passes while the clock of a second worker is an hour ahead: that one wakes it.
      const second = await startWorker({ ...options, clock: () => Date.now() + 3_600_000 })
      const all = await entries(journal, first)
      expect(all.at(-1)).toMatchObject({ type: 'run.ended', status: 'succeeded' })
      await second.close(0)
    }))
})

describe('a signal', () => {
  it('is taken once, in order, whether it comes early or late', () =>
    withWorker(app, {}, async (journal, start) => {
      const run = await start('payer')
      await parked(journal, run)
      await journal.post(run, signal('note', 'nobody waits for this'))
      await journal.post(run, signal('paid', { amount: 7 }), 'one')
      await journal.post(run, signal('paid', { amount: 7 }), 'one')
      await parked(journal, run)
      await journal.post(run, signal('paid', { amount: 4 }), 'two')
      const all = await entries(journal, run)
      expect(of(all, 'signal.received').map(({ name, by }) => [name, by.user])).toEqual([
        ['note', 'ann'],
        ['paid', 'ann'],
        ['paid', 'ann'],
      ])
      const received = of(all, 'signal.received').map(({ seq }) => seq)
      expect(of(all, 'step.ended').map(({ signal }) => signal)).toEqual(received.slice(1))
      expect(await outputOf(journal, run)).toBe(3)
    }))

  it('that comes before its run has begun waits for it', () =>
    withWorker(app, { concurrency: 1 }, async (journal, start) => {
      const run = await start('payer')
      await journal.post(run, signal('paid', { amount: 9 }))
      await journal.post(run, signal('paid', { amount: 1 }))
      await entries(journal, run)
      expect(await outputOf(journal, run)).toBe(8)
    }))

  it('that does not fit fails the step that takes it', () =>
    withWorker(app, {}, async (journal, start) => {
      const run = await start('payer')
      await parked(journal, run)
      await journal.post(run, signal('paid', { amount: -1 }))
      const all = await entries(journal, run)
      expect(all.at(-1)).toMatchObject({ status: 'failed', error: { code: 'input.invalid' } })
    }))

  it('that does not come in time fails the step; a person may be waited for as well', () =>
    withWorker(app, {}, async (journal, start) => {
      const run = await start('impatient')
      const [, asked] = await waiting(journal, run, 2)
      expect(asked).toMatchObject({ kind: 'approval', for: 'approval', role: 'chief' })
      await journal.post(run, {
        ...{ type: 'approval', step: 'approval', verdict: 'approve', role: 'chief', by },
        shown: asked?.content ?? '',
      })
      await entries(journal, run)
      expect(await outputOf(journal, run)).toEqual(['step.timeout', 'ann', 'chief'])
    }))
})

describe('step.any', () => {
  it('gives what the first gives, and cancels the others, on replay too', () =>
    withWorker(app, {}, async (journal, start) => {
      const run = await start('race')
      await parked(journal, run)
      await journal.post(run, signal('paid', { amount: 5 }))
      const all = await entries(journal, run)
      expect(await outputOf(journal, run)).toBe(5)
      expect(of(all, 'step.ended').map(({ step, status }) => `${step} ${status}`)).toEqual([
        'any[1].paid ok',
        'any[0].never cancelled',
        'any[2].sleep cancelled',
        'sleep ok',
      ])
      // It had been parked, so the second activation replayed the waits.
      expect(of(all, 'run.activated')).toHaveLength(2)
    }))
})

describe('a plan that uses chance between its steps', () => {
  it('is stopped with what to do instead', () =>
    withWorker(app, {}, async (journal, start) => {
      const run = await start('chance')
      const all = await entries(journal, run)
      expect(of(all, 'step.ended')).toMatchObject([{ step: 'fine', kind: 'code', status: 'ok' }])
      expect(all.at(-1)).toMatchObject({ status: 'failed', error: { code: 'plan.non_deterministic' } })
      expect(JSON.stringify(all.at(-1))).toContain('Math.random()')
      expect(Math.random()).toBeLessThan(1)
    }))
})

describe('a change of a plan under running runs', () => {
  const changing = (version: 'old' | 'new') =>
    collect({
      changing: plan({
        name: 'changing',
        version: '1',
        input: z.object({}),
        signals: { go: z.json() },
        run: async (step) => {
          const done: string[] = []
          if (version === 'new' && step.patched('greet')) done.push(await step.run('greet', () => 'hello'))
          await step.signal('go')
          done.push(await step.run('end', () => version))
          return done
        },
      }),
    })

  it('is open to new runs and closed to those that have gone past it', () =>
    withWorker(changing('old'), {}, async (journal, start, options) => {
      const before = await start('changing')
      await parked(journal, before)
      const changed = await startWorker({ ...options, app: changing('new') })
      // Whichever worker takes it, it must end; only the new one knows the patch.
      await journal.post(before, signal('go', null))
      const all = await entries(journal, before)
      expect(all.at(-1)).toMatchObject({ status: 'succeeded' })
      expect(of(all, 'plan.patched')).toEqual([])
      await changed.close(0)
    }))

  it('is taken by a new run, and again on its replay', () =>
    withWorker(changing('new'), {}, async (journal, start) => {
      const run = await start('changing')
      await parked(journal, run)
      await journal.post(run, signal('go', null))
      const all = await entries(journal, run)
      expect(await outputOf(journal, run)).toEqual(['hello', 'new'])
      expect(of(all, 'plan.patched')).toMatchObject([{ patch: 'greet' }])
    }))
})
