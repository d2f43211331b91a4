import { basename } from 'node:path'
import { type EntryOf, type RunEvent, storedEntry } from '@muster/protocol'
import { filesIn, jsonOf, linesOf } from '../audit/export-files.ts'
import { eventOf } from './stored-journal.ts'

type Created = EntryOf<'run.created'>

/** A run that was begun from another: what it has of that, by its places there. */
export interface Fork {
  run: string
  created: Created
  origin: NonNullable<Created['origin']>
  copies: Map<number, { seq: number; text: string }>
  /** It has all that it takes over. */
  isWhole: boolean
}

/** Undefined for a run that was begun from no other. */
export function forkOf(run: string, events: readonly RunEvent[]): Fork | undefined {
  const created = events[0]?.entry
  if (created?.type !== 'run.created' || !created.origin) return undefined
  const copies = events.flatMap(({ seq, entry }) =>
    'copied' in entry && entry.copied !== undefined ? [[entry.copied, { seq, text: takenText(entry) }] as const] : [],
  )
  const isWhole = events.some(({ entry }) => entry.type === 'run.copied')
  return { run, created, origin: created.origin, copies: new Map(copies), isWhole }
}

/** Something that a run has otherwise than the run that it was begun from; `unknown` says why that cannot be told. */
interface Strange {
  seq: number
  message: string
  unknown?: string
}

/** What a run took over and the other run does not have so, and what it had to take over. */
export function* strangeCopies({ created, origin, copies, isWhole }: Fork, folder: string): Generator<Strange> {
  const file = filesIn(folder, 'runs').find((file) => basename(file, '.jsonl') === origin.run)
  if (!file) {
    const message = `whether it has of run ${origin.run} what it says that it took over`
    yield { seq: 1, message, unknown: 'that is not in the export' }
    return
  }
  const left = new Map(copies)
  let hash: string | undefined
  for (const line of linesOf(file)) {
    const { data } = storedEntry.safeParse(jsonOf(line ?? ''))
    const event = data && eventOf(data)
    if (!event) continue
    const { seq, entry } = event
    if (entry.type === 'run.created') yield* otherwise(created, entry)
    if (seq === origin.seq) hash = event.hash
    if (seq > origin.seq || !isTaken(entry, origin.step)) continue
    if (left.get(seq)?.text === takenText(entry)) left.delete(seq)
    else if (isWhole && !copies.has(seq))
      yield { seq: 1, message: `entry ${seq} of run ${origin.run} was to be taken over, and was not` }
  }
  if (hash !== origin.hash)
    yield { seq: 1, message: `entry ${origin.seq} of run ${origin.run} has another hash than it says` }
  for (const [from, { seq }] of left)
    yield {
      seq,
      message: `it is said to be entry ${from} of run ${origin.run}, which is another, or was not to be taken`,
    }
}

/** Outcomes, signals and patches are taken over, but for the step that is done anew. */
function isTaken(entry: RunEvent['entry'], again: string | undefined): boolean {
  if (entry.type === 'step.ended') return !entry.retry && entry.step !== again
  return entry.type === 'signal.received' || entry.type === 'plan.patched'
}

/** It has the other's labels, definition, session and subject. */
function* otherwise(created: Created, other: Created): Generator<Strange> {
  const nameOf = ({ definition: { kind, name } }: Created) => `${kind}:${name}`
  const differs = [
    ...(nameOf(created) === nameOf(other) ? [] : ['definition']),
    ...(['session', 'subject'] as const).filter((name) => created[name] !== other[name]),
    ...(other.labels.every((label) => created.labels.includes(label)) ? [] : ['labels']),
  ]
  if (differs.length > 0)
    yield { seq: 1, message: `it has not the ${differs.join(', ')} of run ${other.run}, which it was begun from` }
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
