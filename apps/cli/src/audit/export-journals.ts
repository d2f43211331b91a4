import { setTimeout } from 'node:timers/promises'
import { TILE_WIDTH, TileLog } from '@muster/audit'
import {
  type AuditRecord,
  auditRecord,
  entry,
  isId,
  joinCounts,
  type LedgerHead,
  type LedgerLeaf,
  ledgerLeaf,
  MusterError,
  RECORD_BOOK,
  type RedactCounts,
  type StoredEntry,
  timeOf,
} from '@muster/protocol'
import type { Muster } from '@muster/sdk'
import { overHttp } from '../ledger/ledger-command.ts'
import { entriesOf } from '../replay/stored-journal.ts'
import { jsonOf } from './export-files.ts'
import type { Folder } from './export-folder.ts'
import { type AppSaid, copyPolicies, recordOfApps } from './export-policies.ts'

/** What of a journal was copied, which the manifest counts. */
interface Copied {
  entries: number
  erased: number
  redacted: RedactCounts
  subject?: string
}

/** The record book as it was copied. */
interface CopiedBook {
  records: number
  /** Runs that were removed by a rule, and the record that says so. */
  expired: Map<string, number>
  /** The last record that says that content was taken away, by run, subject or tenant. */
  erased: Map<string, number>
  /** By policy sets. */
  apps: Map<string, AppSaid[]>
}

interface Newest {
  index: number
  leaf: Uint8Array
  seq: number
}

/** So many journals are fetched at a time. */
const AT_ONCE = 8
const PAGE = 200

/** What an export is about. Runs belong to a time by when they were created, which their ids say. */
export type Scope =
  | { kind: 'tenant' }
  | { kind: 'range'; since?: number; until?: number }
  | { kind: 'run'; run: string }

/** Told where it is by now. */
export type Progress = (line: string) => void

type Head = Pick<LedgerHead, 'size' | 'origin' | 'checkpoint' | 'keys'>

interface CopiedRuns {
  /** Under which the newest leaves are. */
  head: Head
  sealed: Map<string, Newest>
  journals: Map<string, Copied>
  book: CopiedBook | undefined
  /** Runs that the ledger has and the server has not. */
  missing: string[]
  sets: Set<string>
}

/** @throws MusterError `run.not_found` where it was removed since its receipt was given */
export async function copyRun(muster: Muster, folder: Folder, run: string, head: Head): Promise<CopiedRuns> {
  const sets = new Set<string>()
  const copied = await copyJournal(muster, folder, run, sets)
  if (!copied) throw new MusterError('run.not_found', `The run ${run} was removed while it was exported`)
  return { head, sealed: new Map(), journals: new Map([[run, copied]]), book: undefined, missing: [], sets }
}

/**
 * Copies the journals that the export is about, and the record book after them: it says why content is gone, and why runs
 * are. It is believed only where the ledger has the record; so where that is too new, the export is under a later
 * checkpoint, and what has gone on until then is copied again.
 *
 * @throws MusterError `ledger.not_sealed` where the ledger does not come to have such a record
 */
export async function copyAll(
  muster: Muster,
  { folder, scope, progress, head }: { folder: Folder; scope: Scope; progress: Progress; head: Head },
): Promise<CopiedRuns> {
  const log = new TileLog(overHttp(muster))
  const all: CopiedRuns = {
    head,
    sealed: new Map(),
    journals: new Map(),
    book: undefined,
    missing: [],
    sets: new Set(),
  }
  const { sealed, journals } = all
  const missing = new Set<string>()
  const copy = async (run: string) => {
    const copied = await copyJournal(muster, folder, run, all.sets)
    if (copied) journals.set(run, copied)
    else if (journals.delete(run)) await folder.remove(fileOf(run))
    if (!copied && sealed.has(run)) missing.add(run)
    if (journals.size % 100 === 0) progress(`${journals.size} runs`)
  }
  for (let before = 0; ; before = all.head.size, all.head = await muster.ledger.head()) {
    for (const [run, leaf] of await newestLeaves(log, before, all.head.size, scope)) sealed.set(run, leaf)
    const isBehind = ([run, { seq }]: [string, Newest]) =>
      run !== RECORD_BOOK && !missing.has(run) && seq > (journals.get(run)?.entries ?? 0)
    await each([...sealed].filter(isBehind), ([run]) => copy(run))
    if (before === 0) await each(await runsOutside(muster, sealed, scope), copy)
    const inLedger = sealed.get(RECORD_BOOK)?.seq ?? 0
    const { book, record } = await copyBook(muster, { folder, sets: all.sets, inLedger })
    all.book = book
    const gone = [...missing].map((run) => book?.expired.get(run) ?? 0)
    const emptied = [...journals].map(([run, copied]) => recordOfErased(run, copied, book))
    const said = [...gone, ...emptied].reduce((last, seq) => Math.max(last, seq), record)
    if (said <= inLedger) return { ...all, missing: [...missing] }
    progress('waiting for the ledger to have the record of what is gone, or of the app beside a policy set')
    await untilSealed(muster, said)
  }
}

/** So often it is asked again which app an archive has, for which a worker has yet to put there what it said. */
const ASKED_MAX = 10

/** Copies the policy sets and the book after them, and gives the record of those sets that the ledger must have. */
async function copyBook(
  muster: Muster,
  { folder, sets, inLedger }: { folder: Folder; sets: ReadonlySet<string>; inLedger: number },
): Promise<{ book: CopiedBook | undefined; record: number }> {
  for (let asked = 1; ; asked++) {
    const apps = await copyPolicies(muster, folder, sets)
    const book = await copyRecords(muster, folder)
    const record = recordOfApps(apps, book?.apps ?? new Map(), inLedger)
    // What nobody has said then is for the verifier to tell of.
    if (record !== undefined || asked === ASKED_MAX) return { book, record: record ?? 0 }
    await setTimeout(LOOK_MS)
  }
}

/** So long a record is waited for, ms, and looked for so often. */
const SEALED_WITHIN_MS = 120_000
const LOOK_MS = 500

function unlessNotSealed(error: unknown): undefined {
  if (!(error instanceof MusterError && error.code === 'ledger.not_sealed')) throw error
}

async function untilSealed(muster: Muster, record: number): Promise<void> {
  for (let waited = 0; waited < SEALED_WITHIN_MS; waited += LOOK_MS) {
    const receipt = await muster.ledger.receipt(RECORD_BOOK).catch(unlessNotSealed)
    if (receipt && (readLeaf(Buffer.from(receipt.leaf))?.seq ?? 0) >= record) return
    await setTimeout(LOOK_MS)
  }
  throw new MusterError('ledger.not_sealed', `The ledger has not record ${record} of what is gone`)
}

/** The newest leaf of each run that the export is about, of those from the leaf `from` on. */
async function newestLeaves(log: TileLog, from: number, size: number, scope: Scope): Promise<Map<string, Newest>> {
  const newest = new Map<string, Newest>()
  for (let bundle = Math.floor(from / TILE_WIDTH); bundle * TILE_WIDTH < size; bundle++) {
    for (const [i, bytes] of (await log.entries(bundle, size)).entries()) {
      const leaf = readLeaf(bytes)
      // A copy: the bundle that it is in need not be kept.
      if (leaf && isInScope(scope, leaf.run))
        newest.set(leaf.run, { index: bundle * TILE_WIDTH + i, leaf: Uint8Array.from(bytes), seq: leaf.seq })
    }
  }
  return newest
}

/** What says nothing is exported as it is: to tell of it is for who verifies. */
function readLeaf(bytes: Uint8Array): LedgerLeaf | undefined {
  try {
    return ledgerLeaf.parse(JSON.parse(Buffer.from(bytes).toString()))
  } catch {
    return undefined
  }
}

export function fileOf(run: string): string {
  return run === RECORD_BOOK ? 'records.jsonl' : `runs/${run}.jsonl`
}

function isInScope(scope: Scope, run: string): boolean {
  if (scope.kind === 'run') return scope.run === run
  if (scope.kind === 'tenant' || run === RECORD_BOOK) return true
  return isId(run) && timeOf(run) >= (scope.since ?? 0) && timeOf(run) < (scope.until ?? Number.POSITIVE_INFINITY)
}

/** Runs that have no leaf yet, or none ever. */
async function runsOutside(muster: Muster, sealed: ReadonlyMap<string, unknown>, scope: Scope): Promise<string[]> {
  const found: string[] = []
  for (let cursor: string | undefined; ; ) {
    const page = await muster.runs.list({ limit: PAGE, ...(cursor === undefined ? {} : { cursor }) })
    for (const { id } of page.runs) if (!sealed.has(id) && isInScope(scope, id)) found.push(id)
    cursor = page.cursor
    const oldest = page.runs.at(-1)
    const isPast = oldest && scope.kind === 'range' && timeOf(oldest.id) < (scope.since ?? 0)
    if (cursor === undefined || isPast) return found
  }
}

/** Does it for each, a few at a time. */
export async function each<T>(all: Iterable<T>, what: (one: T) => Promise<void>): Promise<void> {
  const rest = all[Symbol.iterator]()
  const next = async (): Promise<void> => {
    for (let one = rest.next(); !one.done; one = rest.next()) await what(one.value)
  }
  await Promise.all(Array.from({ length: AT_ONCE }, next))
}

/** Copies a run's journal as it is stored; undefined where the server has none. */
async function copyJournal(
  muster: Muster,
  folder: Folder,
  run: string,
  sets: Set<string>,
): Promise<Copied | undefined> {
  let response: Response
  try {
    response = await muster.open('GET', `/v1/runs/${encodeURIComponent(run)}/journal`)
  } catch (error) {
    if (error instanceof MusterError && error.code === 'run.not_found') return undefined
    throw error
  }
  const copied: Copied = { entries: 0, erased: 0, redacted: {} }
  await folder.write(fileOf(run), linesOf(response, copied, sets))
  return copied
}

/** Copies the record book as it is stored; undefined where it is empty. */
async function copyRecords(muster: Muster, folder: Folder): Promise<CopiedBook | undefined> {
  const stored = entriesOf(await muster.open('GET', '/v1/audit/records/stored'))
  const first = await stored.next()
  if (first.done) return undefined
  const book: CopiedBook = { records: 0, expired: new Map(), erased: new Map(), apps: new Map() }
  const lines = async function* () {
    for (let one: IteratorResult<StoredEntry> = first; !one.done; one = await stored.next()) {
      book.records++
      const { seq, bytes } = one.value
      const { runs, emptied } = goneIn(bytes)
      for (const run of runs) if (!book.expired.has(run)) book.expired.set(run, seq)
      for (const what of emptied) book.erased.set(what, seq)
      const { set, app } = usedIn(bytes)
      if (typeof set === 'string') book.apps.set(set, [...(book.apps.get(set) ?? []), { seq, app }])
      yield `${JSON.stringify(one.value)}\n`
    }
  }
  await folder.write(fileOf(RECORD_BOOK), lines())
  return book
}

/** What a record says is gone: whole runs, or content of runs, of a subject or of the tenant. */
function goneIn(record: string): { runs: string[]; emptied: string[] } {
  const none = { runs: [], emptied: [] }
  if (!record.includes('"retention.expired"') && !record.includes('"erasure.requested"')) return none
  const { action, about = {} } = auditRecord.safeParse(jsonOf(record)).data ?? {}
  if (action === 'retention.expired') {
    const runs = Object.keys(about.runs ?? {})
    if (about.what === 'run') return { runs, emptied: [] }
    return about.what === 'content' ? { runs: [], emptied: runs } : none
  }
  if (action !== 'erasure.requested') return none
  const { run, subject, tenant } = about
  const emptied = [
    ...(typeof run === 'string' ? [run] : []),
    ...(typeof subject === 'string' ? [subjectOf(subject)] : []),
    ...(tenant === true ? [TENANT] : []),
  ]
  return { runs: [], emptied }
}

const TENANT = 'tenant'
const subjectOf = (subject: string): string => `subject ${subject}`

/** The record that the ledger must have so that it is believed that content of a run was erased; 0 where it needs none. */
function recordOfErased(run: string, { erased, subject = '' }: Copied, book: CopiedBook | undefined): number {
  if (erased === 0 || !book) return 0
  return Math.max(...[run, subjectOf(subject), TENANT].map((what) => book.erased.get(what) ?? 0))
}

/** What a record says that a worker decides by. */
function usedIn(record: string): AuditRecord['about'] {
  if (!record.includes('"policy.used"')) return {}
  const { action, about = {} } = auditRecord.safeParse(jsonOf(record)).data ?? {}
  return action === 'policy.used' ? about : {}
}

async function* linesOf(response: Response, copied: Copied, sets: Set<string>): AsyncGenerator<string> {
  for await (const stored of entriesOf(response)) {
    const { seq, hash, bytes, content } = stored
    count(stored, copied, sets)
    yield `${JSON.stringify({ seq, hash, bytes, ...(content === undefined ? {} : { content }) })}\n`
  }
}

function count({ bytes, content }: StoredEntry, copied: Copied, sets: Set<string>): void {
  copied.entries++
  const { data } = entry.safeParse(jsonOf(bytes))
  if (!data) return
  if (data.content !== undefined && content === undefined) copied.erased++
  if (data.type === 'run.created' && data.subject !== undefined) copied.subject = data.subject
  if ('redacted' in data) copied.redacted = joinCounts(copied.redacted, data.redacted) ?? {}
  const set = 'decision' in data ? data.decision?.set : undefined
  if (set) sets.add(set)
}
