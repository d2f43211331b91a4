import { contentDigest, saltContent } from '@muster/audit'
import { firstEntry, type NewRun } from './first-entry.ts'
import type { Hold } from './partition.ts'

/** What creates a run, in the batch with which its holder begins. */
export interface FirstRecord {
  hash: string
  bytes: string
  digest: string
  salted: string
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
