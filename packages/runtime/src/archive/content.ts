import { contentJson } from '@muster/audit'
import { OFFLOADED } from '@muster/journal'
import type { Memory } from '@muster/memory'
import { type Entry, type Json, MusterError, type RunEvent, type StoredEntry } from '@muster/protocol'

export function isOffloaded({ content }: StoredEntry): boolean {
  return content === OFFLOADED
}

/** Brings content that was too large for the journal back from the blob store, byte for byte. */
export async function* withBlobs(
  entries: AsyncIterable<StoredEntry> | Iterable<StoredEntry>,
  owner: { tenant: string; run: string },
  memory: Memory,
): AsyncGenerator<StoredEntry> {
  for await (const stored of entries) {
    if (!isOffloaded(stored)) {
      yield stored
      continue
    }
    const { content } = parse(stored)
    const text = content === undefined ? undefined : await memory.blobs.get(owner, content)
    yield text === undefined
      ? { seq: stored.seq, hash: stored.hash, bytes: stored.bytes }
      : { ...stored, content: text }
  }
}

/**
 * Entries as clients and drivers read them: parsed, with content. What is stored and proven is its text, of which some numbers
 * are rounded here unless `read` keeps them.
 */
export async function* toEvents(
  entries: AsyncIterable<StoredEntry>,
  read: (text: string) => Json = JSON.parse,
): AsyncGenerator<RunEvent> {
  for await (const stored of entries) {
    const content = stored.content === undefined ? undefined : read(contentJson(stored.content))
    yield { seq: stored.seq, hash: stored.hash, entry: parse(stored), ...(content === undefined ? {} : { content }) }
  }
}

function parse(stored: StoredEntry): Entry {
  try {
    // Written by the journal alone; `verify` is what checks the format of bytes that nobody trusts.
    return JSON.parse(stored.bytes) as Entry
  } catch (cause) {
    throw new MusterError('journal.corrupt', `entry ${stored.seq} is not JSON`, { cause })
  }
}
