import { readFileSync } from 'node:fs'
import type { Run, RunEvent, StoredEntry } from '@muster/protocol'
import { expect, it } from 'vitest'
import { csvLine } from '../audit/events/csv.ts'
import { ocsfEvent } from '../audit/events/ocsf.ts'
import { attemptsOf } from '../audit/report/attempts.ts'
import { reportPage } from '../audit/report/page.ts'
import { spansOf, waterfall } from '../runs/waterfall.ts'
import { eventOf } from './stored-journal.ts'

/** Times that an entry can say: no date has the first two, and the others go back. */
const ODD = [Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER, -1, 0]

/** Journals with every type of entry. */
const journals = readFileSync(new URL('../../../../packages/runtime/src/golden/v3.jsonl', import.meta.url), 'utf8')
  .trim()
  .split('\n')
  .map((line): { run: string; entries: StoredEntry[] } => JSON.parse(line))

it.each([0, 1, 2, 3])('an entry of any time is shown, exported and reported (%i)', (turn) => {
  for (const { run, entries } of journals) {
    const events: RunEvent[] = entries
      .flatMap((stored) => eventOf(stored) ?? [])
      .map((event, i) => {
        const at = ODD[(i + turn) % ODD.length] ?? 0
        const until = 'until' in event.entry ? { until: at } : {}
        return { ...event, entry: { ...event.entry, at, ...until } }
      })
    const created = events[0]?.entry
    if (created?.type !== 'run.created') throw new Error('a journal begins with its creation')
    const context = { run, created, worker: undefined }
    for (const event of events) {
      expect(csvLine(event, context, true)).toContain(`${run}/${event.seq}`)
      expect(ocsfEvent(event, context, true)).toMatchObject({ time: event.entry.at })
    }
    expect(waterfall(spansOf(events), 120).split('\n')).toHaveLength(Math.max(spansOf(events).length, 1))
    const page = reportPage({
      ...{ at: 0, muster: '', created, events, attempts: attemptsOf(events), content: true },
      run: {
        id: run,
        status: 'succeeded',
        createdAt: created.at,
        steps: 1,
        costUsd: 0,
        waiting: [],
        labels: [],
        usage: {},
      } as unknown as Run, // what the page reads
      verification: { ok: true, entries: events.length, erased: 0, head: '', findings: [] } as never, // as well
      receipt: { state: 'none', why: '' },
    })
    expect(page).toContain(run)
  }
})

it('a trace may have more attempts than a call takes arguments', () => {
  const spans = journals.flatMap(({ entries }) => spansOf(entries.flatMap((stored) => eventOf(stored) ?? [])))
  const many = Array.from({ length: 150_000 }, (_, i) => spans[i % spans.length] ?? [])
  expect(waterfall(many.flat(), 120).split('\n')).toHaveLength(150_000)
})
