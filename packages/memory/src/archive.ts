import {
  isEnded,
  MusterError,
  type Run,
  type RunStatus,
  type RunSummary,
  runSummary,
  type StoredEntry,
} from '@muster/protocol'
import { digestOf } from './digest.ts'
import { type Item, numberOf, textOf } from './item.ts'
import { LAST, partition, sort } from './key.ts'
import { pack, unpack } from './packed.ts'
import { joined, piecesOf, putAll } from './pieces.ts'
import { lastSeq, requireOrder, segmentsOf } from './segment.ts'
import type { Table } from './table.ts'

export interface ArchiveListOptions {
  /** Runs at most. */
  limit: number
  /** Only runs older than this run id. */
  before?: string | undefined
  status?: RunStatus | undefined
  /** Name of the agent or plan. */
  name?: string | undefined
  /** Code of the error with which it ended. */
  error?: string | undefined
}

/** Ended runs with their journals. A run that is being archived is not there until all of it is. */
export interface Archive {
  /**
   * Keeps an ended run and its journal. Archiving a run again changes nothing.
   *
   * @throws MusterError `journal.corrupt` where the entries are not in order; `memory.too_large`; `memory.unavailable`
   */
  put(tenant: string, run: Run, entries: StoredEntry[]): Promise<void>
  /**
   * The run with its input and output.
   *
   * @throws MusterError `memory.unavailable`
   */
  get(tenant: string, runId: string): Promise<Run | undefined>
  /**
   * The journal in order, from the entry after seq `after`; nothing where the run is not archived.
   *
   * @throws MusterError `journal.corrupt` where part of it is missing; `memory.unavailable`
   */
  entries(tenant: string, runId: string, options?: { after?: number }): AsyncIterable<StoredEntry>
  /**
   * Newest first. A filter that few runs pass reads all the runs that it skips.
   *
   * @throws MusterError `memory.unavailable`
   */
  list(tenant: string, options: ArchiveListOptions): Promise<RunSummary[]>
}

/*
 * The contents go under a set name that is the digest of themselves, the summary comes last and names the set. Readers begin
 * at the summary. So a reader sees all or nothing, a repeat after a crash writes the same items again, and two archivers
 * whose versions of the code compress differently do not write into each other's set.
 */
export function openArchive(table: Table): Archive {
  const summaryOf = (tenant: string, runId: string) => table.get(partition(tenant, 'RUNS'), sort('RUN', runId))

  return {
    async put(tenant, run, entries) {
      if (!isEnded(run.status))
        throw new MusterError('internal', `The run ${run.id} is ${run.status}: not to be archived`)
      if (run.tenant !== tenant) throw new MusterError('internal', `The run ${run.id} belongs to another tenant`)
      requireOrder(entries)
      if (await summaryOf(tenant, run.id)) return

      const pk = partition(tenant, 'RUN', run.id)
      const whole = await pack(run)
      const segments = await segmentsOf(entries)
      const set = digestOf([whole, ...segments.map((segment) => segment.content)])
      await putAll(table, [
        ...piecesOf(pk, ['WHOLE', set], whole),
        ...segments.flatMap(({ last, content }) => piecesOf(pk, ['SEGMENT', set, last], content)),
      ])
      await table.create({
        pk: partition(tenant, 'RUNS'),
        sk: sort('RUN', run.id),
        status: run.status,
        name: run.name,
        summary: runSummary.parse(run),
        set,
        last: lastSeq(entries),
      })
    },

    async get(tenant, runId) {
      const summary = await summaryOf(tenant, runId)
      if (!summary) return undefined
      const prefix = `${sort('WHOLE', textOf(summary, 'set'))}#`
      const pieces = table.query({ pk: partition(tenant, 'RUN', runId), sk: { prefix } })
      for await (const content of joined(pieces)) return unpack<Run>(content)
      throw new MusterError('journal.corrupt', `The archive of run ${runId} is not complete`)
    },

    async *entries(tenant, runId, { after = 0 } = {}) {
      const summary = await summaryOf(tenant, runId)
      if (!summary || numberOf(summary, 'last') <= after) return
      const set = textOf(summary, 'set')
      // A segment's key holds the seq of its last entry: the first segment at or above `after + 1` holds what comes next.
      const range = { from: sort('SEGMENT', set, Math.max(0, after) + 1), to: `${sort('SEGMENT', set)}#${LAST}` }
      let seen = after
      for await (const content of joined(table.query({ pk: partition(tenant, 'RUN', runId), sk: range }))) {
        for (const entry of await unpack<StoredEntry[]>(content)) {
          if (entry.seq <= after) continue
          yield entry
          seen = entry.seq
        }
      }
      if (seen !== numberOf(summary, 'last')) {
        throw new MusterError('journal.corrupt', `The archived journal of run ${runId} ends at entry ${seen}`)
      }
    },

    async list(tenant, { limit, before, status, name, error }) {
      const runs: RunSummary[] = []
      if (limit < 1) return runs
      const where = { ...(status === undefined ? {} : { status }), ...(name === undefined ? {} : { name }) }
      const items = table.query({
        pk: partition(tenant, 'RUNS'),
        ...(before === undefined ? {} : { sk: { below: sort('RUN', before) } }),
        descending: true,
        where,
        // With a filter the answer may need many more items than it has runs.
        ...(Object.keys(where).length === 0 && error === undefined ? { page: limit } : {}),
      })
      for await (const item of items) {
        const summary = readSummary(item)
        if (error !== undefined && summary.error?.code !== error) continue
        runs.push(summary)
        if (runs.length >= limit) break
      }
      return runs
    },
  }
}

function readSummary(item: Item): RunSummary {
  return runSummary.parse(item.summary)
}
