import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { forkOf, strangeCopies } from './fork-copies.ts'
import { eventOf } from './stored-journal.ts'

const folder = mkdtempSync(join(tmpdir(), 'muster-fork-'))
afterAll(() => rmSync(folder, { recursive: true }))

const hash = 'a'.repeat(64)
const usage = { inputTokens: 1, outputTokens: 1, cachedTokens: 0 }
const created = {
  ...{ type: 'run.created', run: 'r', tenant: 'acme', by: { key: 'k', user: 'ann' }, labels: ['pii'], limits: {} },
  ...{ definition: { kind: 'plan', name: 'p', version: '1', hash: '' }, session: 's' },
}
const ended = (step: string, more: object = {}) => ({
  ...{ type: 'step.ended', step, kind: 'tool', target: 't', attempt: 1, labels: [], status: 'ok', durationMs: 1 },
  ...more,
})
const other = [
  created,
  ended('a', { costUsd: 1, usage }),
  ended('b', { status: 'failed', retry: true }),
  { type: 'signal.received', name: 'go', by: created.by, labels: [] },
  ended('b'),
  ended('c'),
]
const fork = { ...created, run: 'f', origin: { run: 'r', seq: 5, hash, step: 'b' } }
const whole = [ended('a', { copied: 2 }), { ...other[3], copied: 4 }, { type: 'run.copied', entries: 2 }]

const stored = (entries: readonly object[]) =>
  entries.map((one, i) => ({ seq: i + 1, hash, bytes: JSON.stringify({ v: 1, seq: i + 1, at: 1, ...one }) }))

/** What is strange of a run that says that it was begun from the other. */
function strange(entries: readonly object[], of: readonly object[] = other): string[] {
  rmSync(join(folder, 'runs'), { recursive: true, force: true })
  mkdirSync(join(folder, 'runs'))
  if (of.length > 0)
    writeFileSync(
      join(folder, 'runs/r.jsonl'),
      stored(of)
        .map((one) => `${JSON.stringify(one)}\n`)
        .join(''),
    )
  const events = stored(entries).flatMap((one) => eventOf(one) ?? [])
  const found = forkOf('f', events)
  return found
    ? [...strangeCopies(found, folder)].map(({ message, unknown }) => `${message} ${unknown ?? ''}`)
    : ['none']
}

it('a fork has all that stood there before, but for what it does anew', () => {
  expect(strange([fork, ...whole])).toEqual([])
  // Not begun yet.
  expect(strange([fork])).toEqual([])
  expect(strange([fork, ...whole.slice(1)])).toEqual([expect.stringContaining('entry 2 of run r was to be taken over')])
  const again = [fork, ended('b', { copied: 5 }), ...whole]
  expect(strange(again)).toEqual([expect.stringContaining('entry 5 of run r, which is another, or was not to be')])
  const later = [fork, ended('c', { copied: 6 }), ...whole]
  expect(strange(later)).toEqual([expect.stringContaining('entry 6 of run r')])
  const changed = [fork, ended('a', { copied: 2, labels: ['x'] }), ...whole.slice(1)]
  expect(strange(changed)).toEqual([expect.stringContaining('entry 2 of run r')])
})

it('a fork is of the same definition, session, subject and labels, of a run that is there', () => {
  for (const [more, what] of [
    [{ labels: [] }, 'labels'],
    [{ session: undefined }, 'session'],
    [{ subject: 'x' }, 'subject'],
    [{ definition: { ...created.definition, name: 'q' } }, 'definition'],
  ] as const)
    expect(strange([{ ...fork, ...more }, ...whole])).toEqual([expect.stringContaining(`has not the ${what} of run r`)])
  expect(
    strange([{ ...fork, labels: ['pii', 'x'], definition: { ...created.definition, version: '2' } }, ...whole]),
  ).toEqual([])
  expect(strange([fork, ...whole], [])).toEqual([expect.stringContaining('that is not in the export')])
  expect(strange([{ ...fork, origin: { ...fork.origin, seq: 9 } }, ...whole])).toContainEqual(
    expect.stringContaining('entry 9 of run r has another hash'),
  )
})
