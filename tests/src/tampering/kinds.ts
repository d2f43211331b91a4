import {
  checkpointText,
  emptyRoot,
  formatNote,
  genesis,
  link,
  newVerifier,
  signNote,
  type TileFile,
  TileLog,
} from '@muster/audit'
import type { LedgerLeaf, StoredEntry } from '@muster/protocol'
import type { Random } from '../../faults/src/random.ts'
import { type Files, makeRun, newSigner, origin } from '../export-fixture.ts'
import { bytesOf, type Genuine, linesOf, manifestOf, putLines, refit, remake, text } from './exports.ts'

/** What was hit, and so what a finding must name. */
export interface Hit {
  /** The file, or files of which one must be named. */
  file?: string | RegExp
  run?: string
  seq?: number
  leaf?: number
  /** A file whose place a link takes. */
  link?: string
}

export interface Kind {
  name: string
  /** Codes of findings, one of which must name what was hit. */
  codes: readonly string[]
  /** Codes that may come of it besides; all may where a manifest cannot be read. */
  beside?: readonly string[] | 'any'
  /** What the auditor looks at besides the keys. */
  kept?: 'older' | 'receipt' | 'fingerprint'
  /** Changes the files; undefined where this export has nothing of the kind. */
  tamper(files: Files, genuine: Genuine, random: Random): Hit | undefined | Promise<Hit | undefined>
}

const JOURNAL = [
  ...['entry-changed', 'content-changed', 'content-added', 'content-removed', 'entry-removed', 'entry-added'],
  ...['entry-reordered', 'entry-duplicated', 'run-cut', 'run-rewritten', 'run', 'effect-without-allow', 'manifest'],
]
const TREE = ['tree', 'leaf', 'run-missing', 'run-unproven', 'receipt', 'run-cut', 'run-rewritten', 'run', 'manifest']
const RECEIPT = ['receipt', 'run-unproven', 'run-missing', 'run-cut', 'run-rewritten', 'run']
const CHECKPOINT = ['checkpoint', 'signature', 'manifest', ...TREE]
/** What else a change of a file may be found by. */
const CONSEQUENCES: Record<string, readonly string[]> = {
  runs: JOURNAL,
  tile: TREE,
  receipts: RECEIPT,
  checkpoint: CHECKPOINT,
}

const folderOf = (name: string): string => name.split('/')[0] ?? ''
const isProven = (name: string): boolean => folderOf(name) in CONSEQUENCES
const journalOf = (run: string): string => `runs/${run}.jsonl`
/** The tile that is wrong is compared with the one above it: either may be named, or the root. */
const TREE_FILES = /^(tile\/|checkpoint$)/

/** Changes the bytes of a file. */
type Wound = (bytes: Buffer, random: Random) => Buffer

const wounds: Record<string, Wound> = {
  'a bit is flipped': (bytes, random) => {
    const changed = Buffer.from(bytes)
    const at = random.between(0, bytes.length - 1)
    changed[at] = (changed[at] ?? 0) ^ (1 << random.between(0, 7))
    return changed
  },
  'bytes are cut out': (bytes, random) => {
    const from = random.between(0, bytes.length - 1)
    const to = from + random.between(1, random.pick([1, 4, 1000]))
    return Buffer.concat([bytes.subarray(0, from), bytes.subarray(to)])
  },
  'bytes are put in': (bytes, random) => {
    const at = random.pick([0, bytes.length, random.between(0, bytes.length)])
    const some = random.pick(['\n', ' ', '\0', '{}', '\r\n', String.fromCharCode(random.between(0, 255))])
    return Buffer.concat([bytes.subarray(0, at), Buffer.from(some, 'latin1'), bytes.subarray(at)])
  },
  'its end is cut': (bytes, random) => bytes.subarray(0, bytes.length - random.between(1, Math.min(bytes.length, 40))),
}

/** Each wound in any file, which its hash tells; and in files that are proven, with a manifest that fits. */
const ofBytes: Kind[] = Object.entries(wounds).flatMap(([what, wound]) => [
  {
    name: `${what}, in any file`,
    codes: ['file-changed'],
    beside: 'any' as const,
    tamper(files, _, random) {
      const file = random.pick([...files.keys()])
      files.set(file, wound(Buffer.from(bytesOf(files, file)), random))
      return { file: file === 'manifest.sha256' ? 'manifest.json' : file }
    },
  },
  ...Object.entries(CONSEQUENCES).map(
    ([folder, codes]): Kind => ({
      name: `${what}, in ${folder}, and the manifest fits`,
      codes,
      tamper(files, _, random) {
        const file = random.pick([...files.keys()].filter((name) => folderOf(name) === folder))
        files.set(file, wound(Buffer.from(bytesOf(files, file)), random))
        refit(files)
        // Receipts have the checkpoint: where only its signatures have changed it is they that do not fit.
        if (folder === 'checkpoint') return { file: /^(checkpoint$|receipts\/)/ }
        return { file: folder === 'tile' ? TREE_FILES : file }
      },
    }),
  ),
  {
    name: `${what}, in what only the fingerprint knows`,
    codes: ['fingerprint'],
    beside: 'any' as const,
    kept: 'fingerprint' as const,
    tamper(files, _, random) {
      const file = random.pick([...files.keys()].filter((name) => !isProven(name) && !name.startsWith('manifest.')))
      files.set(file, wound(Buffer.from(bytesOf(files, file)), random))
      refit(files)
      return { file: 'manifest.json' }
    },
  },
])

const ofFiles: Kind[] = [
  {
    name: 'a file is removed',
    codes: ['file-removed'],
    beside: 'any',
    tamper(files, _, random) {
      const file = random.pick([...files.keys()])
      files.delete(file)
      // Without its hash it is the manifest that does not hold.
      return file === 'manifest.sha256' ? undefined : { file }
    },
  },
  {
    name: 'a file is added',
    codes: ['file-added'],
    beside: ['run', 'run-unproven', 'receipt', 'tree', 'manifest', 'entry-changed'],
    tamper(files, _, random) {
      const file = `${random.pick(['', 'runs/', 'receipts/', 'tile/0/', 'policies/'])}${random.pick(['x', '.x', 'y.jsonl'])}`
      files.set(file, Buffer.from(random.pick(['', 'x\n'])))
      return { file }
    },
  },
  {
    name: 'a link takes the place of a file',
    codes: ['file-added'],
    beside: 'any',
    tamper(files, _, random) {
      const file = random.pick([...files.keys()])
      return { file, link: file }
    },
  },
  {
    name: 'two files are exchanged',
    codes: ['file-changed'],
    beside: 'any',
    tamper(files, _, random) {
      const names = [...files.keys()].filter((name) => !name.startsWith('manifest.'))
      const [one, other] = [random.pick(names), random.pick(names)]
      exchange(files, one, other)
      return { file: one }
    },
  },
]

function exchange(files: Files, one: string, other: string): void {
  const bytes = bytesOf(files, one)
  files.set(one, bytesOf(files, other))
  files.set(other, bytes)
}

/** Changes the lines of some journal; gives what is hit in it. */
function inJournal(
  name: string,
  codes: readonly string[],
  change: (lines: string[], random: Random, genuine: Genuine) => Omit<Hit, 'file' | 'run'> | undefined,
  beside: readonly string[] = [],
): Kind {
  return {
    name,
    codes,
    beside,
    tamper(files, genuine, random) {
      const { id: run } = random.pick(genuine.runs)
      const file = journalOf(run)
      const lines = linesOf(files, file)
      const hit = change(lines, random, genuine)
      putLines(files, file, lines)
      refit(files)
      return hit && { file, run, ...hit }
    },
  }
}

/** Changes one entry of some journal as it is stored; gives undefined where it is none for that. */
function inEntry(
  name: string,
  codes: readonly string[],
  change: (entry: StoredEntry, random: Random) => unknown,
  beside: readonly string[] = [],
): Kind {
  const changeOne = (lines: string[], random: Random) => {
    const at = random.between(0, lines.length - 1)
    const entry: StoredEntry = JSON.parse(lines[at] ?? '')
    const changed = change(entry, random)
    if (changed === undefined) return undefined
    lines[at] = typeof changed === 'string' ? changed : JSON.stringify(changed)
    return { seq: at + 1 }
  }
  return inJournal(name, codes, changeOne, beside)
}

const ofEntries: Kind[] = [
  inJournal(
    'entries are removed',
    ['entry-removed', 'run-cut'],
    (lines, random) => {
      const seq = random.between(1, lines.length)
      lines.splice(seq - 1, random.between(1, 3))
      // The last ones leave no gap: what the ledger has of them does.
      return seq > lines.length ? {} : { seq }
    },
    ['manifest'],
  ),
  inJournal(
    'an entry stands twice',
    ['entry-duplicated'],
    (lines, random) => {
      const seq = random.between(1, lines.length)
      lines.splice(random.between(seq, lines.length), 0, lines[seq - 1] ?? '')
      return { seq }
    },
    // Of what stands twice only one counts.
    ['manifest'],
  ),
  inJournal(
    'entries change places',
    ['entry-reordered'],
    (lines, random) => {
      const [one = 0, other = 0] = [random.between(1, lines.length), random.between(1, lines.length)].sort(
        (a, b) => a - b,
      )
      const moved = lines[one - 1] ?? ''
      lines[one - 1] = lines[other - 1] ?? ''
      lines[other - 1] = moved
      return one === other ? undefined : { seq: one }
    },
    ['run'],
  ),
  inJournal('an entry is added', ['entry-added'], (lines, random) => {
    const seq = random.between(1, lines.length)
    const forged = { seq, hash: 'e'.repeat(64), bytes: `{"v":1,"seq":${seq},"type":"run.parked"}` }
    lines.splice(random.between(seq, lines.length), 0, JSON.stringify(forged))
    return { seq }
  }),
  inJournal(
    'an entry is added at a place before the first',
    ['entry-changed'],
    (lines, random) => {
      const seq = random.pick([0, -0.5, -1, -2, -(2 ** 40)])
      const forged = { seq, hash: random.pick(['e'.repeat(64), '']), bytes: `{"v":1,"seq":${seq},"type":"run.parked"}` }
      lines.splice(random.between(0, lines.length), 0, JSON.stringify(forged))
      return {}
    },
    ['run', 'manifest'],
  ),
  inJournal(
    'an entry is added at the end',
    ['run'],
    (lines, random) => {
      const seq = lines.length + 1
      const bytes = JSON.stringify({ v: 1, seq, at: 1, type: random.pick(['run.parked', 'run.resumed', 'step.ended']) })
      const before: StoredEntry = JSON.parse(lines.at(-1) ?? '')
      const [first] = chainAfter(before.hash, [{ seq, hash: '', bytes }])
      lines.push(JSON.stringify(random.pick([first, { ...first, hash: 'e'.repeat(64) }])))
      return { seq }
    },
    ['entry-changed'],
  ),
  inJournal('a journal is written anew from an entry on', ['run-rewritten'], (lines, random, { made }) => {
    const entries = lines.map((line): StoredEntry => JSON.parse(line))
    const at = random.between(0, entries.length - 1)
    const changed = entries[at]
    if (!changed) return undefined
    const entry = JSON.parse(changed.bytes)
    changed.bytes = JSON.stringify(
      random.pick([
        { ...entry, at: entry.at + 1 },
        { ...entry, note: 'x' },
        { ...entry, labels: ['clean'] },
      ]),
    )
    const before = entries[at - 1]?.hash ?? genesis(entry.run)
    lines.splice(at, lines.length, ...chainAfter(before, entries.slice(at)).map((one) => JSON.stringify(one)))
    // The first hash from there on that a leaf has is what tells.
    return { seq: at < 2 && made.only === undefined ? 2 : entries.length }
  }),
  inEntry(
    'an entry is written otherwise, and says the same',
    ['entry-changed'],
    (entry, random) =>
      random.pick([
        `${JSON.stringify(entry)} `,
        ` ${JSON.stringify(entry)}`,
        JSON.stringify(entry, null, 1).replaceAll('\n', ' '),
        JSON.stringify(Object.fromEntries(Object.entries(entry).reverse())),
        JSON.stringify({ ...entry, more: 1 }),
        JSON.stringify(entry).replace('"bytes"', '"\\u0062ytes"'),
      ]),
    // Of a line that cannot be read nothing is known, not what it redacted and not its hash.
    ['manifest', 'run-cut'],
  ),
  inEntry(
    'what an entry says is changed',
    ['entry-changed'],
    (entry, random) => {
      const bytes = random.pick([
        entry.bytes.replace(/"type":"\w/, '"type":"x'),
        entry.bytes.replace(/"at":\d/, '"at":7'),
        entry.bytes.replace('"labels":[]', '"labels":["x"]'),
      ])
      return bytes === entry.bytes ? undefined : { ...entry, bytes }
    },
    ['run'],
  ),
  inEntry('content is changed', ['content-changed'], (entry, random) => {
    const { content = '' } = entry
    if (content === '') return undefined
    const changed = random.pick([`${content} `, content.slice(1), content.replace('漢', '字'), ''])
    return { ...entry, content: changed }
  }),
  inEntry('content is added', ['content-added'], (entry, random) =>
    entry.content === undefined ? { ...entry, content: random.pick(['', 'x', '{}']) } : undefined,
  ),
  {
    name: 'content of two entries is exchanged',
    codes: ['content-changed'],
    tamper(files, { runs }, random) {
      const { id: run } = random.pick(runs)
      const entries = linesOf(files, journalOf(run)).map((line): StoredEntry => JSON.parse(line))
      const having = entries.filter(({ content }) => content !== undefined)
      const [one, other] = [random.pick(having), random.pick(having)]
      if (one.content === other.content) return undefined
      ;[one.content, other.content] = [other.content, one.content]
      putLines(
        files,
        journalOf(run),
        entries.map((entry) => JSON.stringify(entry)),
      )
      refit(files)
      return { file: journalOf(run), run, seq: one.seq }
    },
  },
  ...(['manifest', 'fingerprint'] as const).map(
    (code): Kind => ({
      name: `content is removed, and ${code === 'manifest' ? 'not counted as erased' : 'counted as erased'}`,
      codes: [code],
      // A whole export has the records of what was erased; of one run only the fingerprint tells.
      beside: ['content-removed'],
      ...(code === 'fingerprint' ? { kept: code } : {}),
      tamper(files, { runs }, random) {
        const file = journalOf(random.pick(runs).id)
        const entries = linesOf(files, file).map((line): StoredEntry => JSON.parse(line))
        const { content: _, ...erased } = random.pick(entries.filter(({ content }) => content !== undefined))
        putLines(
          files,
          file,
          entries.map((entry) => JSON.stringify(entry.seq === erased.seq ? erased : entry)),
        )
        refit(files, code === 'manifest' ? { erased: manifestOf(files).erased } : {})
        return { file: 'manifest.json' }
      },
    }),
  ),
  {
    name: 'a character that stands for a wrong byte becomes one',
    codes: ['entry-changed'],
    beside: ['manifest', 'run-cut'],
    tamper(files, { runs }, random) {
      const { id: run } = random.pick(runs)
      const bytes = Buffer.from(bytesOf(files, journalOf(run)))
      const at = bytes.indexOf('\u{fffd}', random.between(0, bytes.length / 2))
      if (at < 0) return undefined
      files.set(journalOf(run), Buffer.concat([bytes.subarray(0, at), Buffer.of(0xff), bytes.subarray(at + 3)]))
      refit(files)
      return { file: journalOf(run), run, seq: bytes.subarray(0, at).toString('latin1').split('\n').length }
    },
  },
  {
    name: 'the last line of a journal does not end',
    codes: ['entry-changed'],
    beside: ['run-cut'],
    tamper(files, { runs }, random) {
      const { id: run, entries } = random.pick(runs)
      files.set(journalOf(run), bytesOf(files, journalOf(run)).subarray(0, -1))
      refit(files)
      return { file: journalOf(run), run, seq: entries.length }
    },
  },
]

/** Entries with the hashes that follow this one. */
function chainAfter(hash: string, entries: readonly StoredEntry[]): StoredEntry[] {
  let last = hash
  return entries.map((entry) => {
    last = link(last, entry.bytes)
    return { ...entry, hash: last }
  })
}

const ofRuns: Kind[] = [
  {
    name: 'a run is dropped',
    codes: ['run-missing'],
    tamper(files, { runs }, random) {
      const { id: run } = random.pick(runs)
      files.delete(journalOf(run))
      if (random.next() < 0.7) files.delete(`receipts/${run}`)
      refit(files)
      return { file: journalOf(run), run }
    },
  },
  {
    name: 'a run is dropped of which a receipt was kept',
    codes: ['receipt'],
    kept: 'receipt',
    beside: ['run-missing'],
    tamper(files, { runs, made }) {
      const [first] = runs
      if (!first || made.only !== undefined) return undefined
      files.delete(journalOf(first.id))
      files.delete(`receipts/${first.id}`)
      refit(files)
      return { file: /receipt$/, run: first.id }
    },
  },
  {
    name: "a run takes another's name",
    codes: ['entry-changed'],
    beside: ['run', 'run-missing', 'run-unproven', 'run-rewritten', 'run-cut', 'receipt'],
    tamper(files, { runs }, random) {
      const { id } = random.pick(runs)
      const name = random.pick([...runs.map((run) => run.id), makeRun(1010).id])
      if (name === id) return undefined
      const there = files.has(journalOf(name))
      if (there) exchange(files, journalOf(id), journalOf(name))
      else {
        files.set(journalOf(name), bytesOf(files, journalOf(id)))
        files.delete(journalOf(id))
      }
      refit(files)
      return { file: journalOf(name), run: name, seq: 1 }
    },
  },
  {
    name: 'a run is added',
    codes: ['run-unproven', 'run'],
    beside: ['receipt'],
    tamper(files, { runs, made }, random) {
      const added = makeRun(2000 + random.between(0, 9))
      putLines(
        files,
        journalOf(added.id),
        added.entries.map((entry) => JSON.stringify(entry)),
      )
      const receipt = `receipts/${random.pick(runs).id}`
      if (made.only === undefined && random.next() < 0.3) files.set(`receipts/${added.id}`, bytesOf(files, receipt))
      refit(files)
      return { file: journalOf(added.id), run: added.id }
    },
  },
]

const ofReceipts: Kind[] = [
  {
    name: 'a receipt is that of another run',
    codes: ['receipt'],
    beside: ['run-unproven'],
    async tamper(files, genuine, random) {
      const { id: run } = random.pick(genuine.runs)
      const others = (await remake(genuine, { only: undefined })).entries()
      const [, other] = random.pick([...others].filter(([name]) => /^receipts/.test(name) && !name.endsWith(run)))
      files.set(`receipts/${run}`, other)
      refit(files)
      return { file: `receipts/${run}`, run }
    },
  },
  {
    name: 'a receipt is removed',
    codes: ['receipt', 'run-unproven'],
    tamper(files, { runs }, random) {
      const { id: run } = random.pick(runs)
      files.delete(`receipts/${run}`)
      refit(files)
      return { run }
    },
  },
  {
    name: 'a receipt has another place, hash or leaf',
    codes: ['receipt'],
    beside: ['run-unproven', 'run-cut', 'run-rewritten', 'run'],
    tamper(files, { runs }, random) {
      const { id: run } = random.pick(runs)
      const file = `receipts/${run}`
      const [proof = '', ...checkpoint] = text(files, file).split('\n\n')
      const lines = proof.split('\n')
      const at = random.between(1, lines.length - 1)
      const [word = '', value = ''] = (lines[at] ?? '').split(' ')
      if (word === 'index') lines[at] = `index ${Number(value) + random.pick([1, -1, 256, 2 ** 53])}`
      else if (word === 'extra') lines[at] = `extra ${Buffer.from(changedLeaf(value, random)).toString('base64')}`
      else lines.splice(at, 1, ...random.pick([[], [word, word], [Buffer.alloc(32).toString('base64')]]))
      files.set(file, Buffer.from([lines.join('\n'), ...checkpoint].join('\n\n')))
      refit(files)
      return { file }
    },
  },
]

function changedLeaf(encoded: string, random: Random): string {
  return JSON.stringify(otherLeaf(JSON.parse(Buffer.from(encoded, 'base64').toString()), random))
}

function otherLeaf(leaf: LedgerLeaf, random: Random): LedgerLeaf {
  return random.pick<LedgerLeaf>([
    { ...leaf, seq: leaf.seq + 1 },
    { ...leaf, head: `${leaf.head.startsWith('0') ? '1' : '0'}${leaf.head.slice(1)}` },
    { ...leaf, at: leaf.at + 1 },
    { ...leaf, state: leaf.state === 'parked' ? 'ended' : 'parked' },
    { ...leaf, run: makeRun(3000).id },
  ])
}

/** The leaves of the ledger, from its bundles. */
function leavesOf(files: Files): string[] {
  const bundles = [...files.keys()].filter((name) => name.startsWith('tile/entries/')).sort()
  return bundles.flatMap((name) => {
    const bytes = Buffer.from(bytesOf(files, name))
    const leaves: string[] = []
    for (let at = 0; at < bytes.length; at += 2 + bytes.readUInt16BE(at))
      leaves.push(bytes.toString('utf8', at + 2, at + 2 + bytes.readUInt16BE(at)))
    return leaves
  })
}

/** Puts the tiles of these leaves in the place of all that are there; gives the text of their checkpoint. */
async function putTree(files: Files, leaves: readonly string[]): Promise<string> {
  for (const name of [...files.keys()]) if (name.startsWith('tile/')) files.delete(name)
  const write = async (tiles: readonly TileFile[]) => {
    for (const { path, bytes } of tiles) files.set(path, bytes)
  }
  const log = new TileLog({ read: async (path) => files.get(path), write })
  return checkpointText({
    origin,
    ...(await log.append(
      { size: 0, root: emptyRoot },
      leaves.map((leaf) => Buffer.from(leaf)),
    )),
  })
}

const ofTheLedger: Kind[] = [
  {
    name: 'a leaf is written anew',
    codes: ['leaf'],
    beside: TREE,
    tamper(files, _, random) {
      const file = random.pick([...files.keys()].filter((name) => name.startsWith('tile/entries/')).concat('none'))
      if (file === 'none') return undefined
      const leaves = leavesOf(new Map([[file, bytesOf(files, file)]]))
      const at = random.between(0, leaves.length - 1)
      leaves[at] = JSON.stringify(otherLeaf(JSON.parse(leaves[at] ?? ''), random))
      const encoded = leaves.flatMap((leaf) => {
        const length = Buffer.alloc(2)
        length.writeUInt16BE(Buffer.byteLength(leaf))
        return [length, Buffer.from(leaf)]
      })
      files.set(file, Buffer.concat(encoded))
      refit(files)
      return { file, leaf: at + (file.includes('/001') ? 256 : 0) }
    },
  },
  ...(['kept', 'taken over', 'made by another key'] as const).map(
    (signature): Kind => ({
      name: `leaves are changed with their tiles, the signature ${signature}`,
      codes: signature === 'kept' ? ['tree'] : ['signature'],
      beside: TREE,
      async tamper(files, { made }, random) {
        if (made.only !== undefined) return undefined
        const leaves = leavesOf(files)
        const at = random.between(0, leaves.length - 1)
        const changed = JSON.stringify(otherLeaf(JSON.parse(leaves[at] ?? ''), random))
        const other = random.pick([
          leaves.with(at, changed),
          leaves.toSpliced(at, 1),
          leaves.toSpliced(at, 0, leaves[random.between(0, leaves.length - 1)] ?? ''),
          [...leaves.slice(0, at), ...leaves.slice(at).reverse()],
        ])
        if (other.join() === leaves.join()) return undefined
        const checkpoint = await putTree(files, other)
        const signatures = text(files, 'checkpoint').split('\n\n').slice(1).join('\n\n')
        if (signature === 'taken over') files.set('checkpoint', Buffer.from(`${checkpoint}\n${signatures}`))
        if (signature === 'made by another key') {
          const by = newSigner(`thief ${random.between(0, 9)}`)
          const signed = formatNote({ text: checkpoint, signatures: [await signNote(checkpoint, origin, by)] })
          files.set('checkpoint', Buffer.from(signed))
          if (random.next() < 0.5) files.set('keys', Buffer.from(`${newVerifier(origin, by.publicKey).vkey}\n`))
        }
        refit(files, { size: other.length })
        return { file: signature === 'kept' ? TREE_FILES : 'checkpoint' }
      },
    }),
  ),
  {
    name: 'tiles are exchanged',
    codes: ['tree', 'leaf'],
    beside: TREE,
    tamper(files, _, random) {
      const tiles = [...files.keys()].filter((name) => name.startsWith('tile/'))
      const [one, other] = [random.pick(tiles), random.pick(tiles)]
      exchange(files, one, other)
      refit(files)
      return { file: TREE_FILES }
    },
  },
  {
    name: 'a tile is removed or added',
    codes: ['tree'],
    beside: TREE,
    tamper(files, _, random) {
      const tile = random.pick([...files.keys()].filter((name) => name.startsWith('tile/')))
      const added = `tile/${random.pick(['0', '1', '2', 'entries'])}/${random.pick(['009', '001.p/9', '000.p/255', 'x001/000'])}`
      if (random.next() < 0.5) files.delete(tile)
      else files.set(added, bytesOf(files, tile))
      refit(files)
      return { file: TREE_FILES }
    },
  },
  {
    name: 'the ledger is set back, by who has its key',
    codes: ['rollback'],
    kept: 'older',
    async tamper(files, genuine, random) {
      const { made, runs } = genuine
      const cut = runs.map((run) => ({ ...run, sealedAt: [2] }))
      const others = made.others === undefined ? undefined : random.between(0, 200)
      // The auditor has seen more.
      const other = await remake(genuine, { others, sealed: made.only === undefined ? cut.slice(0, 1) : undefined })
      replaceAll(files, other)
      return made.others === undefined ? undefined : { file: /older$/ }
    },
  },
  {
    name: 'the ledger is forked, by who has its key',
    codes: ['fork'],
    beside: ['receipt'],
    kept: 'older',
    async tamper(files, genuine, random) {
      const { made } = genuine
      if (made.others === undefined || made.only !== undefined) return undefined
      const others = Array.from({ length: made.others }, (_, i) => i)
      const at = random.between(0, 254)
      const swapped = [...others.slice(0, at), ...others.slice(at, 256).reverse(), ...others.slice(256)]
      const leaves = swapped.map((i) => leavesOf(files)[i] ?? '').concat(leavesOf(files).slice(made.others))
      const checkpoint = await putTree(files, leaves)
      const signed = formatNote({ text: checkpoint, signatures: [await signNote(checkpoint, origin, made.signer)] })
      files.set('checkpoint', Buffer.from(signed))
      for (const name of [...files.keys()]) if (name.startsWith('receipts/')) files.delete(name)
      refit(files)
      return { file: /older$/ }
    },
  },
  {
    name: 'all is forged with a key of their own',
    codes: ['signature'],
    async tamper(files, genuine, random) {
      replaceAll(files, await remake(genuine, { signer: newSigner(`thief ${random.between(0, 9)}`) }))
      return { file: 'checkpoint' }
    },
  },
  {
    name: 'keys are exchanged',
    codes: ['fingerprint'],
    kept: 'fingerprint',
    tamper(files, _, random) {
      const { publicKey } = newSigner(`thief ${random.between(0, 99)}`)
      files.set('keys', Buffer.from(`${newVerifier(origin, publicKey).vkey}\n`))
      refit(files)
      return { file: 'manifest.json' }
    },
  },
]

function replaceAll(files: Files, other: Files): void {
  files.clear()
  for (const [name, bytes] of other) files.set(name, bytes)
}

const ofTheManifest: Kind[] = [
  {
    name: 'a policy set is changed, removed or added',
    codes: ['fingerprint'],
    kept: 'fingerprint',
    tamper(files, _, random) {
      const policy = `policies/${'a'.repeat(64)}.json`
      const act = random.between(0, 2)
      if (act === 0) files.set(policy, Buffer.from(`{"x":${random.between(0, 9)}}\n`))
      else if (act === 1) files.delete(policy)
      else files.set(`policies/${String(random.between(1, 9)).repeat(64)}.json`, Buffer.from('{}\n'))
      refit(files)
      return { file: 'manifest.json' }
    },
  },
  {
    name: 'the manifest counts otherwise',
    codes: ['manifest'],
    tamper(files, _, random) {
      const manifest = manifestOf(files)
      const name = random.pick(['runs', 'entries', 'erased', 'size', 'tenant', 'origin', 'redacted'])
      const value = manifest[name]
      const other =
        typeof value === 'number'
          ? random.pick([value + 1, value - 1, String(value), null, 1e308])
          : random.pick(['x', { email: -1 }, [], null])
      refit(files, { [name]: other })
      return { file: 'manifest.json' }
    },
  },
  {
    name: 'the manifest says something else, and fits',
    codes: ['fingerprint'],
    beside: 'any',
    kept: 'fingerprint',
    tamper(files, { runs }, random) {
      const { id } = random.pick(runs)
      const change = random.pick<object>([
        { scope: { kind: 'range', since: random.between(0, 900_000) } },
        { scope: { kind: 'range', until: 2_000_000 + random.between(0, 9) } },
        { exportedAt: '2026-11-29T00:00:00.000Z' },
        { unsealed: [id] },
        { missing: [id] },
        { more: random.between(0, 9) },
        { format: 'muster-audit-export/2' },
      ])
      refit(files, change)
      return { file: 'manifest.json' }
    },
  },
]

export const kinds: readonly Kind[] = [
  ...ofBytes,
  ...ofFiles,
  ...ofEntries,
  ...ofRuns,
  ...ofReceipts,
  ...ofTheLedger,
  ...ofTheManifest,
]
