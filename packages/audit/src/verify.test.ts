import type { Entry, NewEntry, StoredEntry } from '@muster/protocol'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { contentDigest, genesis, link, saltContent } from './chain.ts'
import { verifyJournal } from './verify.ts'

const run = '01980000-0000-7000-8000-000000000001'
const by = { key: 'k1', user: 'ann' }
const subject = { kind: 'tool' as const, target: 'ledger.pay', attempt: 1, labels: ['untrusted'] }

const created: NewEntry = {
  type: 'run.created',
  at: 1,
  run,
  tenant: 'acme',
  definition: { kind: 'agent', name: 'clerk', version: '1.0.0', hash: 'h' },
  by,
  labels: [],
  limits: {},
}
const intent = (step: string, effect: 'allow' | 'deny' | 'ask' = 'allow'): NewEntry => ({
  type: 'step.intent',
  at: 2,
  step,
  ...subject,
  effect: 'once',
  idempotencyKey: `${run}/${step}`,
  decision: { effect, policies: ['p'], set: 's' },
})

/** The journal as the runtime would write it: each entry with its place, its digest and its hash. */
function write(entries: readonly { entry: NewEntry; content?: unknown }[]): StoredEntry[] {
  let hash = genesis(run)
  return entries.map(({ entry, content }, i) => {
    const salted = content === undefined ? undefined : saltContent(JSON.stringify(content))
    const full = {
      v: 1,
      seq: i + 1,
      ...entry,
      ...(salted === undefined ? {} : { content: contentDigest(salted) }),
    } as Entry
    const bytes = JSON.stringify(full)
    hash = link(hash, bytes)
    return { seq: i + 1, hash, bytes, ...(salted === undefined ? {} : { content: salted }) }
  })
}

const text = fc.string({ unit: 'grapheme', maxLength: 12 })
const later: fc.Arbitrary<NewEntry> = fc.oneof(
  fc
    .record({ at: fc.nat(), epoch: fc.integer({ min: 1, max: 9 }), worker: text, app: text })
    .map((entry) => ({ type: 'run.activated' as const, ...entry })),
  text.map((step) => intent(step)),
  fc
    .record({ at: fc.nat(), step: text, durationMs: fc.nat(), costUsd: fc.double({ min: 0, max: 9, noNaN: true }) })
    .map((entry) => ({ type: 'step.ended' as const, ...subject, status: 'ok' as const, ...entry })),
  fc
    .record({ at: fc.nat(), waiting: fc.array(text, { maxLength: 3 }) })
    .map((entry) => ({ type: 'run.parked' as const, ...entry })),
)
const journal = fc
  .tuple(
    fc.jsonValue(),
    fc.array(fc.record({ entry: later, content: fc.option(fc.jsonValue(), { nil: undefined }) }), {
      minLength: 1,
      maxLength: 12,
    }),
  )
  .map(([input, rest]) => write([{ entry: created, content: input }, ...rest]))
/** A journal and a place in it. */
const journalAt = journal.chain((entries) => fc.tuple(fc.constant(entries), fc.nat({ max: entries.length - 1 })))
const end = (entries: readonly StoredEntry[]) => ({ head: entries.at(-1)?.hash ?? '', entries: entries.length })

/** The text with the character at `at` replaced by another. */
function corrupt(text: string, at: number, by: number): string {
  const i = at % text.length
  const code = text.charCodeAt(i)
  // Stays within ASCII, so that a changed character is a changed byte whatever surrounds it.
  const other = 32 + ((code + 1 + (by % 90)) % 94)
  return text.slice(0, i) + String.fromCharCode(other === code ? other + 1 : other) + text.slice(i + 1)
}

const check = <T>(arbitrary: fc.Arbitrary<T>, predicate: (value: T) => Promise<void>, seed: number) =>
  fc.assert(fc.asyncProperty(arbitrary, predicate), { seed, numRuns: 300 })

describe('verifyJournal', () => {
  it('accepts every journal as it was written, and gives its head', () =>
    check(
      journal,
      async (entries) => {
        const result = await verifyJournal(run, entries, end(entries))
        expect(result).toEqual({
          ok: true,
          entries: entries.length,
          erased: 0,
          head: entries.at(-1)?.hash,
          findings: [],
        })
      },
      1,
    ))

  it('reads a journal that comes piece by piece', async () => {
    const entries = write([{ entry: created }, { entry: intent('pay') }])
    async function* pieces() {
      yield* entries
    }
    expect((await verifyJournal(run, pieces(), end(entries))).ok).toBe(true)
  })

  it('finds any changed byte of an entry, and blames only that entry', () =>
    check(
      fc.tuple(journalAt, fc.nat(), fc.nat()),
      async ([[entries, at], place, by]) => {
        const changed = entries.with(at, { ...entries[at], bytes: corrupt(entries[at].bytes, place, by) })
        const { ok, findings } = await verifyJournal(run, changed, end(entries))
        expect(ok).toBe(false)
        expect(findings).toContainEqual(expect.objectContaining({ seq: at + 1, code: 'hash' }))
        expect(new Set(findings.map((finding) => finding.seq))).toEqual(new Set([at + 1]))
      },
      2,
    ))

  it('finds any changed byte of the content beside an entry, salt or text', () =>
    check(
      fc.tuple(journalAt, fc.nat(), fc.nat()),
      async ([[entries, at], place, by]) => {
        const { content } = entries[at]
        fc.pre(content !== undefined)
        const changed = entries.with(at, { ...entries[at], content: corrupt(content ?? '', place, by) })
        const { findings } = await verifyJournal(run, changed, end(entries))
        expect(findings).toEqual([expect.objectContaining({ seq: at + 1, code: 'content' })])
      },
      3,
    ))

  it('finds content put beside an entry that was written without', () =>
    check(
      journalAt,
      async ([entries, at]) => {
        fc.pre(entries[at].content === undefined)
        const forged = entries.with(at, { ...entries[at], content: saltContent('{"payee":"Mallory"}') })
        const { findings } = await verifyJournal(run, forged, end(entries))
        expect(findings).toEqual([expect.objectContaining({ seq: at + 1, code: 'content' })])
      },
      4,
    ))

  it('finds any changed byte of a stored hash, first at its entry', () =>
    check(
      fc.tuple(journalAt, fc.nat(), fc.nat()),
      async ([[entries, at], place, by]) => {
        const changed = entries.with(at, { ...entries[at], hash: corrupt(entries[at].hash, place, by) })
        const { findings } = await verifyJournal(run, changed, end(entries))
        expect(findings[0]).toMatchObject({ seq: at + 1, code: 'hash' })
      },
      5,
    ))

  it('finds a removed entry where it was, also the last', () =>
    check(
      journalAt,
      async ([entries, at]) => {
        const { findings } = await verifyJournal(run, entries.toSpliced(at, 1), end(entries))
        expect(findings[0]).toMatchObject({ seq: at + 1, code: at === entries.length - 1 ? 'truncated' : 'gap' })
      },
      6,
    ))

  it('finds an entry that stands twice, where the second stands', () =>
    check(
      journalAt,
      async ([entries, at]) => {
        const { findings } = await verifyJournal(run, entries.toSpliced(at, 0, entries[at]), end(entries))
        expect(findings[0]).toMatchObject({ seq: at + 2, code: 'gap' })
      },
      7,
    ))

  it('finds entries that changed places, at the first of them', () =>
    check(
      fc.tuple(journalAt, fc.nat()),
      async ([[entries, a], other]) => {
        const b = other % entries.length
        fc.pre(a !== b)
        const swapped = entries.with(a, entries[b]).with(b, entries[a])
        const { findings } = await verifyJournal(run, swapped, end(entries))
        expect(findings[0]).toMatchObject({ seq: Math.min(a, b) + 1, code: 'gap' })
      },
      8,
    ))

  it('finds entries that changed places and were numbered anew', () =>
    check(
      fc.tuple(journalAt, fc.nat()),
      async ([[entries, a], other]) => {
        const b = other % entries.length
        fc.pre(a !== b)
        const swapped = entries.with(a, { ...entries[b], seq: a + 1 }).with(b, { ...entries[a], seq: b + 1 })
        const { findings } = await verifyJournal(run, swapped, end(entries))
        expect(findings[0]).toMatchObject({ seq: Math.min(a, b) + 1, code: 'hash' })
      },
      9,
    ))

  it('finds a cut tail of any length by what the run recorded, and says which entries are missing', () =>
    check(
      journalAt,
      async ([entries, at]) => {
        fc.pre(at > 0)
        const cut = entries.slice(0, at)
        expect((await verifyJournal(run, cut)).ok).toBe(true)
        const { findings } = await verifyJournal(run, cut, end(entries))
        expect(findings).toEqual([
          { seq: at + 1, code: 'truncated', message: `entries ${at + 1} to ${entries.length} are missing` },
        ])
      },
      10,
    ))

  it('accepts a journal that has grown since the record of its end was read', () =>
    check(
      journalAt,
      async ([entries, at]) => {
        expect((await verifyJournal(run, entries, end(entries.slice(0, at + 1)))).ok).toBe(true)
      },
      11,
    ))

  it('finds a journal that was written anew, with every hash right, at the entry that the run recorded', () =>
    check(
      fc.tuple(journalAt, journal),
      async ([[entries, at], others]) => {
        const recorded = end(entries.slice(0, at + 1))
        fc.pre(others.length >= recorded.entries && others[at].hash !== recorded.head)
        const { findings } = await verifyJournal(run, others, recorded)
        expect(findings).toEqual([expect.objectContaining({ seq: at + 1, code: 'head' })])
      },
      13,
    ))

  it('holds without content that was erased, and counts it', () =>
    check(
      fc.tuple(journal, fc.array(fc.boolean(), { minLength: 13, maxLength: 13 })),
      async ([entries, erase]) => {
        const kept = entries.map(({ content, ...rest }, i) =>
          erase[i] || content === undefined ? rest : { ...rest, content },
        )
        const erased = entries.filter(({ content }, i) => erase[i] && content !== undefined).length
        expect(await verifyJournal(run, kept, end(entries))).toMatchObject({ ok: true, erased })
      },
      12,
    ))

  it.each(['deny', 'ask'] as const)('finds a step that began with the decision "%s"', async (effect) => {
    const entries = write([{ entry: created }, { entry: intent('read') }, { entry: intent('pay', effect) }])
    const { findings } = await verifyJournal(run, entries, end(entries))
    expect(findings).toEqual([
      { seq: 3, code: 'effect-without-allow', message: 'step pay began without a decision that allows it' },
    ])
  })

  it('does not take the journal of another run, or one that does not begin with its creation', async () => {
    const entries = write([{ entry: created }])
    const other = await verifyJournal('01980000-0000-7000-8000-000000000002', entries)
    expect(other.findings.map((finding) => finding.code)).toEqual(['hash', 'run'])
    const headless = await verifyJournal(run, write([{ entry: intent('pay') }]))
    expect(headless.findings).toEqual([expect.objectContaining({ seq: 1, code: 'run' })])
  })

  it('finds an entry put after the end of a run, though the chain holds', async () => {
    const usage = { inputTokens: 0, outputTokens: 0, cachedTokens: 0 }
    const over: NewEntry = { type: 'run.ended', at: 3, status: 'succeeded', labels: [], steps: 0, usage, costUsd: 0 }
    const entries = write([{ entry: created }, { entry: over }, { entry: intent('pay') }])
    expect((await verifyJournal(run, entries.slice(0, 2), end(entries.slice(0, 2)))).ok).toBe(true)
    const { findings } = await verifyJournal(run, entries, end(entries.slice(0, 2)))
    expect(findings).toEqual([{ seq: 3, code: 'run', message: 'entry 3 follows the end of the run' }])
  })

  it('does not take an empty journal', async () => {
    expect((await verifyJournal(run, [])).findings).toEqual([expect.objectContaining({ seq: 1, code: 'run' })])
  })

  it.each(['{}', 'no JSON', 'null', '{"v":1,"seq":1,"type":"run.paid"}'])(
    'finds a well-chained entry that is no entry: %s',
    async (bytes) => {
      const { findings } = await verifyJournal(run, [{ seq: 1, bytes, hash: link(genesis(run), bytes) }])
      expect(findings).toContainEqual(expect.objectContaining({ seq: 1, code: 'format' }))
    },
  )

  it('finds several changes, each at its own entry', async () => {
    const entries = write([{ entry: created }, ...['a', 'b', 'c', 'd'].map((step) => ({ entry: intent(step) }))])
    const spoil = (entry: StoredEntry) => ({ ...entry, bytes: entry.bytes.replace('"at":2', '"at":3') })
    const { findings } = await verifyJournal(
      run,
      entries.with(1, spoil(entries[1])).with(3, spoil(entries[3])),
      end(entries),
    )
    expect(findings.map(({ seq, code }) => [seq, code])).toEqual([
      [2, 'hash'],
      [4, 'hash'],
    ])
  })
})
