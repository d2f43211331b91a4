import { contentJson } from '@muster/audit'
import { entry as entrySchema, type RunEvent, type StoredEntry } from '@muster/protocol'
import type { Muster } from '@muster/sdk'

/** A run's journal as the server stores it. */
export interface StoredJournal {
  /** How the run's own record says that it ends. */
  expected: { head: string; entries: number }
  entries: AsyncIterable<StoredEntry>
}

/** Asks the server for bytes, not for its opinion. */
export async function readStoredJournal(muster: Muster, id: string): Promise<StoredJournal> {
  const response = await muster.open('GET', `/v1/runs/${encodeURIComponent(id)}/journal`)
  return {
    expected: {
      head: response.headers.get('muster-head') ?? '',
      entries: Number(response.headers.get('muster-entries')),
    },
    entries: entriesOf(response),
  }
}

/** The entries of a journal as they come. */
export async function* entriesOf(response: Response): AsyncGenerator<StoredEntry> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of response.body ?? []) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) yield JSON.parse(line)
  }
}

/** An entry with its content, from its bytes; undefined where they are no entry of a journal. */
export function eventOf({ seq, hash, bytes, content }: StoredEntry): RunEvent | undefined {
  try {
    const entry = entrySchema.parse(JSON.parse(bytes))
    return { seq, hash, entry, ...(content === undefined ? {} : { content: JSON.parse(contentJson(content)) }) }
  } catch {
    return undefined
  }
}
