import { emptyRoot, leafHash, TileLog, verifyBook } from '@muster/audit'
import { type CostLine, type KeptKey, type NewRecord, newId, type Run, type StoredEntry } from '@muster/protocol'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { openApiKeys } from './api-keys.ts'
import { openArchive } from './archive.ts'
import { archivedCosts } from './archived-costs.ts'
import { openBlobs } from './blobs.ts'
import { connect } from './connection.ts'
import { type NewFact, openFacts } from './facts.ts'
import type { Item } from './item.ts'
import { partition } from './key.ts'
import { openLedgers } from './ledger.ts'
import { type Memory, openMemory } from './memory.ts'
import { PIECE_BYTES_MAX } from './pieces.ts'
import { openRecords } from './records.ts'
import { each, fulfilled, type Settled } from './settled.ts'
import { Table } from './table.ts'
import { collect, noise, putRun, says, testEntry, testRun } from './test-run.ts'
import type { TestServer } from './test-server.ts'

/** Names that would collide if they were not escaped, or that encodings like to break. */
const nasty = [
  'a',
  'a#b',
  'a%b',
  'a%0023b',
  '#',
  '%',
  '##',
  '',
  'ä',
  'a\u0308',
  '日本',
  '🦊',
  '\ud83e',
  '\udd8a',
  '~',
  '\0',
]
const anyText = fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom(...nasty), fc.string())

/** A table that dies at its n-th write, as a process would. */
class DyingTable extends Table {
  writesLeft = Number.POSITIVE_INFINITY

  override async put(item: Item): Promise<void> {
    this.#write()
    return super.put(item)
  }

  override async create(item: Item): Promise<boolean> {
    this.#write()
    return super.create(item)
  }

  override async putGroups<T>(groups: readonly T[], itemsOf: (group: T) => Iterable<Item>): Promise<Settled<T>[]> {
    // Each for itself, so that it may die between any two.
    return each(1, groups.map(fulfilled), async (group) => {
      for (const item of itemsOf(group)) await this.put(item)
      return group
    })
  }

  override async raise(item: Item, name: string, value: number): Promise<boolean> {
    this.#write()
    return super.raise(item, name, value)
  }

  #write() {
    if (this.writesLeft-- <= 0) throw new Error('died')
  }
}

/** What the package promises, on one DynamoDB. */
export function memorySuite(start: () => Promise<TestServer>): void {
  // Machines that run many test files at once are slow.
  vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })
  let server: TestServer
  let memory: Memory
  let dying: DyingTable
  let table: Table
  let counted: Table
  /** What `counted` has sent, and how many items queries have read. */
  const sent: { command: string; items: number | undefined }[] = []
  let now = 1_000

  beforeAll(async () => {
    server = await start()
    const options = { endpoint: server.endpoint, table: 'muster-test', clock: () => now }
    memory = await openMemory(options)
    const { client, where } = connect(options)
    dying = new DyingTable(client, options.table, where)
    table = new Table(client, options.table, where)
    counted = new Table(client, options.table, where)
    client.middlewareStack.add(
      (next, { commandName: command = '' }) =>
        async (args) => {
          const answer = await next(args)
          const { ScannedCount: items } = answer.output as { ScannedCount?: number } // DynamoDB's, of a query
          sent.push({ command, items })
          return answer
        },
      { step: 'initialize' },
    )
  })

  afterAll(async () => {
    memory?.close()
    await server?.stop()
  })

  const of = (tenant: string) => ({ tenant, run: 'r' })
  const turn = (run: string, text = run) => ({ run, at: 5, messages: says(text), labels: ['untrusted'] })
  const fact = (step: string, change: Partial<NewFact> = {}): NewFact => ({
    kind: 'vendor',
    subject: 'ACME',
    value: { step },
    run: 'r',
    step,
    labels: ['pii'],
    ...change,
  })

  test('opens a table that is there, and one that several create at once', async () => {
    const options = { endpoint: server.endpoint, table: `muster-${newId()}` }
    const all = await Promise.all([1, 2, 3].map(() => openMemory(options)))
    for (const each of [...all, await openMemory(options)]) {
      await each.health()
      each.close()
    }
  })

  test('tenants, and the names within one, do not reach each other', async () => {
    const names = nasty.map((name) => `isolation${name}`)
    // A third of all pairs: each tenant beside each of its neighbours, with names that others have too.
    const pairs = names.flatMap((tenant, i) =>
      names.flatMap((name, j) => ((i + j) % 3 === 0 ? [[tenant, name] as const] : [])),
    )
    await Promise.all(
      pairs.map(async ([tenant, name], i) => {
        await memory.sessions.append(tenant, name, 0, turn(`r${i}`))
        await memory.facts.put(tenant, fact('s', { kind: name, subject: name, value: i }))
        await memory.pasts.append(tenant, name, 0, 'a', { run: 'r', events: [i] })
        await memory.blobs.put(of(tenant), name, `blob ${i}`)
        await putRun(memory.archive, testRun(tenant, { id: name, output: i }), [testEntry(1, `${i}`)])
      }),
    )
    await Promise.all(
      pairs.map(async ([tenant, name], i) => {
        expect(await memory.sessions.read(tenant, name)).toEqual({ version: 1, turns: [turn(`r${i}`)] })
        expect(await memory.facts.find(tenant, name, name)).toMatchObject({ kind: name, subject: name, value: i })
        expect(await memory.pasts.read(tenant, name)).toEqual({
          ...{ version: 1, deeds: [{ run: 'r', events: [i] }] },
        })
        expect(await memory.blobs.get(of(tenant), name)).toBe(`blob ${i}`)
        expect(await memory.archive.get(tenant, name)).toMatchObject({ output: i })
        expect(await collect(memory.archive.entries(tenant, name))).toEqual([testEntry(1, `${i}`)])
      }),
    )
    for (const tenant of names) {
      const own = pairs.filter(([one]) => one === tenant)
      expect(await memory.archive.list(tenant, { limit: 1000 })).toHaveLength(own.length)
    }
    expect(await memory.facts.find('isolationa', 'isolationa#isolationa', '')).toBeUndefined()
  })

  describe('pasts', () => {
    test('are in one order: of appends at one version one wins, and the others are told', async () => {
      const tenant = newId()
      const deeds = (run: string) => ({ run, events: [{ run, text: 'ä\ud800' }] })
      expect(await memory.pasts.read(tenant, 's')).toEqual({ version: 0, deeds: [] })
      for (let version = 0; version < 12; version++) {
        const appended = await Promise.all(
          ['a', 'b', 'c'].map((run) => memory.pasts.append(tenant, 's', version, run, deeds(run))),
        )
        expect(appended.filter((won) => won)).toHaveLength(1)
        const { deeds: found } = await memory.pasts.read(tenant, 's', version)
        expect(found).toEqual([deeds(['a', 'b', 'c'][appended.indexOf(true)] ?? '')])
      }
      expect(await memory.pasts.read(tenant, 's', 10)).toMatchObject({ version: 12, deeds: [{}, {}] })
      expect(await memory.pasts.read(tenant, 's', 12)).toEqual({ version: 12, deeds: [] })
    })

    test('have what is appended again once', async () => {
      const tenant = newId()
      for (let i = 0; i < 2; i++)
        expect(await memory.pasts.append(tenant, 's', 0, 'x', { run: 'r', events: [1] })).toBe(true)
      expect(await memory.pasts.append(tenant, 's', 0, 'y', { run: 'r', events: [1] })).toBe(false)
      expect(await memory.pasts.read(tenant, 's')).toEqual({ version: 1, deeds: [{ run: 'r', events: [1] }] })
    })
  })

  describe('sessions', () => {
    test('hold turns in order and give the last ones', async () => {
      const tenant = newId()
      expect(await memory.sessions.read(tenant, 's')).toEqual({ version: 0, turns: [] })
      const turns = Array.from({ length: 12 }, (_, i) => turn(`r${i}`))
      for (const [i, each] of turns.entries()) {
        expect(await memory.sessions.append(tenant, 's', i, each)).toBe(i + 1)
      }
      expect(await memory.sessions.read(tenant, 's')).toEqual({ version: 12, turns })
      expect(await memory.sessions.read(tenant, 's', { last: 3 })).toEqual({ version: 12, turns: turns.slice(-3) })
      expect(await memory.sessions.read(tenant, 's', { last: 0 })).toEqual({ version: 12, turns: [] })
      expect(await memory.sessions.read(tenant, 's', { last: 99 })).toEqual({ version: 12, turns })
    })

    test('of appends at one version let exactly one win', async () => {
      const tenant = newId()
      for (const version of [0, 1, 2]) {
        const tries = Array.from({ length: 16 }, (_, i) =>
          memory.sessions.append(tenant, 's', version, turn(`${version}/${i}`)),
        )
        const results = await Promise.allSettled(tries)
        expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
        for (const result of results) {
          if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'memory.conflict' })
        }
      }
      expect((await memory.sessions.read(tenant, 's')).version).toBe(3)
    })

    test('take a repeat of the same run as done, also later and at once', async () => {
      const tenant = newId()
      const results = await Promise.all(
        Array.from({ length: 8 }, () => memory.sessions.append(tenant, 's', 0, turn('a'))),
      )
      expect(new Set(results)).toEqual(new Set([1]))
      await memory.sessions.append(tenant, 's', 1, turn('b'))
      expect(await memory.sessions.append(tenant, 's', 0, turn('a', 'other words'))).toBe(1)
      expect(await memory.sessions.read(tenant, 's')).toEqual({ version: 2, turns: [turn('a'), turn('b')] })
    })

    test.each([1, 7, -1, 0.5, Number.NaN])('refuse version %d of an empty session', async (version) => {
      const tenant = newId()
      const append = memory.sessions.append(tenant, 's', version, turn('a'))
      await expect(append).rejects.toMatchObject({ code: 'memory.conflict' })
      expect(await memory.sessions.read(tenant, 's')).toEqual({ version: 0, turns: [] })
    })

    test('give back over several pages what they got', async () => {
      const tenant = newId()
      const turns = Array.from({ length: 6 }, (_, i) => turn(`r${i}`, noise(400_000, i)))
      for (const [i, each] of turns.entries()) await memory.sessions.append(tenant, 's', i, each)
      expect(await memory.sessions.read(tenant, 's')).toEqual({ version: 6, turns })
    })

    test('refuse a turn that is too large', async () => {
      const append = memory.sessions.append(newId(), 's', 0, turn('a', noise(600_000)))
      await expect(append).rejects.toMatchObject({ code: 'memory.too_large' })
      const long = memory.sessions.append(newId(), '#'.repeat(2000), 0, turn('a'))
      await expect(long).rejects.toMatchObject({ code: 'memory.too_large' })
      const labels = Array.from({ length: 10_000 }, () => noise(64))
      const item = memory.sessions.append(newId(), 's', 0, { ...turn('a'), labels })
      await expect(item).rejects.toMatchObject({ code: 'memory.too_large' })
    })

    test('give back any JSON', () =>
      fc.assert(
        fc.asyncProperty(fc.array(fc.jsonValue()), anyText, async (values, session) => {
          const tenant = newId()
          // What fast-check calls unknown is a JSON value by construction.
          const messages = JSON.parse(JSON.stringify(values))
          await memory.sessions.append(tenant, session, 0, { ...turn('r'), messages })
          expect((await memory.sessions.read(tenant, session)).turns[0]?.messages).toEqual(messages)
        }),
        { numRuns: 50 },
      ))
  })

  describe('facts', () => {
    test('supersede and are kept', async () => {
      const tenant = newId()
      now = 1_000
      const first = await memory.facts.put(tenant, fact('one'))
      expect(first).toEqual({ ...fact('one'), id: first.id, validFrom: 1_000 })
      now = 2_000
      const second = await memory.facts.put(tenant, fact('two'))
      now = 500
      const third = await memory.facts.put(tenant, fact('three'))
      expect(third.validFrom).toBe(2_000)
      expect(await memory.facts.find(tenant, 'vendor', 'ACME')).toEqual(third)
      expect(await memory.facts.history(tenant, 'vendor', 'ACME')).toEqual([
        third,
        { ...second, validTo: 2_000, supersededBy: third.id },
        { ...first, validTo: 2_000, supersededBy: second.id },
      ])
      expect(await memory.facts.find(tenant, 'vendor', 'acme')).toBeUndefined()
      expect(await memory.facts.history(tenant, 'vendor', 'acme')).toEqual([])
    })

    test('take a repeat of the same step as done', async () => {
      const tenant = newId()
      const first = await memory.facts.put(tenant, fact('one'))
      expect(await memory.facts.put(tenant, fact('one', { value: 'other' }))).toEqual(first)
      const second = await memory.facts.put(tenant, fact('two'))
      expect(await memory.facts.put(tenant, fact('one'))).toMatchObject({ id: first.id, supersededBy: second.id })
      expect(await memory.facts.history(tenant, 'vendor', 'ACME')).toHaveLength(2)
    })

    test('of many writers make one chain without doubles', async () => {
      const tenant = newId()
      const steps = Array.from({ length: 20 }, (_, i) => `s${i}`)
      // Each step twice at once, as by a worker and by the one that it has lost the run to.
      const put = await Promise.all([...steps, ...steps].map((step) => memory.facts.put(tenant, fact(step))))
      const history = await memory.facts.history(tenant, 'vendor', 'ACME')
      expect(history.map(({ step }) => step).sort()).toEqual([...steps].sort())
      expect(new Set(put.map(({ id }) => id))).toEqual(new Set(history.map(({ id }) => id)))
      expect(history.map(({ supersededBy }) => supersededBy)).toEqual([
        undefined,
        ...history.slice(0, -1).map(({ id }) => id),
      ])
      expect(await memory.facts.find(tenant, 'vendor', 'ACME')).toEqual(history[0])
    })

    test('survive a death between any two writes', async () => {
      for (const writes of [0, 1, 2, 3]) {
        const tenant = newId()
        const facts = openFacts(dying, memory.keys, () => now)
        await memory.facts.put(tenant, fact('before'))
        dying.writesLeft = writes
        const died = await facts.put(tenant, fact('it')).catch((error: unknown) => error)
        expect(died instanceof Error).toBe(writes < 3)
        dying.writesLeft = Number.POSITIVE_INFINITY
        await memory.facts.put(tenant, fact('meanwhile'))
        await Promise.all([facts.put(tenant, fact('it')), memory.facts.put(tenant, fact('it'))])
        const steps = (await memory.facts.history(tenant, 'vendor', 'ACME')).map(({ step }) => step)
        expect(steps).toEqual(writes < 3 ? ['it', 'meanwhile', 'before'] : ['meanwhile', 'it', 'before'])
      }
    })

    test('give back any JSON of any subject, and refuse what is too large', async () => {
      await fc.assert(
        fc.asyncProperty(fc.jsonValue(), anyText, anyText, async (given, kind, subject) => {
          const tenant = newId()
          const value = JSON.parse(JSON.stringify(given))
          await memory.facts.put(tenant, fact('s', { kind, subject, value }))
          expect(await memory.facts.find(tenant, kind, subject)).toMatchObject({ kind, subject, value })
        }),
        { numRuns: 50 },
      )
      const put = memory.facts.put(newId(), fact('s', { value: 'x'.repeat(PIECE_BYTES_MAX) }))
      await expect(put).rejects.toMatchObject({ code: 'memory.too_large' })
    })
  })

  describe('archive', () => {
    test('gives back 5,000 entries and any tail of them', async () => {
      const tenant = newId()
      const entries = Array.from({ length: 5_000 }, (_, i) => testEntry(i + 1, noise(600, i)))
      const run = testRun(tenant)
      await putRun(memory.archive, run, entries)
      expect(await memory.archive.get(tenant, run.id)).toEqual(run)
      expect(await collect(memory.archive.entries(tenant, run.id))).toEqual(entries)
      for (const after of [-1, 0, 1, 1_500, 1_501, 4_999, 5_000, 6_000]) {
        const tail = await collect(memory.archive.entries(tenant, run.id, { after }))
        expect(tail).toEqual(entries.filter(({ seq }) => seq > after))
      }
    })

    test('gives back content of 1 MB and more, byte for byte', async () => {
      const tenant = newId()
      const big = [noise(1_000_000), '🦊'.repeat(250_000), `\ud800${noise(1_000_000, 2)}\udfff`, noise(3_000_000, 3)]
      const entries = big.map((content, i) => testEntry(i * 10 + 1, content))
      const run = testRun(tenant, { input: noise(1_000_000, 4), output: { text: noise(1_000_000, 5) } })
      await putRun(memory.archive, run, entries)
      expect(await memory.archive.get(tenant, run.id)).toEqual(run)
      expect(await collect(memory.archive.entries(tenant, run.id))).toEqual(entries)
      expect(await collect(memory.archive.entries(tenant, run.id, { after: 11 }))).toEqual(entries.slice(2))
      const [summary] = await memory.archive.list(tenant, { limit: 1 })
      expect(JSON.stringify(summary).length).toBeLessThan(1_000)
    })

    const inLists = (tenant: string, { session, by: { user } }: Run) =>
      Promise.all(
        [{}, { user }, { session }, { session, user }].map(async (of) =>
          (await memory.archive.list(tenant, { limit: 10, ...of })).map(({ id }) => id),
        ),
      )

    test('shows nothing of a run before all of it is there, whichever write is the last', async () => {
      let deaths = 0
      let named = 0
      for (let writes = 0; ; writes++) {
        const tenant = newId()
        const run = testRun(tenant, { output: noise(500_000), subject: 'customer' })
        const entries = [testEntry(1, noise(500_000, 2)), testEntry(2)]
        dying.writesLeft = writes
        const died = await putRun(openArchive(dying, memory.keys), run, entries).then(
          () => false,
          () => true,
        )
        dying.writesLeft = Number.POSITIVE_INFINITY
        const lists = await inLists(tenant, run)
        if (lists.flat().length === 0) {
          expect(await memory.archive.get(tenant, run.id)).toBeUndefined()
          expect(await collect(memory.archive.entries(tenant, run.id))).toEqual([])
        } else {
          // What any list names is there.
          named++
          expect(await memory.archive.get(tenant, run.id)).toEqual(run)
          expect(await collect(memory.archive.entries(tenant, run.id))).toEqual(entries)
        }
        // Whoever does it again brings it into all lists, once.
        if (died) await putRun(memory.archive, run, entries)
        expect(await inLists(tenant, run)).toEqual(Array.from({ length: 4 }, () => [run.id]))
        expect(await memory.archive.get(tenant, run.id)).toEqual(run)
        if (!died) break
        deaths++
      }
      expect(deaths).toBeGreaterThan(7)
      expect(named).toBe(3)
    })

    test('keeps the first of what is put several times, also at once', async () => {
      const tenant = newId()
      const run = testRun(tenant)
      const entries = [testEntry(1, 'a'), testEntry(2)]
      await Promise.all(Array.from({ length: 4 }, () => putRun(memory.archive, run, entries)))
      await putRun(memory.archive, { ...run, output: 'other' }, [testEntry(1, 'b')])
      expect(await memory.archive.get(tenant, run.id)).toEqual(run)
      expect(await collect(memory.archive.entries(tenant, run.id))).toEqual(entries)
      expect(await inLists(tenant, run)).toEqual(Array.from({ length: 4 }, () => [run.id]))
    })

    test('finds a run as the list of all has it, whatever was taken of it', async () => {
      const tenant = newId()
      const runs = [testRun(tenant), testRun(tenant), testRun(tenant)].sort((a, b) => (a.id < b.id ? -1 : 1))
      const [whole, erased, forgotten] = runs.map(({ id }) => id) as [string, string, string] // as many as there are
      for (const run of runs) await putRun(memory.archive, run, [testEntry(1, 'a'), testEntry(2)])
      const why = { at: 1, by: 'erasure' } as const
      await memory.archive.eraseContent(tenant, erased, why)
      await memory.archive.forgotten(tenant, forgotten)
      const found = await Promise.all([whole, erased, forgotten].map((id) => memory.archive.find(tenant, id)))
      expect(found).toEqual(await collect(memory.archive.all(tenant)))
      expect(found).toMatchObject([{ entries: 2 }, { id: erased, erased: why }, { id: forgotten, forgotten: true }])
      await memory.archive.remove(tenant, whole, why)
      expect(await memory.archive.find(tenant, whole)).toBeUndefined()
    })

    test('has a run in its lists though the archiver died that was first with the summary', async () => {
      const tenant = newId()
      const run = testRun(tenant)
      class Late extends DyingTable {
        override async create(item: Item): Promise<boolean> {
          dying.writesLeft = 4
          await expect(putRun(openArchive(dying, memory.keys), run, [])).rejects.toThrow('died')
          dying.writesLeft = Number.POSITIVE_INFINITY
          expect(await memory.archive.get(tenant, run.id)).toEqual(run)
          return super.create(item)
        }
      }
      const { client, where } = connect({ endpoint: server.endpoint })
      await putRun(openArchive(new Late(client, 'muster-test', where), memory.keys), run, [])
      expect(await inLists(tenant, run)).toEqual(Array.from({ length: 4 }, () => [run.id]))
    })

    test('names a run that is removed no more, and leaves nothing of it in a list; an erased one stays', async () => {
      const tenant = newId()
      const [gone, erased] = [testRun(tenant), testRun(tenant)]
      await putRun(memory.archive, gone, [testEntry(1, 'a')])
      // Its archiver dies when the summary is there.
      dying.writesLeft = 5
      const died = putRun(openArchive(dying, memory.keys), erased, [testEntry(1, 'a')])
      await expect(died).rejects.toThrow('died')
      dying.writesLeft = Number.POSITIVE_INFINITY
      expect(await inLists(tenant, erased)).toEqual([
        [erased.id, gone.id],
        ...Array.from({ length: 3 }, () => [gone.id]),
      ])
      await memory.archive.eraseContent(tenant, erased.id, { at: 1, by: 'erasure' })
      class Broken extends Table {
        override async remove(pk: string, sk: string): Promise<void> {
          if (pk === partition(tenant, 'RUNS')) throw new Error('died')
          return super.remove(pk, sk)
        }
      }
      const { client, where } = connect({ endpoint: server.endpoint })
      const why = { at: 2, by: 'retention', id: '0' } as const
      const broken = openArchive(new Broken(client, 'muster-test', where), memory.keys)
      await expect(broken.remove(tenant, gone.id, why)).rejects.toThrow('died')
      // What is still there is named by the list by which it is found again.
      const others = Array.from({ length: 3 }, () => [erased.id])
      expect(await inLists(tenant, gone)).toEqual([[erased.id, gone.id], ...others])
      await memory.archive.remove(tenant, gone.id, why)
      expect(await inLists(tenant, gone)).toEqual([[erased.id], ...others])
      const [of] = await memory.archive.list(tenant, { limit: 1, user: 'u' })
      expect(of).toEqual((await memory.archive.list(tenant, { limit: 1 }))[0])
    })

    describe('has lists by user and session', () => {
      const names = [...nasty.filter((name) => name !== ''), 'USER', '#'.repeat(128)]
      const tenant = newId()
      let runs: Run[]
      beforeAll(async () => {
        const some = fc.record({
          user: fc.constantFrom(...names),
          session: fc.option(fc.constantFrom(...names), { nil: undefined }),
          status: fc.constantFrom('succeeded' as const, 'failed' as const),
          name: fc.constantFrom('odd', 'even'),
          code: fc.constantFrom(undefined, 'a', 'b'),
          what: fc.constantFrom('kept', 'kept', 'kept', 'erased', 'removed'),
        })
        const sampled = fc.sample(some, { numRuns: 300, seed: 7 }).map((one, i) => {
          // Two users that UTF-8 would make one, in one session.
          const user = ['\ud83e', '\udd8a'][i]
          return user === undefined ? one : { ...one, user, session: 'a', what: 'kept' }
        })
        const made = sampled.map(({ user, session, status, name, code, what }) => {
          const error = code === undefined ? {} : { error: { code, message: 'm' } }
          const { session: _session, ...run } = testRun(tenant, { by: { key: 'k', user }, status, name, ...error })
          return { what, run: session === undefined ? run : { ...run, session } }
        })
        // Archived in another order than they were begun in, and some of them by two at once.
        await Promise.all([...made, ...made.slice(0, 50)].reverse().map(({ run }) => putRun(memory.archive, run, [])))
        for (const { what, run } of made) {
          if (what === 'erased') await memory.archive.eraseContent(tenant, run.id, { at: 1, by: 'erasure' })
          if (what === 'removed') await memory.archive.remove(tenant, run.id, { at: 1, by: 'retention' })
        }
        runs = made.flatMap(({ what, run }) => (what === 'removed' ? [] : [run])).reverse()
      })

      const filter = fc.record(
        {
          user: fc.constantFrom(...names),
          session: fc.constantFrom(...names),
          status: fc.constantFrom('succeeded' as const, 'failed' as const),
          name: fc.constantFrom('odd', 'even'),
          error: fc.constantFrom('a', 'b'),
        },
        { requiredKeys: [] },
      )

      test('which have what a filter of all has, in the same order, page by page', () =>
        fc.assert(
          fc.asyncProperty(filter, fc.integer({ min: 1, max: 7 }), fc.nat(), async (asked, limit, at) => {
            const { user, session, status, name, error } = asked
            const meant = runs.filter(
              (run) =>
                (user === undefined || run.by.user === user) &&
                (session === undefined || run.session === session) &&
                (status === undefined || run.status === status) &&
                (name === undefined || run.name === name) &&
                (error === undefined || run.error?.code === error),
            )
            const ids = meant.map(({ id }) => id)
            const found: string[] = []
            for (let before: string | undefined; ; before = found.at(-1)) {
              const page = await memory.archive.list(tenant, { ...asked, limit, before })
              found.push(...page.map(({ id }) => id))
              if (page.length < limit) break
            }
            expect(found).toEqual(ids)
            // Up to a run that need not be among them, and from there on.
            const { id: since = '' } = runs[at % runs.length] ?? {}
            const newer = await memory.archive.list(tenant, { ...asked, limit: 1000, since })
            const older = await memory.archive.list(tenant, { ...asked, limit: 1000, before: since })
            expect(newer.map(({ id }) => id)).toEqual(ids.filter((id) => id >= since))
            expect(older.map(({ id }) => id)).toEqual(ids.filter((id) => id < since))
            const last = ids.at(-1)
            if (last === undefined || last === ids[0]) return
            const inner = await memory.archive.list(tenant, { ...asked, limit: 1000, before: ids[0], since: last })
            expect(inner.map(({ id }) => id)).toEqual(ids.slice(1))
          }),
          { numRuns: 150, examples: [[{ user: '\ud83e', session: 'a' }, 7, 0]] },
        ))

      test('of which a page is one query that looks at no others', async () => {
        const archive = openArchive(counted, memory.keys)
        const looked = async (asked: Parameters<typeof archive.list>[1]) => {
          sent.length = 0
          const found = await archive.list(tenant, asked)
          expect(sent.map(({ command }) => command)).toEqual(['QueryCommand'])
          return [found.length, sent[0]?.items]
        }
        const user = names[0] ?? ''
        const own = runs.filter(({ by }) => by.user === user)
        const session = own.find((run) => run.session !== undefined)?.session ?? ''
        const beside = runs.filter((run) => run.session === session)
        expect(own.length).toBeGreaterThan(5)
        expect(await looked({ limit: 3, user })).toEqual([3, 3])
        expect(await looked({ limit: 3, user, before: own[1]?.id })).toEqual([3, 3])
        expect(await looked({ limit: 999, user })).toEqual([own.length, own.length])
        expect(await looked({ limit: 999, session })).toEqual([beside.length, beside.length])
        const both = beside.filter(({ by }) => by.user === user)
        expect(await looked({ limit: 999, session, user })).toEqual([both.length, beside.length])
        const failed = own.filter(({ status }) => status === 'failed')
        expect(await looked({ limit: 999, user, status: 'failed' })).toEqual([failed.length, own.length])
        expect(await looked({ limit: 999, user, error: 'none' })).toEqual([0, own.length])
        expect(await looked({ limit: 999, user, error: 'none', since: own[2]?.id })).toEqual([0, 3])
      })
    })

    describe('many at once', () => {
      const of = (run: Run, entries: StoredEntry[] = [testEntry(1, `${run.id} a`)]) => ({
        ...{ tenant: run.tenant, run, entries },
      })

      /** All that the archive tells of a tenant, with its runs by their places. */
      const told = async (tenant: string, runs: readonly Run[]) => {
        const of = { user: 'ann', session: 's' }
        const listed = [{}, { user: of.user }, { session: of.session }, of, { status: 'failed' as const }]
        const all = {
          runs: await Promise.all(runs.map(({ id }) => memory.archive.get(tenant, id))),
          began: await Promise.all(runs.map(({ id }) => memory.archive.beganBy(tenant, id))),
          erased: await Promise.all(runs.map(({ id }) => memory.archive.erased(tenant, id))),
          entries: await Promise.all(runs.map(({ id }) => collect(memory.archive.entries(tenant, id)))),
          lists: await Promise.all(listed.map((one) => memory.archive.list(tenant, { limit: 99, ...one }))),
          all: await collect(memory.archive.all(tenant)),
          about: await collect(memory.archive.ofSubject(tenant, 'customer')),
          costs: await collect(memory.archive.costs(tenant)),
          tenants: (await collect(memory.archive.tenants())).filter((one) => one === tenant),
          items: await Promise.all(
            runs.map(async ({ id }) =>
              (await collect(table.query({ pk: partition(tenant, 'RUN', id) }))).map(({ sk, n, of }) => [
                String(sk).replace(/[0-9a-f]{32}/, 'set'),
                n,
                of,
              ]),
            ),
          ),
        }
        return JSON.parse(
          runs
            .reduce((text, { id }, i) => text.replaceAll(id, `run ${i}`), JSON.stringify(all))
            .replaceAll(tenant, 'T'),
        )
      }

      test('are as they are one by one, in all that is told of them', async () => {
        const [alone, together] = [newId(), newId()]
        const line = { day: '2026-11-28', calls: 1, nanoUsd: 7, inputTokens: 1, outputTokens: 2, cachedTokens: 0 }
        const names = { model: 'm', provider: 'p', agent: 'a', user: 'u', team: '', key: 'k' }
        const made = (tenant: string) =>
          Array.from({ length: 36 }, (_, i) => {
            const run = testRun(tenant, {
              status: i % 3 === 0 ? 'failed' : 'succeeded',
              by: { key: 'k', user: i % 2 ? 'ann' : 'bob' },
              output: i === 10 ? noise(500_000, i) : i,
              ...(i % 4 === 0 ? { subject: 'customer' } : {}),
            })
            const entries = Array.from({ length: i % 5 }, (_, at) =>
              testEntry(at + 1, i === 9 && at > 1 ? noise(900_000, at) : at === 2 ? undefined : `${i} ${at}`),
            )
            return { tenant, run, entries, ...(i % 2 ? { costs: [{ ...line, names }] } : {}) }
          })
        const [one, other] = [made(alone), made(together)]
        // Keys of some were destroyed before.
        for (const { tenant, run } of [one[7], one[8], other[7], other[8]].flatMap((put) => put ?? []))
          await memory.keys.destroy(tenant, { run: run.id })
        for (const { run, entries, costs } of one) await putRun(memory.archive, run, entries, costs)
        const done = await memory.archive.putMany(other)
        expect(done).toEqual(other.map(() => ({ status: 'fulfilled', value: undefined })))
        const runsOf = (puts: { run: Run }[]) => puts.map(({ run }) => run)
        const meant = await told(alone, runsOf(one))
        expect(await told(together, runsOf(other))).toEqual(meant)
        expect(meant.erased[7]).toMatchObject({ by: 'erasure' })
        expect(await memory.archive.get(together, other[10]?.run.id ?? '')).toEqual(other[10]?.run)
        // Again they change nothing.
        await memory.archive.putMany(
          other.map((put) => ({ ...put, run: { ...put.run, output: 'other' }, entries: [] })),
        )
        expect(await told(together, runsOf(other))).toEqual(meant)
      })

      test('share their requests', async () => {
        const tenant = newId()
        const archive = openArchive(counted, memory.keys)
        const runs = Array.from({ length: 25 }, () => testRun(tenant))
        await putRun(memory.archive, testRun(tenant), [])
        await putRun(archive, testRun(tenant), [])
        const count = async (work: Promise<unknown>) => {
          sent.length = 0
          await work
          return Map.groupBy(sent, ({ command }) => command)
            .entries()
            .map(([command, { length }]) => [command, length])
            .toArray()
        }
        // Three pieces of each, its summary, and two items of lists; keys are made by way of another connection.
        expect(await count(archive.putMany(runs.map((run) => of(run))))).toEqual([
          ['BatchGetItemCommand', 1],
          ['BatchWriteItemCommand', 3 + 2],
          ['PutItemCommand', 25],
        ])
        expect(await count(putRun(archive, testRun(tenant), [testEntry(1, 'a')]))).toEqual([
          ['BatchGetItemCommand', 1],
          ['BatchWriteItemCommand', 1 + 1],
          ['PutItemCommand', 1],
        ])
        expect(await count(archive.putMany([]))).toEqual([])
      })

      test('that die at any write are each there or not, and in all their lists once they are put again', async () => {
        let deaths = 0
        const there: number[] = []
        for (let writes = 0; ; writes++) {
          const tenant = newId()
          const puts = [noise(500_000), 'small', 'other'].map((output, i) =>
            of(testRun(tenant, { output, subject: 'customer' }), [testEntry(1, `${i}`), testEntry(2)]),
          )
          dying.writesLeft = writes
          const done = await openArchive(dying, memory.keys).putMany(puts)
          dying.writesLeft = Number.POSITIVE_INFINITY
          const lists = await inLists(tenant, testRun(tenant))
          there.push(new Set(lists.flat()).size)
          for (const [i, { run, entries }] of puts.entries()) {
            const isNamed = lists.some((ids) => ids.includes(run.id))
            expect(await memory.archive.get(tenant, run.id)).toEqual(isNamed ? run : undefined)
            expect(await collect(memory.archive.entries(tenant, run.id))).toEqual(isNamed ? entries : [])
            // What is said to be done is in all of them.
            if (done[i]?.status === 'fulfilled') expect(lists.every((ids) => ids.includes(run.id))).toBe(true)
          }
          const again = await memory.archive.putMany(puts)
          expect(again.map(({ status }) => status)).toEqual(puts.map(() => 'fulfilled'))
          const ids = puts.map(({ run }) => run.id).reverse()
          expect(await inLists(tenant, testRun(tenant))).toEqual(Array.from({ length: 4 }, () => ids))
          for (const { run } of puts) expect(await memory.archive.get(tenant, run.id)).toEqual(run)
          if (done.every(({ status }) => status === 'fulfilled')) break
          deaths++
        }
        expect(deaths).toBeGreaterThan(20)
        expect(new Set(there)).toEqual(new Set([0, 1, 2, 3]))
      })

      test('are there though others among them cannot be, which alone are rejected', async () => {
        const tenant = newId()
        const good = Array.from({ length: 30 }, () => testRun(tenant))
        const bad = [
          [of(testRun(tenant, { status: 'running' })), 'internal'],
          [{ ...of(testRun('other')), tenant }, 'internal'],
          [of(testRun(tenant), [testEntry(2), testEntry(1)]), 'journal.corrupt'],
          [of(testRun(tenant, { id: 'x'.repeat(2000) })), 'memory.too_large'],
          [of(testRun(tenant, { by: { key: 'k', user: 'x'.repeat(3000) } })), 'memory.too_large'],
          // Its summary is larger than an item may be.
          [of(testRun(tenant, { labels: Array.from({ length: 9000 }, (_, i) => noise(64, i)) })), 'memory.too_large'],
        ] as const
        const puts = [
          ...good.slice(0, 10).map((run) => of(run)),
          ...bad.map(([put]) => put),
          ...good.slice(10).map((run) => of(run)),
        ]
        const done = await memory.archive.putMany(puts)
        expect(done.slice(10, 16)).toMatchObject(bad.map(([, code]) => ({ status: 'rejected', reason: { code } })))
        expect(done.filter(({ status }) => status === 'fulfilled')).toHaveLength(30)
        for (const list of [{}, { user: 'u' }, { session: 's' }])
          expect((await memory.archive.list(tenant, { limit: 99, ...list })).map(({ id }) => id)).toEqual(
            good.map(({ id }) => id).reverse(),
          )
        for (const run of good) expect(await memory.archive.get(tenant, run.id)).toEqual(run)
      })

      test('may name a run twice: one of its journals is there, whole', async () => {
        const tenant = newId()
        const run = testRun(tenant, { subject: 'customer' })
        const other = testRun(tenant, { subject: 'customer' })
        const journals = [[testEntry(1, 'a')], [testEntry(1, 'b'), testEntry(2)]]
        const puts = [of(run, journals[0]), of(other), of(run, journals[1]), of(run, journals[0])]
        const done = await memory.archive.putMany(puts)
        expect(done.map(({ status }) => status)).toEqual(puts.map(() => 'fulfilled'))
        expect(journals).toContainEqual(await collect(memory.archive.entries(tenant, run.id)))
        expect(await memory.archive.get(tenant, run.id)).toEqual(run)
        expect(await inLists(tenant, run)).toEqual(Array.from({ length: 4 }, () => [other.id, run.id]))
      })
    })

    test('is not confused by what an archiver that died has left of another journal', async () => {
      const tenant = newId()
      const run = testRun(tenant)
      dying.writesLeft = 5
      const left = putRun(openArchive(dying, memory.keys), run, [testEntry(1, noise(3_000_000)), testEntry(2, 'left')])
      await expect(left).rejects.toThrow('died')
      dying.writesLeft = Number.POSITIVE_INFINITY
      const entries = [testEntry(1, noise(500_000, 2)), testEntry(2)]
      await putRun(memory.archive, run, entries)
      expect(await collect(memory.archive.entries(tenant, run.id))).toEqual(entries)
    })

    test('gives back whole one of two different journals archived at once', async () => {
      const tenant = newId()
      const run = testRun(tenant)
      const journals = [3, 1].map((seed) => [testEntry(1, noise(900_000 * seed, seed)), testEntry(2, `${seed}`)])
      await Promise.all(journals.map((entries) => putRun(memory.archive, run, entries)))
      expect(journals).toContainEqual(await collect(memory.archive.entries(tenant, run.id)))
    })

    test('lists newest first, in pages, by status and name', async () => {
      const tenant = newId()
      const runs: Run[] = []
      for (let i = 0; i < 25; i++) {
        runs.unshift(testRun(tenant, { status: i % 5 === 0 ? 'failed' : 'succeeded', name: i % 2 ? 'odd' : 'even' }))
      }
      // Archived in another order than they were made in.
      for (const run of [...runs].sort((a, b) => (a.head + a.id.slice(-4) < b.head + b.id.slice(-4) ? -1 : 1))) {
        await putRun(memory.archive, run, [])
      }
      const ids = (some: { id: string }[]) => some.map(({ id }) => id)
      const paged: string[] = []
      for (let before: string | undefined; ; before = paged.at(-1)) {
        const page = await memory.archive.list(tenant, { limit: 10, ...(before === undefined ? {} : { before }) })
        if (page.length === 0) break
        paged.push(...ids(page))
      }
      expect(paged).toEqual(ids(runs))
      const failed = runs.filter(({ status }) => status === 'failed')
      expect(ids(await memory.archive.list(tenant, { limit: 3, status: 'failed' }))).toEqual(ids(failed.slice(0, 3)))
      const failedOdd = failed.filter(({ name }) => name === 'odd')
      const both = { limit: 9, status: 'failed', name: 'odd' } as const
      expect(ids(await memory.archive.list(tenant, both))).toEqual(ids(failedOdd))
      const [summary] = await memory.archive.list(tenant, { limit: 1, before: runs[3]?.id ?? '' })
      const { id, status, kind, name, version, session, createdAt, endedAt, costUsd, steps } = runs[4] ?? testRun('')
      const expected = { id, tenant, status, kind, name, version, session, createdAt, endedAt, costUsd, steps }
      expect(summary).toEqual(expected)
      expect(await memory.archive.list(tenant, { limit: 9, session: session ?? '' })).toEqual(
        runs
          .filter((run) => run.session === session)
          .slice(0, 9)
          .map(({ id }) => expect.objectContaining({ id })),
      )
      expect(await memory.archive.list(tenant, { limit: 9, session: 'nobody had it' })).toEqual([])
      expect(await memory.archive.list(tenant, { limit: 0 })).toEqual([])
      expect(await memory.archive.list(newId(), { limit: 5 })).toEqual([])
    })

    test('tells who began a run, and lists those of one user', async () => {
      const tenant = newId()
      const by = (user: string) => testRun(tenant, { by: { key: 'k', user, team: 't' } })
      const runs = ['ann', 'bob', 'ann', 'bob', 'bob', 'ann'].map(by).reverse()
      for (const run of runs) await putRun(memory.archive, run, [testEntry(1)])
      const own = runs.filter((run) => run.by.user === 'ann').map(({ id }) => id)
      const [first = '', second = ''] = own
      const listed = async (options: { limit: number; before?: string; name?: string }) =>
        (await memory.archive.list(tenant, { ...options, user: 'ann' })).map(({ id }) => id)
      expect(await listed({ limit: 9 })).toEqual(own)
      expect(await listed({ limit: 1 })).toEqual([first])
      expect(await listed({ limit: 1, before: first })).toEqual([second])
      expect(await listed({ limit: 9, name: 'another' })).toEqual([])
      expect(await memory.archive.beganBy(tenant, first)).toEqual({ key: 'k', user: 'ann', team: 't' })
      expect(await memory.archive.beganBy(tenant, newId())).toBeUndefined()
      expect(await memory.archive.beganBy(newId(), first)).toBeUndefined()
      await memory.archive.eraseContent(tenant, first, { at: 1, by: 'erasure' })
      expect(await listed({ limit: 1 })).toEqual([first])
    })

    test('refuses what cannot be right', async () => {
      const tenant = newId()
      const running = { tenant, run: testRun(tenant, { status: 'running' }), entries: [] }
      const foreign = { tenant, run: testRun('other'), entries: [] }
      const disordered = { tenant, run: testRun(tenant), entries: [testEntry(2), testEntry(1)] }
      expect(await memory.archive.putMany([running, foreign, disordered])).toMatchObject([
        { status: 'rejected', reason: { code: 'internal' } },
        { status: 'rejected', reason: { code: 'internal' } },
        { status: 'rejected', reason: { code: 'journal.corrupt' } },
      ])
      expect(await memory.archive.get(tenant, newId())).toBeUndefined()
      expect(await collect(memory.archive.entries(tenant, newId()))).toEqual([])
    })

    test('gives back any journal from any place', () =>
      fc.assert(
        fc.asyncProperty(
          fc.uniqueArray(fc.integer({ min: 1, max: 1_000 }), { maxLength: 30 }),
          fc.array(fc.option(anyText, { nil: undefined }), { minLength: 1 }),
          fc.nat(1_001),
          async (seqs, contents, after) => {
            const tenant = newId()
            const entries: StoredEntry[] = [...seqs]
              .sort((a, b) => a - b)
              .map((seq, i) => testEntry(seq, contents[i % contents.length]))
            const run = testRun(tenant)
            await putRun(memory.archive, run, entries)
            const tail = await collect(memory.archive.entries(tenant, run.id, { after }))
            expect(tail).toEqual(entries.filter(({ seq }) => seq > after))
          },
        ),
        { numRuns: 40 },
      ))
  })

  describe('the table', () => {
    test('takes and gives many items, whatever their sizes, also where a place is named twice', async () => {
      const pk = newId()
      // More than one answer holds, many times, and one that fills an item.
      const sizes = [...Array.from({ length: 36 }, () => 380_000), ...Array.from({ length: 120 }, () => 10), 409_000]
      const items = sizes.map((size, i) => ({ pk, sk: `${i}`, data: Buffer.alloc(size, i) }))
      sent.length = 0
      await counted.putAll([...items, ...items.slice(100, 110), ...items.slice(100, 110)])
      // What is large goes by itself.
      expect(sent.length).toBeGreaterThan(36)
      const found = await table.getAll([...items, { pk, sk: 'none' }, ...items.slice(0, 3)])
      expect(found).toHaveLength(items.length + 4)
      const none = found[items.length]
      expect(none).toEqual([{ pk, sk: 'none' }, undefined])
      for (const [{ sk }, item] of found.filter((one) => one !== none)) {
        const { data } = items[Number(sk)] ?? {}
        expect(item?.sk).toBe(sk)
        expect(Buffer.compare(data ?? Buffer.of(), Buffer.from(item?.data as Uint8Array))).toBe(0) // as it was put
      }
    })

    test('refuses what it cannot take of a group, and no other', async () => {
      const pk = newId()
      const item = (i: number, change: Item = {}) => ({ pk, sk: `${i}`, ...change })
      const groups = [
        [item(1), item(2)],
        // No key is empty.
        [item(3), item(4, { pk: '' })],
        [item(5)],
        // DynamoDB's numbers have more digits than JavaScript's.
        [item(10, { number: 2 ** 60 })],
        [item(6, { data: Buffer.alloc(500_000) })],
        [item(7)],
      ]
      const done = await table.putGroups(groups, (group) => group)
      expect(done).toMatchObject([
        { status: 'fulfilled', value: groups[0] },
        { status: 'rejected', reason: { code: 'internal' } },
        { status: 'fulfilled' },
        { status: 'rejected', reason: { code: 'internal' } },
        { status: 'rejected', reason: { code: 'memory.too_large' } },
        { status: 'fulfilled' },
      ])
      const there = (await collect(table.query({ pk }))).map(({ sk }) => sk)
      expect(there).toEqual(expect.arrayContaining(['1', '2', '5', '7']))
      await expect(table.putAll([item(8), item(9, { pk: '' })])).rejects.toMatchObject({ code: 'internal' })
    })
  })

  describe('costs of archived runs', () => {
    const names = { model: 'm', provider: 'p', agent: 'a', user: 'u', team: '', key: 'k' }
    const line = (calls: number) => ({
      ...{ day: '2026-11-28', names, calls },
      ...{ nanoUsd: 7, inputTokens: 1, outputTokens: 2, cachedTokens: 0 },
    })

    test('stay when the run is removed, unless they are too many', async () => {
      const tenant = newId()
      const many = Array.from({ length: 2000 }, (_, i) => line(i))
      const runs = [[line(1)], [line(2)], many, undefined].map((costs) => ({ run: testRun(tenant), costs }))
      for (const { run, costs } of runs) await putRun(memory.archive, run, [testEntry(1, '1')], costs)
      const found = () => collect(memory.archive.costs(tenant))
      const ids = runs.map(({ run }) => run.id)
      const whole = [[line(1)], [line(2)], undefined, undefined].map((costs, i) => ({ run: ids[i] ?? '', costs }))
      expect(await found()).toEqual(whole)
      await memory.archive.remove(tenant, ids[0] ?? '', { at: 1, by: 'retention', id: '0' })
      expect(await found()).toEqual(whole)
      expect(await collect(memory.archive.costs(tenant, ids[1]))).toEqual(whole.slice(2))
    })

    test('from before keys were told of are of the key of the run, also when that is removed', async () => {
      const tenant = newId()
      const old = [{ ...line(1), names: { model: 'm', provider: 'p', agent: 'a', user: 'u' } }] as CostLine[] // as then
      const gone = newId()
      const runs = ['laptop', 'desk'].map((key) => testRun(tenant, { by: { key, user: 'u' } }))
      // Of one that was removed by then nothing says it.
      await dying.put({ pk: partition(tenant, 'REMOVED'), sk: `RUN#${gone}`, costs: old })
      for (const run of runs) await putRun(memory.archive, run, [testEntry(1, '1')], old)
      const told = async () =>
        (await collect(memory.archive.costs(tenant))).map(({ run, costs }) => ({ run, names: costs?.[0]?.names }))
      const meant = [
        { run: gone, names: { ...names, key: '' } },
        { run: runs[0]?.id, names: { ...names, key: 'laptop' } },
        { run: runs[1]?.id, names: { ...names, key: 'desk' } },
      ]
      expect(await told()).toEqual(meant)
      await memory.archive.remove(tenant, runs[0]?.id ?? '', { at: 1, by: 'retention', id: '0' })
      expect(await told()).toEqual(meant)
    })

    test('are told in order, each once, of more runs than are read at once', async () => {
      const tenant = newId()
      const ids = Array.from({ length: 1300 }, (_, i) => String(i).padStart(5, '0'))
      const put = (pk: string, some: string[]) =>
        Table.prototype.putAll.call(
          dying,
          some.map((id) => ({ pk, sk: `RUN#${id}`, costs: [] })),
        )
      const places = { there: partition(tenant, 'RUNS'), gone: partition(tenant, 'REMOVED') }
      // Those that are being removed are in both.
      await Promise.all([put(places.there, ids.slice(0, 700)), put(places.gone, ids.slice(650))])
      const found = await collect(archivedCosts(dying, places, '00001'))
      expect(found.map(({ run }) => run)).toEqual(ids.slice(2))
    })
  })

  describe('blobs', () => {
    test.each([0, 1, 100_000, 460_000, 466_000, 1_000_000, 5_000_000])('give back %d characters', async (length) => {
      const tenant = newId()
      const text = noise(length)
      await Promise.all([memory.blobs.put(of(tenant), 'd', text), memory.blobs.put(of(tenant), 'd', text)])
      await memory.blobs.put(of(tenant), 'd', text)
      expect(await memory.blobs.get(of(tenant), 'd')).toBe(text)
      expect(await memory.blobs.get(of(tenant), 'other')).toBeUndefined()
    })

    test('of several pieces are not there before the last write', async () => {
      const tenant = newId()
      const text = noise(1_500_000)
      for (let writes = 0; ; writes++) {
        dying.writesLeft = writes
        const put = openBlobs(dying, memory.keys).put(of(tenant), 'd', text)
        const died = await put.then(
          () => false,
          () => true,
        )
        if (!died) break
        expect(await memory.blobs.get(of(tenant), 'd')).toBeUndefined()
      }
      dying.writesLeft = Number.POSITIVE_INFINITY
      expect(await memory.blobs.get(of(tenant), 'd')).toBe(text)
    })

    test('give back any text', () =>
      fc.assert(
        fc.asyncProperty(anyText, async (text) => {
          const tenant = newId()
          await memory.blobs.put(of(tenant), 'd', text)
          expect(await memory.blobs.get(of(tenant), 'd')).toBe(text)
        }),
        { numRuns: 50 },
      ))
  })

  describe('ledgers', () => {
    const state = (size: number) => ({
      size,
      root: 'r',
      pending: new Uint8Array(Buffer.from('x'.repeat(size))),
      cursors: { 0: '1-0' },
      checkpoint: '',
      keys: [],
    })

    test('of writers of one version of the state one wins, and all see it', async () => {
      const ledger = memory.ledgers(newId())
      expect(await ledger.state()).toEqual({ version: 0, state: undefined })
      for (let version = 0; version < 3; version++) {
        const won = await Promise.all([1, 2, 3].map((n) => ledger.setState(version, state(10 * version + n))))
        expect(won.filter(Boolean)).toHaveLength(1)
        const now = await ledger.state()
        expect(now).toEqual({ version: version + 1, state: state(10 * version + won.indexOf(true) + 1) })
      }
      expect(await ledger.setState(1, state(9))).toBe(false)
    })

    test('partial tiles only grow, in whatever order they are written, and full ones take their places', async () => {
      const ledger = memory.ledgers(newId())
      const places = ['tile/1/x001/234', 'tile/entries/x001/234']
      const filesOf = (width: number) =>
        places.map((place) => ({
          ...{
            path: width < 256 ? `${place}.p/${width}` : place,
            bytes: Buffer.alloc(width * 32, 7),
            width,
            stored: 0,
          },
        }))
      const size = (width: number) => 1234 * 256 + width
      const read = async (place: string) => Buffer.from((await ledger.read(place)) ?? Buffer.of())
      await Promise.all([3, 1, 255, 12].map((width) => ledger.write(filesOf(width), size(width))))
      for (const place of places) expect(await read(`${place}.p/1`)).toEqual(Buffer.alloc(255 * 32, 7))
      await ledger.write(filesOf(256), size(256))
      await ledger.write(filesOf(7), size(7))
      for (const place of places) {
        expect(await read(place)).toEqual(Buffer.alloc(256 * 32, 7))
        expect((await read(`${place}.p/7`)).length).toBeGreaterThanOrEqual(7 * 32)
      }
      expect(await ledger.read('tile/2/x001/234')).toBeUndefined()
      expect(await ledger.read('tile/2/x001/234.p/3')).toBeUndefined()
    })

    test('a tile can be read as far as it was, wherever a writer dies that makes it full', async () => {
      const places = ['tile/1/000', 'tile/entries/000']
      const filesOf = (width: number, index: number) =>
        places.map((place) => ({
          ...{ path: `${place.slice(0, -1)}${index}${width < 256 ? `.p/${width}` : ''}`, width, stored: 0 },
          bytes: Buffer.alloc(width * 32, index),
        }))
      let deaths = 0
      for (let writes = 0, died = true; died; writes++) {
        const tenant = newId()
        await memory.ledgers(tenant).write(filesOf(9, 0), 9)
        dying.writesLeft = writes
        const writing = openLedgers(dying)(tenant).write([...filesOf(256, 0), ...filesOf(5, 1)], 261)
        died = await writing.then(
          () => false,
          () => true,
        )
        dying.writesLeft = Number.POSITIVE_INFINITY
        if (died) deaths++
        for (const place of places) {
          const ledger = memory.ledgers(tenant)
          const there = (await ledger.read(`${place}.p/9`)) ?? (await ledger.read(place))
          expect(there?.length).toBeGreaterThanOrEqual(9 * 32)
        }
      }
      expect(deaths).toBe(3)
    })

    test('the lowest tiles are those of the entries, wherever these are', async () => {
      const ledger = memory.ledgers(newId())
      const entries = Array.from({ length: 300 }, (_, i) => Buffer.from(`leaf ${i}`))
      await new TileLog(ledger).append({ size: 0, root: emptyRoot }, entries)
      const hashes = (from: number, to: number) => Buffer.concat(entries.slice(from, to).map(leafHash))
      expect(await ledger.read('tile/0/000')).toEqual(hashes(0, 256))
      expect(await ledger.read('tile/0/001.p/44')).toEqual(hashes(256, 300))
      expect(await ledger.read('tile/0/002')).toBeUndefined()
      await ledger.write([{ path: 'tile/entries/002', bytes: Buffer.of(0, 9, 1), width: 256, stored: 0 }], 768)
      expect(await ledger.read('tile/0/002')).toBeUndefined()
    })

    test('many tiles are written at once', async () => {
      const ledger = memory.ledgers(newId())
      const tiles = Array.from({ length: 60 }, (_, i) => ({
        ...{ path: `tile/entries/0${10 + i}`, bytes: Buffer.of(i), width: 256, stored: 0 },
      }))
      await ledger.write(tiles, 70 * 256)
      for (const { path, bytes } of tiles) expect(Buffer.from((await ledger.read(path)) ?? Buffer.of())).toEqual(bytes)
    })

    test('the newest place of a run stays, and runs of any time are found', async () => {
      const ledger = memory.ledgers(newId())
      const runs = ['run-1', 'run-2', 'run-1', '__proto__']
      for (const from of [0, 8, 4, 8]) await ledger.setPlaces(from, runs)
      const found = (run: string) => Promise.all([0, 1, 2, 3, 7, 11, 99].map((size) => ledger.place(run, size)))
      expect(await found('run-1')).toEqual([undefined, 0, 0, 2, 6, 10, 10])
      expect(await ledger.place('run-2', 99)).toBe(9)
      expect(await ledger.place('__proto__', 99)).toBe(11)
      expect(await ledger.place('run-3', 99)).toBeUndefined()
      // A day between any two.
      const ids = Array.from(
        { length: 60 },
        (_, i) => `${(0x1900000 + i * 1318).toString(16).padStart(8, '0')}${newId().slice(8)}`,
      )
      await ledger.setPlaces(12, ids)
      for (const [i, id] of ids.entries()) expect(await ledger.place(id, 99)).toBe(12 + i)
    })

    test('no tenant or run reaches another', async () => {
      await fc.assert(
        fc.asyncProperty(anyText, anyText, async (one, other) => {
          fc.pre(one !== other)
          const salt = newId()
          await memory.ledgers(salt + one).setPlaces(1, [other])
          expect(await memory.ledgers(salt + other).place(one, 2)).toBeUndefined()
          expect(await memory.ledgers(salt + one).place(other, 2)).toBe(1)
        }),
        { seed: 7, numRuns: 20 },
      )
    })
  })

  describe('the record book', () => {
    const by = { key: 'k', user: 'ann' }
    const about = (n: number): NewRecord => ({ at: 1000 + n, by, action: 'content.read', about: { run: `run-${n}` } })

    test('is one chain, however many append at once', async () => {
      const tenant = newId()
      const lengths = [1, 3, 2, 1, 5, 1, 4, 100]
      let next = 0
      const batches = lengths.map((length) => Array.from({ length }, () => about(next++)))
      await Promise.all(batches.map((batch) => memory.records.append(tenant, batch)))
      const stored = await collect(memory.records.read(tenant))
      const head = await memory.records.head(tenant)
      expect(await verifyBook(stored, { head: head?.head ?? '', entries: next })).toMatchObject({ ok: true })
      const runs = stored.map(({ bytes }) => JSON.parse(bytes).about.run)
      expect(runs.toSorted()).toEqual(
        batches
          .flat()
          .map(({ about }) => about.run)
          .toSorted(),
      )
      // What one appended stays together.
      for (const batch of batches) expect(runs.join()).toContain(batch.map(({ about }) => about.run).join())
      for (const after of [0, 1, 99, 100, 101, next - 1, next, next + 1])
        expect((await collect(memory.records.read(tenant, after))).map(({ seq }) => seq)).toEqual(
          stored.map(({ seq }) => seq).filter((seq) => seq > after),
        )
    })

    test('is found newest first, page by page', async () => {
      const tenant = newId()
      for (let n = 0; n < 30; n += 3)
        await memory.records.append(tenant, [
          about(n),
          { ...about(n + 1), by: { key: 'k', user: 'bob' } },
          about(n + 2),
        ])
      const seen: number[] = []
      for (let before: number | undefined; ; ) {
        const page = await memory.records.list(tenant, { user: 'ann' }, { limit: 7, before })
        seen.push(...page.records.map(({ seq }) => seq))
        before = page.cursor
        if (before === undefined) break
      }
      expect(seen).toEqual(Array.from({ length: 30 }, (_, i) => 30 - i).filter((seq) => seq % 3 !== 2))
      const one = await memory.records.list(tenant, { run: 'run-4', since: 1004, until: 1005 }, { limit: 7 })
      expect(one.records).toMatchObject([{ seq: 5, tenant, by: { user: 'bob' } }])
    })

    test('has what an append brought once, where its answer is lost', async () => {
      const tenant = newId()
      const { client } = connect({ endpoint: server.endpoint })
      let lost = false
      class Losing extends Table {
        override async create(item: Item): Promise<boolean> {
          const done = await super.create(item)
          if (lost) return done
          lost = true
          return super.create(item)
        }
      }
      const records = openRecords(new Losing(client, 'muster-test', 'here'))
      await records.append(tenant, [about(1)])
      await records.append(tenant, [about(2)])
      client.destroy()
      expect((await collect(memory.records.read(tenant))).map(({ seq }) => seq)).toEqual([1, 2])
    })

    test('takes no more than it can hold', async () => {
      const large = { ...about(1), about: { text: 'x'.repeat(400_000) } }
      await expect(memory.records.append(newId(), [large])).rejects.toMatchObject({ code: 'memory.too_large' })
    })
  })

  describe('API keys', () => {
    const key = (id: string, version = 1, change: Partial<KeptKey> = {}): KeptKey => ({
      ...{ id, user: 'ann', roles: [], createdAt: 1, createdBy: { key: 'k', user: 'ops' }, version },
      ...{ secrets: [{ sha256: newId(), end: 'abcd' }], ...change },
    })

    test('change one after the other: of those who change one version one wins, also where its answer is lost', async () => {
      const tenant = newId()
      const { client } = connect({ endpoint: server.endpoint })
      class Losing extends Table {
        override async create(item: Item): Promise<boolean> {
          await super.create(item)
          return super.create(item)
        }
        override async replace(item: Item, name: string, was: number | string): Promise<boolean> {
          await super.replace(item, name, was)
          return super.replace(item, name, was)
        }
      }
      const losing = openApiKeys(new Losing(client, 'muster-test', 'here'))
      const first = key('one')
      expect(await losing.create(tenant, first)).toBe('made')
      expect(await losing.create(tenant, key('one'))).toBe('taken')
      const next = [key('one', 2, { user: 'a' }), key('one', 2, { user: 'b' }), key('one', 2, { user: 'c' })]
      const won = await Promise.all(next.map((one) => losing.save(tenant, one)))
      expect(won.filter(Boolean)).toHaveLength(1)
      client.destroy()
      const kept = next[won.indexOf(true)]
      expect(await memory.apiKeys.get(tenant, 'one')).toEqual(kept)
      for (const secret of [...first.secrets, ...(kept?.secrets ?? [])])
        expect(await memory.apiKeys.find(secret.sha256)).toEqual({ tenant, key: kept })
      expect(await memory.apiKeys.find('of nobody')).toBeUndefined()
    })

    test('are listed page by page, with their last uses, whatever they are called', async () => {
      const tenant = newId()
      const ids = ['a', 'a-b', 'a.b', 'b', 'B', '0']
      for (const id of ids) await memory.apiKeys.create(tenant, key(id))
      const listed: string[] = []
      for (let after: string | undefined; ; after = listed.at(-1)) {
        const page = await memory.apiKeys.list(tenant, { limit: 2, after })
        if (page.length === 0) break
        listed.push(...page.map(({ id }) => id))
      }
      expect(listed).toEqual([...ids].sort())
      const odd = nasty.filter((name) => name !== '' && name.isWellFormed())
      for (const [at, id] of odd.entries()) await memory.apiKeys.used(tenant, id, at + 2)
      await memory.apiKeys.used(tenant, odd[0] ?? '', 1)
      const used = await memory.apiKeys.lastUsed(tenant, [...odd, 'never'])
      expect(used).toEqual(new Map(odd.map((id, at) => [id, at + 2])))
      expect(await memory.apiKeys.lastUsed(tenant, [])).toEqual(new Map())
    })

    test('are no more than a tenant may have, however many are made at once; one that is not made does not count', async () => {
      const tenant = newId()
      const make = (id: string) => memory.apiKeys.create(tenant, key(id), 3)
      const made = await Promise.all(['a', 'b', 'c', 'd', 'e', 'a'].map(make))
      expect(made.filter((outcome) => outcome === 'made').length).toBeGreaterThanOrEqual(2)
      expect(await memory.apiKeys.list(tenant, { limit: 10 })).toHaveLength(
        made.filter((outcome) => outcome === 'made').length,
      )
      for (const id of ['x', 'y', 'z']) await make(id)
      expect(await memory.apiKeys.list(tenant, { limit: 10 })).toHaveLength(3)
      expect(await make('other')).toBe('full')
      expect(await memory.apiKeys.create(newId(), key('other'), 3)).toBe('made')
    })

    test('are sealed alike by all', async () => {
      const seals = await Promise.all([1, 2, 3].map(() => memory.apiKeys.seal()))
      for (const seal of seals) expect(Buffer.from(seal)).toEqual(Buffer.from(seals[0] ?? []))
      expect(seals[0]).toHaveLength(32)
    })
  })
}
