import type { DefinitionManifest, EntryOf, Json } from '@muster/protocol'
import { expect, it } from 'vitest'
import { KeptAnswers } from './kept-answers.ts'

const HOUR = 3_600_000
const noon = Date.UTC(2026, 10, 28, 12)

interface Answer {
  run: string
  at: number
  text?: Json
  cached?: true
  costUsd?: number
  subject?: string
}

/** What is found of these answers, of an agent that keeps them for an hour. */
function found(answers: readonly Answer[], { keeps = true, lacking }: { keeps?: boolean; lacking?: string } = {}) {
  const definition = { kind: 'agent', ...(keeps ? { cacheMs: HOUR } : {}) } as DefinitionManifest // what is looked at
  const kept = new KeptAnswers()
  for (const { run, at, text, cached, costUsd, subject } of answers) {
    const created = { type: 'run.created', run, subject } as EntryOf<'run.created'> // what is looked at
    const ended = { type: 'step.ended', seq: 2, step: '1.model', kind: 'model', status: 'ok', at, durationMs: 1 }
    const entry = { ...ended, model: 'm', cached, costUsd } as EntryOf<'step.ended'> // likewise
    kept.take(run, { seq: 1, hash: '', entry: created }, () => [definition])
    kept.take(run, { seq: 2, hash: '', entry, ...(text === undefined ? {} : { content: text }) }, () => [definition])
  }
  return kept.findings(lacking).map(({ message, unknown }) => `${message}${unknown ? ` (${unknown})` : ''}`)
}

it('an answer that was kept is one that was given before, in time, about the same subject, and cost nothing', () => {
  const first = { run: 'a', at: noon, text: { text: 'hello' }, costUsd: 1 }
  const again = { run: 'b', at: noon + HOUR / 2, text: { text: 'hello' }, cached: true } as const
  expect(found([first, again])).toEqual([])
  // Runs come by when they were created, and need not end so.
  expect(found([again, first])).toEqual([])
  const none = 'step 1.model is said to have an answer that was kept, and no call before had that'
  for (const other of [
    { ...again, text: { text: 'hullo' } },
    { ...again, at: noon + 2 * HOUR },
    { ...again, at: noon - HOUR },
    { ...again, subject: 'x' },
  ])
    expect(found([first, other])).toEqual([none])
  expect(found([first, { ...again, costUsd: 1 }])).toEqual([expect.stringContaining('to have cost something')])
  expect(found([first, again], { keeps: false })).toEqual([expect.stringContaining('its agent keeps none')])
  expect(found([again], { lacking: 'gone' })).toEqual([`${none} (gone)`])
  const { text: _text, ...erased } = first
  expect(found([erased, again])).toEqual([`${none} (content of others was erased)`])
})
