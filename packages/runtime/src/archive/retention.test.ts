import { Heads } from '@muster/journal'
import type { Memory } from '@muster/memory'
import { retentionRules } from '@muster/protocol'
import { collect, plan, tool } from '@muster/sdk'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { ended, stopMemory, stopRedis, theMemory, withWorker } from '../fixture.ts'
import { RecordBook } from './record-book.ts'
import { Retention } from './retention.ts'
import { retentionDue } from './retention-due.ts'
import { RunReader } from './run-reader.ts'

const DAY_MS = 86_400_000
const pay = tool({
  name: 'pay',
  effect: 'write',
  input: z.object({ amount: z.number() }),
  output: z.object({ text: z.string() }),
  run: async ({ amount }) => ({ text: `paid ${amount}` }),
})
const planOf = <N extends string>(name: N) =>
  plan({
    name,
    version: '1',
    input: z.object({}),
    run: (step) => step.tool(pay, { amount: 7 }),
  })
const app = collect({ pay, keep: planOf('keep.all'), support: planOf('support.mail'), short: planOf('short.lived') })
const rules = retentionRules.parse([
  { name: 'short.*', content: '10d', run: '30d' },
  { name: 'support.*', status: 'succeeded', content: '2w', memory: '3w' },
])

let memory: Memory
beforeAll(async () => {
  memory = await theMemory({ keyCacheMs: 0 })
})
afterAll(async () => {
  await stopMemory()
  await stopRedis()
})

describe('retention', () => {
  it('removes content and runs when their time has come, but for what is held, and says so first', () =>
    withWorker(app, { memory, archive: true, journalTtlS: 3600 }, async (journal, start) => {
      const runs = {
        keep: await start('keep.all'),
        support: await start('support.mail', { session: 'chat' }),
        short: await start('short.lived'),
      }
      const held = await start('short.lived')
      for (const run of [...Object.values(runs), held]) {
        await ended(journal, run)
        await expect.poll(() => memory.archive.get('t', run)).toBeDefined()
      }
      const { sessions, facts } = memory
      const turn = { at: 1, messages: ['said'], labels: [] }
      await sessions.append('t', 'chat', 0, { ...turn, run: runs.support })
      await sessions.append('t', 'chat', 1, { ...turn, run: runs.keep })
      const fact = { kind: 'k', subject: 's', step: '1', labels: [] }
      await facts.put('t', { ...fact, value: 'old', run: runs.support })
      await facts.put('t', { ...fact, value: 'new', run: runs.keep })
      const remembered = async () => ({
        turns: (await sessions.read('t', 'chat')).turns.map(({ messages }) => messages.length),
        facts: (await facts.history('t', 'k', 's')).map(({ value }) => value),
      })
      const by = { key: 'k', user: 'u' }
      await memory.holds.place('t', { id: 'h', run: held, reason: 'r', by, at: 0 })
      let now = Date.now()
      let looked = () => Promise.resolve()
      const archive: Memory['archive'] = {
        ...memory.archive,
        async *all(tenant, after) {
          yield* memory.archive.all(tenant, after)
          await looked()
        },
      }
      const retention = new Retention({
        ...{
          journal,
          memory: { ...memory, archive },
          book: new RecordBook(new Heads(journal), memory.records),
          rules,
          clock: () => now,
          log: pino({ level: 'silent' }),
        },
      })
      const records = async () =>
        (await Array.fromAsync(memory.records.read('t')))
          .map(({ bytes }) => JSON.parse(bytes))
          .filter(({ action }) => action.startsWith('retention'))
      const outputs = async () => {
        const found: Record<string, unknown> = {}
        for (const [name, run] of Object.entries({ ...runs, held })) {
          const read = await new RunReader(journal, memory).run('t', run).catch(() => undefined)
          found[name] = read && (read.output ? 'whole' : 'bare')
        }
        return found
      }

      await retention.tick()
      expect(await outputs()).toEqual({ keep: 'whole', support: 'whole', short: 'whole', held: 'whole' })
      expect((await records()).map(({ action }) => action)).toEqual(['retention.changed'])

      now += 11 * DAY_MS
      expect(await retentionDue(memory, { tenant: 't', rules, now })).toEqual({
        ...{ content: 1, memory: 0, runs: 0 },
        ...{ held: 1, failing: 0, looked: 4, overdueMs: expect.any(Number) },
      })
      await retention.tick()
      expect(await outputs()).toEqual({ keep: 'whole', support: 'whole', short: 'bare', held: 'whole' })
      const [, first] = await records()
      expect(first?.about).toMatchObject({ rule: 0, what: 'content', runs: { [runs.short]: expect.any(Number) } })
      expect(await retentionDue(memory, { tenant: 't', rules, now })).toMatchObject({ content: 0 })
      // Its entries are there, and its index has no numbers of content any more.
      const entries = await Array.fromAsync(memory.archive.entries('t', runs.short))
      expect(entries.every(({ content }) => content === undefined)).toBe(true)
      const amounts = async (name: string) => (await memory.auditIndex.search('t', { name, min: 1 }, { limit: 9 })).hits
      expect((await amounts('short.lived')).map(({ run }) => run)).toEqual([held])
      expect(await amounts('keep.all')).toHaveLength(1)

      expect(await remembered()).toEqual({ turns: [1, 1], facts: ['new', 'old'] })

      now += 20 * DAY_MS
      expect(await retentionDue(memory, { tenant: 't', rules, now })).toMatchObject({
        content: 1,
        memory: 1,
        runs: 1,
        held: 1,
      })
      await retention.tick()
      expect(await remembered()).toEqual({ turns: [0, 1], facts: ['new'] })
      expect((await records()).map(({ about }) => about.what)).toEqual(
        expect.arrayContaining(['content', 'memory', 'run']),
      )
      expect(await outputs()).toEqual({ keep: 'whole', support: 'bare', short: undefined, held: 'whole' })
      expect(await memory.archive.erased('t', runs.short)).toEqual({ at: now, by: 'retention', id: '0' })
      expect(await Array.fromAsync(memory.archive.removed('t'))).toMatchObject([{ run: runs.short }])
      expect(
        (await memory.auditIndex.search('t', { name: 'short.lived' }, { limit: 99 })).hits.map(({ run }) => run),
      ).not.toContain(runs.short)

      await memory.holds.lift('t', 'h', { by, at: now, reason: 'over' })
      looked = () => memory.holds.place('t', { id: 'late', run: held, reason: 'r', by, at: now })
      now += 2 * 3_600_000
      await retention.tick()
      expect(await outputs()).toMatchObject({ held: 'whole' })

      looked = () => Promise.resolve()
      await memory.holds.lift('t', 'late', { by, at: now, reason: 'over' })
      now += 2 * 3_600_000
      await retention.tick()
      expect(await outputs()).toMatchObject({ held: undefined, keep: 'whole' })
      // What was done is not done again.
      const before = (await records()).length
      now += 2 * 3_600_000
      await retention.tick()
      expect(await records()).toHaveLength(before)
    }))
})

describe('rules', () => {
  it.each([
    [[{ content: '10' }], '0.content'],
    [[{ content: '20d', run: '10d' }], '0.content'],
    [[{ memory: '20d', run: '10d' }], '0.memory'],
    [[{ status: 'running', run: '10d' }], '0.status'],
    [[{ nam: 'x' }], '0'],
  ])('that are none are told: %j', (value, path) => {
    const parsed = retentionRules.safeParse(value)
    expect(parsed.error?.issues[0]?.path.join('.')).toBe(path)
  })
})
