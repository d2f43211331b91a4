import type { Entry, EntryOf } from '@muster/protocol'
import { collect, plan, tool } from '@muster/sdk'
import { afterAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { entries, stopRedis, withWorker } from '../fixture.ts'
import { startWorker } from '../worker.ts'

afterAll(stopRedis)

/** What is booked outside, and every call of `undo` in order. */
const booked = new Set<string>()
const undone: string[] = []
/** How often the next undo of a name fails before it does not. */
const failing = new Map<string, number>()
let meanwhile: (() => Promise<void>) | undefined

const book = tool({
  name: 'book',
  effect: 'write',
  input: z.object({ what: z.string(), ms: z.number().default(0) }),
  output: z.object({ id: z.string() }),
  retries: { 'tool.failed': { baseMs: 1, capMs: 1 } },
  run: async ({ what, ms }) => {
    await new Promise((resolve) => setTimeout(resolve, ms))
    booked.add(what)
    return { id: `id of ${what}` }
  },
  undo: async ({ what }, { id }, { idempotencyKey }) => {
    expect(id).toBe(`id of ${what}`)
    expect(idempotencyKey).toContain('undo(')
    undone.push(what)
    await meanwhile?.()
    const left = failing.get(what) ?? 0
    failing.set(what, left - 1)
    if (left > 0) throw new Error('not now')
    booked.delete(what)
  },
})
const breaks = tool({
  name: 'breaks',
  effect: 'write',
  attempts: 1,
  input: z.object({}),
  output: z.object({}),
  run: (): Record<string, never> => {
    throw new Error('sold out')
  },
})
const app = collect({
  book,
  breaks,
  trip: plan({
    name: 'trip',
    version: '1',
    input: z.object({}),
    rollback: true,
    run: async (step) => {
      await step.tool(book, { what: 'flight' })
      await Promise.all([
        step.tool(book, { what: 'hotel' }),
        step.tool(book, { what: 'car', ms: 100 }),
        step.tool(breaks, {}),
      ])
      await step.tool(book, { what: 'never' })
    },
  }),
})

const ownCode = collect({
  notes: plan({
    name: 'notes',
    version: '1',
    input: z.object({}),
    rollback: true,
    run: async (step) => {
      for (const text of ['first', 'second']) {
        await step.run('note', () => ({ text }), {
          undo: (note, { idempotencyKey }) => {
            undone.push(`${note.text} ${idempotencyKey.split('/')[1]}`)
          },
        })
      }
      await step.tool(breaks, {})
    },
  }),
})

const statuses = (all: readonly Entry[]) =>
  all
    .filter((entry): entry is EntryOf<'step.ended'> => entry.type === 'step.ended' && !entry.retry)
    .map(({ step, status }) => `${step} ${status}`)

function reset(): void {
  booked.clear()
  undone.length = 0
  failing.clear()
}

describe('a plan that rolls back', () => {
  it('undoes what it did, the last first, and what was under way when it failed', () =>
    withWorker(app, {}, async (journal, start) => {
      reset()
      const all = await entries(journal, await start('trip'))
      expect(all.at(-1)).toMatchObject({ status: 'failed', error: { code: 'tool.failed', message: 'sold out' } })
      expect(booked).toEqual(new Set())
      expect(undone).toEqual(['car', 'hotel', 'flight'])
      const ends = statuses(all)
      expect(ends.slice(0, 4).sort()).toEqual(['book ok', 'book.2 ok', 'book.3 ok', 'breaks failed'])
      expect(ends.slice(4)).toEqual(['undo(book.3) ok', 'undo(book.2) ok', 'undo(book) ok'])
    }))

  it('undoes steps of its own code by their results', () =>
    withWorker(ownCode, {}, async (journal, start) => {
      reset()
      const all = await entries(journal, await start('notes'))
      expect(all.at(-1)).toMatchObject({ status: 'failed' })
      expect(undone).toEqual(['second undo(note.2)', 'first undo(note)'])
    }))

  it('tells what could not be undone, and undoes the rest', () =>
    withWorker(app, {}, async (journal, start) => {
      reset()
      failing.set('hotel', 100)
      const all = await entries(journal, await start('trip'))
      expect(all.at(-1)).toMatchObject({
        status: 'failed',
        error: { code: 'tool.failed', message: 'sold out; not undone: "book.2" (not now)' },
      })
      expect(booked).toEqual(new Set(['hotel']))
    }))

  it('goes on where another worker left it, and undoes nothing twice', () =>
    withWorker(app, { lockMs: 1000 }, async (journal, start, options) => {
      reset()
      let second: ReturnType<typeof startWorker> | undefined
      const run = await start({
        rollback: true,
        steps: {
          a: { tool: 'book', input: { what: 'a' } },
          b: { tool: 'book', input: { what: 'b' }, after: ['a'] },
          wait: { sleepMs: 600_000, after: ['b'] },
          c: { tool: 'breaks', after: ['b'] },
        },
      })
      // While the first undo runs the run is taken from its worker, as after a pause of the process.
      meanwhile = async () => {
        meanwhile = undefined
        second ??= startWorker(options)
        await journal.redis.hincrby(journal.of(run).keys.run(run), 'epoch', 1)
      }
      const all = await entries(journal, run)
      expect(all.at(-1)).toMatchObject({ status: 'failed' })
      expect(booked).toEqual(new Set())
      // The undo whose outcome was lost is repeated under its key.
      expect(undone.filter((what) => what === 'a')).toHaveLength(1)
      expect(statuses(all)).toEqual(expect.arrayContaining(['wait cancelled', 'undo(b) ok', 'undo(a) ok']))
      await (await second)?.close(0)
    }))

  it('undoes nothing where its code does not ask for it', () =>
    withWorker(app, {}, async (journal, start) => {
      reset()
      const run = await start({
        steps: { a: { tool: 'book', input: { what: 'a' } }, c: { tool: 'breaks', after: ['a'] } },
      })
      await entries(journal, run)
      expect(booked).toEqual(new Set(['a']))
      expect(undone).toEqual([])
    }))
})

it('is refused for a tool that leaves nothing to undo', () => {
  const common = { name: 'look', input: z.object({}), output: z.object({}), run: () => ({}), undo: () => {} }
  expect(() => tool({ ...common, effect: 'read' })).toThrow('nothing to undo')
})

describe('a plan that rolls back and is cancelled', () => {
  const trip = {
    rollback: true,
    steps: { a: { tool: 'book', input: { what: 'a' } }, wait: { sleepMs: 600_000, after: ['a'] } },
  }

  it.each([
    [false, ['a']],
    [true, []],
  ])('undoes what it did unless it is to end at once (%s)', (now, undoneThen) =>
    withWorker(app, {}, async (journal, start) => {
      reset()
      const run = await start(trip)
      while ((await journal.get(run))?.status !== 'waiting') await new Promise((resolve) => setTimeout(resolve, 5))
      await journal.post(run, { type: 'cancel', by: { key: 'k', user: 'ann' }, now })
      const all = await entries(journal, run)
      expect(all.at(-1)).toMatchObject({ status: 'cancelled', error: { message: 'cancelled by ann' } })
      expect(undone).toEqual(undoneThen)
    }),
  )
})
