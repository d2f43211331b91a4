import { basename } from 'node:path'
import { type EntryOf, type RunEvent, storedEntry } from '@muster/protocol'
import { filesIn, jsonOf, linesOf } from '../audit/export-files.ts'
import { eventOf } from './stored-journal.ts'

/** A run that was begun from another: what it has of that, by its places there. */
export interface Fork {
  run: string
  origin: NonNullable<EntryOf<'run.created'>['origin']>
  copies: Map<number, { seq: number; text: string }>
}

/** Undefined for a run that was begun from no other. */
export function forkOf(run: string, events: readonly RunEvent[]): Fork | undefined {
  const created = events[0]?.entry
  if (created?.type !== 'run.created' || !created.origin) return undefined
  const copies = events.flatMap(({ seq, entry }) =>
    'copied' in entry && entry.copied !== undefined ? [[entry.copied, { seq, text: takenText(entry) }] as const] : [],
  )
  return { run, origin: created.origin, copies: new Map(copies) }
}

/** What a run took over and the other run, where it is in the export, does not have so. */
export function* strangeCopies({ origin, copies }: Fork, folder: string): Generator<{ seq: number; message: string }> {
  const file = filesIn(folder, 'runs').find((file) => basename(file, '.jsonl') === origin.run)
  if (!file) return
  const left = new Map(copies)
  for (const line of linesOf(file)) {
    const { data } = storedEntry.safeParse(jsonOf(line ?? ''))
    const event = data && eventOf(data)
    if (event?.seq === origin.seq && event.hash !== origin.hash)
      yield { seq: 1, message: `entry ${origin.seq} of run ${origin.run} has another hash than it says` }
    if (event && left.get(event.seq)?.text === takenText(event.entry)) left.delete(event.seq)
  }
  for (const [from, { seq }] of left)
    yield { seq, message: `it is said to be entry ${from} of run ${origin.run}, which is another` }
}

/** What a copy has of an entry: all but its place and what it has cost. */
function takenText(entry: RunEvent['entry']): string {
  const {
    v: _v,
    seq: _seq,
    copied: _copied,
    costUsd: _costUsd,
    usage: _usage,
    signal: _signal,
    ...rest
  } = {
    ...{ copied: undefined, costUsd: undefined, usage: undefined, signal: undefined },
    ...entry,
  }
  return JSON.stringify(Object.entries(rest).sort(([a], [b]) => (a < b ? -1 : 1)))
}
