import { type Entry, type EntryOf, type Json, MusterError, type RunStatus } from '@muster/protocol'
import type { JournalRedis } from './commands.ts'
import type { Keys } from './keys.ts'

/** What is known of a run without reading its journal. */
export interface RunRecord {
  id: string
  status: RunStatus
  epoch: number
  seq: number
  head: string
  created: EntryOf<'run.created'>
  summary: Json | undefined
}

export function parseCreated(bytes: string): EntryOf<'run.created'> {
  const created: Entry = JSON.parse(bytes)
  if (created.type !== 'run.created')
    throw new MusterError('journal.corrupt', 'the run record does not begin with its creation')
  return created
}

/** The record of a run that was taken before, from the fields of its hash. */
export function toRecord(id: string, fields: Record<string, string>): RunRecord | undefined {
  if (!fields.meta) return undefined
  return {
    id,
    // `status` is written by our scripts alone.
    status: (fields.status ?? 'queued') as RunStatus,
    epoch: Number(fields.epoch),
    seq: Number(fields.seq),
    head: fields.head ?? '',
    created: parseCreated(fields.meta),
    summary: fields.summary ? JSON.parse(fields.summary) : undefined,
  }
}

/** Reads the first entries of runs that nobody has taken yet; [] for one that is not there or was taken. */
export function peek(
  redis: JournalRedis,
  keys: Keys,
  runs: readonly string[],
): Promise<([] | [hash: string, bytes: string, content: string])[]> {
  return redis.musterPeek(runs.length, ...runs.map((run) => keys.queued(run)), keys.tag, ...runs)
}

/** The record of a run that nobody has taken yet, from its first entry. */
export function queuedRunRecord(id: string, [head, bytes]: readonly [string, string, ...unknown[]]): RunRecord {
  return { id, status: 'queued', epoch: 0, seq: 1, head, created: parseCreated(bytes), summary: undefined }
}
