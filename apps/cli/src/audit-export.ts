import { createHash, type Hash } from 'node:crypto'
import { createWriteStream, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'
import {
  base64,
  formatProof,
  parseCheckpoint,
  parseNote,
  parseVerifier,
  type Signer,
  TILE_WIDTH,
  type Tile,
  TileLog,
  type TileStorage,
  tileWidth,
} from '@muster/audit'
import {
  entry,
  isId,
  type LedgerLeaf,
  ledgerLeaf,
  MusterError,
  RECORD_BOOK,
  type RedactCounts,
  type StoredEntry,
} from '@muster/protocol'
import type { Muster } from '@muster/sdk'
import { signManifest } from './audit-sign.ts'
import { overHttp } from './ledger-command.ts'
import { entriesOf } from './stored-journal.ts'

const FORMAT = 'muster-audit-export/1'
/** So many journals are fetched at a time. */
const AT_ONCE = 8
const PAGE = 200

/** What an export is about. Runs belong to a time by when they were created, which their ids say. */
export type Scope =
  | { kind: 'tenant' }
  | { kind: 'range'; since?: number; until?: number }
  | { kind: 'run'; run: string }

export interface Exported {
  to: string
  tenant: string
  runs: number
  entries: number
  files: number
  /** Of the manifest, which has those of all other files. */
  fingerprint: string
  /** Keys that the exporter's signature can be checked with; none where nobody signed. */
  exporterKeys: string[]
  /** SHA-256 of the verifier that lies in the export. */
  verifier: string
  /** Runs that the ledger has and the server has not any more. */
  missing: string[]
  /** Runs that were removed by a rule: so the server says, and its records. */
  expired: Expired[]
}

interface Expired {
  run: string
  at: number
  /** Place of the rule. */
  rule: string
}

/** A folder that is written once, with the hash of each file. */
class Folder {
  readonly hashes = new Map<string, string>()
  readonly #path: string

  /** @throws MusterError `config.invalid` where it has anything in it */
  constructor(path: string) {
    if (existsSync(path) && readdirSync(path).length > 0)
      throw new MusterError('config.invalid', `${path} is not empty: an export is written into a folder of its own`)
    mkdirSync(path, { recursive: true, mode: 0o700 })
    this.#path = path
  }

  /** Writes a file as its pieces come. */
  async write(
    name: string,
    pieces: Iterable<string | Uint8Array> | AsyncIterable<string | Uint8Array>,
  ): Promise<string> {
    const file = join(this.#path, name)
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
    const hash = createHash('sha256')
    await pipeline(Readable.from(hashed(pieces, hash)), createWriteStream(file, { flags: 'wx', mode: 0o600 }))
    const digest = hash.digest('hex')
    this.hashes.set(name, digest)
    return digest
  }

  read(name: string): Promise<Uint8Array> {
    return readFile(join(this.#path, name))
  }
}

async function* hashed(
  pieces: Iterable<string | Uint8Array> | AsyncIterable<string | Uint8Array>,
  hash: Hash,
): AsyncGenerator<string | Uint8Array> {
  for await (const piece of pieces) {
    hash.update(piece)
    yield piece
  }
}

/** Tiles as the server has them; each that is read is in the export from then on. */
function copiedTiles(folder: Folder, server: TileStorage): TileStorage {
  const underWay = new Map<string, Promise<Uint8Array | undefined>>()
  const copy = async (path: string) => {
    const bytes = await server.read(path)
    if (bytes) await folder.write(path, [bytes])
    return bytes
  }
  return {
    async read(path) {
      const copying = underWay.get(path)
      if (copying) return copying
      if (folder.hashes.has(path)) return folder.read(path)
      const begun = copy(path).finally(() => underWay.delete(path))
      underWay.set(path, begun)
      return begun
    },
    write: () => Promise.reject(new Error('it is only read')),
  }
}

/** What the manifest says of the journals together. */
interface Counts {
  runs: number
  entries: number
  records: number
  erased: number
  redacted: RedactCounts
  sets: Set<string>
}

/** Told where it is by now. */
export type Progress = (line: string) => void

/**
 * Writes what proves the runs that it is about, as it stands now: journals, tiles, receipts, policies, keys, and the verifier.
 *
 * @param older checkpoints that are to be checked later: the tiles for that come along
 * @param keys of witnesses, which the server does not know
 * @param signers sign the manifest
 * @throws MusterError `config.invalid`, `ledger.off`, `ledger.not_sealed`, `run.not_found`
 */
export async function exportAudit(
  muster: Muster,
  options: {
    to: string
    scope: Scope
    keys: readonly string[]
    older: readonly string[]
    signers: readonly Signer[]
    progress: Progress
  },
): Promise<Exported> {
  const { scope, signers, progress } = options
  const older = options.older.map(sizeOfCheckpoint)
  for (const vkey of options.keys)
    if (!parseVerifier(vkey)) throw new MusterError('ledger.key_invalid', `${vkey} is no vkey`)
  // Of one run, its receipt says under which checkpoint.
  const receipt = scope.kind === 'run' ? await muster.ledger.receipt(scope.run) : undefined
  const head = receipt ? { ...receipt, size: sizeOf(receipt.checkpoint) } : await muster.ledger.head()
  const { size, origin, checkpoint } = head
  const folder = new Folder(options.to)
  await folder.write('checkpoint', [checkpoint])
  await folder.write(
    'keys',
    [...new Set([...head.keys, ...options.keys])].map((vkey) => `${vkey}\n`),
  )
  const log = new TileLog(copiedTiles(folder, overHttp(muster)))
  const counts: Counts = { runs: 0, entries: 0, records: 0, erased: 0, redacted: {}, sets: new Set() }
  const missing: string[] = []
  const unsealed: string[] = []

  if (receipt) {
    await log.root(size)
    await log.inclusion(receipt.index, size)
    const inclusion = receipt.inclusion.flatMap((hash) => base64(hash) ?? [])
    const proof = { index: receipt.index, inclusion, checkpoint, entry: Buffer.from(receipt.leaf) }
    await folder.write(`receipts/${receipt.run}`, [formatProof(proof)])
    await copyJournal(muster, folder, receipt.run, counts)
  } else {
    await copyTiles(log, size, progress)
    const sealed = await newestLeaves(log, size, scope)
    const copied = async (run: string) => {
      const isThere = await (run === RECORD_BOOK
        ? copyRecords(muster, folder, counts)
        : copyJournal(muster, folder, run, counts))
      if (counts.runs % 100 === 0) progress(`${counts.runs} runs, ${counts.entries} entries`)
      return isThere
    }
    const copySealed = async ([run, { index, leaf }]: [string, { index: number; leaf: Uint8Array }]) => {
      if (!(await copied(run))) {
        missing.push(run)
        return
      }
      const inclusion = await log.inclusion(index, size)
      await folder.write(`receipts/${run}`, [formatProof({ index, inclusion, checkpoint, entry: leaf })])
    }
    const copyUnsealed = async (run: string) => {
      if (await copied(run)) unsealed.push(run)
    }
    const book = sealed.get(RECORD_BOOK)
    await each(
      [...sealed].filter(([run]) => run !== RECORD_BOOK),
      copySealed,
    )
    await each(await runsOutside(muster, sealed, scope), copyUnsealed)
    // After the journals: it says why content is gone that was erased meanwhile.
    if (book) await copySealed([RECORD_BOOK, book])
    else await copyUnsealed(RECORD_BOOK)
  }
  for (const proven of older) if (proven <= size) await log.consistency(proven, size)

  await copyPolicies(muster, folder, counts.sets)
  const verifier = await folder.write('verify.mjs', [
    await readFile(fileURLToPath(import.meta.resolve('@muster/verify'))),
  ])
  const tenant = decodeURIComponent(origin.slice(origin.lastIndexOf('/') + 1))
  const { gone, expired } = await whyMissing(muster, missing)
  const { runs, entries, records, erased, redacted } = counts
  const budgets = (await muster.budgets.list()).map(({ name, period, limits }) => ({ name, period, limits }))
  const manifest = {
    ...{ format: FORMAT, exportedAt: new Date().toISOString(), tenant, origin, size, scope },
    ...{ runs, entries, records, erased, redacted, unsealed: unsealed.sort(), missing: gone.sort(), budgets },
    files: Object.fromEntries([...folder.hashes].sort(([a], [b]) => (a < b ? -1 : 1))),
  }
  const text = `${JSON.stringify(manifest, null, 2)}\n`
  const fingerprint = createHash('sha256').update(text).digest('hex')
  const signed = await signManifest({ format: FORMAT, origin, fingerprint }, signers)
  // Last, so that an export that broke off has none.
  await folder.write('manifest.json', [text])
  await folder.write('manifest.sha256', [`${fingerprint}  manifest.json\n`])
  if (signers.length > 0) await folder.write('manifest.sig', [signed.note])
  const files = folder.hashes.size
  return {
    ...{ to: options.to, tenant, runs, entries, files, fingerprint, exporterKeys: signed.vkeys, verifier },
    ...{ missing: gone, expired },
  }
}

/** Parts runs that expired from those of which nobody knows why they are not there. */
async function whyMissing(muster: Muster, missing: readonly string[]): Promise<{ gone: string[]; expired: Expired[] }> {
  const gone = new Set(missing)
  const expired: Expired[] = []
  if (gone.size > 0)
    for await (const { run, erased } of muster.audit.removed())
      if (gone.delete(run)) expired.push({ run, at: erased.at, rule: erased.id ?? '' })
  return { gone: [...gone], expired }
}

function sizeOfCheckpoint(file: string): number {
  try {
    return sizeOf(readFileSync(file, 'utf8'))
  } catch (cause) {
    if (cause instanceof MusterError) throw cause
    throw new MusterError('config.invalid', `${file} cannot be read`, { cause })
  }
}

function sizeOf(checkpoint: string): number {
  const size = parseCheckpoint(parseNote(checkpoint)?.text ?? '')?.size
  if (size === undefined) throw new MusterError('ledger.corrupt', 'A checkpoint cannot be read')
  return size
}

/** Every tile and bundle of the tree. */
async function copyTiles(log: TileLog, size: number, progress: Progress): Promise<void> {
  const copyLevel = async (level: Tile['level']) => {
    for (let index = 0; tileWidth(level, index, size) > 0; index++) {
      await log.tile({ level, index, width: tileWidth(level, index, size) })
      if (index % 100 === 99) progress(`${index + 1} tiles of level ${level}`)
    }
  }
  await copyLevel('entries')
  for (let level = 0; tileWidth(level, 0, size) > 0; level++) await copyLevel(level)
}

/** The newest leaf of each run that the export is about. */
async function newestLeaves(
  log: TileLog,
  size: number,
  scope: Scope,
): Promise<Map<string, { index: number; leaf: Uint8Array }>> {
  const newest = new Map<string, { index: number; leaf: Uint8Array }>()
  for (let bundle = 0; bundle * TILE_WIDTH < size; bundle++) {
    for (const [i, bytes] of (await log.entries(bundle, size)).entries()) {
      const leaf = readLeaf(bytes)
      // A copy: the bundle that it is in need not be kept.
      if (leaf && isInScope(scope, leaf.run))
        newest.set(leaf.run, { index: bundle * TILE_WIDTH + i, leaf: Uint8Array.from(bytes) })
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

/** When a run was created, ms: its id begins with it. */
function createdAt(run: string): number {
  return Number.parseInt(run.slice(0, 8) + run.slice(9, 13), 16)
}

function isInScope(scope: Scope, run: string): boolean {
  if (scope.kind === 'run') return scope.run === run
  if (scope.kind === 'tenant' || run === RECORD_BOOK) return true
  return isId(run) && createdAt(run) >= (scope.since ?? 0) && createdAt(run) < (scope.until ?? Number.POSITIVE_INFINITY)
}

/** Runs that have no leaf yet, or none ever. */
async function runsOutside(muster: Muster, sealed: ReadonlyMap<string, unknown>, scope: Scope): Promise<string[]> {
  const found: string[] = []
  for (let cursor: string | undefined; ; ) {
    const page = await muster.runs.list({ limit: PAGE, ...(cursor === undefined ? {} : { cursor }) })
    for (const { id } of page.runs) if (!sealed.has(id) && isInScope(scope, id)) found.push(id)
    cursor = page.cursor
    const oldest = page.runs.at(-1)
    const isPast = oldest && scope.kind === 'range' && createdAt(oldest.id) < (scope.since ?? 0)
    if (cursor === undefined || isPast) return found
  }
}

/** Does it for each, a few at a time. */
async function each<T>(all: Iterable<T>, what: (one: T) => Promise<void>): Promise<void> {
  const rest = all[Symbol.iterator]()
  const next = async (): Promise<void> => {
    for (let one = rest.next(); !one.done; one = rest.next()) await what(one.value)
  }
  await Promise.all(Array.from({ length: AT_ONCE }, next))
}

/** Copies a run's journal as it is stored; false where the server has none. */
async function copyJournal(muster: Muster, folder: Folder, run: string, counts: Counts): Promise<boolean> {
  let response: Response
  try {
    response = await muster.open('GET', `/v1/runs/${encodeURIComponent(run)}/journal`)
  } catch (error) {
    if (error instanceof MusterError && error.code === 'run.not_found') return false
    throw error
  }
  await folder.write(`runs/${run}.jsonl`, linesOf(response, counts))
  counts.runs++
  return true
}

/** Copies the record book as it is stored; false where it is empty. */
async function copyRecords(muster: Muster, folder: Folder, counts: Counts): Promise<boolean> {
  const stored = entriesOf(await muster.open('GET', '/v1/audit/records/stored'))
  const first = await stored.next()
  if (first.done) return false
  const lines = async function* () {
    for (let one: IteratorResult<StoredEntry> = first; !one.done; one = await stored.next()) {
      counts.records++
      yield `${JSON.stringify(one.value)}\n`
    }
  }
  await folder.write(`${RECORD_BOOK}.jsonl`, lines())
  return true
}

async function* linesOf(response: Response, counts: Counts): AsyncGenerator<string> {
  for await (const stored of entriesOf(response)) {
    const { seq, hash, bytes, content } = stored
    count(stored, counts)
    yield `${JSON.stringify({ seq, hash, bytes, ...(content === undefined ? {} : { content }) })}\n`
  }
}

function count({ bytes, content }: StoredEntry, counts: Counts): void {
  counts.entries++
  const parsed = readEntry(bytes)
  if (!parsed) return
  if (parsed.content !== undefined && content === undefined) counts.erased++
  const redacted = 'redacted' in parsed ? parsed.redacted : undefined
  for (const [kind, times] of Object.entries(redacted ?? {}))
    counts.redacted[kind] = (counts.redacted[kind] ?? 0) + times
  const set = 'decision' in parsed ? parsed.decision?.set : undefined
  if (set) counts.sets.add(set)
}

function readEntry(bytes: string) {
  try {
    return entry.safeParse(JSON.parse(bytes)).data
  } catch {
    return undefined
  }
}

/** Those that decisions name, as workers published them. */
async function copyPolicies(muster: Muster, folder: Folder, sets: ReadonlySet<string>): Promise<void> {
  for (const hash of sets) {
    try {
      await folder.write(`policies/${hash}.json`, [`${JSON.stringify(await muster.policies.get(hash), null, 2)}\n`])
    } catch (error) {
      if (!(error instanceof MusterError && error.code === 'policy.not_found')) throw error
    }
  }
}
