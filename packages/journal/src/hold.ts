import { contentDigest, saltContent } from '@muster/audit'
import type { EntryOf, StoredEntry } from '@muster/protocol'
import { firstEntry, type NewRun } from './first-entry.ts'

/** What creates a run, in the batch with which its holder begins. */
export interface FirstRecord {
  hash: string
  bytes: string
  digest: string
  salted: string
}

/** A run as a worker holds it: its fencing token, where its journal ends, and the journal itself where it is short. */
export interface Hold {
  epoch: number
  seq: number
  head: string
  created: EntryOf<'run.created'>
  entries?: StoredEntry[]
  /** Messages that waited in its inbox when it was taken. */
  mail: number
  /** What creates it, where nobody has created it before. */
  first?: FirstRecord
}

/**
 * A run that is held from its first entry on: as if it had been created and taken, once its first batch is written.
 *
 * @param content JSON
 */
export function newHold(run: NewRun, content: string, at: number): Hold {
  const salted = saltContent(content)
  const digest = contentDigest(salted)
  const { bytes, hash } = firstEntry(run, at, digest)
  return {
    ...{ epoch: 1, seq: 1, head: hash, mail: 0 },
    created: { v: 1, seq: 1, at, type: 'run.created', ...run, content: digest },
    first: { hash, bytes, digest, salted },
  }
}
