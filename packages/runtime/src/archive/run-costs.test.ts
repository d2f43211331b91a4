import type { Entry, EntryOf, RunEvent } from '@muster/protocol'
import { expect, it } from 'vitest'
import { costLines } from './run-costs.ts'

const created: EntryOf<'run.created'> = {
  ...{ v: 1, seq: 1, at: 0, type: 'run.created', run: 'r', tenant: 't', labels: [], limits: {} },
  definition: { kind: 'agent', name: 'clerk', version: '1', hash: '' },
  by: { key: 'k', user: 'ann', team: 'finance' },
}
const usage = { inputTokens: 10, outputTokens: 5, cachedTokens: 2 }

function ended(at: string, rest: Partial<EntryOf<'step.ended'>> = {}): EntryOf<'step.ended'> {
  return {
    ...{ v: 1, seq: 2, at: Date.parse(at), type: 'step.ended', step: 's', kind: 'model', target: 'default' },
    ...{ attempt: 1, labels: [], status: 'ok', durationMs: 1, usage, costUsd: 0.000_000_001, model: 'm', ...rest },
  }
}

it('counts the run’s own model calls, by the day on which each has ended', () => {
  const entries: Entry[] = [
    created,
    ended('2026-11-28T23:59:59.999Z'),
    ended('2026-11-28T12:00:00Z', { via: { target: 'there' }, costUsd: 1.5 }),
    ended('2026-11-29T00:00:00Z', { costUsd: 0.1 + 0.2 }),
    // What a run below it has cost is told by both.
    ended('2026-11-28T12:00:00Z', { kind: 'agent', target: 'other@1' }),
    ended('2026-11-28T12:00:00Z', { copied: 7 }),
    ended('2026-11-28T12:00:00Z', { kind: 'tool' }),
    // What a server says that cannot be.
    ended('2026-11-29T01:00:00Z', { usage: { inputTokens: 0.4, outputTokens: -3, cachedTokens: 1e300 }, costUsd: 0 }),
  ]
  const { usage: _, ...failed } = ended('2026-11-28T12:00:00Z', { status: 'failed' })
  const events: RunEvent[] = [...entries, failed].map((entry) => ({ seq: entry.seq, hash: '', entry }))
  const lines = costLines(events, (route, target) => `${route} ${target}`)
  const names = { model: 'm', provider: 'default undefined', agent: 'clerk', user: 'ann', team: 'finance', key: 'k' }
  const tokens = { inputTokens: 10, outputTokens: 5, cachedTokens: 2 }
  expect(lines).toEqual([
    { day: '2026-11-28', names, nanoUsd: 1, calls: 1, ...tokens },
    { day: '2026-11-28', names: { ...names, provider: 'default there' }, nanoUsd: 1_500_000_000, calls: 1, ...tokens },
    { day: '2026-11-29', names, nanoUsd: 300_000_000, calls: 2, ...tokens, cachedTokens: 1e15 + 2 },
  ])
})

it('counts a call of a time that no date has', () => {
  const days = [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER].flatMap((at) => {
    const entry = { ...ended('2026-11-28T12:00:00Z'), at }
    return costLines([{ seq: 1, hash: '', entry }], () => '').map(({ day }) => day)
  })
  expect(days).toEqual(['1970-01-01', '9999-12-31'])
})
