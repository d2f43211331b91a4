import { MusterError, type StoredEntry } from '@muster/protocol'
import { DIGESTS, pack } from './packed.ts'

/** An entry without what lies beside it. */
export type Bare = Omit<StoredEntry, 'content'>

/** Consecutive entries of a journal, compressed together: what stays, and what lies beside it and can be erased. */
export interface Segment {
  /** Seq of its last entry. */
  last: number
  /** A `Stored`. */
  entries: Uint8Array
  /** Content by entry, null where there is none: `(string | null)[]`. Undefined where none has any. */
  contents: Uint8Array | undefined
}

/** A segment as it is stored. */
export interface Stored {
  entries: Bare[]
  /** Contents were put beside it. */
  hasContents: boolean
}

/**
 * Characters of entries after which a segment is closed. Long enough to compress well; what a reader who wants one entry
 * reads in vain stays under this. What compresses badly is split over several items, as is one entry that is larger.
 */
const segmentLength = 1_000_000

/** Cuts a journal into segments. */
export async function segmentsOf(entries: readonly StoredEntry[]): Promise<Segment[]> {
  const segments: Segment[] = []
  let open: StoredEntry[] = []
  let length = 0
  for (const [i, entry] of entries.entries()) {
    open.push(entry)
    length += entry.bytes.length + (entry.content?.length ?? 0)
    if (length < segmentLength && i < entries.length - 1) continue
    segments.push(await segmentOf(entry.seq, open))
    open = []
    length = 0
  }
  return segments
}

async function segmentOf(last: number, entries: readonly StoredEntry[]): Promise<Segment> {
  const hasContents = entries.some(({ content }) => content !== undefined)
  const stored: Stored = { entries: entries.map(({ seq, hash, bytes }) => ({ seq, hash, bytes })), hasContents }
  const [bare, contents] = await Promise.all([
    pack(stored, DIGESTS),
    hasContents ? pack(entries.map(({ content }) => content ?? null)) : undefined,
  ])
  return { last, entries: bare, contents }
}

/** The seq of the last entry; 0 of an empty journal. */
export function lastSeq(entries: readonly StoredEntry[]): number {
  return entries.at(-1)?.seq ?? 0
}

/**
 * Readers go by seq, so that an entry in the wrong place could never be found.
 *
 * @throws MusterError `journal.corrupt`
 */
export function requireOrder(entries: readonly StoredEntry[]): void {
  let before = 0
  for (const { seq } of entries) {
    if (seq <= before) throw new MusterError('journal.corrupt', `Entry ${seq} comes after entry ${before}`)
    before = seq
  }
}
