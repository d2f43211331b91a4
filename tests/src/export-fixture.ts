import { createHash, createPrivateKey, createPublicKey, randomUUID, sign } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import {
  checkpointText,
  contentDigest,
  cosign,
  emptyRoot,
  formatNote,
  formatProof,
  genesis,
  link,
  newVerifier,
  type Signer,
  signNote,
  TileLog,
} from '@muster/audit'
import { RECORD_BOOK, type StoredEntry } from '@muster/protocol'

export const origin = 'log.example/acme'

/** A run as it is made up for a test. */
export interface MadeRun {
  id: string
  entries: StoredEntry[]
  /** Entries after which its head enters the ledger. */
  sealedAt: number[]
}

/** What precedes the 32 bytes of an Ed25519 key in PKCS #8. */
const PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex')

/** The same key for the same seed. */
export function newSigner(seed: string = randomUUID()): Signer {
  const secret = createHash('sha256').update(seed).digest()
  const privateKey = createPrivateKey({ key: Buffer.concat([PKCS8, secret]), format: 'der', type: 'pkcs8' })
  return {
    publicKey: Buffer.from(createPublicKey(privateKey).export({ format: 'jwk' }).x ?? '', 'base64url'),
    sign: async (message) => sign(null, message, privateKey),
  }
}

const madeRuns = new Map<string, MadeRun>()

/** The same run for the same number: its id says that it was created at that second. */
export function makeRun(number: number, steps = 3): MadeRun {
  const made = madeRuns.get(`${number} ${steps}`) ?? newRun(number, steps)
  madeRuns.set(`${number} ${steps}`, made)
  return made
}

function newRun(number: number, steps: number): MadeRun {
  const time = (number * 1000).toString(16).padStart(12, '0')
  const tail = createHash('sha256').update(String(number)).digest('hex')
  const id = `${time.slice(0, 8)}-${time.slice(8)}-7${tail.slice(0, 3)}-8${tail.slice(3, 6)}-${tail.slice(6, 18)}`
  const subject = { kind: 'tool', target: 'world.write', attempt: 1, labels: [] }
  const decision = { effect: 'allow', policies: ['all'], set: 'a'.repeat(64) }
  const entries: object[] = [{ type: 'run.created', run: id, tenant: 'acme', redacted: { email: 2 } }]
  for (let step = 0; step < steps; step++) {
    entries.push({ type: 'step.intent', step: `s${step}`, ...subject, effect: 'write', idempotencyKey: 'k', decision })
    entries.push({ type: 'step.ended', step: `s${step}`, ...subject, status: 'ok', durationMs: 1 })
  }
  entries.push({ type: 'run.ended', status: 'succeeded', labels: [], steps })
  return { id, entries: chainOf(id, entries), sealedAt: [2, entries.length] }
}

/** A record book in place of a run. */
export function makeBook(records: readonly object[]): MadeRun {
  let hash = genesis(RECORD_BOOK)
  const by = { key: 'k', user: 'ann' }
  const entries = records.map((record, i) => {
    const bytes = JSON.stringify({ v: 1, seq: i + 1, tenant: 'acme', at: 1_000 + i, by, ...record })
    hash = link(hash, bytes)
    return { seq: i + 1, hash, bytes }
  })
  return { id: RECORD_BOOK, entries, sealedAt: [entries.length] }
}

/** Entries with a chain that holds, and content beside every other one. */
export function chainOf(run: string, entries: readonly object[], text = 'ä\u{fffd}漢'): StoredEntry[] {
  let hash = genesis(run)
  return entries.map((one, i) => {
    const salt = sha256(`${run} ${i}`).slice(0, 22)
    const content = i % 2 === 0 ? salt + JSON.stringify({ i, text }) : undefined
    const digest = content === undefined ? {} : { content: contentDigest(content) }
    const bytes = JSON.stringify({ v: 1, seq: i + 1, at: 1_000 + i, ...one, ...digest })
    hash = link(hash, bytes)
    return { seq: i + 1, hash, bytes, ...(content === undefined ? {} : { content }) }
  })
}

export interface Made {
  /** More leaves than those of the runs: of runs that are not exported, since they are older. */
  others?: number | undefined
  signer: Signer
  witness?: Signer
  /** Signs the manifest. */
  exporter?: Signer
  /** Where the export is of one run. */
  only?: string | undefined
  /** Runs that the ledger has, in place of `runs`: an export by someone who changed them later. */
  sealed?: readonly MadeRun[] | undefined
}

/** The files of an export, by their names. */
export type Files = Map<string, Uint8Array>

/** Writes an export as `muster audit export` does, without a deployment. */
export async function writeExport(folder: string, runs: readonly MadeRun[], made: Made): Promise<void> {
  rmSync(folder, { recursive: true, force: true })
  for (const [name, bytes] of await makeExport(runs, made)) writeFile(folder, name, bytes)
}

export async function makeExport(runs: readonly MadeRun[], made: Made): Promise<Files> {
  const files: Files = new Map()
  const put = (name: string, text: string | Uint8Array) => files.set(name, Buffer.from(text))
  const tiles = new Map<string, Uint8Array>()
  const read = new Set<string>()
  const log = new TileLog({
    read: async (path) => {
      read.add(path)
      return tiles.get(path)
    },
    async write(files) {
      for (const { path, bytes } of files) tiles.set(path, bytes)
    },
  })
  const sealed = made.sealed ?? runs
  const others = Array.from({ length: made.others ?? 0 }, (_, i) => makeRun(i + 1, 0))
  const leaves = [...others.map((run) => ({ run, seq: 2 })), ...interleaved(sealed)].map(({ run, seq }) => ({
    ...{ run: run.id, seq },
    bytes: Buffer.from(leafText(run, seq)),
  }))
  const tree = await log.append(
    { size: 0, root: emptyRoot },
    leaves.map(({ bytes }) => bytes),
  )
  const text = checkpointText({ origin, ...tree })
  const signatures = [await signNote(text, origin, made.signer)]
  const keys = [newVerifier(origin, made.signer.publicKey).vkey]
  if (made.witness) {
    signatures.push(await cosign(text, 'witness.example', made.witness, 1_700_000_000))
    keys.push(newVerifier('witness.example', made.witness.publicKey, 'cosignature/v1').vkey)
  }
  const checkpoint = formatNote({ text, signatures })
  put('checkpoint', checkpoint)
  put('keys', keys.map((vkey) => `${vkey}\n`).join(''))
  put(`policies/${'a'.repeat(64)}.json`, '{}\n')
  // Partial tiles that wider ones took the place of are no part of it.
  const size = tree.size
  for (const [path, bytes] of tiles) if (isOfTree(path, size)) put(path, bytes)
  const counts = { runs: 0, entries: 0, records: 0, erased: 0, redacted: {} as { email?: number } }
  for (const { id, entries } of runs) {
    if (made.only !== undefined && made.only !== id) continue
    if (id === RECORD_BOOK) counts.records += entries.length
    else {
      counts.runs++
      counts.entries += entries.length
      counts.redacted.email = (counts.redacted.email ?? 0) + 2
      const withDigest = entries.filter(({ bytes }) => bytes.includes('"content"'))
      counts.erased += withDigest.filter(({ content }) => content === undefined).length
    }
    put(
      id === RECORD_BOOK ? 'records.jsonl' : `runs/${id}.jsonl`,
      entries.map((entry) => `${JSON.stringify(entry)}\n`).join(''),
    )
    const index = leaves.findLastIndex(({ run }) => run === id)
    const entry = leaves[index]?.bytes
    if (entry)
      put(`receipts/${id}`, formatProof({ index, inclusion: await log.inclusion(index, size), checkpoint, entry }))
  }
  const range = made.others === undefined ? { kind: 'tenant' } : { kind: 'range', since: (made.others + 1) * 1000 }
  const scope = made.only === undefined ? range : { kind: 'run', run: made.only }
  if (made.only !== undefined) {
    read.clear()
    await log.root(size)
    await log.inclusion(
      leaves.findLastIndex(({ run }) => run === made.only),
      size,
    )
    for (const name of [...files.keys()]) if (name.startsWith('tile/') && !read.has(name)) files.delete(name)
  }
  const unsealed = runs.flatMap(({ id }) => (leaves.some(({ run }) => run === id) ? [] : [id]))
  const head = { format: 'muster-audit-export/1', exportedAt: '2026-11-28T00:00:00.000Z', tenant: 'acme' }
  sealFiles(files, { ...head, origin, size, scope, ...counts, unsealed, missing: [] })
  if (made.exporter) files.set('manifest.sig', await signatureOf(files, made.exporter))
  return files
}

/** A signature of the manifest as it is. */
async function signatureOf(files: Files, exporter: Signer): Promise<Uint8Array> {
  const name = `${origin}/exports`
  const hash = sha256(files.get('manifest.json') ?? '')
  const text = `${name}\nmuster-audit-export/1\n${hash}\n`
  return Buffer.from(formatNote({ text, signatures: [await signNote(text, name, exporter)] }))
}

function isOfTree(path: string, size: number): boolean {
  const [, level = '0', index = '0', width = '256'] = /^tile\/(\w+)\/(\d{3})(?:\.p\/(\d+))?$/.exec(path) ?? []
  const count = Math.floor(size / 256 ** (level === 'entries' ? 0 : Number(level)))
  return Number(width) === Math.min(256, count - Number(index) * 256)
}

/** Leaves in the order in which runs that go on side by side leave them. */
function interleaved(runs: readonly MadeRun[]): { run: MadeRun; seq: number }[] {
  const rounds = Math.max(0, ...runs.map(({ sealedAt }) => sealedAt.length))
  return Array.from({ length: rounds }).flatMap((_, round) =>
    runs.flatMap((run) => (run.sealedAt[round] === undefined ? [] : [{ run, seq: run.sealedAt[round] }])),
  )
}

function leafText({ id, entries }: MadeRun, seq: number): string {
  const state = seq === entries.length && id !== RECORD_BOOK ? 'ended' : 'running'
  return JSON.stringify({ v: 1, run: id, seq, head: entries[seq - 1]?.hash, at: 5_000 + seq, state })
}

export function writeFile(folder: string, name: string, bytes: string | Uint8Array): void {
  mkdirSync(dirname(join(folder, name)), { recursive: true })
  writeFileSync(join(folder, name), bytes)
}

export function filesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort()
}

/** Writes a manifest for what the folder has: so does who changes an export and wants nobody to see it. */
export function sealFolder(folder: string, manifest: object = readManifest(folder)): void {
  const files: Files = new Map(filesIn(folder).map((name) => [name, readFileSync(join(folder, name))]))
  sealFiles(files, manifest)
  for (const name of ['manifest.json', 'manifest.sha256']) writeFile(folder, name, files.get(name) ?? '')
}

export function sealFiles(all: Files, manifest: object): void {
  const names = [...all.keys()].filter((name) => !name.startsWith('manifest.')).sort()
  const files = Object.fromEntries(names.map((name) => [name, sha256(all.get(name) ?? '')]))
  const text = Buffer.from(`${JSON.stringify({ ...manifest, files }, null, 2)}\n`)
  all.set('manifest.json', text)
  all.set('manifest.sha256', Buffer.from(`${sha256(text)}  manifest.json\n`))
}

export function readManifest(folder: string): Record<string, unknown> {
  return JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8'))
}

function sha256(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex')
}

export function newFolder(): string {
  return mkdtempSync(join(tmpdir(), 'muster-export-'))
}
