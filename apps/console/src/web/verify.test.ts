import { contentDigest, genesis, link, saltContent, verifyJournal } from '@muster/audit'
import type { Decision, NewEntry, StoredEntry } from '@muster/protocol'
import { expect, test } from 'vitest'
import { verify } from './verify.ts'

const run = '01a20f97-e3ca-740c-be24-c35e202cc382'
const decision: Decision = { effect: 'allow', policies: ['all'], set: '0' }
const labels: string[] = []
const step = { step: 'a', kind: 'tool' as const, target: 'a', attempt: 1, labels }
const usage = { inputTokens: 0, outputTokens: 0, cachedTokens: 0 }

const entries: [NewEntry, unknown?][] = [
  [
    {
      ...{ type: 'run.created', at: 1, run, tenant: 't', by: { key: 'k', user: 'u' }, labels: [], limits: {} },
      definition: { kind: 'plan', name: 'p', version: '1', hash: '' },
    },
    { input: 'é' },
  ],
  [{ type: 'run.activated', at: 2, epoch: 1, worker: 'w', app: 'a' }],
  [{ type: 'step.intent', at: 3, ...step, effect: 'once', idempotencyKey: 'k', decision }, { amount: 1 }],
  [{ type: 'step.ended', at: 4, ...step, status: 'ok', durationMs: 1 }, 'done'],
  [{ type: 'run.ended', at: 5, status: 'succeeded', labels: [], steps: 1, usage, costUsd: 0 }],
]

function journalOf(all: [NewEntry, unknown?][]): StoredEntry[] {
  let hash = genesis(run)
  return all.map(([entry, value], i) => {
    const content = value === undefined ? undefined : saltContent(JSON.stringify(value))
    const bytes = JSON.stringify({
      v: 1,
      seq: i + 1,
      ...entry,
      ...(content === undefined ? {} : { content: contentDigest(content) }),
    })
    hash = link(hash, bytes)
    return { seq: i + 1, hash, bytes, ...(content === undefined ? {} : { content }) }
  })
}

const journal = journalOf(entries)
const end = { head: journal.at(-1)?.hash ?? '', entries: journal.length }

/** Every way to change a journal, and the entry at which it shows. */
const changes: [string, StoredEntry[], number][] = [
  ['a byte', journal.map((e) => (e.seq === 3 ? { ...e, bytes: e.bytes.replace('once', 'read') } : e)), 3],
  ['a hash', journal.map((e) => (e.seq === 2 ? { ...e, hash: '0'.repeat(64) } : e)), 2],
  ['content', journal.map((e) => (e.seq === 4 ? { ...e, content: `${e.content} ` } : e)), 4],
  ['an entry gone', journal.filter((e) => e.seq !== 2), 2],
  ['two entries in each other’s place', [0, 2, 1, 3, 4].flatMap((i) => journal[i] ?? []), 2],
  ['the end gone', journal.slice(0, 3), 4],
  ['no entry at all', [], 1],
  ['bytes that are not JSON', journal.map((e) => (e.seq === 5 ? { ...e, bytes: '{' } : e)), 5],
  [
    'an effect that nobody allowed',
    journalOf(
      entries.map(([e, value]) => [
        e.type === 'step.intent' ? { ...e, decision: { ...decision, effect: 'deny' } } : e,
        value,
      ]),
    ),
    3,
  ],
]

test('a whole journal verifies, with content erased too', async () => {
  expect(await verify(run, journal, end)).toEqual({ entries: 5, erased: 0, head: end.head, shown: 0, findings: [] })
  const erased = journal.map(({ content: _, ...rest }) => rest)
  expect(await verify(run, erased, end)).toMatchObject({ erased: 3, findings: [] })
})

test.each(changes)('finds %s, where packages/audit finds it', async (_, changed, seq) => {
  const { findings } = await verify(run, changed, end)
  expect(findings[0]?.seq).toBe(seq)
  expect((await verifyJournal(run, changed, end)).findings[0]?.seq).toBe(seq)
})

test('another run’s journal does not verify as this one’s', async () => {
  expect((await verify('another', journal, end)).findings[0]?.seq).toBe(1)
})

test('a run may have written more than when it was asked how it ends', async () => {
  const earlier = { head: journal[2]?.hash ?? '', entries: 3 }
  expect((await verify(run, journal, earlier)).findings).toEqual([])
})

test('finds that a page shows something else than what is stored', async () => {
  const shown = journal.map(({ seq, hash, bytes, content }) => ({
    ...{ seq, hash, entry: JSON.parse(bytes) },
    ...(content === undefined ? {} : { content: JSON.parse(content.slice(22)) }),
  }))
  expect((await verify(run, journal, end, shown)).findings).toEqual([])
  const other = shown.map((event) => (event.seq === 3 ? { ...event, content: { amount: 2 } } : event))
  expect((await verify(run, journal, end, other)).findings[0]).toMatchObject({ seq: 3 })
})
