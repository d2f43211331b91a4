import { MusterError, type StoredEntry } from '@muster/protocol'
import { pack } from './packed.ts'

/** Consecutive entries of a journal, compressed together. */
export interface Segment {
  /** Seq of its last entry. */
  last: number
  content: Uint8Array
}

/**
 * Characters of entries after which a segment is closed. Long enough to compress well; what a reader who wants one entry
 * reads in vain stays under this. What compresses badly is split over several items, as is one entry that is larger.
 */
const segmentLength = 1_000_000

/** Cuts a journal into segments. */
export async function segmentsOf(entries: StoredEntry[]): Promise<Segment[]> {
  const segments: Segment[] = []
  let open: StoredEntry[] = []
  let length = 0
  for (const [i, entry] of entries.entries()) {
    open.push(entry)
    length += entry.bytes.length + (entry.content?.length ?? 0)
    if (length < segmentLength && i < entries.length - 1) continue
    segments.push({ last: entry.seq, content: await pack(open) })
    open = []
    length = 0
  }
  return segments
}

/** The seq of the last entry; 0 of an empty journal. */
export function lastSeq(entries: StoredEntry[]): number {
  return entries.at(-1)?.seq ?? 0
}

/**
 * Readers go by seq, so that an entry in the wrong place could never be found.
 *
 * @throws MusterError `journal.corrupt`
 */
export function requireOrder(entries: StoredEntry[]): void {
  let before = 0
  for (const { seq } of entries) {
    if (seq <= before) throw new MusterError('journal.corrupt', `Entry ${seq} comes after entry ${before}`)
    before = seq
  }
}
