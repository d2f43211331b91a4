import type { StoredEntry } from '@muster/protocol'

/** Stands in a record for content that is that of the last entry before it in the record which has some. */
export const SAME = '='

/**
 * One record of a run's stream holds all entries that one batch appended for it. Its id is the last
 * one's `<seq>-0`, so that a reader who has seen entry n asks for the records after `n-0` and gets the
 * one that holds n+1 first. Field `e` has a line per entry: its hash, a blank, its exact bytes; field
 * `c` has as many lines: the salted content, or nothing, or `SAME`. JSON has no raw line feed, so lines are safe.
 */
export function decodeRecord(id: string, fields: readonly string[], after: number): StoredEntry[] {
  const e = fields[fields.indexOf('e') + 1] ?? ''
  const c = fields[fields.indexOf('c') + 1] ?? ''
  const lines = e.split('\n')
  const contents = c.split('\n')
  const first = Number(id.slice(0, id.indexOf('-'))) - lines.length + 1
  const entries: StoredEntry[] = []
  let said = ''
  for (const [i, line] of lines.entries()) {
    const seq = first + i
    const content = contents[i] === SAME ? said : contents[i]
    if (content) said = content
    if (seq <= after) continue
    entries.push({ seq, hash: line.slice(0, 64), bytes: line.slice(65), ...(content ? { content } : {}) })
  }
  return entries
}
