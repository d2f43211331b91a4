#!/usr/bin/env node
/**
 * Checks an audit export of Muster: offline, alone, with nothing but Node (20 or newer).
 *
 *     node muster-verify.mjs FOLDER [--key VKEY]… [--exporter-key VKEY]… [--older CHECKPOINT]… [--receipt FILE]…
 *          [--fingerprint SHA256] [--threads N] [--json]
 *
 * Exits with 0 where all is right, 1 where something was found, 2 where there is nothing to check.
 *
 * What is compared with what:
 *   - a journal is a chain: hash(0) = SHA-256("muster/journal/v1\n" + run),
 *     hash(n) = SHA-256(hash(n-1) + bytes of entry n), where the hash before is written in hexadecimal digits
 *   - a leaf of the ledger says: run R had at entry N the hash H
 *   - the ledger is a Merkle tree over all leaves, and its checkpoint is signed: who changes a journal must change a
 *     leaf, who changes a leaf changes the root, who changes the root needs the key and every copy of older checkpoints
 *
 * How to read this file, from the top:
 *   1. Findings, hashes and JSON
 *   2. Signed notes: keys, checkpoints and receipts, as C2SP has them written
 *   3. Files: what there is, and how it is read
 *   4. The manifest: what should be there
 *   5. The ledger's tree: tiles (C2SP tlog-tiles), leaves, and the root (RFC 6962)
 *   6. Receipts, and checkpoints that were kept from earlier
 *   7. Journals: entry by entry, and against the leaves
 *   8. Journals, the quick way: it finds nothing and saves time; without its one call, in `checkLines`, all is the same
 *   9. Journals, side by side in threads
 *  10. Runs, the record book and policies
 *  11. All of it: `verifyExport`
 *  12. What a person reads, and the command
 *
 * It shares no code with Muster itself, so that each checks the other.
 */
import { isUtf8 } from 'node:buffer'
import crypto, { createHash, createPublicKey, verify as verifySignature } from 'node:crypto'
import { closeSync, constants, fstatSync, lstatSync, openSync, readdirSync, readSync, realpathSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { isMainThread, MessageChannel, receiveMessageOnPort, Worker, workerData } from 'node:worker_threads'

const FORMAT = 'muster-audit-export/1'

// —— 1. Findings, hashes and JSON ——

/** There is nothing here that could be checked. */
export class NotAnExport extends Error {}

/** What was found: findings are breaches, notes are what a reader has to know besides. */
class Report {
  findings = []
  notes = []
  find(code, file, message, where = {}) {
    this.findings.push({ code, file, ...where, message })
  }
  note(text) {
    this.notes.push(text)
  }
}

/** In one call, which Node has from 20.12 on and which takes a third of the time. */
const hash = crypto.hash ?? ((name, data, encoding) => createHash(name).update(data).digest(encoding))
const hex = (data) => hash('sha256', data, 'hex')
/** By way of its digits, which takes half as long as a buffer from OpenSSL. */
const sha256 = (...parts) => Buffer.from(hex(Buffer.concat(parts)), 'hex')
const leafHash = (leaf) => sha256(Buffer.of(0), leaf)

const pair = Buffer.alloc(65, 1)
function nodeHash(left, right) {
  left.copy(pair, 1)
  right.copy(pair, 33)
  return Buffer.from(hex(pair), 'hex')
}

/** Undefined for what is no JSON. */
function parseJson(text) {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Undefined for what is nested too deep to be written. */
function toJson(value, indent, replacer) {
  try {
    return JSON.stringify(value, replacer, indent)
  } catch {
    return undefined
  }
}

/** In the one way in which it can be written: without spaces, and names in order. */
const toSorted = (value) =>
  toJson(value, 0, (_, one) =>
    isObject(one) ? Object.fromEntries(Object.entries(one).sort(([a], [b]) => (a < b ? -1 : 1))) : one,
  )

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value)
const isHash = (text) => typeof text === 'string' && /^[0-9a-f]{64}$/.test(text)
const isRun = (id) =>
  typeof id === 'string' && /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(id)

/** When a run was created, ms: a UUIDv7 begins with it. */
const createdAt = (id) => Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16)

/** By names that others chose: `toString` is one as well. */
const byName = () => Object.create(null)
const addTo = (counts, name, count) => {
  counts[name] = (counts[name] ?? 0) + count
}

/** What the ledger calls the tenant's record book: what was done besides runs, chained as a journal is. */
const BOOK = 'records'

/** Where a journal is, or the book. */
const fileOf = (run) => (run === BOOK ? 'records.jsonl' : `runs/${run}.jsonl`)

/** Whose journal a file is; undefined for other files. */
const runOf = (name) => (name === fileOf(BOOK) ? BOOK : /^runs\/(.+)\.jsonl$/.exec(name)?.[1])

// —— 2. Notes, checkpoints, cosignatures, receipts: signed-note, tlog-checkpoint, -cosignature, -proof at c2sp.org ——

const LOG_KEY = 1
const WITNESS_KEY = 4

function base64(text) {
  const bytes = Buffer.from(text, 'base64')
  return bytes.toString('base64') === text ? bytes : undefined
}

/** A vkey is `name+id+base64(type, public key)`, and its id is the beginning of the hash over the rest. */
function parseKey(vkey) {
  const [, name = '', id, encoded = ''] = /^([^+\s]+)\+([0-9a-f]{8})\+(\S+)$/.exec(vkey) ?? []
  const typed = base64(encoded)
  if (typed?.length !== 33 || ![LOG_KEY, WITNESS_KEY].includes(typed[0])) return undefined
  if (hex(Buffer.concat([Buffer.from(`${name}\n`), typed])).slice(0, 8) !== id) return undefined
  const x = typed.subarray(1).toString('base64url')
  const key = createPublicKey({ format: 'jwk', key: { kty: 'OKP', crv: 'Ed25519', x } })
  return { name, id, type: typed[0], key }
}

function parseKeys(vkeys, from, report) {
  return vkeys.flatMap((vkey) => {
    const key = parseKey(vkey)
    if (!key) report.find('signature', from, `${vkey} is no key`)
    return key ?? []
  })
}

/** The text of a note and its signatures; undefined where it is not written as a note is. */
function parseNote(note) {
  const end = note.lastIndexOf('\n\n')
  if (end < 0 || !note.endsWith('\n')) return undefined
  const signatures = []
  for (const line of note.slice(end + 2, -1).split('\n')) {
    const [, name, encoded = ''] = /^— (\S+) (\S+)$/.exec(line) ?? []
    const bytes = base64(encoded)
    if (name === undefined || !bytes || bytes.length <= 4) return undefined
    signatures.push({ name, id: bytes.toString('hex', 0, 4), bytes: bytes.subarray(4) })
  }
  return { text: note.slice(0, end + 1), signatures }
}

/** When a witness signed, in seconds, or true for the log itself; undefined where the signature does not hold. */
function signedBy({ type, key }, text, bytes) {
  if (type === LOG_KEY) return verifySignature(null, Buffer.from(text), key, bytes) || undefined
  if (bytes.length !== 72) return undefined
  const at = bytes.readBigUInt64BE()
  const signed = Buffer.from(`cosignature/v1\ntime ${at}\n${text}`)
  return verifySignature(null, signed, key, bytes.subarray(8)) ? Number(at) : undefined
}

/** Who signed a note, of those whose keys are known. */
function readSigners({ text, signatures }, file, keys, report) {
  const signers = []
  for (const { name, id, bytes } of signatures) {
    const key = keys.find((one) => one.name === name && one.id === id)
    const at = key && signedBy(key, text, bytes)
    if (!key) report.note(`${file}: the signature of ${name} (${id}) was not checked: its key is not known`)
    else if (at === undefined) report.find('signature', file, `the signature of ${name} (${id}) is wrong`)
    else signers.push({ name, id, witness: key.type === WITNESS_KEY, ...(at === true ? {} : { at }) })
  }
  return signers
}

/** Reads a checkpoint and checks who signed it; undefined where it cannot be read at all. */
function readCheckpoint(note, file, keys, report) {
  const parsed = parseNote(note)
  const [, origin, digits, encoded = ''] = /^([^\n]*)\n(0|[1-9]\d*)\n([^\n]*)\n$/.exec(parsed?.text ?? '') ?? []
  const [size, root] = [Number(digits), base64(encoded)]
  if (!Number.isSafeInteger(size) || root?.length !== 32) {
    report.find('checkpoint', file, 'is not a signed checkpoint')
    return undefined
  }
  const signers = readSigners(parsed, file, keys, report)
  if (!signers.some(({ witness, name }) => !witness && name === origin))
    report.find('signature', file, 'no known key of the ledger has signed this checkpoint')
  return { origin, size, root, note, signers }
}

/** A receipt: a leaf, and the proof that a checkpoint's tree has it; undefined where it is not written as one. */
function parseProof(text) {
  const end = text.indexOf('\n\n')
  const [header, extra = '', index = '', ...hashes] = text.slice(0, Math.max(0, end)).split('\n')
  const leaf = extra.startsWith('extra ') ? base64(extra.slice(6)) : undefined
  const proof = hashes.map(base64)
  if (header !== 'c2sp.org/tlog-proof@v1' || !leaf || !/^index (0|[1-9]\d*)$/.test(index)) return undefined
  if (!proof.every((hash) => hash?.length === 32)) return undefined
  return { leaf, index: Number(index.slice(6)), proof, checkpoint: text.slice(end + 2) }
}

// —— 3. Files ——

/** Undefined where the system refuses: what is not allowed, not there any more, or has too long a name. */
function unlessRefused(what) {
  try {
    return what()
  } catch (error) {
    if (error?.syscall === undefined) throw error
    return undefined
  }
}

/** All files below the folder, by names with slashes. */
function listFiles(folder, report, below = '') {
  const read = () => readdirSync(join(folder, below), { withFileTypes: true })
  const entries = below === '' ? read() : unlessRefused(read)
  if (!entries) report.find('file-added', below, 'is a folder that cannot be read')
  const names = []
  for (const entry of entries ?? []) {
    const name = below === '' ? entry.name : `${below}/${entry.name}`
    if (name.includes('\u{fffd}')) report.find('file-added', name, 'has a name that is not UTF-8')
    else if (entry.isDirectory()) for (const one of listFiles(folder, report, name)) names.push(one)
    else if (entry.isFile()) names.push(name)
    else report.find('file-added', name, 'is a link or a device: an export has none')
  }
  return names.sort()
}

/** Not at the beginning of its memory: to 16 bytes into a page, AMD's processors copy pages at half their speed. */
const piece = Buffer.alloc((1 << 20) + 64).subarray(64)

/** A file may have taken another's place since the folder was listed: no link is followed, nothing waited for. */
const OF_EXPORT = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
/** What the auditor names may be a link or a pipe, and must be there. */
const KEPT = constants.O_RDONLY

/** No file that is read at once is longer: a manifest of millions of files has half of that. */
const FILE_MAX = 1 << 28
const TEXT_MAX = 1 << 20
/** A longer line than any that an export has is not kept in memory. */
const LINE_MAX = 1 << 26

/**
 * A file in pieces, each of which is gone when the next one comes, of this file or another. The last one is undefined
 * where the file cannot be read, or not to its end, or is longer than `max`.
 */
function* piecesOf(path, max, flags = OF_EXPORT) {
  let file
  try {
    file = openSync(path, flags)
    const about = fstatSync(file)
    if (about.size > max || (flags === OF_EXPORT && !about.isFile())) yield undefined
    // What was read as far as it is long is not asked for more: a call of the system takes as long as a line.
    else
      for (let length = 0; length === 0 || length !== about.size; ) {
        const read = readSync(file, piece)
        if (read === 0) return
        length += read
        yield length <= max ? piece.subarray(0, read) : undefined
        if (length > max) return
      }
  } catch (error) {
    if (flags === KEPT || error?.syscall === undefined) throw error
    yield undefined
  } finally {
    if (file !== undefined) closeSync(file)
  }
}

function joined(pieces) {
  const all = []
  for (const bytes of pieces) {
    if (!bytes) return undefined
    all.push(Buffer.from(bytes))
  }
  return Buffer.concat(all)
}

/** Undefined where it cannot be read, or is longer than any that an export has. */
function hashOfFile(path) {
  const hash = createHash('sha256')
  for (const bytes of piecesOf(path, FILE_MAX)) {
    if (!bytes) return undefined
    hash.update(bytes)
  }
  return hash.digest('hex')
}

/** A file as a whole; undefined where it cannot be read, or is longer than any that an export has. */
const readWhole = (path, max = FILE_MAX) => joined(piecesOf(path, max))
/** Empty where it cannot be read. */
const readText = (path) => readWhole(path, TEXT_MAX)?.toString() ?? ''
/** A file that the auditor names. */
const readKept = (path) => joined(piecesOf(path, TEXT_MAX, KEPT))?.toString() ?? ''

/**
 * A file in pieces of whole lines, each with the newline at its end; undefined for a line that does not end, is too
 * long, or cannot be read. All of it is added to `digest`.
 */
function* wholeLinesOf(path, digest) {
  let [rest, length] = [[], 0]
  for (const piece of piecesOf(path, Number.POSITIVE_INFINITY)) {
    if (!piece) {
      yield undefined
      return
    }
    digest?.update(piece)
    const end = piece.lastIndexOf(10) + 1
    if (end > 0) {
      if (length > LINE_MAX) yield undefined
      else yield length === 0 ? piece.subarray(0, end) : Buffer.concat([...rest, piece.subarray(0, end)])
      ;[rest, length] = [[], 0]
    }
    length += piece.length - end
    if (length > 0 && length <= LINE_MAX) rest.push(Buffer.from(piece.subarray(end)))
  }
  if (length > 0) yield undefined
}

/** The line that begins there, without its newline; undefined where it is not UTF-8. */
function lineAt(lines, at) {
  const line = lines.subarray(at, lines.indexOf(10, at))
  return isUtf8(line) ? line.toString() : undefined
}

/** The lines of a file; undefined for one that does not end, is too long, or is not UTF-8. */
function* linesOf(path) {
  for (const lines of wholeLinesOf(path)) {
    if (lines === undefined) yield undefined
    for (let at = 0; at < (lines?.length ?? 0); at = lines.indexOf(10, at) + 1) yield lineAt(lines, at)
  }
}

// —— 4. The manifest ——

/** What an export can be about: all runs of a tenant, those created in a time, or one. */
function isScope(scope) {
  const { kind, ...rest } = isObject(scope) ? scope : {}
  const names = Object.keys(rest)
  if (kind === 'run') return names.join() === 'run' && isRun(rest.run)
  const isTime = (name) =>
    ['since', 'until'].includes(name) && Number.isFinite(rest[name]) && Math.abs(rest[name]) <= 8.64e15
  return (kind === 'tenant' && names.length === 0) || (kind === 'range' && names.every(isTime))
}

/** Whether a run is one that the export says it is about. */
function isInScope({ kind, run, since, until }, id) {
  if (kind === 'run') return id === run
  if (kind === 'tenant' || id === BOOK) return true
  return createdAt(id) >= (since ?? 0) && createdAt(id) < (until ?? Number.POSITIVE_INFINITY)
}

const areRuns = (list) => Array.isArray(list) && list.every((run) => isRun(run) || run === BOOK)

const NOT_READ = 'cannot be read, or is longer than any that an export has'
const CHANGED = 'does not have the hash that the manifest says: it was changed'

/** The manifest; empty where it cannot be read, and then the rest is checked without it. */
function readManifest(folder, names, fingerprint, report) {
  const find = (code, message) => report.find(code, 'manifest.json', message)
  const empty = { files: undefined, scope: { kind: 'tenant' }, unsealed: [], missing: [] }
  if (!names.includes('manifest.json')) {
    find('file-removed', 'is missing: nothing says what belongs to the export')
    return empty
  }
  const bytes = readWhole(join(folder, 'manifest.json'))
  if (!bytes) {
    find('manifest', NOT_READ)
    return empty
  }
  const found = hex(bytes)
  if (readText(join(folder, 'manifest.sha256')) !== `${found}  manifest.json\n`)
    find('file-changed', 'it, or manifest.sha256, was changed: they do not fit')
  if (fingerprint !== undefined && fingerprint !== found)
    find('fingerprint', `the export has the fingerprint ${found}, not ${fingerprint}`)
  const text = bytes.toString()
  const manifest = parseJson(text)
  const { format, files, scope, unsealed, missing } = isObject(manifest) ? manifest : {}
  if (format !== FORMAT || !isObject(files) || !isScope(scope) || ![unsealed, missing].every(areRuns)) {
    find('manifest', `is not a manifest of the format ${FORMAT}`)
    return empty
  }
  if (text !== `${toJson(manifest, 2)}\n`) find('manifest', 'is not written as an export writes it')
  return { ...manifest, fingerprint: found }
}

/** Who signed the manifest, by a note of the ledger's name, the format and the manifest's hash, if anybody did. */
function checkExporter(folder, names, { origin, fingerprint }, given, report) {
  const file = 'manifest.sig'
  const keys = parseKeys(given, '--exporter-key', report)
  const note = parseNote(readText(join(folder, file)))
  if (names.includes(file) && note?.text !== `${origin}/exports\n${FORMAT}\n${fingerprint}\n`) {
    report.find('signature', file, 'is not a signature of this manifest')
    return []
  }
  const signers = note ? readSigners(note, file, keys, report).filter(({ witness }) => !witness) : []
  if (given.length > 0 && signers.length === 0)
    report.find('signature', file, 'none of the keys that were given has signed the manifest (--exporter-key)')
  return signers.map(({ name, id }) => ({ name, id }))
}

const RECEIPTS = 'receipts/'

function checkHash(name, found, files, report) {
  if (found !== files[name]) report.find('file-changed', name, found === undefined ? NOT_READ : CHANGED)
}

/** What an export can have; which runs, receipts and tiles there may be is looked at with them. */
const OWN_FILES = new RegExp(
  [
    '^(checkpoint|keys|verify\\.mjs|manifest\\.(json|sha256|sig)|policies/[0-9a-f]{64}\\.json)$',
    '^(records|runs/.+)\\.jsonl$|^(receipts|tile)/',
  ].join('|'),
)

/** Checks what is there and its hashes, but for what is hashed when it is read: journals, and mostly receipts. */
function checkFiles({ folder, names, files, withReceipts }, report) {
  const present = new Set(names)
  const known = new Set(['manifest.json', 'manifest.sha256', ...Object.keys(files)])
  if (present.has('manifest.sig')) known.add('manifest.sig')
  for (const name of names) {
    if (!known.has(name)) report.find('file-added', name, 'is not in the manifest: it was added')
    else if (!OWN_FILES.test(name)) report.find('file-added', name, 'is no file of an export: it was added')
    else if (runOf(name) !== undefined || !Object.hasOwn(files, name)) continue
    else if (withReceipts || !name.startsWith(RECEIPTS)) checkHash(name, hashOfFile(join(folder, name)), files, report)
  }
  for (const name of known) if (!present.has(name)) report.find('file-removed', name, 'is missing')
}

/** What the files say, where the manifest says something else. */
function checkCounts(manifest, found, report) {
  for (const [name, value] of Object.entries(found)) {
    const [said, is] = [toSorted(manifest[name]), toSorted(value)]
    if (said !== is) report.find('manifest', 'manifest.json', `says of ${name} ${said}, and the files say ${is}`)
  }
}

// —— 5. The ledger's tree, from its tiles ——

/** A tile that a check needs is not there, or not as long as it must be. */
class MissingTile extends Error {}

/** What a check gives; where it needs a tile that is missing, that is told. */
function unlessMissing(check, tell) {
  try {
    return check()
  } catch (error) {
    if (!(error instanceof MissingTile)) throw error
    return tell(error.message)
  }
}

/** Hashes, one after the other, and in each layer above those over its pairs. */
function layersOf(hashes) {
  const layers = [hashes]
  for (let below = hashes; below.length >= 64; below = layers.at(-1)) {
    const layer = Buffer.alloc(Math.floor(below.length / 64) * 32)
    for (let at = 0; at < layer.length; at += 32) {
      below.copy(pair, 1, 2 * at, 2 * at + 64)
      layer.hexWrite(hex(pair), at)
    }
    layers.push(layer)
  }
  return layers
}

/** How many hashes there are at a level of tiles: each is over 256 of the level below. */
const countAt = (level, size) => Math.floor(size / 256 ** level)

/** The greatest power of two that is no more than `width`. */
function powerIn(width) {
  let power = 1
  while (power * 2 <= width) power *= 2
  return power
}

/** The tiles of the tree of `size` leaves. */
class Tree {
  read = new Map()
  edges = new Map()

  constructor(folder, names, size) {
    this.folder = folder
    this.names = new Set(names)
    this.size = size
  }

  /** How many hashes a tile has in this tree, or leaves a bundle. */
  widthOf(level, index) {
    return Math.min(256, countAt(level === 'entries' ? 0 : level, this.size) - index * 256)
  }

  nameOf(level, index) {
    const width = this.widthOf(level, index)
    const digits = String(index).padStart(Math.ceil(String(index).length / 3) * 3, '0')
    return `tile/${level}/${digits.replace(/\d{3}(?=\d)/g, 'x$&/')}${width === 256 ? '' : `.p/${width}`}`
  }

  /** A tile's hashes, and those over them. */
  layers(level, index) {
    const place = index * 64 + level
    const known = this.read.get(place)
    if (known) return known
    const [name, width] = [this.nameOf(level, index), this.widthOf(level, index)]
    const bytes = this.names.has(name) ? readWhole(join(this.folder, name), width * 32) : undefined
    if (bytes?.length !== width * 32) throw new MissingTile(`${name} is missing, or has not ${width} hashes`)
    // A few at a time: a tree may be larger than memory.
    if (this.read.size >= 64) this.read.clear()
    const layers = layersOf(bytes)
    this.read.set(place, layers)
    return layers
  }

  /** The hash over the `width` leaves from `start` on, which are a whole subtree: in a tile, or over some of it. */
  subtree(start, width) {
    const height = Math.log2(width)
    const level = Math.floor(height / 8)
    const at = start / 256 ** level
    const layer = this.layers(level, Math.floor(at / 256))[height % 8]
    const from = ((at % 256) / 2 ** (height % 8)) * 32
    return layer.subarray(from, from + 32)
  }

  /** The root over the leaves from `start` to `end`: of the tree when it was smaller, too. */
  root(end, start = 0) {
    if (end === start) return sha256()
    const width = powerIn(end - start)
    const first = this.subtree(start, width)
    return start + width === end ? first : nodeHash(first, this.root(end, start + width))
  }

  /** The root over all leaves from `start` on, of which many proofs have the same. */
  edge(start) {
    if (!this.edges.has(start)) this.edges.set(start, this.root(this.size, start))
    return this.edges.get(start)
  }

  /** The proof that a leaf is in the tree: from the leaf to the root, the hash over what stands beside its path. */
  proof(index) {
    const hashes = []
    for (let [start, end] = [0, this.size]; end - start > 1; ) {
      const middle = start + powerIn(end - start - 1)
      if (index < middle) {
        hashes.push(end === this.size ? this.edge(middle) : this.subtree(middle, end - middle))
        end = middle
      } else {
        hashes.push(this.subtree(start, middle - start))
        start = middle
      }
    }
    return hashes.reverse()
  }

  /** Whether the tree has this leaf there. */
  has(index, leaf) {
    return unlessMissing(
      () => this.subtree(index, 1).equals(leafHash(leaf)),
      () => false,
    )
  }
}

/** Level and index of the tile that a file is, or of the bundle of leaves; undefined for any other name. */
function placeOf(name) {
  const [, level, place] = /^tile\/(entries|\d{1,2})\/((?:x\d{3}\/)*\d{3})(?:\.p\/\d+)?$/.exec(name) ?? []
  return place && [level === 'entries' ? level : Number(level), Number(place.replaceAll(/\D/g, ''))]
}

/** Every tile that a tree of this size has. */
function* placesOf(size) {
  for (let level = 0; countAt(level, size) > 0; level++)
    for (let index = 0; index * 256 < countAt(level, size); index++) yield [level, index]
}

/** Checks each tile against those below it, and the root against the checkpoint. With `whole` none may be missing. */
function checkTree(tree, checkpoint, whole, report) {
  const there = [...tree.names].filter((name) => name.startsWith('tile/'))
  for (const name of there) {
    const place = placeOf(name)
    if (!place || name !== tree.nameOf(...place))
      report.find('tree', name, `is no tile of a ledger of ${tree.size} leaves`)
  }
  const isLooked = (level, index) => level !== 'entries' && (whole || tree.names.has(tree.nameOf(level, index)))
  const compare = (level, index, find) => {
    const [tile] = tree.layers(level, index)
    for (let i = 0; level > 0 && i < tile.length / 32; i++) {
      const below = index * 256 + i
      if (isLooked(level - 1, below) && !tree.layers(level - 1, below)[8].equals(tile.subarray(i * 32, i * 32 + 32)))
        find(`its hash ${i} is not that of the tile below: the ledger was changed`)
    }
  }
  const places = whole ? placesOf(tree.size) : there.map(placeOf).filter((place) => place !== undefined)
  for (const [level, index] of places) {
    if (!isLooked(level, index)) continue
    const find = (message) => report.find('tree', tree.nameOf(level, index), message)
    unlessMissing(() => compare(level, index, find), find)
  }
  const find = (message) => report.find('tree', 'checkpoint', message)
  unlessMissing(
    () => {
      if (!tree.root(tree.size).equals(checkpoint.root))
        find('its root is not that of the tiles: the ledger was changed, or the checkpoint')
    },
    (missing) => find(`its root cannot be computed: ${missing}`),
  )
}

/** A bundle has 256 leaves, and the length of each is written in two bytes. */
const BUNDLE_MAX = 256 * (2 + 0xffff)

/** The leaves in a bundle: each has its length, in two bytes, before it. Undefined where it ends within one. */
function leavesIn(bundle) {
  const leaves = []
  for (let at = 0; at < bundle.length; ) {
    const end = at + 2 < bundle.length ? at + 2 + bundle.readUInt16BE(at) : Number.POSITIVE_INFINITY
    if (end > bundle.length) return undefined
    leaves.push(bundle.subarray(at + 2, end))
    at = end
  }
  return leaves
}

/** What a leaf says; undefined where it says nothing of a run. */
function parseLeaf(bytes) {
  const leaf = parseJson(bytes.toString())
  const { v, run, seq, head, state } = isObject(leaf) ? leaf : {}
  const fits = v === 1 && (isRun(run) || run === BOOK) && Number.isSafeInteger(seq) && seq > 0 && isHash(head)
  return fits && ['running', 'parked', 'ended'].includes(state) ? leaf : undefined
}

/** Every leaf by its run, each compared with its hash in the tree, and with those of the same run before it. */
function readLeaves(tree, report) {
  const byRun = new Map()
  for (let bundle = 0; bundle * 256 < tree.size; bundle++) {
    const file = tree.nameOf('entries', bundle)
    const width = tree.widthOf('entries', bundle)
    const leaves = tree.names.has(file)
      ? leavesIn(readWhole(join(tree.folder, file), BUNDLE_MAX) ?? Buffer.of(0))
      : undefined
    if (leaves?.length !== width) {
      report.find('tree', file, `is missing, or has not ${width} leaves`)
      continue
    }
    for (const [i, bytes] of leaves.entries()) {
      const index = bundle * 256 + i
      const find = (message) => report.find('leaf', file, `leaf ${index} ${message}`, { leaf: index })
      if (!tree.has(index, bytes)) find('is not what the tree has there')
      const leaf = parseLeaf(bytes)
      if (!leaf) find('says nothing of a run')
      else addLeaf(byRun, { ...leaf, index, from: `leaf ${index} of the ledger`, file }, report)
    }
  }
  return byRun
}

function addLeaf(byRun, leaf, report) {
  const { run, seq, head, index, file, from } = leaf
  const before = byRun.get(run) ?? []
  const last = before.at(-1)
  const goesOn = !last || (last.state !== 'ended' && last.seq <= seq) || (last.seq === seq && last.head === head)
  const message = `${from} contradicts leaf ${last?.index}: the run went back, or on after its end`
  if (!goesOn) report.find('leaf', file, message, { run, leaf: index })
  before.push(leaf)
  byRun.set(run, before)
}

// —— 6. Receipts, and checkpoints that were kept from earlier ——

/** Whether the ledger begins with what an older checkpoint says it was. */
function checkOlder(older, file, { checkpoint, tree }, report) {
  const find = (code, message) => report.find(code, file, message)
  const { origin, size } = checkpoint
  if (older.origin !== origin) find('older', `is of another ledger: ${older.origin}, not ${origin}`)
  else if (older.size > size)
    find('rollback', `had ${older.size} leaves, and the export's ledger has ${size}: it was rolled back`)
  else
    unlessMissing(
      () => {
        const from = `the ledger does not begin with the ${older.size} leaves of this checkpoint`
        if (!tree.root(older.size).equals(older.root)) find('fork', `${from}: there are two histories`)
      },
      (missing) => find('not-checkable', `this export has too few tiles for it: ${missing}`),
    )
}

/** The root that a leaf and its proof of inclusion lead to (RFC 9162, 2.1.3.2); undefined where they lead to none. */
function rootOfProof({ leaf, index, proof }, size) {
  if (index >= size) return undefined
  let [at, last, root] = [index, size - 1, leafHash(leaf)]
  for (const sibling of proof) {
    if (last === 0) return undefined
    if (at % 2 === 1 || at === last) {
      root = nodeHash(sibling, root)
      while (at % 2 === 0 && at !== 0) [at, last] = [Math.floor(at / 2), Math.floor(last / 2)]
    } else root = nodeHash(root, sibling)
    ;[at, last] = [Math.floor(at / 2), Math.floor(last / 2)]
  }
  return last === 0 ? root : undefined
}

/** Checks a proof by itself, under its own checkpoint; gives its leaf, or undefined where it proves none. */
function checkProof(proof, file, checkpoint, report) {
  const leaf = proof && parseLeaf(proof.leaf)
  if (!leaf) report.find('receipt', file, 'is not a receipt')
  else if (!rootOfProof(proof, checkpoint.size)?.equals(checkpoint.root))
    report.find('receipt', file, 'does not prove that its leaf is in the ledger', { run: leaf.run })
  else return { ...leaf, index: proof.index, from: `the receipt ${file}`, file }
  return undefined
}

/**
 * Whether this is, byte by byte, the receipt that a tree gives for its leaf. Where nothing was found of the tree and
 * its leaves there is nothing to find of such a receipt: so most need no more hashes.
 */
function isReceiptOf(tree, { index }, bytes, note) {
  const text = bytes.toString('latin1')
  const leaf = Buffer.from(text.slice(29, text.indexOf('\n', 29)), 'base64')
  if (!tree.has(index, leaf)) return false
  const proof = tree.proof(index).map((hash) => hash.toString('base64'))
  const lines = ['c2sp.org/tlog-proof@v1', `extra ${leaf.toString('base64')}`, `index ${index}`, ...proof]
  return text === `${lines.join('\n')}\n\n${Buffer.from(note).toString('latin1')}`
}

/**
 * The export's own receipts: each of the run that it is named by, under the export's checkpoint, for the newest leaf.
 * `isRight`: nothing was found of the tree, which is whole, nor of its leaves.
 */
function checkReceipts({ folder, names, files, checkpoint, tree, leaves, whole, isRight }, report) {
  for (const file of names.filter((name) => name.startsWith(RECEIPTS))) {
    const run = file.slice(RECEIPTS.length)
    const find = (message) => report.find('receipt', file, message, { run })
    const bytes = readWhole(join(folder, file), TEXT_MAX)
    if (files && Object.hasOwn(files, file)) checkHash(file, bytes && hex(bytes), files, report)
    const newest = leaves.get(run)?.at(-1)
    if (isRight && bytes && newest && isReceiptOf(tree, newest, bytes, checkpoint.note)) continue
    const proof = parseProof(bytes?.toString() ?? '')
    if (proof && proof.checkpoint !== checkpoint.note) find("is for another checkpoint than the export's")
    const leaf = checkProof(proof, file, checkpoint, report)
    if (!leaf) continue
    if (leaf.run !== run) find(`does not belong to run ${run}: it is of run ${leaf.run}`)
    else if (!whole) {
      addLeaf(leaves, leaf, report)
      const tile = tree.nameOf(0, Math.floor(leaf.index / 256))
      if (!tree.has(leaf.index, proof.leaf)) report.find('tree', tile, `does not have leaf ${leaf.index}, of the run`)
    } else if (newest?.index !== leaf.index) find(`is not of the run's newest leaf: that is leaf ${newest?.index}`)
  }
}

/** Checks what the auditor kept: older checkpoints, and receipts, whose leaves go to `kept`. */
function checkKept({ older, receipts }, keys, { names, kept, ...ledger }, report) {
  for (const file of older) {
    const checkpoint = readCheckpoint(readKept(file), file, keys, report)
    if (checkpoint) checkOlder(checkpoint, file, ledger, report)
  }
  for (const file of receipts) {
    const proof = parseProof(readKept(file))
    const checkpoint = proof && readCheckpoint(proof.checkpoint, file, keys, report)
    if (checkpoint) checkOlder(checkpoint, file, ledger, report)
    const leaf = checkProof(proof, file, checkpoint ?? ledger.checkpoint, report)
    if (!leaf) continue
    const { run } = leaf
    if (names.includes(fileOf(run))) kept.set(run, [...(kept.get(run) ?? []), leaf])
    else report.find('receipt', file, `does not belong to this export: it is of run ${run}`, { run })
  }
}

// —— 7. Journals ——

/** A line as it is stored: place, hash, bytes, content, and nothing else, written in the only way in which it is. */
function parseLine(line) {
  const { seq, hash, bytes, content } = (line && parseJson(line)) || {}
  if (!Number.isSafeInteger(seq) || seq < 1) return undefined
  // Of text that is not well formed the hash would be that of other text.
  if (![hash, bytes, content ?? ''].every((one) => typeof one === 'string' && one.isWellFormed())) return undefined
  const stored = content === undefined ? { seq, hash, bytes } : { seq, hash, bytes, content }
  return JSON.stringify(stored) === line ? stored : undefined
}

/** Takes an entry, and tells where it is one too many or was moved; false where it has no place of its own. */
function takePlace(journal, { seq, hash }) {
  const { hashes, gaps, last, find } = journal
  const known = hashes[seq]
  if (known !== undefined) {
    if (known === hash) find('entry-duplicated', seq, `entry ${seq} stands here a second time`)
    else find('entry-added', seq, `entry ${seq} is there already: this one was added`)
    return false
  }
  if (gaps.delete(seq)) find('entry-reordered', seq, `entry ${seq} stands after entry ${last}: it was moved`)
  // Places that are far off are no list of all before them.
  for (let gap = last + 1; gap < seq && gaps.size < 10_000; gap++) gaps.add(gap)
  hashes[seq] = hash
  journal.last = Math.max(last, seq)
  return true
}

/** Checks one line, undefined for one that has no text, and tells what is wrong with it. */
function checkLine(journal, line) {
  const { run, tenant, counts, find, hashes, last } = journal
  counts[run === BOOK ? 'records' : 'entries']++
  const stored = parseLine(line)
  if (!stored) {
    find('entry-changed', last + 1, `the line after entry ${last} is not a stored entry`)
    journal.last++
    return
  }
  const { seq, hash, bytes, content } = stored
  if (!takePlace(journal, stored)) return
  const before = hashes[seq - 1]
  // Of an entry whose predecessor is missing or comes later, that is what is told.
  if (before !== undefined && hex(before + bytes) !== hash)
    find('entry-changed', seq, `entry ${seq} does not have its hash: it, or the entry before it, was changed`)
  const entry = parseJson(bytes)
  if (!isObject(entry) || entry.seq !== seq) {
    find('entry-changed', seq, `entry ${seq} is not an entry of this place`)
    return
  }
  checkContent(entry, content, counts, find)
  if (run === BOOK) checkRecord(entry, tenant, counts, find)
  else checkEntry(journal, entry)
}

function checkContent({ seq, content: digest, redacted }, content, counts, find) {
  for (const [kind, count] of Object.entries(isObject(redacted) ? redacted : {}))
    if (Number.isSafeInteger(count)) addTo(counts.redacted, kind, count)
  const entry = `entry ${seq}`
  if (content === undefined) {
    if (digest !== undefined) counts.erased++
  } else if (digest === undefined)
    find('content-added', seq, `${entry} has no content: what lies beside it was put there`)
  else if (hex(content) !== digest)
    find('content-changed', seq, `the content beside ${entry} does not have the digest in the entry: it was changed`)
}

function checkRecord({ seq, action, tenant }, expected, counts, find) {
  if (typeof action !== 'string' || (expected !== undefined && tenant !== expected))
    find('run', seq, `record ${seq} is no record of ${expected ?? 'its tenant'}`)
  else addTo(counts.actions, action, 1)
}

/** What an entry of a run must be where it stands, and that a step began only when a decision allowed it. */
function checkEntry(journal, { seq, type, run, tenant, subject, step, decision }) {
  const { counts, find } = journal
  const isOwn = type === 'run.created' && run === journal.run && tenant === (journal.tenant ?? tenant)
  const begins = `the creation of run ${journal.run} of ${journal.tenant ?? 'its tenant'}`
  if (seq === 1 && !isOwn) find('run', seq, `the journal does not begin with ${begins}`)
  if (seq === 1) journal.subject = subject
  if (journal.ended !== undefined && seq > journal.ended) find('run', seq, `entry ${seq} follows the end of the run`)
  if (type === 'run.ended') journal.ended = seq
  if (type === 'step.intent' && decision?.effect !== 'allow')
    find('effect-without-allow', seq, `step ${toJson(step)} began without a decision that allows it`)
  if (isHash(decision?.set)) counts.sets.add(decision.set)
}

function checkLeaf({ seq, head, state, from }, { hashes, ended }, find) {
  const hash = hashes[seq]
  const entry = `entry ${seq}`
  if (hash === undefined) find('run-cut', seq, `${from} has ${entry} of the run, and the journal does not: it was cut`)
  else if (hash !== head)
    find(
      'run-rewritten',
      seq,
      `${from} has another hash of ${entry}: the journal was written anew, or is another run's`,
    )
  else if (state === 'ended' && ended !== seq) find('run', seq, `${from} says that the run ended with ${entry}`)
}

/** Checks whole lines: each the quick way if there is nothing to tell of it, and otherwise as what it may be. */
function checkLines(journal, lines) {
  const { run, hashes, counts } = journal
  const mayBeQuick = run !== BOOK && isUtf8(lines)
  for (let at = 0, end = 0; at < lines.length; at = end) {
    const seq = journal.last + 1
    const before = mayBeQuick && seq > 1 && journal.ended === undefined ? hashes[seq - 1] : undefined
    end = before === undefined ? 0 : quick.read(lines, at, seq, before)
    if (end > 0) {
      counts.entries++
      hashes[seq] = quick.hash
      journal.last = seq
      if (quick.erased) counts.erased++
      if (quick.ends) journal.ended = seq
      if (quick.decides && quick.decision.set !== undefined) counts.sets.add(quick.decision.set)
    } else {
      end = lines.indexOf(10, at) + 1
      checkLine(journal, lineAt(lines, at))
    }
  }
}

/** So many findings of each kind are told of a journal, which can have as many lines as somebody likes. */
const TOLD_MAX = 10_000

/** Checks a journal by itself and against the leaves of its run; gives its last place, and what of it is gone. */
function checkJournal(folder, { run, leaves, hash: expected }, tenant, counts, report) {
  const file = fileOf(run)
  const told = byName()
  const find = (code, seq, message) => {
    addTo(told, code, 1)
    if (told[code] <= TOLD_MAX) report.find(code, file, message, { run, seq })
  }
  const digest = expected === undefined ? undefined : createHash('sha256')
  const journal = {
    ...{ run, tenant, counts, find, ended: undefined, subject: undefined },
    /** By place, of which there may be gaps. */
    hashes: [hex(`muster/journal/v1\n${run}`)],
    gaps: new Set(),
    last: 0,
  }
  const before = counts.erased
  for (const lines of wholeLinesOf(join(folder, file), digest)) {
    if (lines === undefined) checkLine(journal, undefined)
    else checkLines(journal, lines)
  }
  for (const seq of journal.gaps) find('entry-removed', seq, `entry ${seq} is missing: it was removed`)
  for (const leaf of leaves) checkLeaf(leaf, journal, find)
  for (const [code, count] of Object.entries(told))
    if (count > TOLD_MAX) report.find(code, file, `and so ${count - TOLD_MAX} times more`, { run })
  if (digest?.digest('hex') !== expected) report.find('file-changed', file, CHANGED)
  return { last: journal.last, erased: counts.erased - before, subject: journal.subject }
}

// —— 8. Journals, the quick way ——

const viewOf = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
const viewOfText = (text) => viewOf(Buffer.from(text))
const [TO_SEQ, TO_HASH, TO_ENTRY] = ['{"seq":', ',"hash":"', '","bytes":"'].map(viewOfText)
const [TO_CONTENT, LINE_END] = ['","content":"', '"}\n'].map(viewOfText)
const [CREATED, ENDED, INTENT] = ['"run.created"', '"run.ended"', '"step.intent"'].map(viewOfText)
const LITERALS = ['true', 'false', 'null'].map(viewOfText)
/** 1 for each byte that may stand in a JSON string as it is: all but control characters, " and \. */
const PLAIN = Uint8Array.from({ length: 256 }, (_, byte) => Number(byte >= 0x20 && byte !== 0x22 && byte !== 0x5c))
/** What of an entry has to be known, and by the first byte of its name which it is: no two have the same. */
const NAMES = ['"seq":', '"type":', '"decision":', '"redacted":', '"content":'].map(viewOfText)
const [SEQ, TYPE, DECISION, REDACTED, DIGEST] = NAMES.keys()
const WANTED = []
for (const [place, name] of NAMES.entries()) WANTED[name.getUint8(1)] = { name, place }
const DEPTH_MAX = 16

/** Whether the same `length` bytes stand there in both: where they are many, in a third of the time. */
function areSame(one, from, other, at, length) {
  if (from + length > one.byteLength || at + length > other.byteLength) return false
  let i = 0
  for (; i <= length - 4; i += 4) if (one.getInt32(from + i) !== other.getInt32(at + i)) return false
  for (; i < length; i++) if (one.getUint8(from + i) !== other.getUint8(at + i)) return false
  return true
}

const isDigit = (byte) => byte >= 0x30 && byte <= 0x39

/** Where the number ends that begins there, if it has no exponent; otherwise 0. */
function numberEnd(lines, from) {
  const first = lines[from] === 0x2d /* - */ ? from + 1 : from
  let at = first
  while (isDigit(lines[at])) at++
  if (at === first || (lines[first] === 0x30 && at > first + 1)) return 0
  if (lines[at] !== 0x2e /* . */) return at
  const fraction = ++at
  while (isDigit(lines[at])) at++
  return at > fraction ? at : 0
}

function literalEnd(view, from) {
  const found = LITERALS.find((text) => areSame(view, from, text, 0, text.byteLength))
  return found ? from + found.byteLength : 0
}

/** Bytes of which the first are hashed. Their views are kept: to make one takes a tenth as long as to hash it. */
class Bytes {
  all = Buffer.alloc(2 * piece.length)
  view = viewOf(this.all)
  kept = new Array(4096)
  first(length) {
    if (length >= this.kept.length) return this.all.subarray(0, length)
    this.kept[length] ??= this.all.subarray(0, length)
    return this.kept[length]
  }
}

/**
 * The quick way, for a line of which there is nothing to tell: it has the next place, is written as our writer does,
 * and its hashes are right. The bytes of its entry are put behind the hash of the entry before, so that both are hashed
 * as they stand, and on the way it is checked that they are JSON. It only ever says yes: whatever it does not expect,
 * and it expects little, makes it give up, and then `checkLine` reads the line as if it had not been here.
 */
class QuickReader {
  /** The hash before, and the bytes of the entry. */
  out = new Bytes()
  contents = new Bytes()
  /** The hash that `out` begins with. */
  hash = ''
  digest = Buffer.alloc(64)
  digestView = viewOf(this.digest)
  /** From where to where in `out` what is wanted stands; 0 where it does not. */
  from = new Int32Array(5)
  to = new Int32Array(5)
  /** The last decision that was read, as it stands in a line and in the entry: most are like the one before. */
  decided = { line: viewOf(Buffer.of()), entry: Buffer.of() }
  decision = { allows: false, set: undefined }

  /** Reads the line at `at` as entry `seq`, after the one with the hash `before`; gives its end, 0 if it gives up. */
  read(lines, at, seq, before) {
    const { out, from, to } = this
    if (lines !== this.lines) [this.lines, this.view] = [lines, viewOf(lines)]
    if (lines.length > out.all.length - 64) return 0
    if (before !== this.hash) {
      if (!isHash(before)) return 0
      out.all.latin1Write(before, 0)
    }
    this.hash = ''
    const seqAt = this.after(TO_SEQ, at)
    let [seqEnd, place] = [seqAt, 0]
    for (; isDigit(lines[seqEnd]); seqEnd++) place = place * 10 + lines[seqEnd] - 0x30
    const seqLength = seqEnd - seqAt
    if (seqAt === 0 || place !== seq || !Number.isSafeInteger(seq) || lines[seqAt] === 0x30) return 0
    const hashAt = this.after(TO_HASH, seqEnd)
    const entryAt = hashAt && this.after(TO_ENTRY, hashAt + 64)
    const entryEnd = entryAt && this.entry(entryAt)
    const contentAt = entryEnd && this.after(TO_CONTENT, entryEnd)
    const hasContent = contentAt > 0
    const textEnd = hasContent ? this.content(contentAt) : entryEnd
    const end = textEnd && this.after(LINE_END, textEnd)
    if (end === 0) return 0
    if (from[TYPE] === 0 || from[REDACTED] > 0 || this.is(TYPE, CREATED)) return 0
    if (to[SEQ] - from[SEQ] !== seqLength || !areSame(out.view, from[SEQ], this.view, seqAt, seqLength)) return 0
    if (hasContent) {
      this.digest.latin1Write(hex(this.contents.first(this.contentEnd)), 0)
      if (to[DIGEST] - from[DIGEST] !== 66 || !areSame(out.view, from[DIGEST] + 1, this.digestView, 0, 64)) return 0
    }
    this.erased = !hasContent && from[DIGEST] > 0
    this.ends = this.is(TYPE, ENDED)
    this.decides = from[DECISION] > 0
    if (this.is(TYPE, INTENT) && !(this.decides && this.decision.allows)) return 0
    const hash = hex(out.first(this.end))
    // Where it is right, the next entry comes behind it.
    out.all.latin1Write(hash, 0)
    if (!areSame(this.view, hashAt, out.view, 0, 64)) return 0
    this.hash = hash
    return end
  }

  /** Where that ends which must stand there; 0 where it does not. */
  after(text, at) {
    return areSame(this.view, at, text, 0, text.byteLength) ? at + text.byteLength : 0
  }

  /** Whether that is what is wanted. */
  is(wanted, text) {
    const [from, length] = [this.from[wanted], text.byteLength]
    return this.to[wanted] - from === length && areSame(this.out.view, from, text, 0, length)
  }

  /**
   * The entry: an object of JSON, which stands in the line as a string. So its quotes are `\"`, and nothing in its own
   * strings is escaped, or this gives up. Of the outermost object, it notes where what is wanted stands, the last time.
   * Gives where the entry ends, 0 where it gives up.
   */
  entry(start) {
    const { lines, view, from, to } = this
    const { all: out, view: outView } = this.out
    let [at, end] = [start, 64]
    if (lines[at] !== 0x7b /* { */) return 0
    for (let i = 0; i < 5; i++) {
      from[i] = 0
      to[i] = 0
    }
    let [depth, wanted, decisionAt, isName, isObject] = [0, -1, 0, false, false]
    // By the depth, in bits: whether it is an object that is open there, or an array.
    let objects = 0
    for (;;) {
      let byte = lines[at++]
      if (byte === 0x5c /* \ */) {
        const first = end
        if (lines[at++] !== 0x22 /* " */) return 0
        out[end++] = 0x22
        for (byte = lines[at++]; PLAIN[byte] === 1; byte = lines[at++]) out[end++] = byte
        if (byte !== 0x5c || lines[at++] !== 0x22) return 0
        out[end++] = 0x22
        if (isName) {
          if (lines[at++] !== 0x3a /* : */) return 0
          out[end++] = 0x3a
          isName = false
          const one = depth === 1 ? WANTED[out[first + 1]] : undefined
          if (one?.name.byteLength !== end - first || !areSame(outView, first, one.name, 0, end - first)) continue
          wanted = one.place
          from[wanted] = end
          if (wanted !== DECISION) continue
          const { line, entry } = this.decided
          if (line.byteLength === 0 || !areSame(view, at, line, 0, line.byteLength)) {
            decisionAt = at
            continue
          }
          out.set(entry, end)
          at += line.byteLength
          end += entry.length
        }
      } else if (isName) return 0
      else if (byte === 0x7b || byte === 0x5b /* [ */) {
        if (++depth > DEPTH_MAX) return 0
        isObject = byte === 0x7b
        out[end++] = byte
        objects = isObject ? objects | (1 << depth) : objects & ~(1 << depth)
        isName = isObject
        if (lines[at] !== (isObject ? 0x7d /* } */ : 0x5d) /* ] */) continue
      } else {
        const last = numberEnd(lines, at - 1) || literalEnd(view, at - 1)
        if (last === 0) return 0
        for (at--; at < last; at++) out[end++] = lines[at]
      }
      // After a value: whatever ends with it, and a comma where something follows.
      for (;;) {
        if (depth === 1 && wanted >= 0) {
          to[wanted] = end
          if (decisionAt > 0) this.decide(decisionAt, at)
          decisionAt = 0
          wanted = -1
        }
        byte = lines[at++]
        if (byte === 0x2c /* , */) break
        if (byte !== (isObject ? 0x7d : 0x5d)) return 0
        out[end++] = byte
        if (--depth === 0) {
          this.end = end
          return at
        }
        isObject = (objects & (1 << depth)) !== 0
      }
      out[end++] = 0x2c
      isName = isObject
    }
  }

  /** A decision stands in the line from `at` to `end`. */
  decide(at, end) {
    const entry = Buffer.from(this.out.all.subarray(this.from[DECISION], this.to[DECISION]))
    this.decided = { line: viewOf(Buffer.from(this.lines.subarray(at, end))), entry }
    const { effect, set } = JSON.parse(entry.toString()) ?? {}
    this.decision = { allows: effect === 'allow', set: isHash(set) ? set : undefined }
  }

  /** The content, where only quotes and backslashes are escaped in it; gives where it ends, 0 where it gives up. */
  content(start) {
    const { lines } = this
    const { all } = this.contents
    let [at, end] = [start, 0]
    for (;;) {
      let byte = lines[at++]
      for (; PLAIN[byte] === 1; byte = lines[at++]) all[end++] = byte
      if (byte !== 0x5c /* \ */) break
      byte = lines[at++]
      if (byte !== 0x5c && byte !== 0x22 /* " */) return 0
      all[end++] = byte
    }
    this.contentEnd = end
    // What ended it is looked at again.
    return at - 1
  }
}

const quick = new QuickReader()

// —— 9. Journals, side by side ——

const newCounts = () => ({ entries: 0, records: 0, erased: 0, redacted: byName(), actions: byName(), sets: new Set() })
/** Checks journals one after the other. */
function checkJournals({ folder, journals, tenant }) {
  const [report, counts] = [new Report(), newCounts()]
  const all = journals.map((journal) => checkJournal(folder, journal, tenant, counts, report))
  return { journals: all, counts, findings: report.findings }
}

/** Less is not worth a thread, which takes some forty milliseconds to begin, bytes. */
const SHARD_MIN = 1 << 26

/** Journals in parts of about the same size, in their order: as many as are asked for, else as there are processors. */
function shardsOf({ folder, journals, tenant }, threads) {
  if (threads === 1) return [{ folder, journals, tenant }]
  const sizes = journals.map(({ run }) => unlessRefused(() => lstatSync(join(folder, fileOf(run))).size) ?? 0)
  const all = sizes.reduce((sum, size) => sum + size, 0)
  const count = Math.max(1, threads ?? Math.min(availableParallelism(), Math.ceil(all / SHARD_MIN)))
  const shards = Array.from({ length: count }, () => ({ folder, journals: [], tenant }))
  let before = 0
  for (const [i, journal] of journals.entries()) {
    shards[Math.min(Math.floor((before / (all + 1)) * count), count - 1)].journals.push(journal)
    before += sizes[i]
  }
  return shards
}

/** A thread that has not come to its end by then is not waited for, ms: this one does its part. */
const THREAD_MS = 600_000

function startThread(shard) {
  const { port1, port2 } = new MessageChannel()
  const state = new Int32Array(new SharedArrayBuffer(4))
  const options = { workerData: { shard, state, port: port2 }, transferList: [port2] }
  new Worker(new URL(import.meta.url), options).unref()
  return { shard, state, port: port1 }
}

/** What a thread does with its part. */
function runThread({ shard, state, port }) {
  try {
    port.postMessage(checkJournals(shard))
  } finally {
    Atomics.store(state, 0, 1)
    Atomics.notify(state, 0)
  }
}

/** Checks journals side by side; what is found stands in the order of the journals all the same. */
function checkSideBySide(all, threads, report) {
  const [own, ...others] = shardsOf(all, threads)
  const started = others.map(startThread)
  const parts = [checkJournals(own)]
  for (const { shard, state, port } of started) {
    Atomics.wait(state, 0, 0, THREAD_MS)
    const part = receiveMessageOnPort(port)?.message
    port.close()
    // One that failed is done again here, where its error can be told.
    parts.push(part ?? checkJournals(shard))
  }
  const total = newCounts()
  for (const { counts, findings } of parts) {
    for (const name of ['entries', 'records', 'erased']) addTo(total, name, counts[name])
    for (const name of ['redacted', 'actions'])
      for (const [key, count] of Object.entries(counts[name])) addTo(total[name], key, count)
    for (const set of counts.sets) total.sets.add(set)
    for (const finding of findings) report.findings.push(finding)
  }
  return { counts: total, journals: parts.flatMap(({ journals }) => journals) }
}

// —— 10. Runs, the record book and policies ——

/** Every run of the ledger that belongs here must be here; what is here must be in it, or be named as not in it. */
function checkRuns({ names, leaves, manifest, expired }, report) {
  const runs = names.flatMap((name) => runOf(name) ?? [])
  const [there, files, unsealed] = [new Set(runs), new Set(names), new Set(manifest.unsealed)]
  const find = (code, run, message, file = fileOf(run)) => report.find(code, file, message, { run })
  for (const [run, all] of leaves) {
    if (!isInScope(manifest.scope, run) || there.has(run)) continue
    const from = all.at(-1).from
    if (expired.has(run)) report.note(`run ${run}: expired by a rule of retention, says ${expired.get(run)}`)
    else find('run-missing', run, `run ${run} is in the ledger (${from}) and not in the export: it was dropped`)
  }
  for (const run of runs) {
    const file = fileOf(run)
    if (!(isRun(run) || run === BOOK) || !isInScope(manifest.scope, run))
      find('run', run, 'is no run that this export is about')
    if (leaves.has(run)) {
      const receipt = RECEIPTS + run
      if (!files.has(receipt)) find('receipt', run, `run ${run} has no receipt`, receipt)
    } else if (unsealed.has(run))
      report.note(`${file}: is not in the ledger (yet): nothing proves that it is whole, or when it was written`)
    else find('run-unproven', run, `run ${run} is not in the ledger: it was added`)
  }
  const { kind, run: own } = manifest.scope
  const said = kind === 'run' && !manifest.missing.includes(own) ? [...manifest.unsealed, own] : manifest.unsealed
  for (const run of new Set(said))
    if (!there.has(run) && !leaves.has(run))
      find('run-missing', run, `run ${run} is in the manifest and not in the export`)
  return runs
}

/**
 * What the book says, as far as the ledger has it, was taken away: whole runs when their time had come, by the record that
 * says so, and content; and for which apps workers decided by each policy set. The book's own chain is checked with it.
 */
function readBook(folder, names, leaves) {
  const said = { expired: new Map(), content: new Set(), subjects: new Map(), tenant: 0, apps: new Map() }
  const sealed = leaves.get(BOOK)?.at(-1)?.seq ?? 0
  if (!names.includes(fileOf(BOOK))) return said
  for (const line of linesOf(join(folder, fileOf(BOOK)))) {
    const { seq, bytes } = parseLine(line) ?? {}
    // Whoever has the folder can add a record, but none that the ledger has.
    if (seq > sealed) continue
    const { action, about, at } = parseJson(bytes ?? '') ?? {}
    if (!isObject(about)) continue
    if (action === 'policy.used') said.apps.set(about.set, (said.apps.get(about.set) ?? new Set()).add(about.app))
    if (action === 'retention.expired' && isObject(about.runs))
      for (const run of Object.keys(about.runs))
        if (about.what === 'content') said.content.add(run)
        else if (about.what === 'run') said.expired.set(run, `record ${seq} of ${fileOf(BOOK)}`)
    if (!['erasure.requested', 'key.destroyed', 'erasure.done'].includes(action) || !Number.isSafeInteger(at)) continue
    if (isRun(about.run)) said.content.add(about.run)
    if (typeof about.subject === 'string') said.subjects.set(about.subject, at)
    if (about.tenant === true) said.tenant = at
  }
  return said
}

/** So long after an erasure was asked for, runs that it is about may still begin until servers refuse them, ms. */
const REFUSED_MS = 5000

/** Content that is gone, though nothing says that it was erased: not by an erasure before the run was begun. */
function checkErased({ run, erased, subject }, { content, subjects, tenant }, report) {
  const until = Math.max(tenant, subjects.get(subject) ?? 0)
  if (erased === 0 || content.has(run) || createdAt(run) <= until + REFUSED_MS) return
  const message = `the content of ${erased} entries is gone, and no record that the ledger has says that it was erased`
  report.find('content-removed', fileOf(run), message, { run })
}

/** The apps beside policies, which no hash of a set is over: each is one that a worker said it decided for. */
function checkApps(folder, names, apps, report) {
  let unsaid = 0
  for (const file of names) {
    const [, set] = /^policies\/(.+)\.json$/.exec(file) ?? []
    if (set === undefined) continue
    const { app } = parseJson(readWhole(join(folder, file))?.toString()) ?? {}
    const said = apps.get(set)
    if (said?.has(hex(toSorted(app) ?? ''))) continue
    // Workers of earlier versions did not say.
    if (said && !said.has(undefined))
      report.find('policy-changed', file, 'has an app that no record says was decided for')
    else if (app !== undefined) unsaid++
  }
  const what = `the apps of ${unsaid} sets (what tools are declared to do, and plans)`
  if (unsaid > 0) report.note(`policies: the ledger has no record of ${what}`)
}

// —— 11. All of it ——

/** The keys to trust: those that were given, else the export's own, which prove only that it agrees with itself. */
function readKeys(folder, given, report) {
  if (given.length > 0) return parseKeys(given, '--key', report)
  report.note('keys: taken from the export itself; compare them with what you were given (--key)')
  const lines = readText(join(folder, 'keys')).split('\n')
  const vkeys = lines.filter((line) => line !== '')
  return parseKeys(vkeys, 'keys', report)
}

/** A ledger's name ends with its tenant's. */
function tenantOf(origin) {
  try {
    return decodeURIComponent(origin.slice(origin.lastIndexOf('/') + 1))
  } catch {
    return origin
  }
}

/** Checks the ledger of which this is the checkpoint; gives its leaves, and those of kept receipts, by their runs. */
function checkLedger({ folder, names, manifest, checkpoint, keys, older, receipts }, report) {
  const { files, scope } = manifest
  const tree = new Tree(folder, names, checkpoint.size)
  // There is a tile for each 256 leaves: where there are not as many files, they are not looked for one by one.
  const whole = scope.kind !== 'run' && checkpoint.size / 256 <= names.length
  if (scope.kind !== 'run' && !whole)
    report.find('tree', 'checkpoint', `is of ${checkpoint.size} leaves, and their tiles are missing`)
  const before = report.findings.length
  checkTree(tree, checkpoint, whole, report)
  const leaves = whole ? readLeaves(tree, report) : new Map()
  const isRight = whole && report.findings.length === before
  checkReceipts({ folder, names, files, checkpoint, tree, leaves, whole, isRight }, report)
  const kept = new Map()
  checkKept({ older, receipts }, keys, { checkpoint, tree, names, kept }, report)
  return { leaves, kept }
}

/** What is known of a run of which nothing is wrong in itself: how far the ledger has it, and why content is gone. */
function checkEnd({ run, newest, last, ...about }, isWhole, said, report) {
  const { seq: sealed, state } = newest ?? {}
  const later = 'whether the ledger has a later one, an export of one run cannot tell'
  if (!isWhole && sealed !== undefined && state !== 'ended')
    report.note(`${fileOf(run)}: had not ended by its leaf; ${later}`)
  if (isWhole && run !== BOOK) checkErased({ run, ...about }, said, report)
  if (sealed !== undefined && last > sealed)
    report.note(`${fileOf(run)}: entries ${sealed + 1} to ${last} are not in the ledger yet`)
}

/** Checks an export; throws `NotAnExport` where there is none. */
export function verifyExport(folder, options = {}) {
  const { keys: given = [], exporterKeys = [], older = [], receipts = [], fingerprint, threads } = options
  if (!lstatSync(folder, { throwIfNoEntry: false })?.isDirectory()) throw new NotAnExport(`${folder} is no folder`)
  const report = new Report()
  const names = listFiles(folder, report)
  if (!['manifest.json', 'manifest.sha256', 'checkpoint'].some((name) => names.includes(name)))
    throw new NotAnExport(`${folder} is no audit export: it has neither a manifest nor a checkpoint`)
  const manifest = readManifest(folder, names, fingerprint, report)
  const { files, scope } = manifest
  const exporters = checkExporter(folder, names, manifest, exporterKeys, report)
  const keys = readKeys(folder, given, report)
  const checkpoint = readCheckpoint(readText(join(folder, 'checkpoint')), 'checkpoint', keys, report)
  if (files) checkFiles({ folder, names, files, withReceipts: !checkpoint }, report)
  const { leaves, kept } = checkpoint
    ? checkLedger({ folder, names, manifest, checkpoint, keys, older, receipts }, report)
    : { leaves: new Map(), kept: new Map() }
  const said = readBook(folder, names, leaves)
  const runs = checkRuns({ names, leaves, manifest, expired: said.expired }, report)
  const tenant = checkpoint && tenantOf(checkpoint.origin)
  const journals = runs.map((run) => ({
    run,
    leaves: [...(leaves.get(run) ?? []), ...(kept.get(run) ?? [])],
    hash: files && Object.hasOwn(files, fileOf(run)) ? files[fileOf(run)] : undefined,
  }))
  const { counts, journals: checked } = checkSideBySide({ folder, journals, tenant }, threads, report)
  const { entries, records, erased, redacted, actions, sets } = counts
  for (const [i, run] of runs.entries())
    checkEnd({ run, newest: leaves.get(run)?.at(-1), ...checked[i] }, scope.kind !== 'run', said, report)
  checkApps(folder, names, said.apps, report)
  for (const set of sets)
    if (!names.includes(`policies/${set}.json`))
      report.note(`policies: the set ${set} was not published, and is not here`)
  const { origin, size, signers = [] } = checkpoint ?? {}
  const found = { tenant, origin, size, runs: runs.filter(isRun).length, entries, records, erased, redacted }
  if (files && checkpoint) checkCounts(manifest, found, report)
  for (const run of manifest.missing)
    report.note(`run ${run}: was in the ledger and not there any more when it was exported`)
  const { findings, notes } = report
  const policies = names.filter((name) => name.startsWith('policies/')).length
  return {
    ok: findings.length === 0,
    ...{ fingerprint: manifest.fingerprint, scope, ...found, actions, policies, signers, exporters, findings, notes },
  }
}

// —— 12. What a person reads, and the command ——

const SHOWN_MAX = 100

/** Text of others without the characters that a terminal obeys; those that hide or turn around others are named. */
const plain = (text) =>
  String(text)
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is taken out
    .replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ')
    .replace(
      /[\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu,
      (one) => `⟨U+${one.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}⟩`,
    )

function dateOf(ms) {
  if (ms === undefined || ms === null) return 'open'
  // A witness can sign any time.
  return Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : `${ms} ms`
}

function aboutScope({ kind, run, since, until }) {
  if (kind === 'run') return `run ${run} alone`
  return kind === 'range' ? `runs created from ${dateOf(since)} until ${dateOf(until)}` : 'all runs of the tenant'
}

/** The result in words: what was checked, what was found, what that proves and what it does not. */
export function summaryOf(result) {
  const { ok, findings, notes, signers, exporters, entries, erased, redacted, actions, policies } = result
  const taken = Object.entries(redacted).map(([kind, count]) => `${count} ${kind}`)
  const done = Object.entries(actions).map(([action, count]) => `${count} ${action}`)
  const by = signers.map(({ name, witness, at }) => (witness ? `witness ${name}, ${dateOf(at * 1000)}` : name))
  const exportedBy = exporters.map(({ name, id }) => `${name} (${id})`)
  const more = findings.length - SHOWN_MAX
  const lines = [
    'WHAT WAS CHECKED',
    `  Tenant ${result.tenant}, ledger ${result.origin}: ${aboutScope(result.scope)}.`,
    `  ${result.runs} runs with ${entries} entries; ${result.size} leaves of the ledger; ${policies} policy sets.`,
    `  ${result.records} records of what was done besides runs: ${done.join(', ') || 'none here'}.`,
    `  Content erased of ${erased} entries; redacted before it was written: ${taken.join(', ') || 'nothing'}.`,
    `  Signed by: ${by.join('; ') || 'nobody whose key is known'}.`,
    `  Fingerprint of the export: ${result.fingerprint}`,
    `  Export signed by: ${exportedBy.join('; ') || 'nobody whose key was given'}.`,
    '',
    `RESULT: ${ok ? 'NOTHING IS WRONG' : `${findings.length} FINDINGS`}`,
    ...findings.slice(0, SHOWN_MAX).map(({ code, file, message }) => `  [${code}] ${file}: ${message}`),
    ...(more > 0 ? [`  … and ${more} more (--json has all)`] : []),
    '',
    ...(notes.length > 0 ? ['NOTE', ...notes.slice(0, SHOWN_MAX).map((note) => `  ${note}`), ''] : []),
    ...(ok ? PROVEN : BROKEN),
    '',
    ...NOT_PROVEN,
  ]
  return lines.map(plain).join('\n')
}

const PROVEN = [
  'WHAT THIS PROVES',
  '  No file differs from what was exported, by a single byte. Every journal is complete and in order up to',
  '  its last leaf in the ledger, and is what it was when that leaf was written. No run that the ledger has and that',
  '  this export is about was left out. Whoever holds the keys named above signed exactly this ledger.',
]

const BROKEN = [
  'WHAT THIS MEANS',
  '  The files are not as they were exported, or the records were changed before that. Do not rely',
  '  on what is named above. What is not named was checked and is consistent.',
]

const NOT_PROVEN = [
  'WHAT THIS DOES NOT PROVE',
  '  That what was recorded is true: that a tool did in the world what it reported.',
  '  What happened in a run after its last leaf, or in runs that never entered the ledger.',
  '  That the signers are who they say: compare their keys (--key) with what you were given some other way.',
  '  That nobody keeps a second ledger: compare with a checkpoint that you, or a witness, kept (--older).',
  '  That the period and the scope were chosen fairly: read them above.',
]

const USAGE = `usage: node muster-verify.mjs FOLDER [--key VKEY]... [--exporter-key VKEY]... [--older CHECKPOINT]... \
[--receipt FILE]... [--fingerprint SHA256] [--threads N] [--json]`

const LIST = { type: 'string', multiple: true, default: [] }
const OPTIONS = {
  ...{ key: LIST, 'exporter-key': LIST, older: LIST, receipt: LIST },
  ...{ fingerprint: { type: 'string' }, threads: { type: 'string' }, json: { type: 'boolean', default: false } },
}

function parseArguments(args) {
  let parsed
  try {
    parsed = parseArgs({ args, options: OPTIONS, allowPositionals: true })
  } catch {
    throw new NotAnExport(USAGE)
  }
  const { values, positionals } = parsed
  const { key: keys, 'exporter-key': exporterKeys, older, receipt: receipts, fingerprint, threads = '', json } = values
  if (positionals.length !== 1 || !/^([1-9]\d{0,2})?$/.test(threads)) throw new NotAnExport(USAGE)
  const [folder] = positionals
  return { folder, keys, exporterKeys, older, receipts, fingerprint, threads: Number(threads) || undefined, json }
}

/** Runs as a command; gives the exit code. */
export function main(args) {
  try {
    const { folder, json, ...options } = parseArguments(args)
    const result = verifyExport(folder, options)
    console.log(json ? JSON.stringify(result, null, 2) : summaryOf(result))
    return result.ok ? 0 : 1
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    console.error(args.includes('--json') ? JSON.stringify({ error: message }) : message)
    return 2
  }
}

if (!isMainThread) {
  if (workerData?.shard !== undefined) runThread(workerData)
} else if (process.argv[1] !== undefined && pathToFileURL(realpathSync(process.argv[1])).href === import.meta.url)
  process.exitCode = main(process.argv.slice(2))
