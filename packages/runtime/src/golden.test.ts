import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { genesis, link, verifyJournal } from '@muster/audit'
import { Controls, type Journal } from '@muster/journal'
import {
  ENTRY_VERSION,
  type Entry,
  entry,
  type Json,
  type RunEvent,
  RunView,
  redactRules,
  type StoredEntry,
} from '@muster/protocol'
import { createRedaction } from '@muster/redaction'
import { collect, plan, tool } from '@muster/sdk'
import { afterAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { any, book, entries, type Start, stopRedis, withWorker } from './fixture.ts'
import { readRecordedNow } from './run/recorded.ts'
import { CallbackTokens } from './step/callback-token.ts'

/**
 * Journals as every version of the entries' format has written them. A file is recorded once, when its version is new
 * (the test of that version does it where the file is not there), and never changed: whatever comes later reads it.
 */
interface Golden {
  run: string
  entries: StoredEntry[]
  /** The run as clients see it. */
  view: Json
  /** What a worker builds from it. */
  recorded: Json
}

const fileOf = (version: number) => new URL(`./golden/v${version}.jsonl`, import.meta.url)

afterAll(stopRedis)

describe.each(Array.from({ length: ENTRY_VERSION }, (_, i) => i + 1))('journals of version %i', (version) => {
  it('have every kind of entry, verify, and are read as ever', async () => {
    if (version === ENTRY_VERSION && !existsSync(fileOf(version))) await recordAll(fileOf(version))
    const goldens: Golden[] = readFileSync(fileOf(version), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    const kinds = new Set<string>()
    for (const { run, entries, view, recorded } of goldens) {
      for (const { bytes } of entries) kinds.add(entry.parse(JSON.parse(bytes)).type)
      expect((await verifyJournal(run, each(entries))).findings).toEqual([])
      expect(viewOf(entries)).toEqual(view)
      expect(recordedOf(run, entries)).toEqual(recorded)
    }
    if (version === ENTRY_VERSION) expect([...kinds].sort()).toEqual(entry.options.map(typeOf).sort())
  })
})

it('refuses an entry of a later version instead of guessing', () => {
  const bytes = JSON.stringify({ v: ENTRY_VERSION + 1, seq: 1, type: 'run.created' })
  const later = { seq: 1, hash: link(genesis('r'), bytes), bytes }
  expect(() => readRecordedNow('r', [later], '')).toThrow(expect.objectContaining({ code: 'journal.newer' }))
})

function typeOf(option: (typeof entry.options)[number]): string {
  return option.shape.type.value
}

async function* each(entries: readonly StoredEntry[]): AsyncGenerator<StoredEntry> {
  yield* entries
}

function viewOf(entries: readonly StoredEntry[]): Json {
  const view = new RunView()
  for (const { seq, hash, bytes, content } of entries) {
    const event: RunEvent = { seq, hash, entry: JSON.parse(bytes) }
    view.add(content === undefined ? event : { ...event, content: JSON.parse(content.slice(22)) })
  }
  return JSON.parse(JSON.stringify(view.run ?? null))
}

function recordedOf(run: string, entries: readonly StoredEntry[]): Json {
  const plain = (_: string, value: unknown) =>
    value instanceof Map ? Object.fromEntries(value) : value instanceof Set ? [...value] : value
  return JSON.parse(JSON.stringify(readRecordedNow(run, entries, entries.at(-1)?.hash ?? ''), plain))
}

const by = { key: 'k', user: 'ann' }
let failures = 1

const app = collect({
  look: tool({ name: 'look', effect: 'read', labels: ['untrusted'], input: any, output: any, run: (input) => input }),
  write: tool({ name: 'write', effect: 'write', input: any, output: any, run: (input) => input, undo: () => {} }),
  pay: tool({ name: 'pay', effect: 'once', input: any, output: any, run: (input) => input }),
  add: tool({ name: 'add', effect: 'pure', input: any, output: any, run: (input) => input }),
  flaky: tool({
    name: 'flaky',
    effect: 'read',
    input: any,
    output: any,
    run: (input) => {
      if (failures-- > 0) throw new Error('not yet')
      return input
    },
  }),
  breaks: tool({
    name: 'breaks',
    effect: 'read',
    attempts: 1,
    input: any,
    output: any,
    run: (): Record<string, Json> => {
      throw new Error('broken')
    },
  }),
  book,
  all: plan({
    name: 'all',
    version: '1',
    input: z.object({}),
    signals: { go: z.json(), never: z.json() },
    run: async (step) => {
      if (step.patched('first')) await step.run('hello', () => 'hello')
      const won = await step.any([() => step.signal('never'), () => step.signal('go')])
      const { by } = await step.approval({ show: 1 }, { role: 'chief' })
      await step.sleep(1)
      await step.checkpoint({ won })
      return [won, by]
    },
  }),
})

async function recordAll(file: URL): Promise<void> {
  const goldens: Golden[] = []
  const callbacks = new CallbackTokens('a secret of the test')
  const redaction = createRedaction(redactRules.parse({}))
  await withWorker(app, { callbacks, redaction }, async (journal, start) => {
    for (const scene of [
      ...[everyWait, everyEffect, rolledBack, cancelled, calledBack, redacted, escalated, stopped, largeSignal],
    ]) {
      const runs = await scene(journal, start)
      for (const run of runs) {
        const stored: StoredEntry[] = []
        for await (const one of journal.read(run)) stored.push(one)
        goldens.push({ run, entries: stored, view: viewOf(stored), recorded: recordedOf(run, stored) })
      }
    }
  })
  writeFileSync(file, `${goldens.map((golden) => JSON.stringify(golden)).join('\n')}\n`)
}

/** Waits until the run is parked after so many entries. */
async function parked(journal: Journal, run: string, after = 0): Promise<Entry[]> {
  for (;;) {
    const record = await journal.get(run)
    if (record?.status === 'waiting' && record.seq > after) break
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  const all: Entry[] = []
  for await (const { bytes } of journal.read(run)) all.push(JSON.parse(bytes))
  return all
}

async function everyWait(journal: Journal, start: Start): Promise<string[]> {
  const run = await start('all')
  let seen = (await parked(journal, run)).length
  await journal.post(run, { type: 'pause', by })
  seen = (await parked(journal, run, seen)).length
  await journal.post(run, { type: 'resume', by })
  await journal.post(run, { type: 'signal', name: 'go', payload: { n: 1 }, by, labels: ['untrusted'] })
  const all = await parked(journal, run, seen)
  const asked = all.findLast((one) => one.type === 'step.waiting')
  const answer = { type: 'approval', step: 'approval', verdict: 'approve', by, role: 'chief' } as const
  await journal.post(run, { ...answer, shown: 'f'.repeat(64) })
  await journal.post(run, { ...answer, shown: asked?.content ?? '' })
  await entries(journal, run)
  return [run]
}

async function everyEffect(journal: Journal, start: Start): Promise<string[]> {
  const run = await start({
    steps: {
      look: { tool: 'look', input: { a: 1 } },
      add: { tool: 'add', input: { a: { $ref: '#/steps/look/output/a' } } },
      flaky: { tool: 'flaky', after: ['add'] },
      not: { tool: 'add', when: false },
      breaks: { tool: 'breaks', onFailure: 'continue', after: ['flaky'] },
      pay: { tool: 'pay', input: { b: 'ä' }, after: ['breaks'], join: 'settled' },
    },
  })
  const all = await entries(journal, run)
  // Up to the end of its first step.
  const cut = all.find((one) => one.type === 'step.ended')?.seq ?? 1
  const plan = { steps: { look: { tool: 'look', input: { a: 1 } }, pay: { tool: 'pay', input: { b: 'ö' } } } }
  const fork = await start(plan, { origin: { run, seq: cut, hash: await hashAt(journal, run, cut) } })
  await entries(journal, fork)
  return [run, fork]
}

async function hashAt(journal: Journal, run: string, seq: number): Promise<string> {
  for await (const stored of journal.read(run)) if (stored.seq === seq) return stored.hash
  return ''
}

async function rolledBack(journal: Journal, start: Start): Promise<string[]> {
  const run = await start({
    rollback: true,
    steps: { write: { tool: 'write', input: { a: 1 } }, breaks: { tool: 'breaks', after: ['write'] } },
  })
  await entries(journal, run)
  return [run]
}

async function calledBack(journal: Journal, start: Start): Promise<string[]> {
  const run = await start({
    steps: { good: { tool: 'book' }, bad: { tool: 'book', onFailure: 'continue' } },
  })
  await parked(journal, run)
  await journal.post(run, { type: 'callback', step: 'good', output: { seat: '1A' } })
  await journal.post(run, { type: 'callback', step: 'good', output: { seat: '1B' } })
  await journal.post(run, { type: 'callback', step: 'bad', error: { code: 'tool.failed', message: 'no seat left' } })
  await entries(journal, run)
  return [run]
}

async function redacted(journal: Journal, start: Start): Promise<string[]> {
  const steps = { write: { tool: 'write', input: { to: 'ann@example.com' } } }
  const run = await start({ steps }, { redacted: { email: 1 } })
  await entries(journal, run)
  return [run]
}

async function escalated(journal: Journal, start: Start): Promise<string[]> {
  const rule = { people: 2, requester: false, escalate: { afterMs: 1, role: 'board' } }
  const run = await start({ steps: { ask: { approval: 'chief', ...rule } } })
  const asked = (await parked(journal, run, 3)).find((one) => one.type === 'step.waiting')
  for (const user of ['u', 'bob', 'bob', 'cid'])
    await journal.post(run, {
      ...{ type: 'approval', step: 'ask', verdict: 'approve', shown: asked?.content ?? '' },
      ...{ by: { key: 'k', user }, role: 'chief', as: 'board', reason: 'it is right' },
    })
  await entries(journal, run)
  return [run]
}

async function stopped(journal: Journal, start: Start): Promise<string[]> {
  const controls = new Controls(journal)
  await controls.stop('t', { name: 'tool:pay', by: 'ann', at: 1, reason: 'it is wrong' })
  // Longer than workers take to see it.
  await new Promise((resolve) => setTimeout(resolve, 1000))
  const run = await start({ steps: { pay: { tool: 'pay', input: { b: 'ü' } } } })
  await parked(journal, run)
  await controls.lift('t', 'tool:pay')
  await entries(journal, run)
  controls.close()
  return [run]
}

async function largeSignal(journal: Journal, start: Start): Promise<string[]> {
  const plan = { steps: { large: { signal: 'large' }, add: { tool: 'add', input: { $ref: '#/steps/large/output' } } } }
  const run = await start(plan)
  await parked(journal, run)
  await journal.post(run, { type: 'signal', name: 'large', payload: { text: 'a'.repeat(5000) }, by, labels: [] })
  const cut = (await entries(journal, run)).find((one) => one.type === 'step.ended')?.seq ?? 1
  const fork = await start(plan, { origin: { run, seq: cut, hash: await hashAt(journal, run, cut) } })
  await entries(journal, fork)
  return [run, fork]
}

async function cancelled(journal: Journal, start: Start): Promise<string[]> {
  const run = await start({ steps: { nap: { sleepMs: 600_000 } } })
  await parked(journal, run)
  await journal.post(run, { type: 'cancel', by })
  await entries(journal, run)
  return [run]
}
