import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import {
  base64,
  formatProof,
  HASH_LENGTH,
  leafHash,
  newVerifier,
  type OpenCheckpoint,
  openCheckpoint,
  parseVerifier,
  sameHash,
  TILE_WIDTH,
  TileLog,
  type TileStorage,
  type Verifier,
  verifyConsistency,
  verifyProof,
} from '@muster/audit'
import { type Config, type LedgerHead, type LedgerLeaf, ledgerLeaf, MusterError } from '@muster/protocol'
import type { Muster } from '@muster/sdk'
import type { Shelf } from '@muster/worker'
import { newLedgerKey, originOf, readLedgerKeys } from '@muster/worker/settings'
import pc from 'picocolors'
import { addKey } from '../key-file.ts'
import { dateOf, plain, print } from '../output.ts'
import { verifyRun } from './verify-command.ts'

/** Checkpoints that were seen, by the ledger's name: what it was then it must still begin with. */
const SEEN = 'ledger-seen.json'

/** Twice as long as sealers let heads wait, unless they are told otherwise. */
const SEALED_WITHIN_MS = 10_000
const ASK_EVERY_MS = 250

type Seen = Record<string, { size: number; root: string }>

/** `muster ledger`: checks the checkpoint, and that the ledger begins with what was seen of it before. */
export async function ledgerCommand(
  muster: Muster,
  config: Config,
  { json, key }: { json: boolean; key: string[] },
): Promise<number> {
  const head = await muster.ledger.head()
  const checkpoint = openCheckpoint(head.checkpoint, head.origin, keysOf(key, head.keys))
  const file = join(config.MUSTER_HOME, SEEN)
  const seen: Seen = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {}
  const before = seen[head.origin]
  const grew = checkpoint !== undefined && (await onlyGrew(muster, before, checkpoint))
  if (checkpoint && grew) {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
    const now = { size: checkpoint.size, root: Buffer.from(checkpoint.root).toString('base64') }
    writeFileSync(file, `${JSON.stringify({ ...seen, [head.origin]: now }, null, 2)}\n`, { mode: 0o600 })
  }
  const ok = checkpoint !== undefined && grew
  if (json) print({ ok, ...head, ...(before ? { before } : {}) })
  else if (ok) {
    const since = before ? `, as ${before.size} were when it was seen last` : ''
    console.log(`${pc.green('ok')} ${plain(head.origin)}: ${head.size} leaves${since}`)
    for (const { vkey, at } of checkpoint.verified) console.log(pc.dim(`  ${plain(vkey)}${signedAt(at)}`))
  } else
    console.log(
      `${pc.red(checkpoint ? 'REWRITTEN' : 'NOT SIGNED')} ${plain(head.origin)}: ${
        checkpoint ? `it does not begin with the ${before?.size} leaves that were seen` : 'by none of the keys'
      }`,
    )
  return ok ? 0 : 1
}

function signedAt(at: number | undefined): string {
  return at === undefined ? '' : `, witnessed ${dateOf(at * 1000)}`
}

async function onlyGrew(
  muster: Muster,
  before: { size: number; root: string } | undefined,
  now: OpenCheckpoint,
): Promise<boolean> {
  if (!before) return true
  if (before.size > now.size) return false
  const { proof } = await muster.ledger.consistency(before.size, now.size)
  const old = { size: before.size, root: base64(before.root) ?? Buffer.of() }
  return verifyConsistency(old, now, proof.flatMap(hashOf))
}

/** `muster receipt`: checks all of it here, against the run's own journal; exits 0 when it holds, 1 when it does not. */
export async function receiptCommand(
  muster: Muster,
  run: string,
  { json, key, out }: { json: boolean; key: string[]; out?: string },
): Promise<number> {
  const { receipt, proof, checkpoint, leaf } = await awaitedReceipt(muster, run, key)
  const journal = leaf.run === run && (await verifyRun(muster, run, { head: leaf.head, entries: leaf.seq }))
  const ok = checkpoint !== undefined && journal !== false && journal.ok
  if (out !== undefined) writeFileSync(out, formatProof(proof))
  if (json) print({ ok, ...receipt, findings: journal === false ? [] : journal.findings })
  else if (ok) {
    const what = leaf.state === 'running' ? 'entries so far' : `entries, ${leaf.state}`
    console.log(`${pc.green('ok')} leaf ${receipt.index} of ${checkpoint.size}: ${leaf.seq} ${what}`)
    console.log(pc.dim(`  ${dateOf(leaf.at)}  ${plain(receipt.origin)}`))
  } else {
    console.log(`${pc.red('DOES NOT HOLD')} run ${run}`)
    if (!checkpoint) console.log('  its leaf is not proven to be in a checkpoint that a key of the ledger has signed')
    if (!journal) console.log('  the leaf is of another run')
    else for (const finding of journal.findings) console.log(`  entry ${finding.seq}: ${finding.message}`)
  }
  return ok ? 0 : 1
}

/** The receipt of a run that is to have one soon: a sealer may take some seconds. */
async function awaitedReceipt(muster: Muster, run: string, key: readonly string[]) {
  for (const end = performance.now() + SEALED_WITHIN_MS; ; ) {
    try {
      return await provenReceipt(muster, run, key)
    } catch (error) {
      if (!(error instanceof MusterError) || error.code !== 'ledger.not_sealed' || performance.now() > end) throw error
    }
    // Throws where there is no such run.
    await muster.runs.get(run)
    await new Promise((resolve) => setTimeout(resolve, ASK_EVERY_MS))
  }
}

/** A run's receipt, and the checkpoint that it is proven by; without one it proves nothing. */
export async function provenReceipt(muster: Muster, run: string, key: readonly string[]) {
  const receipt = await muster.ledger.receipt(run)
  const proof = { ...receipt, inclusion: receipt.inclusion.flatMap(hashOf), entry: Buffer.from(receipt.leaf) }
  const checkpoint = verifyProof(proof, proof.entry, receipt.origin, keysOf(key, receipt.keys))
  return { receipt, proof, checkpoint, leaf: readLeaf(receipt.leaf) }
}

function readLeaf(text: string): LedgerLeaf {
  try {
    return ledgerLeaf.parse(JSON.parse(text))
  } catch (cause) {
    throw new MusterError('ledger.corrupt', 'The leaf is none that a run leaves', { cause })
  }
}

/** `muster ledger check`: every leaf of the ledger, against the journals as they are; exits 0 when all are what they were. */
export async function ledgerCheckCommand(
  muster: Muster,
  { json, key }: { json: boolean; key: string[] },
): Promise<number> {
  const head = await muster.ledger.head()
  const checkpoint = openCheckpoint(head.checkpoint, head.origin, keysOf(key, head.keys))
  const log = new TileLog(overHttp(muster))
  const signed = checkpoint !== undefined && sameHash(await log.root(checkpoint.size), checkpoint.root)
  const wrong: { index: number; run: string; message: string }[] = []
  const expired = new Set<string>()
  for await (const { run } of muster.audit.removed()) expired.add(run)
  let index = 0
  for await (const leaf of leavesOf(log, signed ? checkpoint.size : 0)) {
    const message = expired.has(leaf.run) ? undefined : await differenceOf(muster, leaf)
    if (message !== undefined) wrong.push({ index, run: leaf.run, message })
    index++
  }
  const ok = signed && wrong.length === 0
  if (json) print({ ok, signed, origin: head.origin, size: head.size, wrong, expired: expired.size })
  else if (!signed)
    console.log(`${pc.red('NOT SIGNED')} ${plain(head.origin)}: its tiles are not those of its checkpoint`)
  else if (ok)
    console.log(
      `${pc.green('ok')} ${plain(head.origin)}: all ${head.size} leaves are as their runs are${expired.size === 0 ? '' : `; ${expired.size} runs have expired by rule`}`,
    )
  else {
    console.log(`${pc.red('ALTERED')} ${plain(head.origin)}: ${wrong.length} of ${head.size} leaves`)
    for (const { index, run, message } of wrong) console.log(`  leaf ${index}, run ${plain(run)}: ${message}`)
  }
  return ok ? 0 : 1
}

/** The leaves in their order, each proven by the tile that its bundle belongs to. */
async function* leavesOf(log: TileLog, size: number): AsyncGenerator<LedgerLeaf> {
  for (let bundle = 0; bundle * TILE_WIDTH < size; bundle++) {
    const entries = await log.entries(bundle, size)
    const hashes = await log.tile({ level: 0, index: bundle, width: entries.length })
    for (const [i, entry] of entries.entries()) {
      if (!sameHash(leafHash(entry), hashes.subarray(i * HASH_LENGTH, (i + 1) * HASH_LENGTH)))
        throw new MusterError('ledger.corrupt', `leaf ${bundle * TILE_WIDTH + i} is not what was hashed`)
      yield readLeaf(Buffer.from(entry).toString())
    }
  }
}

/** `muster ledger witness`: what witnesses keep of the ledger, against what it is now; exits 0 when it begins with all of it. */
export async function ledgerWitnessCommand(
  muster: Muster,
  config: Config,
  { json, key }: { json: boolean; key: string[] },
): Promise<number> {
  const { readShelves } = await import('@muster/worker')
  const shelves = await readShelves(config)
  if (shelves.length === 0)
    throw new MusterError('config.invalid', 'MUSTER_LEDGER_WITNESSES: no folder or bucket, which could be read')
  const head = await muster.ledger.head()
  const witnesses = await Promise.all(shelves.map((shelf) => compare(shelf, muster, head, keysOf(key, head.keys))))
  const ok = witnesses.every(({ kept, wrong }) => kept > 0 && wrong.length === 0)
  if (json) print({ ok, origin: head.origin, size: head.size, witnesses })
  else
    for (const { name, kept, wrong } of witnesses) {
      const says = wrong.length > 0 ? pc.red('ANOTHER LEDGER') : kept > 0 ? pc.green('ok') : pc.red('NOTHING KEPT')
      console.log(`${says} ${plain(name)}: ${kept} checkpoints of ${plain(head.origin)}, ${head.size} leaves by now`)
      for (const { file, message } of wrong) console.log(`  ${plain(file)}: ${message}`)
    }
  return ok ? 0 : 1
}

async function compare(shelf: Shelf, muster: Muster, head: LedgerHead, keys: readonly Verifier[]) {
  const { checkpointsOn } = await import('@muster/worker')
  const log = new TileLog(readOnce(overHttp(muster)))
  const wrong: { file: string; message: string }[] = []
  let kept = 0
  for await (const { file, note } of checkpointsOn(shelf, head.origin)) {
    kept++
    const checkpoint = openCheckpoint(note, head.origin, keys)
    if (!checkpoint) wrong.push({ file, message: 'is not signed by any of the keys' })
    else if (checkpoint.size > head.size) wrong.push({ file, message: `has ${checkpoint.size} leaves` })
    else if (!sameHash(await log.root(checkpoint.size, head.size), checkpoint.root))
      wrong.push({ file, message: `the first ${checkpoint.size} leaves are not what they were` })
    if (kept % 1000 === 0) process.stderr.write(`${plain(shelf.name)}: ${kept} checkpoints\n`)
  }
  return { name: shelf.name, kept, wrong }
}

function readOnce(tiles: TileStorage): TileStorage {
  const read = new Map<string, Promise<Uint8Array | undefined>>()
  return {
    ...tiles,
    read(path) {
      const known = read.get(path) ?? tiles.read(path)
      read.set(path, known)
      return known
    },
  }
}

async function differenceOf(muster: Muster, { run, head, seq }: LedgerLeaf): Promise<string | undefined> {
  try {
    const { findings } = await verifyRun(muster, run, { head, entries: seq })
    return findings[0] && `entry ${findings[0].seq}: ${findings[0].message}`
  } catch (error) {
    if (error instanceof MusterError && error.code === 'run.not_found') return 'the run is not there any more'
    throw error
  }
}

/** The ledger's own files, as the server has them. */
export function overHttp(muster: Muster): TileStorage {
  return {
    async read(path) {
      try {
        return new Uint8Array(await (await muster.open('GET', `/v1/ledger/${path}`)).arrayBuffer())
      } catch (error) {
        if (error instanceof MusterError && error.code === 'request.not_found') return undefined
        throw error
      }
    },
    write: () => Promise.reject(new Error('it is only read')),
  }
}

/** `muster ledger vkeys`: the keys of a tenant's ledger, to be handed to who verifies it. */
export function ledgerVkeysCommand(config: Config, tenant: string, json: boolean): undefined {
  const file = config.MUSTER_LEDGER_KEY_FILE
  if (file === undefined)
    throw new MusterError('config.invalid', 'MUSTER_LEDGER_KEY_FILE: it names the file of the keys')
  const origin = originOf(config.MUSTER_LEDGER_ORIGIN, tenant)
  const vkeys = readLedgerKeys(file).map(({ publicKey }) => newVerifier(origin, publicKey).vkey)
  if (json) print({ origin, vkeys })
  else for (const vkey of vkeys) console.log(vkey)
}

/** Keys that are given are trusted and no other; without them, those that the server names. */
function keysOf(given: readonly string[], named: readonly string[]): Verifier[] {
  return (given.length > 0 ? given : named).map((vkey) => {
    const verifier = parseVerifier(vkey)
    if (!verifier) throw new MusterError('ledger.key_invalid', `${vkey} is no vkey`)
    return verifier
  })
}

function hashOf(text: string): Buffer[] {
  const hash = base64(text)
  return hash ? [hash] : []
}

/** `muster ledger key`: makes a key; with `rotate` beside those that the file has, so that all sign for a time. */
export function ledgerKeyCommand(file: string, { json, rotate }: { json: boolean; rotate: boolean }): undefined {
  addKey(file, newLedgerKey(), rotate)
  const keys = readLedgerKeys(file).length
  if (json) print({ file, keys })
  else console.log(`made a key in ${file}, which has ${keys}; workers sign with all of them (MUSTER_LEDGER_KEY_FILE)`)
}
