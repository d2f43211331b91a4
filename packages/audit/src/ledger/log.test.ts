import { generateKeyPairSync, sign } from 'node:crypto'
import { verifyCheckpoint } from '@sigstore/verify/dist/tlog/checkpoint.js'
import { verifyMerkleInclusion } from '@sigstore/verify/dist/tlog/merkle.js'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { checkpointText } from './checkpoint.ts'
import { type TileFile, TileLog, type TileStorage, type Tree } from './log.ts'
import { emptyRoot, type Hash, leafHash, nodeHash, sameHash, verifyConsistency, verifyInclusion } from './merkle.ts'
import { formatNote, newVerifier, signNote } from './note.ts'
import { formatProof, parseProof } from './proof.ts'
import { decodeEntries, encodeEntries, parseTilePath, tilePath, tileWidth } from './tile.ts'

const entriesOf = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, i) => Buffer.from(JSON.stringify({ v: 1, leaf: from + i })))

/** Peaks of full subtrees: another way to the root than the one under test. */
class NaiveTree {
  readonly roots: Hash[] = [emptyRoot]
  constructor(count: number) {
    const peaks: { hash: Hash; size: number }[] = []
    for (const entry of entriesOf(0, count)) {
      let peak = { hash: leafHash(entry), size: 1 }
      for (let last = peaks.at(-1); last?.size === peak.size; last = peaks.at(-1)) {
        peak = { hash: nodeHash(last.hash, peak.hash), size: 2 * peak.size }
        peaks.pop()
      }
      peaks.push(peak)
      const hashes = peaks.map(({ hash }) => hash)
      this.roots.push(hashes.reduceRight((right, left) => nodeHash(left, right)))
    }
  }
}

/** Keeps everything, and counts what is read. */
class Files implements TileStorage {
  readonly files = new Map<string, Uint8Array>()
  reads = 0
  async read(path: string) {
    this.reads++
    return this.files.get(path)
  }
  async write(tiles: readonly TileFile[]) {
    for (const { path, bytes, width, stored } of tiles) {
      const before = this.files.get(path)
      if (before && !sameHash(before, bytes)) throw new Error(`${path} was written with other bytes`)
      const stem = path.replace(/\.p\/.*/, '')
      expect(stored > 0).toBe([...this.files.keys()].some((name) => name.startsWith(`${stem}.p/`)))
      expect(stored === width).toBe(before !== undefined)
      this.files.set(path, bytes)
    }
  }
}

const LARGE = 70_000
const naive = new NaiveTree(3000)

async function build(files: Files, sizes: readonly number[]): Promise<Tree> {
  let log = new TileLog(files)
  let tree: Tree = { size: 0, root: emptyRoot }
  for (const [i, size] of sizes.entries()) {
    // One goes on from what it has, another from what it reads.
    if (i % 2 === 0) log = new TileLog(files)
    tree = await log.append(tree, entriesOf(tree.size, tree.size + size))
  }
  return tree
}

describe('paths of tiles', () => {
  it('are those of tlog-tiles', () => {
    expect(tilePath({ level: 0, index: 1_234_067, width: 256 })).toBe('tile/0/x001/x234/067')
    expect(tilePath({ level: 1, index: 0, width: 17 })).toBe('tile/1/000.p/17')
    expect(tilePath({ level: 'entries', index: 273, width: 112 })).toBe('tile/entries/273.p/112')
  })

  it('are read back, and nothing else is', () =>
    fc.assert(
      fc.property(
        fc.oneof(fc.constant('entries' as const), fc.nat({ max: 63 })),
        fc.maxSafeNat(),
        fc.integer({ min: 1, max: 256 }),
        (level, index, width) => {
          const tile = { level, index, width }
          expect(parseTilePath(tilePath(tile))).toEqual(tile)
        },
      ),
      { seed: 1 },
    ))

  it.each([
    ...['tile/0/1', 'tile/00/000', 'tile/64/000', 'tile/0/x000/001', 'tile/0/000.p/0', 'tile/0/000.p/256'],
    ...['tile/0/000.p/01', 'tile/0/001/002', 'tile/0/../000', 'tile/-1/000', 'tile/0/000/', 'tile/entry/000', ''],
  ])('%s is none', (path) => {
    expect(parseTilePath(path)).toBeUndefined()
  })
})

describe('entry bundles', () => {
  it('hold any entries up to 65,535 bytes', () =>
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 20 }), (entries) => {
        expect(decodeEntries(encodeEntries(entries))).toEqual(entries.map((entry) => Buffer.from(entry)))
      }),
      { seed: 1 },
    ))

  it('are refused where they are cut, and entries that are too long', () => {
    const bundle = encodeEntries([Buffer.from('abc')])
    expect(decodeEntries(bundle.subarray(0, 4))).toBeUndefined()
    expect(decodeEntries(bundle.subarray(0, 1))).toBeUndefined()
    expect(() => encodeEntries([new Uint8Array(65_536)])).toThrow(RangeError)
  })
})

describe('a log in tiles', () => {
  it('has the tiles that tlog-tiles names for 70,000 leaves, and for 256', async () => {
    const files = new Files()
    await build(files, [LARGE])
    const ofLevel = (level: string) => [...files.files.keys()].filter((path) => path.startsWith(`tile/${level}/`))
    expect(ofLevel('0').length).toBe(274)
    expect(ofLevel('0')).toContain('tile/0/273.p/112')
    expect(ofLevel('1')).toEqual(['tile/1/000', 'tile/1/001.p/17'])
    expect(ofLevel('2')).toEqual(['tile/2/000.p/1'])
    expect(tileWidth(1, 1, LARGE)).toBe(17)
    const small = new Files()
    await build(small, [256])
    expect([...small.files.keys()].sort()).toEqual(['tile/0/000', 'tile/1/000.p/1', 'tile/entries/000'])
  })

  it('has the same tiles and root however the leaves are split into batches', () =>
    fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 700 }), { maxLength: 4 }), async (sizes) => {
        const [parts, whole] = [new Files(), new Files()]
        const tree = await build(parts, sizes)
        const size = sizes.reduce((sum, one) => sum + one, 0)
        expect(tree.size).toBe(size)
        expect(tree.root).toEqual(naive.roots[size])
        expect(await build(whole, size === 0 ? [] : [size])).toEqual(tree)
        for (const [path, bytes] of whole.files) expect(parts.files.get(path)).toEqual(bytes)
      }),
      { seed: 2, numRuns: 60 },
    ))

  it('proves every leaf, and that every tree began with any before it', async () => {
    const files = new Files()
    const { size } = await build(files, [1000, 1, 255, 300, 1])
    const log = new TileLog(files)
    const entries = entriesOf(0, size)
    await fc.assert(
      fc.asyncProperty(fc.nat({ max: size - 1 }), fc.nat({ max: size - 1 }), async (a, b) => {
        const [index, upTo] = [Math.min(a, b), Math.max(a, b) + 1]
        const tree = { size: upTo, root: naive.roots[upTo] ?? emptyRoot }
        const leaf = { index, hash: leafHash(entries[index] ?? Buffer.of()) }
        expect(verifyInclusion(leaf, tree, await log.inclusion(index, upTo, size))).toBe(true)
        const old = { size: index, root: naive.roots[index] ?? emptyRoot }
        expect(verifyConsistency(old, tree, await log.consistency(index, upTo, size))).toBe(true)
        expect(await log.entry(index, size)).toEqual(entries[index])
      }),
      { seed: 3, numRuns: 300 },
    )
  })

  it('is read with few tiles, also when it appends', async () => {
    const files = new Files()
    const tree = await build(files, [LARGE])
    const log = new TileLog(files)
    files.reads = 0
    await log.inclusion(12_345, LARGE)
    expect(files.reads).toBeLessThanOrEqual(6)
    files.reads = 0
    const next = await log.append(tree, entriesOf(LARGE, LARGE + 1))
    expect(files.reads).toBeLessThanOrEqual(6)
    files.reads = 0
    await log.append(next, entriesOf(LARGE + 1, LARGE + 300))
    expect(files.reads).toBe(0)
  })

  it('reads anew what another, or a write that failed, may have changed', async () => {
    const files = new Files()
    const old = await build(files, [300])
    let fails = false
    const storage: TileStorage = {
      read: (path) => files.read(path),
      async write(tiles) {
        for (const { path, bytes } of tiles) files.files.set(path, bytes)
        if (fails) throw new Error('the answer is lost')
      },
    }
    const log = new TileLog(storage)
    const tree = await log.append(old, entriesOf(300, 310))
    fails = true
    await expect(log.append(tree, entriesOf(310, 600))).rejects.toThrow('lost')
    fails = false
    expect((await log.append(tree, entriesOf(310, 600))).root).toEqual(naive.roots[600])
    const other = await new TileLog(storage).append(tree, entriesOf(310, 700))
    expect((await log.append(other, entriesOf(700, 800))).root).toEqual(naive.roots[800])
  })

  it('serves a partial tile from a wider one that took its place', async () => {
    const files = new Files()
    const tree = await build(files, [300])
    const [hashes, entries] = [files.files.get('tile/0/001.p/44'), files.files.get('tile/entries/001.p/44')]
    await new TileLog(files).append(tree, entriesOf(300, 512))
    files.files.delete('tile/0/001.p/44')
    files.files.delete('tile/entries/001.p/44')
    const log = new TileLog(files)
    expect(await log.tile({ level: 0, index: 1, width: 44 })).toEqual(hashes)
    expect(await log.tile({ level: 'entries', index: 1, width: 44 })).toEqual(entries)
  })

  it('says which tile is missing or cut', async () => {
    const files = new Files()
    await build(files, [300])
    files.files.set('tile/0/000', Buffer.alloc(31))
    const log = new TileLog(files)
    await expect(log.inclusion(3, 300)).rejects.toMatchObject({ code: 'ledger.corrupt' })
    await expect(log.root(1000)).rejects.toThrow('tile/1/000.p/3 is missing')
  })
})

describe("sigstore's verifier", () => {
  type Entry = Parameters<typeof verifyMerkleInclusion>[0]
  type Checkpoint = Parameters<typeof verifyMerkleInclusion>[1]

  it('accepts the proofs of a log in tiles, and refuses them of another leaf', async () => {
    const files = new Files()
    const { size, root } = await build(files, [777, 1500])
    const log = new TileLog(files)
    const entries = entriesOf(0, size)
    await fc.assert(
      fc.asyncProperty(fc.nat({ max: size - 1 }), async (index) => {
        const hashes = await log.inclusion(index, size)
        const check = (body: Buffer) => {
          const entry = { canonicalizedBody: body, inclusionProof: { logIndex: String(index), hashes } }
          const checkpoint = { logSize: BigInt(size), logHash: root }
          // It reads no more of the two.
          verifyMerkleInclusion(entry as unknown as Entry, checkpoint as unknown as Checkpoint)
        }
        check(entries[index] ?? Buffer.of())
        expect(() => check(Buffer.from('another'))).toThrow('does not match')
      }),
      { seed: 4, numRuns: 100 },
    )
  })

  it('accepts a checkpoint that we sign, and refuses one that was changed', async () => {
    const { privateKey, publicKey } = generateKeyPairSync('ed25519')
    const raw = Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url')
    const signer = { publicKey: raw, sign: async (message: Uint8Array) => sign(null, message, privateKey) }
    const origin = 'log.example/acme'
    const text = checkpointText({ origin, size: 7, root: leafHash(Buffer.of()) })
    const envelope = formatNote({ text, signatures: [await signNote(text, origin, signer)] })
    const logID = Buffer.from(newVerifier(origin, raw).keyId, 'hex')
    const check = (envelope: string) => {
      const entry = { inclusionProof: { checkpoint: { envelope } } }
      // It reads no more of the two.
      const logs = [{ logID, baseURL: `https://${origin}`, publicKey }] as unknown as Parameters<
        typeof verifyCheckpoint
      >[1]
      return verifyCheckpoint(entry as unknown as Entry, logs)
    }
    expect(check(envelope)).toMatchObject({ origin, logSize: 7n, logHash: leafHash(Buffer.of()) })
    expect(() => check(envelope.replace('\n7\n', '\n8\n'))).toThrow('signature')
  })
})

describe('a proof to keep', () => {
  it('is written as in tlog-proof and read back', () => {
    const checkpoint = 'log.example\n5\nAAAA\n\n— log.example AAAA\n'
    const entry = Buffer.from('{"v":1}')
    const proof = { index: 3, inclusion: [Buffer.from(leafHash(entry))], checkpoint, entry }
    const text = formatProof(proof)
    expect(text.split('\n').slice(0, 3)).toEqual([
      'c2sp.org/tlog-proof@v1',
      `extra ${entry.toString('base64')}`,
      'index 3',
    ])
    expect(parseProof(text)).toEqual(proof)
    expect(parseProof(formatProof({ ...proof, inclusion: [], entry: undefined }))).toEqual({
      index: 3,
      inclusion: [],
      checkpoint,
    })
  })

  it.each([
    ['another header', 'c2sp.org/tlog-proof@v2\nindex 3\n\nx\n'],
    ['no index', 'c2sp.org/tlog-proof@v1\n\nx\n'],
    ['a short hash', 'c2sp.org/tlog-proof@v1\nindex 3\nAAAA\n\nx\n'],
    ['a zero before the index', 'c2sp.org/tlog-proof@v1\nindex 03\n\nx\n'],
  ])('is refused with %s', (_, text) => {
    expect(parseProof(text)).toBeUndefined()
  })
})
