import { genesis, link } from '@muster/audit'
import type { Journal } from '@muster/journal'
import type { Memory } from '@muster/memory'
import { type Entry, type EntryOf, MusterError, type NewEntry, type StoredEntry } from '@muster/protocol'
import { RunReader } from './run-reader.ts'

type Origin = NonNullable<EntryOf<'run.created'>['origin']>

/** An entry of another run as the journal of one that begins from it has it: without its place, with its content as it was. */
export interface Copy {
  entry: NewEntry
  /** Place in the other run. */
  from: number
  /** Salt and JSON: copied with its salt, so that both have the same digest. */
  salted: string | undefined
}

/**
 * What a run that was begun from another takes over from it: outcomes, signals and patches up to where it was cut, but
 * nothing of the step that is done anew. What was under way then is left out, and so is what it cost.
 *
 * @throws MusterError `journal.corrupt` when the other's journal is not what the fork was made of, `run.not_forkable`
 * when content that is needed was erased
 */
export async function readOrigin(
  journal: Journal,
  memory: Memory,
  tenant: string,
  origin: Origin,
): Promise<readonly Copy[]> {
  const stored = await new RunReader(journal, memory).stored(tenant, origin.run)
  const copies: Copy[] = []
  let head = genesis(origin.run)
  for await (const entry of stored.read(0)) {
    if (entry.seq > origin.seq) break
    head = link(head, entry.bytes)
    const copy = copyOf(entry, origin.step)
    if (copy) copies.push(copy)
  }
  if (head !== origin.hash)
    throw new MusterError('journal.corrupt', `entry ${origin.seq} of run ${origin.run} is not the one that was forked`)
  return copies
}

function copyOf({ seq, bytes, content: salted }: StoredEntry, again: string | undefined): Copy | undefined {
  // Its chain has been followed up to a hash that was checked before.
  const entry = JSON.parse(bytes) as Entry
  if (entry.type !== 'step.ended' && entry.type !== 'signal.received' && entry.type !== 'plan.patched') return undefined
  if (entry.type === 'step.ended' && (entry.retry || entry.step === again)) return undefined
  const { v: _v, seq: _seq, content, ...rest } = entry
  if (content !== undefined && salted === undefined)
    throw new MusterError('run.not_forkable', `the content of entry ${seq} was erased`)
  if (rest.type !== 'step.ended') return { entry: { ...rest, copied: seq }, from: seq, salted }
  const { usage: _usage, costUsd: _costUsd, ...free } = rest
  return { entry: { ...free, copied: seq }, from: seq, salted }
}
