import {
  type Actor,
  type Erased,
  erased,
  MusterError,
  type Run,
  type RunSummary,
  runSummary,
  type StoredEntry,
} from '@muster/protocol'
import { type ArchivePut, openArchivePuts, TENANTS } from './archive-puts.ts'
import { type ArchivedCosts, archivedCosts, costsOf } from './archived-costs.ts'
import { removeOpenBlob } from './blobs.ts'
import type { ContentKeys } from './content-keys.ts'
import { digestOf } from './digest.ts'
import { type Item, numberOf, textOf } from './item.ts'
import { LAST, laterThan, partition, sort } from './key.ts'
import { unpack } from './packed.ts'
import { joined, piecesOf } from './pieces.ts'
import { type ArchiveListOptions, allRuns, listItems, listQuery, listsOf } from './run-lists.ts'
import { unseal } from './sealed.ts'
import { type Bare, lastSeq, type Stored, segmentsOf } from './segment.ts'
import type { Settled } from './settled.ts'
import type { Table } from './table.ts'

/** A run as the archive knows it without looking into it. `forgotten`: what it has left in sessions and facts is gone. */
export type Archived = RunSummary & { entries: number; erased?: Erased; forgotten?: true }

/** Ended runs with their journals. A run that is being archived is not there until all of it is. */
export interface Archive {
  /**
   * Keeps ended runs and their journals, and what their calls have cost, each for itself, in requests that they share. Tells
   * of each in their order, and never rejects: what kept one of them is `journal.corrupt` where its entries are not in order,
   * `memory.too_large` or `memory.unavailable`. Archiving a run again changes nothing.
   */
  putMany(puts: readonly ArchivePut[]): Promise<Settled<void>[]>
  /**
   * The run with its input and output.
   *
   * @throws MusterError `memory.unavailable`
   */
  get(tenant: string, runId: string): Promise<Run | undefined>
  /**
   * The run without what was read and written: one request, however large it is.
   *
   * @throws MusterError `memory.unavailable`
   */
  find(tenant: string, runId: string): Promise<Archived | undefined>
  /**
   * Who began the run.
   *
   * @throws MusterError `memory.unavailable`
   */
  beganBy(tenant: string, runId: string): Promise<Actor | undefined>
  /**
   * The journal in order, from the entry after seq `after`; nothing where the run is not archived.
   *
   * @throws MusterError `journal.corrupt` where part of it is missing; `memory.unavailable`
   */
  entries(tenant: string, runId: string, options?: { after?: number }): AsyncIterable<StoredEntry>
  /**
   * Newest first; with `since` none older than that run. By session or user it reads their runs alone; what is asked for
   * besides, or without them, is looked for in all of these.
   *
   * @throws MusterError `memory.unavailable`
   */
  list(tenant: string, options: ArchiveListOptions & { since?: string | undefined }): Promise<RunSummary[]>
  /** All of a tenant's runs, the oldest first, after the run `after`. */
  all(tenant: string, after?: string): AsyncIterable<Archived>
  /** The archived runs of a subject, the oldest first, after the run `after`. */
  ofSubject(tenant: string, subject: string, after?: string): AsyncIterable<string>
  /** Tenants that have archived anything, after `after`. */
  tenants(after?: string): AsyncIterable<string>
  /** What was erased of a run, or that it was removed whole. */
  erased(tenant: string, runId: string): Promise<Erased | undefined>
  /**
   * Takes out the content of a run: its key first, then what was sealed by it. The entries stay as they are. Gives how many
   * entries and blobs it has had; the same again does no harm.
   */
  eraseContent(tenant: string, runId: string, why: Erased): Promise<{ entries: number; blobs: number } | undefined>
  /** Notes that what the run has left in sessions and facts is gone. */
  forgotten(tenant: string, runId: string): Promise<void>
  /** Removes the run and its entries, and leaves a note that says why. Gives how many entries it has had. */
  remove(tenant: string, runId: string, why: Erased): Promise<number | undefined>
  /** What the calls of each run have cost that was archived, the oldest first, after the run `after`: also of removed ones. */
  costs(tenant: string, after?: string): AsyncIterable<ArchivedCosts>
  /** Runs that were removed whole, the oldest first, after the run `after`. */
  removed(tenant: string, after?: string): AsyncIterable<{ run: string; erased: Erased }>
}

/*
 * The contents go under a set name that is the digest of themselves, the summary comes after them and names the set. Readers
 * begin at the summary. So a reader sees all or nothing, and of two archivers, or one that died and one that does it again,
 * none writes into the other's set. What lists by user and session have of the run comes last: see `run-lists.ts`. Of many
 * that are put at once each step is done for all, and then the next one.
 *
 * Entries lie open, so that the chain can be followed for ever; what lies beside them, and the run's input, plan and output,
 * is sealed by the run's key.
 */
export function openArchive(table: Table, keys: ContentKeys): Archive {
  const summaryOf = (tenant: string, runId: string) => table.get(allRuns(tenant), sort('RUN', runId))

  /** What lies beside the entries of a segment; undefined where it was erased. */
  async function contentsOf(of: { tenant: string; run: string; set: string }, last: number) {
    const { tenant, run, set } = of
    const key = await keys.findRun(tenant, run)
    if (!key) return undefined
    const prefix = `${sort('CONTENT', set, last)}#`
    for await (const sealed of joined(table.query({ pk: partition(tenant, 'RUN', run), sk: { prefix } })))
      return unpack<(string | null)[]>(unseal(key, [tenant, run, String(last)], sealed))
    // It may have been erased since the summary was read.
    const summary = await summaryOf(tenant, run)
    if (summary && summary.erased === undefined) throw incomplete(run)
    return undefined
  }

  /** The run's input, plan and output. */
  async function wholeOf(tenant: string, run: string, summary: Item): Promise<Partial<Run>> {
    const isOpen = summary.rest === undefined
    const key = isOpen ? undefined : await keys.findRun(tenant, run)
    if (summary.erased !== undefined || !(isOpen || key)) return {}
    const prefix = `${sort('WHOLE', textOf(summary, 'set'))}#`
    for await (const content of joined(table.query({ pk: partition(tenant, 'RUN', run), sk: { prefix } })))
      return unpack<Partial<Run>>(key ? unseal(key, [tenant, run, 'run'], content) : content)
    if ((await summaryOf(tenant, run))?.erased !== undefined) return {}
    throw incomplete(run)
  }

  /** Takes what was archived before there were keys apart. Gives the digests of its large contents. */
  async function rewrite(tenant: string, run: string, summary: Item): Promise<{ item: Item; large: string[] }> {
    const entries: StoredEntry[] = []
    for await (const entry of entriesOf(tenant, run, summary, 0)) entries.push(entry)
    const bare = entries.map(({ seq, hash, bytes }) => ({ seq, hash, bytes }))
    const segments = await segmentsOf(bare)
    const set = digestOf(segments.map((segment) => segment.entries))
    const pk = partition(tenant, 'RUN', run)
    await table.putAll(segments.flatMap(({ last, entries }) => piecesOf(pk, ['SEGMENT', set, last], entries)))
    const { input: _input, plan: _plan, output: _output, ...rest } = await wholeOf(tenant, run, summary)
    const large = entries.filter(({ content }) => (content?.length ?? 0) > OPEN_BLOB_MIN).flatMap(digestIn)
    return { item: { ...summary, set, rest: JSON.stringify(rest) }, large }
  }

  async function* entriesOf(tenant: string, run: string, summary: Item, after: number): AsyncGenerator<StoredEntry> {
    if (numberOf(summary, 'last') <= after) return
    const set = textOf(summary, 'set')
    // A segment's key holds the seq of its last entry: the first segment at or above `after + 1` holds what comes next.
    const range = { from: sort('SEGMENT', set, Math.max(0, after) + 1), to: `${sort('SEGMENT', set)}#${LAST}` }
    const isErased = summary.erased !== undefined
    let seen = after
    for await (const packed of joined(table.query({ pk: partition(tenant, 'RUN', run), sk: range }))) {
      const stored = await unpack<Stored | StoredEntry[]>(packed)
      const isOpen = Array.isArray(stored)
      const entries: Bare[] = isOpen ? stored : stored.entries
      const contents =
        isOpen || isErased || !stored.hasContents ? undefined : await contentsOf({ tenant, run, set }, lastSeq(entries))
      for (const [i, entry] of entries.entries()) {
        if (entry.seq <= after) continue
        const content = contents?.[i] ?? undefined
        yield content === undefined ? entry : { ...entry, content }
        seen = entry.seq
      }
    }
    if (seen !== numberOf(summary, 'last'))
      throw new MusterError('journal.corrupt', `The archived journal of run ${run} ends at entry ${seen}`)
  }

  return {
    putMany: openArchivePuts(table, keys),

    async get(tenant, runId) {
      const summary = await summaryOf(tenant, runId)
      if (!summary) return undefined
      const whole = await wholeOf(tenant, runId, summary)
      if (summary.rest === undefined) return whole as Run // as it was put whole
      const rest: Partial<Run> = JSON.parse(textOf(summary, 'rest'))
      const why = erasedOf(summary)
      return { ...rest, ...whole, ...readSummary(summary), ...(why ? { erased: why } : {}) } as Run // what it was made of
    },

    async find(tenant, runId) {
      const summary = await summaryOf(tenant, runId)
      return summary && archivedOf(summary)
    },

    async beganBy(tenant, runId) {
      const summary = await summaryOf(tenant, runId)
      if (!summary) return undefined
      const { by }: Partial<Run> =
        summary.rest === undefined ? await wholeOf(tenant, runId, summary) : JSON.parse(textOf(summary, 'rest'))
      return by
    },

    async *entries(tenant, runId, { after = 0 } = {}) {
      const summary = await summaryOf(tenant, runId)
      if (summary) yield* entriesOf(tenant, runId, summary, after)
    },

    async list(tenant, options) {
      const { limit, before, error } = options
      const found: RunSummary[] = []
      if (limit < 1) return found
      for await (const item of table.query(listQuery(tenant, options))) {
        const summary = readSummary(item)
        if (summary.id === before || (error !== undefined && summary.error?.code !== error)) continue
        found.push(summary)
        if (found.length >= limit) break
      }
      return found
    },

    async *all(tenant, after) {
      for await (const item of table.query({ pk: allRuns(tenant), ...laterThan(after) })) yield archivedOf(item)
    },

    async *ofSubject(tenant, subject, after) {
      for await (const item of table.query({ pk: partition(tenant, 'SUBJECT', subject), ...laterThan(after) }))
        yield textOf(item, 'run')
    },

    async *tenants(after) {
      const sk = after === undefined ? {} : { sk: { from: `${sort('TENANT', after)}#`, to: `TENANT#${LAST}` } }
      for await (const item of table.query({ pk: TENANTS, ...sk })) yield JSON.parse(textOf(item, 'name'))
    },

    async erased(tenant, runId) {
      const item = (await summaryOf(tenant, runId)) ?? (await table.get(removed(tenant), sort('RUN', runId)))
      return item && erasedOf(item)
    },

    async eraseContent(tenant, runId, why) {
      const summary = await summaryOf(tenant, runId)
      if (!summary) return undefined
      await keys.destroy(tenant, { run: runId })
      const { item, large } =
        summary.rest === undefined ? await rewrite(tenant, runId, summary) : { item: summary, large: [] }
      // Before the summary is another: only the old one tells of them.
      for (const digest of large) await removeOpenBlob(table, tenant, digest)
      // The first word stays: what it says was erased is not erased twice.
      if (summary.erased === undefined) await table.put({ ...item, erased: why })
      // An archiver that died before this finds the run in Redis no more.
      await table.putAll(listItems(item))
      const pk = partition(tenant, 'RUN', runId)
      const kept = `${sort('SEGMENT', textOf(item, 'set'))}#`
      let blobs = 0
      for await (const one of table.query({ pk })) {
        const sk = textOf(one, 'sk')
        if (sk === 'KEY' || sk.startsWith('SAVED#') || sk.startsWith(kept)) continue
        if (sk.endsWith('#MANIFEST')) blobs++
        await table.remove(pk, sk)
      }
      return { entries: numberOf(item, 'last'), blobs: blobs + large.length }
    },

    async forgotten(tenant, runId) {
      const summary = await summaryOf(tenant, runId)
      if (summary) await table.put({ ...summary, forgotten: true })
    },

    async remove(tenant, runId, why) {
      const summary = await summaryOf(tenant, runId)
      if (!summary) return undefined
      const last = numberOf(summary, 'last')
      const { subject } = readSummary(summary)
      const costs = costsOf(summary)
      // The note first: there is no moment at which nothing says where the run is.
      await table.put({
        ...{ pk: removed(tenant), sk: sort('RUN', runId), run: runId, last, erased: why },
        ...(costs === undefined ? {} : { costs }),
      })
      await this.eraseContent(tenant, runId, why)
      const pk = partition(tenant, 'RUN', runId)
      for await (const one of table.query({ pk, sk: { prefix: 'SEGMENT#' } })) await table.remove(pk, textOf(one, 'sk'))
      if (subject !== undefined) await table.remove(partition(tenant, 'SUBJECT', subject), sort('RUN', runId))
      for (const list of listsOf(summary)) await table.remove(list, sort('RUN', runId))
      // Last, so that what was broken off is found again.
      await table.remove(allRuns(tenant), sort('RUN', runId))
      return last
    },

    costs: (tenant, after) => archivedCosts(table, { there: allRuns(tenant), gone: removed(tenant) }, after),

    async *removed(tenant, after) {
      for await (const item of table.query({ pk: removed(tenant), ...laterThan(after) }))
        yield { run: textOf(item, 'run'), erased: erased.parse(item.erased) }
    },
  }
}

/** Contents longer than this lay in the blob store as well, before there were keys. */
const OPEN_BLOB_MIN = 16_384

function removed(tenant: string): string {
  return partition(tenant, 'REMOVED')
}

function digestIn({ bytes }: StoredEntry): string[] {
  const { content }: { content?: string } = JSON.parse(bytes)
  return content === undefined ? [] : [content]
}

function incomplete(run: string): MusterError {
  return new MusterError('journal.corrupt', `The archive of run ${run} is not complete`)
}

function archivedOf(item: Item): Archived {
  const why = erasedOf(item)
  return {
    ...readSummary(item),
    entries: numberOf(item, 'last'),
    ...(why ? { erased: why } : {}),
    ...(item.forgotten === true ? { forgotten: true } : {}),
  }
}

function erasedOf(item: Item): Erased | undefined {
  return item.erased === undefined ? undefined : erased.parse(item.erased)
}

function readSummary(item: Item): RunSummary {
  return runSummary.parse(item.summary)
}
