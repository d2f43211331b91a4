#!/usr/bin/env node
/**
 * Checks an audit export of Muster: offline, alone, with nothing but Node (20 or newer).
 *
 *     node muster-verify.mjs FOLDER [--key VKEY]… [--exporter-key VKEY]… [--older CHECKPOINT]… [--receipt FILE]…
 *          [--fingerprint SHA256] [--threads N] [--json]
 *
 * Exits with 0 where all is right, 1 where something was found, 2 where there is nothing to check.
 *
 * How to read this file, from the top: (1) hashes and the tree of RFC 6962; (2) signed notes of C2SP; (3) the files and the
 * manifest; (4) the ledger's tiles (C2SP tlog-tiles); (5) receipts and older checkpoints; (6) journals; (7) all of it together;
 * (8) what a person reads. It shares no code with Muster itself, so that each checks the other.
 *
 * What is compared with what:
 *   - a journal is a chain:      hash(0) = SHA-256("muster/journal/v1\n" + run), hash(n) = SHA-256(hash(n-1) + bytes of entry n)
 *   - a leaf of the ledger says: run R had at entry N the hash H
 *   - the ledger is a Merkle tree over all leaves, and its checkpoint is signed: who changes a journal must change a leaf,
 *     who changes a leaf changes the root, and who changes the root needs the key and every copy of an older checkpoint
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

/** There is nothing here that could be checked. */
export class NotAnExport extends Error {}

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

// —— 1. Hashes, and the tree of RFC 6962 ——

/** In one call, which Node has from 20.12 on and which takes a third of the time. */
const hash = crypto.hash ?? ((name, data, encoding) => createHash(name).update(data).digest(encoding))
const hex = (data) => hash('sha256', data, 'hex')
/** By way of its digits, which takes half as long as a buffer from OpenSSL. */
const sha256 = (...parts) => Buffer.from(hex(Buffer.concat(parts)), 'hex')
const leafHash = (leaf) => sha256(Buffer.of(0), leaf)
const nodeHash = (left, right) => sha256(Buffer.of(1), left, right)

/** Hashes, one after the other, and in each layer above those over its pairs: the last has one for as many as can be. */
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

const pair = Buffer.alloc(65, 1)

/** The root that a leaf and its proof of inclusion lead to (RFC 9162, 2.1.3.2); undefined where they lead to none. */
function rootOfProof(hash, index, size, proof) {
  if (index >= size) return undefined
  let [at, last, root] = [index, size - 1, hash]
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

// —— 2. Signed notes (c2sp.org/signed-note), checkpoints (tlog-checkpoint), witnesses (tlog-cosignature) ——

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
  return { vkey, name, id, type: typed[0], key }
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
    if (!key) {
      report.note(`${file}: the signature of ${name} (${id}) was not checked: its key is not known`)
      continue
    }
    const at = signedBy(key, text, bytes)
    if (at === undefined) report.find('signature', file, `the signature of ${name} (${id}) is wrong`)
    else signers.push({ name, id, witness: key.type === WITNESS_KEY, ...(at === true ? {} : { at }) })
  }
  return signers
}

/** Reads a checkpoint and checks who signed it. What is wrong with it is told; undefined where it cannot be read at all. */
function readCheckpoint(note, file, keys, report) {
  const parsed = parseNote(note)
  const [origin, digits, encoded = '', ...rest] = parsed?.text.split('\n') ?? []
  const root = base64(encoded)
  const size = Number(digits)
  if (
    !/^(0|[1-9]\d*)$/.test(digits ?? '') ||
    !Number.isSafeInteger(size) ||
    root?.length !== 32 ||
    rest.join() !== ''
  ) {
    report.find('checkpoint', file, 'is not a signed checkpoint')
    return undefined
  }
  const signers = readSigners(parsed, file, keys, report)
  if (!signers.some(({ witness, name }) => !witness && name === origin))
    report.find('signature', file, 'no known key of the ledger has signed this checkpoint')
  return { origin, size, root, note, signers }
}

/** A proof as in c2sp.org/tlog-proof, with its leaf; undefined where it is not written as one. */
function parseProof(text) {
  const end = text.indexOf('\n\n')
  const [header, extra = '', index = '', ...hashes] = text.slice(0, Math.max(0, end)).split('\n')
  const leaf = extra.startsWith('extra ') ? base64(extra.slice(6)) : undefined
  const proof = hashes.map(base64)
  if (header !== 'c2sp.org/tlog-proof@v1' || !leaf || !/^index (0|[1-9]\d*)$/.test(index)) return undefined
  if (!proof.every((hash) => hash?.length === 32)) return undefined
  return { leaf, index: Number(index.slice(6)), proof, checkpoint: text.slice(end + 2) }
}

// —— 3. The files, and what the manifest says of them ——

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

/** Undefined where the system refuses: what is not allowed, not there any more, or has too long a name. */
function unlessRefused(what) {
  try {
    return what()
  } catch (error) {
    if (error?.syscall === undefined) throw error
    return undefined
  }
}

/** What is in the folder, or in one below it that may be unreadable. */
function entriesIn(folder, report, below) {
  const read = () => readdirSync(join(folder, below), { withFileTypes: true })
  if (below === '') return read()
  const entries = unlessRefused(read)
  if (!entries) report.find('file-added', below, 'is a folder that cannot be read')
  return entries ?? []
}

/** All files below the folder, by names with slashes. */
function listFiles(folder, report, below = '') {
  const names = []
  for (const entry of entriesIn(folder, report, below)) {
    const name = below === '' ? entry.name : `${below}/${entry.name}`
    if (name.includes('\u{fffd}')) report.find('file-added', name, 'has a name that is not UTF-8')
    else if (entry.isDirectory()) for (const one of listFiles(folder, report, name)) names.push(one)
    else if (entry.isFile()) names.push(name)
    else report.find('file-added', name, 'is a link or a device: an export has none')
  }
  return names.sort()
}

/** Not at the beginning of its memory: to a place that is 16 bytes into a page, AMD's processors copy pages at half their speed. */
const piece = Buffer.alloc((1 << 20) + 64).subarray(64)

/** A file may have been put in the place of another since the folder was listed: no link is followed, nothing waited for. */
const OF_EXPORT = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK

/** Pieces of a file, so that one of any length can be read. Each is gone when the next one comes, of this file or another. */
function* piecesOf(path, flags = 'r') {
  const file = openSync(path, flags)
  try {
    const about = fstatSync(file)
    if (flags !== 'r' && !about.isFile()) return
    // What was read as far as it is long is not asked for more: a call of the system takes as long as a line.
    for (let length = 0; length === 0 || length !== about.size; ) {
      const read = readSync(file, piece)
      if (read === 0) return
      length += read
      yield piece.subarray(0, read)
    }
  } finally {
    closeSync(file)
  }
}

/** The same of a file of the export; undefined where it cannot be read, or not to its end. */
function* piecesIn(path) {
  const pieces = piecesOf(path, OF_EXPORT)
  for (;;) {
    const next = unlessRefused(() => pieces.next())
    if (next?.done) return
    yield next?.value
    if (!next) return
  }
}

/** 0 where that cannot be told. */
const lengthOf = (path) => unlessRefused(() => lstatSync(path).size) ?? 0

/** No file that is read at once is longer: a manifest of millions of files has half of that. */
const FILE_MAX = 1 << 28
const NOT_READ = 'cannot be read, or is longer than any that an export has'
const CHANGED = 'does not have the hash that the manifest says: it was changed'

/** The same; undefined as soon as the file is longer than `max`. How long it is, is asked only where it has a full piece. */
function* piecesWithin(pieces, path, max) {
  let length = 0
  for (const bytes of pieces) {
    length += bytes?.length ?? 0
    const isWithin = bytes && length <= max && (bytes.length < piece.length || lengthOf(path) <= max)
    yield isWithin ? bytes : undefined
    if (!isWithin) return
  }
}

function joined(pieces) {
  const all = []
  for (const bytes of pieces) {
    if (!bytes) return undefined
    all.push(Buffer.from(bytes))
  }
  return all.length === 1 ? all[0] : Buffer.concat(all)
}

/** A file as a whole; undefined where it cannot be read, or is longer than any that an export has. */
const readWhole = (path, max = FILE_MAX) => joined(piecesWithin(piecesIn(path), path, max))

const TEXT_MAX = 1 << 20
/** Empty where it is not there. */
const readText = (path) => readWhole(path, TEXT_MAX)?.toString() ?? ''

/** A file that the auditor names, which may be a link or a pipe, and must be there. */
const readKept = (path) => joined(piecesWithin(piecesOf(path), path, TEXT_MAX))?.toString() ?? ''

/** Undefined where it cannot be read, or is longer than any that an export has. */
function hashOfFile(path) {
  const hash = createHash('sha256')
  for (const bytes of piecesWithin(piecesIn(path), path, FILE_MAX)) {
    if (!bytes) return undefined
    hash.update(bytes)
  }
  return hash.digest('hex')
}

/** A longer line than any that an export has is not kept in memory. */
const LINE_MAX = 1 << 26

/**
 * A file in pieces of whole lines, each with the newline at its end; undefined for a line that does not end, is too long, or
 * cannot be read. All of it is added to `digest`. A piece is gone when the next one comes.
 */
function* wholeLinesOf(path, digest) {
  let [rest, length] = [[], 0]
  for (const piece of piecesIn(path)) {
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

/** The lines of a file; undefined for one that does not end, is too long, or is not UTF-8. */
function* linesOf(path) {
  for (const lines of wholeLinesOf(path)) {
    if (lines === undefined) yield undefined
    for (let at = 0; at < (lines?.length ?? 0); at = lines.indexOf(10, at) + 1) yield lineAt(lines, at)
  }
}

const lineAt = (lines, at) => textOf(lines.subarray(at, lines.indexOf(10, at)))
const textOf = (bytes) => (isUtf8(bytes) ? bytes.toString() : undefined)

function parseJson(text) {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** What the ledger calls the tenant's record book: what was done besides runs, chained as a journal is. */
const BOOK = 'records'

/** Where a journal is, or the book. */
const fileOf = (run) => (run === BOOK ? 'records.jsonl' : `runs/${run}.jsonl`)

/** Whose journal a file is; undefined for other files. */
const runOf = (name) => (name === fileOf(BOOK) ? BOOK : /^runs\/(.+)\.jsonl$/.exec(name)?.[1])

const isRun = (id) =>
  typeof id === 'string' && /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(id)
const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value)

const areRuns = (list) => Array.isArray(list) && list.every((run) => isRun(run) || run === BOOK)

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

/** What an export can be about: all runs of a tenant, those created in a time, or one. */
function isScope(scope) {
  const { kind, ...rest } = isObject(scope) ? scope : {}
  const names = Object.keys(rest)
  if (kind === 'run') return names.join() === 'run' && isRun(rest.run)
  const isTime = (name) =>
    ['since', 'until'].includes(name) && Number.isFinite(rest[name]) && Math.abs(rest[name]) <= 8.64e15
  return (kind === 'tenant' && names.length === 0) || (kind === 'range' && names.every(isTime))
}

/** The manifest, where it is what its own hash says; empty where it cannot be read, and then the rest is checked without it. */
function readManifest(folder, names, fingerprint, report) {
  const empty = { files: undefined, scope: { kind: 'tenant' }, unsealed: [], missing: [] }
  if (!names.includes('manifest.json')) {
    report.find('file-removed', 'manifest.json', 'is missing: nothing says what belongs to the export')
    return empty
  }
  const bytes = readWhole(join(folder, 'manifest.json'))
  if (!bytes) {
    report.find('manifest', 'manifest.json', NOT_READ)
    return empty
  }
  const found = hex(bytes)
  if (readText(join(folder, 'manifest.sha256')) !== `${found}  manifest.json\n`)
    report.find('file-changed', 'manifest.json', 'it, or manifest.sha256, was changed: they do not fit')
  if (fingerprint !== undefined && fingerprint !== found)
    report.find('fingerprint', 'manifest.json', `the export has the fingerprint ${found}, not ${fingerprint}`)
  const text = bytes.toString()
  const manifest = parseJson(text)
  const { format, files, scope, unsealed, missing } = isObject(manifest) ? manifest : {}
  if (format !== FORMAT || !isObject(files) || !isScope(scope) || ![unsealed, missing].every(areRuns)) {
    report.find('manifest', 'manifest.json', `is not a manifest of the format ${FORMAT}`)
    return empty
  }
  if (text !== `${toJson(manifest, 2)}\n`)
    report.find('manifest', 'manifest.json', 'is not written as an export writes it')
  return { ...manifest, fingerprint: found }
}

/** Who signed the manifest: a note of the ledger's name, the format and the manifest's hash. It is there only if somebody did. */
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
const OWN_FILES =
  /^(?:(?:checkpoint|keys|verify\.mjs|records\.jsonl|manifest\.(?:json|sha256|sig)|policies\/[0-9a-f]{64}\.json|runs\/.+\.jsonl)$|(?:receipts|tile)\/)/

/** Checks what is there and its hashes, but for files that are hashed when they are read: journals, and receipts where they are. */
function checkFiles({ folder, names, files, withReceipts }, report) {
  const known = new Set(['manifest.json', 'manifest.sha256', ...Object.keys(files)])
  if (names.includes('manifest.sig')) known.add('manifest.sig')
  for (const name of names) {
    if (!known.has(name)) report.find('file-added', name, 'is not in the manifest: it was added')
    else if (!OWN_FILES.test(name)) report.find('file-added', name, 'is no file of an export: it was added')
    else if (runOf(name) !== undefined || !Object.hasOwn(files, name)) continue
    else if (withReceipts || !name.startsWith(RECEIPTS)) checkHash(name, hashOfFile(join(folder, name)), files, report)
  }
  const present = new Set(names)
  for (const name of known) if (!present.has(name)) report.find('file-removed', name, 'is missing')
}

// —— 4. The ledger's tree, from its tiles ——

/** How many hashes there are at a level of tiles: each is over 256 of the level below. */
const countAt = (level, size) => Math.floor(size / 256 ** level)

function tileName(level, index, width) {
  const digits = String(index).padStart(Math.ceil(String(index).length / 3) * 3, '0')
  const parts = digits.match(/\d{3}/g) ?? []
  const path = parts.map((part, i) => (i < parts.length - 1 ? `x${part}` : part)).join('/')
  return `tile/${level}/${path}${width === 256 ? '' : `.p/${width}`}`
}

/** The tiles of the tree of `size` leaves. */
class Tree {
  constructor(folder, names, size) {
    this.folder = folder
    this.names = new Set(names)
    this.size = size
    this.read = new Map()
    this.edges = new Map()
  }

  /** How wide a tile is in this tree, and so what it is called. */
  nameOf(level, index) {
    const count = countAt(level === 'entries' ? 0 : level, this.size)
    return tileName(level, index, Math.min(256, count - index * 256))
  }

  /** A tile's hashes, and those over them. */
  layers(level, index) {
    const place = index * 64 + level
    const known = this.read.get(place)
    if (known) return known
    const name = this.nameOf(level, index)
    const width = Math.min(256, countAt(level, this.size) - index * 256)
    const bytes = this.names.has(name) ? readWhole(join(this.folder, name)) : undefined
    if (bytes?.length !== width * 32) throw new MissingTile(`${name} is missing, or has not ${width} hashes`)
    // A few at a time: a tree may be larger than memory.
    if (this.read.size >= 64) this.read.clear()
    const layers = layersOf(bytes)
    this.read.set(place, layers)
    return layers
  }

  /** The hash over the `width` leaves from `start` on, which are a whole subtree: it is in a tile, or over some of its hashes. */
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
    const half = halfOf(end - start)
    // Only whole subtrees have a width that is a power of two.
    if (half * 2 === end - start || end - start === 1) return this.subtree(start, end - start)
    return nodeHash(this.subtree(start, half), this.root(end, start + half))
  }

  /** The proof that a leaf is in the tree: from the leaf to the root, the hash over what stands beside its path. */
  proof(index) {
    const hashes = []
    for (let [start, end] = [0, this.size]; end - start > 1; ) {
      const middle = start + halfOf(end - start)
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

  /** The root over all leaves from `start` on, of which many proofs have the same. */
  edge(start) {
    if (!this.edges.has(start)) this.edges.set(start, this.root(this.size, start))
    return this.edges.get(start)
  }
}

/** The greatest power of two below `width`, which is more than 1; 1 for 1. */
function halfOf(width) {
  let half = 1
  while (half * 2 < width) half *= 2
  return half
}

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

/** Checks each tile against those below it, and the top against the checkpoint's root. With `whole` none may be missing. */
function checkTree(tree, checkpoint, whole, report) {
  const there = [...tree.names].filter((name) => name.startsWith('tile/'))
  for (const name of there) {
    const place = placeOf(name)
    if (!place || name !== tree.nameOf(...place))
      report.find('tree', name, `is no tile of a ledger of ${tree.size} leaves`)
  }
  const places = whole ? placesOf(tree.size) : there.map(placeOf).filter((place) => place !== undefined)
  for (const [level, index] of places) {
    const name = tree.nameOf(level, index)
    if (level === 'entries' || (!whole && !tree.names.has(name))) continue
    const find = (message) => report.find('tree', name, message)
    unlessMissing(() => {
      const [tile] = tree.layers(level, index)
      for (let i = 0; level > 0 && i < tile.length / 32; i++) {
        if (!whole && !tree.names.has(tree.nameOf(level - 1, index * 256 + i))) continue
        if (!tree.layers(level - 1, index * 256 + i)[8].equals(tile.subarray(i * 32, i * 32 + 32)))
          find(`its hash ${i} is not that of the tile below: the ledger was changed`)
      }
    }, find)
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

const isHash = (text) => typeof text === 'string' && /^[0-9a-f]{64}$/.test(text)

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
    const width = Math.min(256, tree.size - bundle * 256)
    const leaves = tree.names.has(file) ? leavesIn(readWhole(join(tree.folder, file)) ?? Buffer.of(0)) : undefined
    if (leaves?.length !== width) {
      report.find('tree', file, `is missing, or has not ${width} leaves`)
      continue
    }
    for (const [i, bytes] of leaves.entries()) {
      const index = bundle * 256 + i
      if (!leafIsAt(tree, index, bytes))
        report.find('leaf', file, `leaf ${index} is not what the tree has there`, { leaf: index })
      const leaf = parseLeaf(bytes)
      if (!leaf) report.find('leaf', file, `leaf ${index} says nothing of a run`, { leaf: index })
      else addLeaf(byRun, { ...leaf, index, from: `leaf ${index} of the ledger`, file }, report)
    }
  }
  return byRun
}

const leafIsAt = (tree, index, bytes) =>
  unlessMissing(
    () => tree.subtree(index, 1).equals(leafHash(bytes)),
    () => false,
  )

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

// —— 5. Receipts, and checkpoints that were kept from earlier ——

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
        if (!tree.root(older.size).equals(older.root))
          find(
            'fork',
            `the ledger does not begin with the ${older.size} leaves of this checkpoint: there are two histories`,
          )
      },
      (missing) => find('not-checkable', `this export has too few tiles for it: ${missing}`),
    )
}

/** Checks a proof by itself, under its own checkpoint; gives its leaf, or undefined where it proves none. */
function checkProof(proof, file, checkpoint, report) {
  const leaf = proof && parseLeaf(proof.leaf)
  if (!leaf) report.find('receipt', file, 'is not a receipt')
  else if (!rootOfProof(leafHash(proof.leaf), proof.index, checkpoint.size, proof.proof)?.equals(checkpoint.root))
    report.find('receipt', file, 'does not prove that its leaf is in the ledger', { run: leaf.run })
  else return { ...leaf, index: proof.index, from: `the receipt ${file}`, file }
  return undefined
}

/**
 * Whether this is, byte by byte, the receipt that a tree gives for its leaf. Where nothing was found of the tree and its
 * leaves there is nothing to find of such a receipt either: it has the leaf, and its proof leads to the root.
 */
function isReceiptOf(tree, { index }, bytes, note) {
  const text = bytes.toString('latin1')
  const extra = text.slice(29, text.indexOf('\n', 29))
  const leaf = Buffer.from(extra, 'base64')
  if (!leafIsAt(tree, index, leaf)) return false
  const proof = tree.proof(index).map((hash) => hash.toString('base64'))
  const lines = ['c2sp.org/tlog-proof@v1', `extra ${leaf.toString('base64')}`, `index ${index}`, ...proof]
  return text === `${lines.join('\n')}\n\n${Buffer.from(note).toString('latin1')}`
}

/**
 * The export's own receipts: each of the run that it is named by, under the export's checkpoint, for the run's newest leaf.
 * `isRight`: nothing was found of the tree, which is whole, nor of its leaves.
 */
function checkReceipts({ folder, names, files, checkpoint, tree, leaves, whole, isRight }, report) {
  for (const file of names.filter((name) => name.startsWith(RECEIPTS))) {
    const run = file.slice(RECEIPTS.length)
    const bytes = readWhole(join(folder, file), TEXT_MAX)
    if (files && Object.hasOwn(files, file)) checkHash(file, bytes && hex(bytes), files, report)
    const newest = leaves.get(run)?.at(-1)
    if (isRight && bytes && newest && isReceiptOf(tree, newest, bytes, checkpoint.note)) continue
    const proof = parseProof(bytes?.toString() ?? '')
    if (proof && proof.checkpoint !== checkpoint.note)
      report.find('receipt', file, "is for another checkpoint than the export's", { run })
    const leaf = checkProof(proof, file, checkpoint, report)
    if (!leaf) continue
    if (leaf.run !== run)
      report.find('receipt', file, `does not belong to run ${run}: it is of run ${leaf.run}`, { run })
    else if (!whole) {
      addLeaf(leaves, leaf, report)
      if (!leafIsAt(tree, leaf.index, proof.leaf))
        report.find(
          'tree',
          tree.nameOf(0, Math.floor(leaf.index / 256)),
          `does not have leaf ${leaf.index}, of the run`,
        )
    } else if (newest?.index !== leaf.index)
      report.find('receipt', file, `is not of the run's newest leaf: that is leaf ${newest?.index}`, { run })
  }
}

// —— 6. Journals ——

/** When a run was created, ms: a UUIDv7 begins with it. */
const createdAt = (id) => Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16)

/** A line as it is stored: place, hash, bytes, content, and nothing else, written in the only way in which it is. */
function parseLine(line) {
  const { seq, hash, bytes, content } = (line && parseJson(line)) || {}
  if (!Number.isSafeInteger(seq) || seq < 1) return undefined
  if (![hash, bytes, content ?? ''].every((one) => typeof one === 'string')) return undefined
  const stored = content === undefined ? { seq, hash, bytes } : { seq, hash, bytes, content }
  return JSON.stringify(stored) === line ? stored : undefined
}

/** Where an entry stands: counts it, and tells of what was removed, added, moved or repeated. */
class Places {
  constructor(run, find) {
    this.find = find
    /** By place, of which there may be gaps. */
    this.hashes = [hex(`muster/journal/v1\n${run}`)]
    this.gaps = new Set()
    this.last = 0
  }

  /** Takes an entry; false where it has no place of its own. */
  take({ seq, hash }) {
    const known = this.hashes[seq]
    if (known !== undefined) {
      if (known === hash) this.find('entry-duplicated', seq, `entry ${seq} stands here a second time`)
      else this.find('entry-added', seq, `entry ${seq} is there already: this one was added`)
      return false
    }
    if (this.gaps.delete(seq))
      this.find('entry-reordered', seq, `entry ${seq} stands after entry ${this.last}: it was moved`)
    for (let gap = this.last + 1; gap < seq; gap++) {
      // Places that are far off are no list of all before them.
      if (this.gaps.size >= 10_000) break
      this.gaps.add(gap)
    }
    this.hashes[seq] = hash
    this.last = Math.max(this.last, seq)
    return true
  }

  /** Takes the entry after the last one. */
  next(hash) {
    this.hashes[++this.last] = hash
  }

  finish() {
    for (const seq of this.gaps) this.find('entry-removed', seq, `entry ${seq} is missing: it was removed`)
  }
}

/** 1 for each byte that may stand in a JSON string as it is: all but control characters, " and \. */
const PLAIN = Uint8Array.from({ length: 256 }, (_, byte) => Number(byte >= 0x20 && byte !== 0x22 && byte !== 0x5c))
const bytesOf = (texts) => texts.map((text) => Buffer.from(text))
const [TO_SEQ, TO_HASH, TO_ENTRY, TO_CONTENT] = bytesOf(['{"seq":', ',"hash":"', '","bytes":"', '","content":"'])
const LINE_END = Buffer.from('"}\n')
const [CREATED, ENDED, INTENT, ...LITERALS] = bytesOf([
  ...['"run.created"', '"run.ended"', '"step.intent"', 'true', 'false', 'null'],
])
/** What of an entry has to be known, by the first byte of its name: no two have the same. */
const WANTED = []
const [SEQ, TYPE, DECISION, REDACTED, DIGEST] = ['seq', 'type', 'decision', 'redacted', 'content'].map(
  (name, place) => {
    WANTED[name.charCodeAt(0)] = { name: Buffer.from(`"${name}"`), place }
    return place
  },
)
const DEPTH_MAX = 16

/** Whether as many bytes of `expected` stand there as there are from `from` to `to`. */
function beginsAt(bytes, from, to, expected, at = 0) {
  for (let i = 0; i < to - from; i++) if (bytes[from + i] !== expected[at + i]) return false
  return true
}

/** Whether `expected` is what stands there. */
const isAt = (bytes, from, to, expected) => to - from === expected.length && beginsAt(bytes, from, to, expected)

const viewOf = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.length)

/** Whether the same `length` bytes stand there in both: where they are many, in a third of the time. */
function areSame(one, from, other, at, length) {
  if (from + length > one.byteLength || at + length > other.byteLength) return false
  let i = 0
  for (; i <= length - 4; i += 4) if (one.getInt32(from + i) !== other.getInt32(at + i)) return false
  for (; i < length; i++) if (one.getUint8(from + i) !== other.getUint8(at + i)) return false
  return true
}

/** Bytes of which the first ones are hashed: those of common lengths are kept, as to make one takes a tenth as long as to hash it. */
class Bytes {
  all = Buffer.alloc(2 * piece.length)
  view = viewOf(this.all)
  kept = []
  first(length) {
    if (length >= 4096) return this.all.subarray(0, length)
    this.kept[length] ??= this.all.subarray(0, length)
    return this.kept[length]
  }
}

/**
 * The quick way, for a line of which there is nothing to tell: it has the next place, is written as our own writer does, and
 * its hashes are right. The bytes of its entry are put behind the hash of the entry before, so that both are hashed as they
 * stand, and on the way it is checked that they are JSON.
 *
 * It only ever says yes. Whatever it does not expect, and it expects little, makes it give up; then the line is read by
 * `checkLine`, as if it had not been here. So it finds nothing, and must only be trusted not to say yes to any other line.
 */
class QuickReader {
  constructor() {
    /** The hash before, and the bytes of the entry. */
    this.out = new Bytes()
    this.contents = new Bytes()
    /** The hash that `out` begins with. */
    this.hash = ''
    this.digest = viewOf(Buffer.alloc(64))
    this.digestBytes = Buffer.from(this.digest.buffer, this.digest.byteOffset, 64)
    /** From where to where in `out` what is wanted stands; 0 where it does not. */
    this.from = new Int32Array(5)
    this.to = new Int32Array(5)
    /** The last decision that was read, as it stands in a line and in the entry: most are like the one before. */
    this.decided = { line: viewOf(Buffer.of()), entry: Buffer.of() }
    this.decision = undefined
  }

  /** Reads the line at `at` as entry `seq`, after the one with the hash `before`; gives where it ends, 0 where it gives up. */
  read(lines, at, seq, before) {
    const { from, to } = this
    const out = this.out.all
    if (lines.length > out.length - 64) return 0
    if (before !== this.hash) {
      if (!isHash(before)) return 0
      out.latin1Write(before, 0)
    }
    this.hash = ''
    for (let i = 0; i < 5; i++) from[i] = 0
    if (lines !== this.lines) {
      this.lines = lines
      this.view = viewOf(lines)
    }
    this.at = at
    if (!this.skip(TO_SEQ)) return 0
    const seqAt = this.at
    if (!this.place(seq)) return 0
    const seqEnd = this.at
    if (!this.skip(TO_HASH)) return 0
    const hashAt = this.at
    this.at += 64
    if (!this.skip(TO_ENTRY) || !this.entry()) return 0
    const hasContent = this.skip(TO_CONTENT)
    if ((hasContent && !this.content()) || !this.skip(LINE_END)) return 0
    if (from[SEQ] === 0 || from[TYPE] === 0 || from[REDACTED] > 0 || this.is(TYPE, CREATED)) return 0
    if (to[SEQ] - from[SEQ] !== seqEnd - seqAt || !beginsAt(out, from[SEQ], to[SEQ], lines, seqAt)) return 0
    if (hasContent) {
      this.digestBytes.latin1Write(hex(this.contents.first(this.contentEnd)), 0)
      if (from[DIGEST] === 0 || to[DIGEST] - from[DIGEST] !== 66) return 0
      if (!areSame(this.out.view, from[DIGEST] + 1, this.digest, 0, 64)) return 0
    }
    this.erased = !hasContent && from[DIGEST] > 0
    this.ends = this.is(TYPE, ENDED)
    this.decides = from[DECISION] > 0
    if (this.is(TYPE, INTENT) && !(this.decides && this.decision.allows)) return 0
    const hash = hex(this.out.first(this.end))
    // Where it is right, the next entry comes behind it.
    out.latin1Write(hash, 0)
    if (!areSame(this.view, hashAt, this.out.view, 0, 64)) return 0
    this.hash = hash
    return this.at
  }

  /** Whether that is what comes next, and then it is passed. */
  skip(bytes) {
    const { lines, at } = this
    if (!isAt(lines, at, at + bytes.length, bytes)) return false
    this.at = at + bytes.length
    return true
  }

  /** Whether the place comes next, and then it is passed. */
  place(seq) {
    const { lines } = this
    let [at, found] = [this.at, 0]
    for (; isDigit(lines[at]); at++) found = found * 10 + lines[at] - 0x30
    const isPlace = found === seq && Number.isSafeInteger(seq) && lines[this.at] !== 0x30
    this.at = at
    return isPlace
  }

  is(wanted, bytes) {
    return isAt(this.out.all, this.from[wanted], this.to[wanted], bytes)
  }

  /**
   * The entry: an object of JSON, which stands in the line as a string. So its quotes are `\"`, and nothing in its own strings
   * is escaped, or this gives up. Of the outermost object, it is noted where what is wanted stands: the last time, as JSON has it.
   */
  entry() {
    const { lines, from, to } = this
    const out = this.out.all
    let [at, end] = [this.at, 64]
    if (lines[at] !== 0x7b /* { */) return false
    let [depth, wanted, valueAt, isName, isObject] = [0, -1, 0, false, false]
    // By the depth, in bits: whether it is an object that is open there, or an array.
    let objects = 0
    for (;;) {
      let byte = lines[at++]
      if (byte === 0x5c /* \ */) {
        const first = end
        if (lines[at++] !== 0x22 /* " */) return false
        out[end++] = 0x22
        for (byte = lines[at++]; PLAIN[byte] === 1; byte = lines[at++]) out[end++] = byte
        if (byte !== 0x5c || lines[at++] !== 0x22) return false
        out[end++] = 0x22
        if (isName) {
          if (lines[at++] !== 0x3a /* : */) return false
          out[end++] = 0x3a
          isName = false
          const one = depth === 1 ? WANTED[out[first + 1]] : undefined
          if (one === undefined || !isAt(out, first, end - 1, one.name)) continue
          wanted = one.place
          from[wanted] = end
          valueAt = at
          if (wanted !== DECISION || !this.isDecided(at)) continue
          const { line, entry } = this.decided
          at += line.byteLength
          out.set(entry, end)
          end += entry.length
          valueAt = 0
        }
      } else if (isName) return false
      else if (byte === 0x7b || byte === 0x5b /* [ */) {
        if (++depth > DEPTH_MAX) return false
        isObject = byte === 0x7b
        out[end++] = byte
        objects = isObject ? objects | (1 << depth) : objects & ~(1 << depth)
        isName = isObject
        if (lines[at] !== (isObject ? 0x7d /* } */ : 0x5d) /* ] */) continue
      } else {
        const last = numberEnd(lines, at - 1) || literalEnd(lines, at - 1)
        if (last === 0) return false
        for (at--; at < last; at++) out[end++] = lines[at]
      }
      // After a value: whatever ends with it, and a comma where something follows.
      for (byte = lines[at++]; byte !== 0x2c /* , */; byte = lines[at++]) {
        if (byte !== (isObject ? 0x7d : 0x5d)) return false
        if (depth === 1 && wanted >= 0) {
          to[wanted] = end
          if (wanted === DECISION && valueAt > 0) this.decide(valueAt, at - 1)
        }
        out[end++] = byte
        if (--depth === 0) {
          this.at = at
          this.end = end
          return true
        }
        isObject = (objects & (1 << depth)) !== 0
      }
      if (depth === 1 && wanted >= 0) {
        to[wanted] = end
        if (wanted === DECISION && valueAt > 0) this.decide(valueAt, at - 1)
        wanted = -1
      }
      out[end++] = 0x2c
      isName = isObject
    }
  }

  /** The content, where nothing but quotes and backslashes is escaped in it. */
  content() {
    const { lines } = this
    const { all } = this.contents
    let [at, end] = [this.at, 0]
    for (;;) {
      let byte = lines[at++]
      for (; PLAIN[byte] === 1; byte = lines[at++]) all[end++] = byte
      if (byte !== 0x5c /* \ */) break
      byte = lines[at++]
      if (byte !== 0x5c && byte !== 0x22 /* " */) return false
      all[end++] = byte
    }
    // What ended it is looked at again.
    this.at = at - 1
    this.contentEnd = end
    return true
  }

  /** Whether the last decision comes next. */
  isDecided(at) {
    const { line } = this.decided
    return line.byteLength > 0 && areSame(this.view, at, line, 0, line.byteLength)
  }

  /** A decision stands in the line from `at` to `end`. */
  decide(at, end) {
    const entry = Buffer.from(this.out.all.subarray(this.from[DECISION], this.to[DECISION]))
    this.decided = { line: viewOf(Buffer.from(this.lines.subarray(at, end))), entry }
    const { effect, set } = JSON.parse(entry.toString()) ?? {}
    this.decision = { allows: effect === 'allow', set: isHash(set) ? set : undefined }
  }
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

function literalEnd(lines, from) {
  const found = LITERALS.find((bytes) => isAt(lines, from, from + bytes.length, bytes))
  return found ? from + found.length : 0
}

const quick = new QuickReader()

/** Checks a journal by itself and against the leaves of its run, and counts what the manifest says of it; gives its last place, and what of it was erased. */
function checkJournal(folder, { run, leaves, hash: expected }, tenant, counts, report) {
  const file = fileOf(run)
  const find = (code, seq, message) => report.find(code, file, message, { run, seq })
  const digest = expected === undefined ? undefined : createHash('sha256')
  const journal = { run, tenant, counts, find, places: new Places(run, find), ended: undefined, subject: undefined }
  const before = counts.erased
  for (const lines of wholeLinesOf(join(folder, file), digest)) {
    if (lines === undefined) checkLine(journal, undefined)
    else checkLines(journal, lines)
  }
  const { places, ended } = journal
  places.finish()
  for (const leaf of leaves) checkLeaf(leaf, places.hashes, ended, find)
  if (digest?.digest('hex') !== expected) report.find('file-changed', file, CHANGED)
  return { last: places.last, erased: counts.erased - before, subject: journal.subject }
}

/** Checks whole lines: each the quick way if there is nothing to tell of it, and otherwise as what it may be. */
function checkLines(journal, lines) {
  const { run, places, counts } = journal
  const mayBeQuick = run !== BOOK && isUtf8(lines)
  for (let at = 0, end = 0; at < lines.length; at = end) {
    const seq = places.last + 1
    const before = mayBeQuick && seq > 1 && journal.ended === undefined ? places.hashes[seq - 1] : undefined
    end = before === undefined ? 0 : quick.read(lines, at, seq, before)
    if (end > 0) {
      counts.entries++
      places.next(quick.hash)
      if (quick.erased) counts.erased++
      if (quick.ends) journal.ended = seq
      if (quick.decides && quick.decision.set !== undefined) counts.sets.add(quick.decision.set)
    } else {
      end = lines.indexOf(10, at) + 1
      checkLine(journal, lineAt(lines, at))
    }
  }
}

/** Checks one line, undefined for one that has no text, and tells what is wrong with it. */
function checkLine(journal, line) {
  const { run, tenant, counts, find, places } = journal
  if (run === BOOK) counts.records++
  else counts.entries++
  const stored = parseLine(line)
  if (!stored) {
    find('entry-changed', places.last + 1, `the line after entry ${places.last} is not a stored entry`)
    places.last++
    return
  }
  const { seq, hash, bytes, content } = stored
  if (!places.take(stored)) return
  const before = places.hashes[seq - 1]
  // Of an entry whose predecessor is missing or comes later, that is what is told.
  if (before !== undefined && hex(before + bytes) !== hash)
    find('entry-changed', seq, `entry ${seq} does not have its hash: it, or the entry before it, was changed`)
  const entry = parseJson(bytes)
  if (!isObject(entry) || entry.seq !== seq) {
    find('entry-changed', seq, `entry ${seq} is not an entry of this place`)
    return
  }
  checkContent(entry, content, counts, find)
  if (run === BOOK) {
    checkRecord(entry, tenant, counts, find)
    return
  }
  if (
    seq === 1 &&
    (entry.type !== 'run.created' || entry.run !== run || (tenant !== undefined && entry.tenant !== tenant))
  )
    find('run', seq, `the journal does not begin with the creation of run ${run} of ${tenant ?? 'its tenant'}`)
  if (seq === 1) journal.subject = entry.subject
  if (journal.ended !== undefined && seq > journal.ended) find('run', seq, `entry ${seq} follows the end of the run`)
  if (entry.type === 'run.ended') journal.ended = seq
  if (entry.type === 'step.intent' && entry.decision?.effect !== 'allow')
    find('effect-without-allow', seq, `step ${toJson(entry.step)} began without a decision that allows it`)
  if (isHash(entry.decision?.set)) counts.sets.add(entry.decision.set)
}

/** By names that others chose: `toString` is one as well. */
const byName = () => Object.create(null)
const newCounts = () => ({ entries: 0, records: 0, erased: 0, redacted: byName(), actions: byName(), sets: new Set() })

/** Checks journals one after the other. */
function checkJournals({ folder, journals, tenant }) {
  const [report, counts] = [new Report(), newCounts()]
  const all = journals.map((journal) => checkJournal(folder, journal, tenant, counts, report))
  return { journals: all, counts, findings: report.findings }
}

/** Less is not worth a thread, which takes some forty milliseconds to begin, bytes. */
const SHARD_MIN = 1 << 26

/** Journals in parts of about the same size, in their order: as many as threads are asked for, else as there are processors. */
function shardsOf({ folder, journals, tenant }, threads) {
  if (threads === 1) return [{ folder, journals, tenant }]
  const sizes = journals.map(({ run }) => lengthOf(join(folder, fileOf(run))))
  const all = sizes.reduce((sum, size) => sum + size, 0)
  const count = threads ?? Math.min(availableParallelism(), Math.ceil(all / SHARD_MIN))
  const shards = Array.from({ length: Math.max(count, 1) }, () => ({ folder, journals: [], tenant }))
  let before = 0
  for (const [i, journal] of journals.entries()) {
    shards[Math.min(Math.floor((before / (all + 1)) * shards.length), shards.length - 1)].journals.push(journal)
    before += sizes[i]
  }
  return shards
}

/** A thread that has not come to its end by then is not waited for, ms: this one does its part. */
const THREAD_MS = 600_000

/** Checks journals side by side; what is found stands in the order of the journals all the same. */
function checkSideBySide(all, threads, report) {
  const [own, ...others] = shardsOf(all, threads)
  const started = others.map((shard) => {
    const { port1, port2 } = new MessageChannel()
    const state = new Int32Array(new SharedArrayBuffer(4))
    const worker = new Worker(new URL(import.meta.url), {
      workerData: { shard, state, port: port2 },
      transferList: [port2],
    })
    worker.unref()
    return { shard, state, port: port1 }
  })
  const parts = [checkJournals(own)]
  for (const { shard, state, port } of started) {
    Atomics.wait(state, 0, 0, THREAD_MS)
    const part = receiveMessageOnPort(port)?.message
    port.close()
    // One that failed is done again here, where its error can be told.
    parts.push(part ?? checkJournals(shard))
  }
  const counts = newCounts()
  for (const part of parts) {
    for (const name of ['entries', 'records', 'erased']) counts[name] += part.counts[name]
    for (const name of ['redacted', 'actions'])
      for (const [key, count] of Object.entries(part.counts[name])) counts[name][key] = (counts[name][key] ?? 0) + count
    for (const set of part.counts.sets) counts.sets.add(set)
    for (const finding of part.findings) report.findings.push(finding)
  }
  return { counts, journals: parts.flatMap(({ journals }) => journals) }
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

function checkRecord({ seq, action, tenant }, expected, counts, find) {
  if (typeof action !== 'string' || (expected !== undefined && tenant !== expected))
    find('run', seq, `record ${seq} is no record of ${expected ?? 'its tenant'}`)
  else counts.actions[action] = (counts.actions[action] ?? 0) + 1
}

function checkContent({ seq, content: digest, redacted }, content, counts, find) {
  for (const [kind, count] of Object.entries(isObject(redacted) ? redacted : {}))
    if (Number.isSafeInteger(count)) counts.redacted[kind] = (counts.redacted[kind] ?? 0) + count
  if (digest === undefined && content !== undefined)
    find('content-added', seq, `entry ${seq} has no content: what lies beside it was put there`)
  else if (digest !== undefined && content === undefined) counts.erased++
  else if (content !== undefined && hex(content) !== digest)
    find(
      'content-changed',
      seq,
      `the content beside entry ${seq} does not have the digest in the entry: it was changed`,
    )
}

function checkLeaf({ seq, head, state, from }, hashes, ended, find) {
  const hash = hashes[seq]
  if (hash === undefined)
    find('run-cut', seq, `${from} has entry ${seq} of the run, and the journal does not: it was cut`)
  else if (hash !== head)
    find(
      'run-rewritten',
      seq,
      `${from} has another hash of entry ${seq}: the journal was written anew, or is another run's`,
    )
  else if (state === 'ended' && ended !== seq) find('run', seq, `${from} says that the run ended with entry ${seq}`)
}

// —— 7. All of it ——

/** Whether a run is one that the export says it is about. */
function isInScope({ kind, run, since, until }, id) {
  if (kind === 'run') return id === run
  if (kind === 'tenant' || id === BOOK) return true
  return createdAt(id) >= (since ?? 0) && createdAt(id) < (until ?? Number.POSITIVE_INFINITY)
}

/** A ledger's name ends with its tenant's. */
function tenantOf(origin) {
  try {
    return decodeURIComponent(origin.slice(origin.lastIndexOf('/') + 1))
  } catch {
    return origin
  }
}

/** What the files say, where the manifest says something else. */
function checkCounts(manifest, found, report) {
  for (const [name, value] of Object.entries(found)) {
    const [said, is] = [toSorted(manifest[name]), toSorted(value)]
    if (said !== is) report.find('manifest', 'manifest.json', `says of ${name} ${said}, and the files say ${is}`)
  }
}

/** The keys to trust: those that were given, else the export's own, which prove only that it agrees with itself. */
function readKeys(folder, given, report) {
  if (given.length > 0) return parseKeys(given, '--key', report)
  report.note('keys: taken from the export itself; compare them with what you were given (--key)')
  const lines = readText(join(folder, 'keys')).split('\n')
  return parseKeys(
    lines.filter((line) => line !== ''),
    'keys',
    report,
  )
}

/** Checks what the auditor kept: older checkpoints and receipts. */
function checkKept({ older, receipts }, keys, ledger, report) {
  for (const file of older) {
    const kept = readCheckpoint(readKept(file), file, keys, report)
    if (kept) checkOlder(kept, file, ledger, report)
  }
  for (const file of receipts) {
    const proof = parseProof(readKept(file))
    const kept = proof && readCheckpoint(proof.checkpoint, file, keys, report)
    if (kept) checkOlder(kept, file, ledger, report)
    const leaf = checkProof(proof, file, kept ?? ledger.checkpoint, report)
    if (!leaf) continue
    if (!ledger.names.includes(fileOf(leaf.run)))
      report.find('receipt', file, `does not belong to this export: it is of run ${leaf.run}`, { run: leaf.run })
    else if (!ledger.kept.has(leaf.run)) ledger.kept.set(leaf.run, [leaf])
    else ledger.kept.get(leaf.run).push(leaf)
  }
}

/**
 * What the book says was taken away: runs that were removed whole when their time had come, by the record that says so, and
 * whose content went; and for which apps workers decided by each policy set. The book's own chain is checked with it.
 */
function readBook(folder, names, leaves) {
  const said = { expired: new Map(), content: new Set(), subjects: new Map(), tenant: 0, apps: new Map() }
  const sealed = leaves.get(BOOK)?.at(-1)?.seq ?? 0
  if (!names.includes(fileOf(BOOK))) return said
  for (const line of linesOf(join(folder, fileOf(BOOK)))) {
    const { seq, bytes } = parseLine(line) ?? {}
    const { action, about, at } = parseJson(bytes ?? '') ?? {}
    if (!isObject(about)) continue
    if (action === 'policy.used' && seq <= sealed)
      said.apps.set(about.set, (said.apps.get(about.set) ?? new Set()).add(about.app))
    if (action === 'retention.expired' && isObject(about.runs))
      for (const run of Object.keys(about.runs))
        if (about.what === 'content') said.content.add(run)
        else if (about.what === 'run' && seq <= sealed) said.expired.set(run, `record ${seq} of ${fileOf(BOOK)}`)
    if (!['erasure.requested', 'key.destroyed', 'erasure.done'].includes(action) || !Number.isSafeInteger(at)) continue
    if (isRun(about.run)) said.content.add(about.run)
    if (typeof about.subject === 'string') said.subjects.set(about.subject, at)
    if (about.tenant === true) said.tenant = at
  }
  return said
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
  if (unsaid > 0)
    report.note(
      `policies: the ledger has no record of the apps of ${unsaid} sets (what tools are declared to do, and plans)`,
    )
}

/** So long after an erasure was asked for runs may still begin that it is about: servers take a moment to refuse them, ms. */
const REFUSED_MS = 5000

/** Content that is gone, though nothing says that it was erased. What was begun after an erasure was not erased by it. */
function checkErased({ run, erased, subject }, { content, subjects, tenant }, report) {
  const until = Math.max(tenant, subjects.get(subject) ?? 0)
  if (erased === 0 || content.has(run) || createdAt(run) <= until + REFUSED_MS) return
  const message = `the content of ${erased} entries is gone, and no record says that it was erased`
  report.find('content-removed', fileOf(run), message, { run })
}

/** Every run of the ledger that belongs here must be here; and what is here must be in the ledger, or be named as not in it. */
function checkRuns({ names, leaves, manifest, expired }, report) {
  const runs = names.flatMap((name) => runOf(name) ?? [])
  const [there, files, unsealed] = [new Set(runs), new Set(names), new Set(manifest.unsealed)]
  for (const [run, all] of leaves)
    if (!isInScope(manifest.scope, run) || there.has(run)) continue
    else if (expired.has(run)) report.note(`run ${run}: expired by a rule of retention, says ${expired.get(run)}`)
    else
      report.find(
        'run-missing',
        fileOf(run),
        `run ${run} is in the ledger (${all.at(-1).from}) and not in the export: it was dropped`,
        { run },
      )
  for (const run of runs) {
    const file = fileOf(run)
    if (!(isRun(run) || file === fileOf(BOOK)) || !isInScope(manifest.scope, run))
      report.find('run', file, 'is no run that this export is about', { run })
    if (leaves.has(run)) {
      if (!files.has(`receipts/${run}`)) report.find('receipt', `receipts/${run}`, `run ${run} has no receipt`, { run })
    } else if (unsealed.has(run))
      report.note(`${file}: is not in the ledger (yet): nothing proves that it is whole, or when it was written`)
    else report.find('run-unproven', file, `run ${run} is not in the ledger: it was added`, { run })
  }
  const own =
    manifest.scope.kind === 'run' && !manifest.missing.includes(manifest.scope.run) ? [manifest.scope.run] : []
  for (const run of new Set([...manifest.unsealed, ...own]))
    if (!there.has(run) && !leaves.has(run))
      report.find('run-missing', fileOf(run), `run ${run} is in the manifest and not in the export`, { run })
  return runs
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
  const exporters = checkExporter(folder, names, manifest, exporterKeys, report)
  const isWhole = manifest.scope.kind !== 'run'
  const keys = readKeys(folder, given, report)
  const checkpoint = readCheckpoint(readText(join(folder, 'checkpoint')), 'checkpoint', keys, report)
  const { files } = manifest
  if (files) checkFiles({ folder, names, files, withReceipts: !checkpoint }, report)
  let leaves = new Map()
  const kept = new Map()
  if (checkpoint) {
    const tree = new Tree(folder, names, checkpoint.size)
    // There is a tile and a bundle for each 256 leaves: where there are not as many files, they are not looked for one by one.
    const whole = isWhole && checkpoint.size / 256 <= names.length
    if (isWhole && !whole)
      report.find('tree', 'checkpoint', `is of ${checkpoint.size} leaves, and their tiles are missing`)
    const before = report.findings.length
    checkTree(tree, checkpoint, whole, report)
    if (whole) leaves = readLeaves(tree, report)
    const isRight = whole && report.findings.length === before
    checkReceipts({ folder, names, files, checkpoint, tree, leaves, whole, isRight }, report)
    checkKept({ older, receipts }, keys, { checkpoint, tree, names, kept }, report)
  }
  const said = readBook(folder, names, leaves)
  const runs = checkRuns({ names, leaves, manifest, expired: said.expired }, report)
  const tenant = checkpoint && tenantOf(checkpoint.origin)
  const journals = runs.map((run) => ({
    run,
    leaves: [...(leaves.get(run) ?? []), ...(kept.get(run) ?? [])],
    hash: manifest.files && Object.hasOwn(manifest.files, fileOf(run)) ? manifest.files[fileOf(run)] : undefined,
  }))
  const { counts, journals: checked } = checkSideBySide({ folder, journals, tenant }, threads, report)
  for (const [i, run] of runs.entries()) {
    const { seq: sealed, state } = leaves.get(run)?.at(-1) ?? {}
    if (!isWhole && sealed !== undefined && state !== 'ended')
      report.note(
        `${fileOf(run)}: had not ended by its leaf; whether the ledger has a later one, an export of one run cannot tell`,
      )
    const { last, ...about } = checked[i]
    if (isWhole && run !== BOOK) checkErased({ run, ...about }, said, report)
    if (sealed !== undefined && last > sealed)
      report.note(`${fileOf(run)}: entries ${sealed + 1} to ${last} are not in the ledger yet`)
  }
  checkApps(folder, names, said.apps, report)
  const policies = names.filter((name) => name.startsWith('policies/')).length
  for (const set of counts.sets)
    if (!names.includes(`policies/${set}.json`))
      report.note(`policies: the set ${set} was not published, and is not here`)
  const { entries, records, erased, redacted, actions } = counts
  const found = {
    tenant,
    origin: checkpoint?.origin,
    size: checkpoint?.size,
    runs: runs.filter(isRun).length,
    entries,
    records,
    erased,
    redacted,
  }
  if (manifest.files && checkpoint) checkCounts(manifest, found, report)
  for (const run of manifest.missing)
    report.note(`run ${run}: was in the ledger and not there any more when it was exported`)
  return {
    ok: report.findings.length === 0,
    ...{ fingerprint: manifest.fingerprint, scope: manifest.scope, ...found, actions, policies },
    signers: checkpoint?.signers ?? [],
    exporters,
    ...{ findings: report.findings, notes: report.notes },
  }
}

// —— 8. What a person reads ——

const SHOWN_MAX = 100

/** Text of others without the control characters that a terminal obeys; those that hide or turn around others are named. */
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
  const { ok, findings, notes, signers, exporters, erased, redacted, actions } = result
  const taken = Object.entries(redacted).map(([kind, count]) => `${count} ${kind}`)
  const done = Object.entries(actions).map(([action, count]) => `${count} ${action}`)
  const by = signers.map(({ name, witness, at }) => (witness ? `witness ${name}, ${dateOf(at * 1000)}` : name))
  const lines = [
    'WHAT WAS CHECKED',
    `  Tenant ${result.tenant}, ledger ${result.origin}: ${aboutScope(result.scope)}.`,
    `  ${result.runs} runs with ${result.entries} entries; ${result.size} leaves of the ledger; ${result.policies} policy sets.`,
    `  ${result.records} records of what was done besides runs: ${done.join(', ') || 'none here'}.`,
    `  Content erased of ${erased} entries; redacted before it was written: ${taken.join(', ') || 'nothing'}.`,
    `  Signed by: ${by.join('; ') || 'nobody whose key is known'}.`,
    `  Fingerprint of the export: ${result.fingerprint}`,
    `  Export signed by: ${exporters.map(({ name, id }) => `${name} (${id})`).join('; ') || 'nobody whose key was given'}.`,
    '',
    `RESULT: ${ok ? 'NOTHING IS WRONG' : `${findings.length} FINDINGS`}`,
    ...findings.slice(0, SHOWN_MAX).map(({ code, file, message }) => `  [${code}] ${file}: ${message}`),
    ...(findings.length > SHOWN_MAX ? [`  … and ${findings.length - SHOWN_MAX} more (--json has all)`] : []),
    '',
    ...(notes.length > 0 ? ['NOTE', ...notes.slice(0, SHOWN_MAX).map((note) => `  ${note}`), ''] : []),
    ...(ok
      ? PROVEN
      : [
          'WHAT THIS MEANS',
          '  The files are not as they were exported, or the records were changed before that. Do not rely',
          '  on what is named above. What is not named was checked and is consistent.',
        ]),
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

const NOT_PROVEN = [
  'WHAT THIS DOES NOT PROVE',
  '  That what was recorded is true: that a tool did in the world what it reported.',
  '  What happened in a run after its last leaf, or in runs that never entered the ledger.',
  '  That the signers are who they say: compare their keys (--key) with what you were given some other way.',
  '  That nobody keeps a second ledger: compare with a checkpoint that you, or a witness, kept (--older).',
  '  That the period and the scope were chosen fairly: read them above.',
]

const USAGE =
  'usage: node muster-verify.mjs FOLDER [--key VKEY]... [--exporter-key VKEY]... [--older CHECKPOINT]... [--receipt FILE]... [--fingerprint SHA256] [--threads N] [--json]'

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
