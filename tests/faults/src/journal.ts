import { type Verification, verifyJournal } from '@muster/audit'
import { type Entry, type Json, type StoredEntry, entry as schema } from '@muster/protocol'
import type { Muster } from '@muster/sdk'

export interface ReadJournal {
  stored: StoredEntry[]
  entries: Entry[]
  verification: Verification
}

/** A run's journal as it is stored, checked here. */
export async function readJournal(muster: Muster, run: string): Promise<ReadJournal> {
  const response = await muster.open('GET', `/v1/runs/${run}/journal`)
  const head = response.headers.get('muster-head') ?? ''
  const entries = Number(response.headers.get('muster-entries'))
  const stored: StoredEntry[] = (await response.text())
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line))
  return {
    stored,
    entries: stored.map(({ bytes }) => schema.parse(JSON.parse(bytes))),
    verification: await verifyJournal(run, stored, { head, entries }),
  }
}

/** What a run is according to its journal alone: the checker's own reading, shared with no part of Muster. */
export interface Folded {
  status: string
  waiting: string[]
  steps: number
  output: Json | undefined
}

export function fold({ stored, entries }: Pick<ReadJournal, 'stored' | 'entries'>): Folded {
  let status = 'queued'
  let steps = 0
  let output: Json | undefined
  const waiting = new Set<string>()
  for (const [i, one] of entries.entries()) {
    if (one.type === 'run.activated') status = 'running'
    if (one.type === 'run.parked') status = 'waiting'
    if (one.type === 'step.waiting') waiting.add(one.step)
    if (one.type === 'approval.given') waiting.delete(one.step)
    if (one.type === 'step.ended') {
      waiting.delete(one.step)
      if (one.retry !== true && one.status !== 'skipped') steps++
    }
    if (one.type === 'run.ended') {
      status = one.status
      waiting.clear()
      const content = stored[i]?.content
      // Content is a salt of 22 characters and JSON.
      if (content !== undefined) output = JSON.parse(content.slice(22))
    }
  }
  return { status, waiting: [...waiting].sort(), steps, output }
}
