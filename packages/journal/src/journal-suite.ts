import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { contentDigest, contentJson, genesis, verifyJournal } from '@muster/audit'
import {
  childRunId,
  type DefinitionManifest,
  type Json,
  type NewEntry,
  newId,
  partitionOf,
  type StoredEntry,
} from '@muster/protocol'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { shortDigest } from './first-entry.ts'
import { Journal } from './journal.ts'
import { type LostReason, RunWriter, Writer } from './writer.ts'

/** What holds of journals in any number of partitions, on one Redis or on several. */
export function journalSuite({
  partitions,
  start,
}: {
  partitions: number
  start: (dir: string) => Promise<{ url: string; stop(): Promise<void> }>
}): void {
  const dir = mkdtempSync(join(tmpdir(), 'muster-journal-'))
  const blobs = new Map<string, string>()
  let redis: { url: string; stop(): Promise<void> }
  let journal: Journal
  let writer: Writer
  const woken: string[] = []
  const mailed: string[] = []

  beforeAll(async () => {
    redis = await start(dir)
    journal = await Journal.open({ url: redis.url, namespace: 'journal', partitions })
    writer = new Writer({
      partitions: journal.partitions,
      clock: Date.now,
      offload: async (_owner, digest, salted) => {
        blobs.set(digest, salted)
      },
      onWake: (run) => woken.push(run),
      onParentMail: (run) => mailed.push(run),
      onError: () => {},
      onDrain: () => {},
    })
  })
  afterAll(async () => {
    await journal.close()
    await redis.stop()
    rmSync(dir, { recursive: true })
  })

  const create = (
    extra: { parent?: { run: string; step: string; until: 'ended' | 'parked' }; key?: string; input?: string } = {},
  ) =>
    journal.create(
      {
        // A child lies where its parent does.
        run: extra.parent ? childRunId(extra.parent.run, shortDigest(extra.parent.step)) : newId(),
        tenant: 'acme',
        definition: { kind: 'plan', name: 'p', version: '1', hash: '' },
        by: { key: 'k', user: 'u' },
        ...(extra.parent ? { parent: extra.parent } : {}),
        labels: [],
        limits: {},
      },
      { input: extra.input ?? 'x' },
      {
        idempotencyKey: extra.key,
        offload: async (_owner, digest, salted) => {
          blobs.set(digest, salted)
        },
      },
    )

  interface Held {
    pen: RunWriter
    lost: LostReason[]
    mail: number
  }

  async function hold(run: string): Promise<Held> {
    const held = await journal.activate(run)
    if (!held) throw new Error(`nothing to do for ${run}`)
    const state: Held = { lost: [], mail: 0, pen: undefined as unknown as RunWriter } // set on the next line
    state.pen = new RunWriter(
      { run, tenant: 'acme', ...held },
      { mail: () => state.mail++, lost: (reason) => state.lost.push(reason) },
    )
    return state
  }

  const append = (pen: RunWriter, entry: NewEntry, content?: Json) =>
    writer.append(pen, JSON.stringify(entry).slice(1, -1), content === undefined ? undefined : JSON.stringify(content))
  const note = (pen: RunWriter, text: string) =>
    append(pen, { type: 'message.ignored', at: 1, about: 'child', step: text }, { text })
  const durable = (pen: RunWriter, seq: number) => new Promise<void>((resolve) => pen.whenDurable(seq, resolve))
  const park = (pen: RunWriter) => {
    const seq = append(pen, { type: 'run.parked', at: 1, waiting: ['s'] })
    writer.close(pen, { op: 'park', status: 'waiting', summary: {} })
    return seq
  }
  const end = (pen: RunWriter, parent?: { run: string; message: string }) => {
    const usage = { inputTokens: 0, outputTokens: 0, cachedTokens: 0 }
    const seq = append(pen, {
      type: 'run.ended',
      at: 1,
      status: 'succeeded',
      labels: [],
      steps: 0,
      usage,
      costUsd: 0,
    })
    writer.close(pen, { op: 'end', status: 'succeeded', summary: {}, parent })
    return seq
  }

  async function stored(run: string): Promise<StoredEntry[]> {
    const all: StoredEntry[] = []
    for await (const entry of journal.read(run)) all.push(entry)
    return all
  }

  /** With its content where that lies apart. */
  const whole = (entry: StoredEntry): StoredEntry => {
    const content = entry.content === '@' ? blobs.get(JSON.parse(entry.bytes).content) : entry.content
    return content === undefined ? entry : { ...entry, content }
  }

  describe('create', () => {
    it('gives one run for one idempotency key, however many come at once', async () => {
      const made = await Promise.all(Array.from({ length: 20 }, () => create({ key: 'one' })))
      expect(new Set(made.map(({ id }) => id)).size).toBe(1)
      expect(made.filter(({ created }) => created)).toHaveLength(1)
      await expect(create({ key: 'one', input: 'other' })).rejects.toMatchObject({ code: 'idempotency.conflict' })
    })

    it('keeps large content out of the journal, under its digest', async () => {
      const { id } = await create({ input: 'ü'.repeat(20_000) })
      const [first] = await stored(id)
      expect(first?.content).toBe('@')
      const { content } = JSON.parse(first?.bytes ?? '{}')
      expect(blobs.get(content)).toContain('ü'.repeat(20_000))
    })
  })

  if (partitions > 1) {
    it('spreads runs over all partitions, and lists them in order', async () => {
      const made: string[] = []
      for (let i = 0; i < 60; i++) made.push((await create()).id)
      expect(new Set(made.map((id) => partitionOf(id, partitions))).size).toBe(partitions)
      const listed: string[] = []
      for (let before: string | undefined; listed.length < 60; before = listed.at(-1))
        listed.push(...(await journal.list('acme', 7, before)).map(({ id }) => id))
      expect(listed.slice(0, 60)).toEqual(made.toReversed())
    })
  }

  describe('append', () => {
    it('writes one unbroken chain, whatever is batched with what', async () => {
      await fc.assert(
        fc.asyncProperty(
          // Few texts, so that one often comes again: beside itself in a batch it is stored once.
          fc.array(fc.tuple(fc.nat(4), fc.constantFrom('', 'a', '=', '@', 'ö', 'x'.repeat(20_000)), fc.nat(2)), {
            minLength: 1,
            maxLength: 60,
          }),
          async (steps) => {
            const runs = await Promise.all(Array.from({ length: 5 }, async () => hold((await create()).id)))
            const said = new Map<RunWriter | undefined, Map<number, string | undefined>>()
            for (const [i, text, what] of steps) {
              const pen = runs[i]?.pen
              const of = said.get(pen) ?? new Map()
              said.set(pen, of)
              if (pen && what === 0)
                of.set(append(pen, { type: 'run.paused', at: 1, by: { key: 'k', user: 'u' } }), undefined)
              else if (pen) of.set(note(pen, text), JSON.stringify({ text }))
              if (what === 2) await new Promise((resolve) => setImmediate(resolve))
            }
            for (const { pen, lost } of runs) {
              if (pen.seq > 1) await durable(pen, pen.seq)
              expect(lost).toEqual([])
              const record = await journal.get(pen.run)
              expect(record).toMatchObject({ seq: pen.seq, head: pen.head })
              expect(
                await verifyJournal(pen.run, (await stored(pen.run)).map(whole), { head: pen.head, entries: pen.seq }),
              ).toMatchObject({ ok: true })
              for (let after = 0; after <= pen.seq; after++) {
                const rest = []
                for await (const entry of journal.read(pen.run, after)) {
                  rest.push(entry.seq)
                  const { content } = whole(entry)
                  if (entry.seq > 1) expect(content && contentJson(content)).toBe(said.get(pen)?.get(entry.seq))
                }
                expect(rest).toEqual(Array.from({ length: pen.seq - after }, (_, n) => after + 1 + n))
              }
            }
          },
        ),
        { numRuns: 15 },
      )
    })

    it('stores content once that is the same as before it in the batch, and gives it to both', async () => {
      const { id } = await create()
      const { pen } = await hold(id)
      for (const text of ['a', 'b', 'b', 'a']) note(pen, text)
      await durable(pen, 5)
      note(pen, 'a')
      await durable(pen, 6)
      const { redis, keys } = journal.of(id)
      const records = await redis.xrange(keys.log(id), '-', '+')
      const lines = records.map(([, fields]) =>
        fields[fields.indexOf('c') + 1]?.split('\n').map((line) => line.slice(22)),
      )
      expect(lines.slice(1)).toEqual([['{"text":"a"}', '{"text":"b"}', '', '{"text":"a"}'], ['{"text":"a"}']])
      const entries = await stored(id)
      expect(entries.slice(1).map(({ content }) => content?.slice(22))).toEqual(
        lines.slice(1).flat().with(2, '{"text":"b"}'),
      )
      const digests = entries.slice(1).map(({ bytes }) => JSON.parse(bytes).content)
      expect(digests[1]).toBe(digests[2])
      expect(new Set(digests).size).toBe(4)
      for (const { content, bytes } of entries) expect(contentDigest(content ?? '')).toBe(JSON.parse(bytes).content)
    })

    it('refuses an old epoch, and nothing of it is left', async () => {
      const { id } = await create()
      const first = await hold(id)
      note(first.pen, 'mine')
      await durable(first.pen, 2)
      const second = await hold(id)
      expect(second.pen.epoch).toBe(first.pen.epoch + 1)
      let barrier = false
      first.pen.whenDurable(note(first.pen, 'too late'), () => (barrier = true))
      await durable(second.pen, note(second.pen, 'next'))
      await writer.idle()
      expect(first.lost).toEqual(['fenced'])
      // What waited for the refused entry never starts.
      expect(barrier).toBe(false)
      expect((await stored(id)).map(({ bytes }) => JSON.parse(bytes).step)).toEqual([undefined, 'mine', 'next'])
    })

    it('refuses what does not continue the place that is stored, and all that comes after it', async () => {
      const { id } = await create()
      const held = await hold(id)
      await journal.redis.hset(journal.of(id).keys.run(id), 'seq', 7)
      note(held.pen, 'a')
      await new Promise((resolve) => setImmediate(resolve))
      note(held.pen, 'b')
      await writer.idle()
      expect(held.lost).toEqual(['gap'])
      expect(await stored(id)).toHaveLength(1)
    })

    it('tells a writer whose run is gone', async () => {
      const { id } = await create()
      const held = await hold(id)
      await journal.expire(id, 'acme', 0)
      note(held.pen, 'a')
      await writer.idle()
      expect(held.lost).toEqual(['missing'])
    })

    it('passes the barrier in order and only once durable', async () => {
      const { id } = await create()
      const { pen } = await hold(id)
      const passed: number[] = []
      for (let i = 0; i < 50; i++) {
        const seq = note(pen, String(i))
        pen.whenDurable(seq, () => {
          expect(pen.durable).toBeGreaterThanOrEqual(seq)
          passed.push(seq)
        })
      }
      expect(passed).toEqual([])
      await durable(pen, pen.seq)
      expect(passed).toEqual(Array.from({ length: 50 }, (_, i) => i + 2))
    })
  })

  describe('the inbox', () => {
    const by = { key: 'k', user: 'u' }

    it('keeps a run from parking while it holds something', async () => {
      const { id } = await create()
      const held = await hold(id)
      await journal.post(id, { type: 'cancel', by })
      park(held.pen)
      await writer.idle()
      expect(held.lost).toEqual(['mail'])
      expect(await journal.get(id)).toMatchObject({ status: 'running', seq: 1 })
      // Taken with the entry that heeds it, it is gone, and the run may park.
      const again = await hold(id)
      expect(await journal.messages(id)).toEqual([{ type: 'cancel', by }])
      writer.take(again.pen, 1)
      note(again.pen, 'heeded')
      await durable(again.pen, park(again.pen))
      expect(await journal.messages(id)).toEqual([])
      expect(await journal.get(id)).toMatchObject({ status: 'waiting' })
    })

    it('wakes a parked run with one new activation, however many messages come', async () => {
      const { id } = await create()
      const { pen } = await hold(id)
      await durable(pen, park(pen))
      expect(await journal.activate(id)).toBe(undefined)
      await Promise.all([1, 2, 3].map(() => journal.post(id, { type: 'cancel', by })))
      expect(await journal.get(id)).toMatchObject({ status: 'queued' })
      expect(await journal.of(id).queue.getJob(`${id}-2`)).toBeDefined()
      expect(await journal.of(id).queue.getJob(`${id}-3`)).toBe(undefined)
      expect(await journal.messages(id)).toHaveLength(3)
    })

    it('tells a writer of messages with its next append, and a poster that a run is gone or over', async () => {
      const { id } = await create()
      const held = await hold(id)
      await journal.post(id, { type: 'cancel', by })
      await durable(held.pen, note(held.pen, 'a'))
      expect(held.mail).toBe(1)
      await durable(held.pen, end(held.pen))
      await expect(journal.post(id, { type: 'cancel', by })).rejects.toMatchObject({ code: 'run.ended' })
      await expect(journal.post(newId(), { type: 'cancel', by })).rejects.toMatchObject({ code: 'run.not_found' })
      expect(await journal.activate(id)).toBe(undefined)
    })

    it("carries a child's end to its parent in the same append: parked, the parent is woken", async () => {
      const parent = await create()
      const { pen } = await hold(parent.id)
      const child = await create({ parent: { run: parent.id, step: 's', until: 'ended' } })
      const other = await create({ parent: { run: parent.id, step: 't', until: 'ended' } })
      const message = (run: string, step: string) => JSON.stringify({ type: 'child', run, step })
      const first = await hold(child.id)
      await durable(first.pen, end(first.pen, { run: parent.id, message: message(child.id, 's') }))
      expect(mailed).toContain(parent.id)
      writer.take(pen, 1)
      note(pen, 'heeded')
      await durable(pen, park(pen))
      const second = await hold(other.id)
      await durable(second.pen, end(second.pen, { run: parent.id, message: message(other.id, 't') }))
      expect(woken).toContain(parent.id)
      expect(await journal.get(parent.id)).toMatchObject({ status: 'queued' })
      expect(await journal.messages(parent.id)).toEqual([{ type: 'child', run: other.id, step: 't' }])
    })
  })

  describe('a writer that gets ahead of Redis', () => {
    it('says that it is full, and tells when there is room again', async () => {
      let drained = 0
      const narrow = new Writer({
        partitions: journal.partitions,
        clock: Date.now,
        offload: async () => {},
        onWake: () => {},
        onParentMail: () => {},
        onError: () => {},
        unwrittenMax: 10_000,
        onDrain: () => drained++,
      })
      const { id } = await create()
      const { pen } = await hold(id)
      let seq = 0
      for (let i = 0; i < 20; i++)
        seq = narrow.append(pen, '"type":"run.parked","at":1,"waiting":[]', `"${i}${'x'.repeat(1000)}"`)
      expect(narrow.full).toBe(true)
      await durable(pen, seq)
      expect(narrow.full).toBe(false)
      expect(drained).toBe(1)
    })
  })

  describe('follow', () => {
    it('gives each of many slow and quick readers every entry once and in order', async () => {
      const { id } = await create()
      const { pen } = await hold(id)
      const abort = new AbortController()
      const read = async (after: number, pauseMs: number): Promise<number[]> => {
        const seen: number[] = []
        for await (const { seq } of journal.follow(id, after, abort.signal)) {
          seen.push(seq)
          if (pauseMs > 0 && seq % 50 === 0) await new Promise((resolve) => setTimeout(resolve, pauseMs))
          if (seq === 801) break
        }
        return seen
      }
      const readers = [read(0, 0), read(0, 20), read(400, 5), read(800, 0)]
      for (let i = 0; i < 800; i++) {
        note(pen, String(i))
        if (i % 3 === 0) await new Promise((resolve) => setImmediate(resolve))
      }
      const late = read(10, 0)
      const from = (after: number) => Array.from({ length: 801 - after }, (_, i) => after + 1 + i)
      expect(await Promise.all([...readers, late])).toEqual([from(0), from(0), from(400), from(800), from(10)])
    })

    it('ends when the journal leaves Redis', async () => {
      const { id } = await create()
      await hold(id)
      const seen: number[] = []
      const reading = (async () => {
        for await (const { seq } of journal.follow(id, 0, new AbortController().signal)) seen.push(seq)
      })()
      while (seen.length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
      await journal.expire(id, 'acme', 0)
      await reading
      expect(seen).toEqual([1])
    })
  })

  describe('a name that is published', () => {
    it('is of the kind published last, and of its versions the last', async () => {
      const of = (kind: 'agent' | 'plan', version: string): DefinitionManifest => {
        const shared = { name: 'p', version, hash: `${kind}${version}`, inputLabels: [], limits: {}, input: {} }
        return kind === 'plan'
          ? { kind, ...shared }
          : { kind, ...shared, model: 'm', tools: [], output: {}, memory: { session: false, facts: [] } }
      }
      const named = async () => (await journal.manifest()).definitions.map(({ hash }) => hash)
      const publish = (...definitions: DefinitionManifest[]) => journal.publish({ hash: 'app', definitions, tools: [] })
      await publish(of('plan', '1'))
      await publish(of('agent', '1'))
      expect(await named()).toEqual(['agent1'])
      expect(await journal.definition('plan', 'p')).toBeUndefined()
      // Runs of it may go on where an old worker is left.
      expect(await journal.definition('plan', 'p', '1')).toMatchObject({ hash: 'plan1' })
      await publish(of('agent', '1'), of('plan', '2'))
      expect(await named()).toEqual(['plan2'])
      await publish(of('plan', '2'), of('agent', '3'))
      expect(await named()).toEqual(['agent3'])
    })
  })

  describe('a journal', () => {
    it('begins with a hash that names its run', async () => {
      const { id } = await create()
      const [first] = await stored(id)
      const other = await verifyJournal(newId(), [first as StoredEntry])
      expect(other.findings.map(({ code }) => code)).toEqual(['hash', 'run'])
      expect(genesis(id)).toMatch(/^[0-9a-f]{64}$/)
    })
  })
}
