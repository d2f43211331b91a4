import { MusterError } from '@muster/protocol'
import {
  consistencyRanges,
  foldSubtrees,
  HASH_LENGTH,
  type Hash,
  inclusionRanges,
  type Range,
  sameHash,
  subtrees,
  writeLeafHash,
} from './merkle.ts'
import { decodeEntries, encodeEntries, foldTile, TILE_WIDTH, type Tile, tileOf, tilePath, tileWidth } from './tile.ts'

/** A tile or entry bundle, as it is written. */
export interface TileFile {
  path: string
  bytes: Uint8Array
  width: number
  /** How wide it is there already: 0 where it is new, as wide as it is where nothing was added to it. */
  stored: number
}

/**
 * Where a log's tiles and entry bundles are. What is read under the path of a partial tile may be a wider tile of the same
 * place: it begins with what was asked for. Writing is repeated with the same bytes after a crash, in any order.
 */
export interface TileStorage {
  read(path: string): Promise<Uint8Array | undefined>
  /** Writes what became full when the tree grew to `size` leaves, and all its partial tiles. */
  write(tiles: readonly TileFile[], size: number): Promise<void>
}

export interface Tree {
  size: number
  root: Hash
}

type ReadTile = (level: number, index: number) => Promise<Uint8Array>

/**
 * A log in tiles. It has no state of its own: who appends says after how many leaves, and keeps what comes of it. The same
 * leaves after the same size write the same bytes, so that it does not matter who writes them, or how often.
 */
export class TileLog {
  readonly #storage: TileStorage
  /** The tree that was appended to last, and its right edge: who goes on from there need not read it. */
  #last: { tree: Tree; edge: Edge } | undefined

  constructor(storage: TileStorage) {
    this.#storage = storage
  }

  /**
   * Appends entries to a tree. Holds the right edge of it, a tile of each level and a bundle.
   *
   * @throws MusterError `ledger.corrupt` where the tiles that are read do not have the tree's root
   */
  async append(before: Tree, entries: readonly Uint8Array[]): Promise<Tree> {
    const last = this.#last
    // Of what was not written nothing is known.
    this.#last = undefined
    const goesOn = last?.tree.size === before.size && sameHash(last.tree.root, before.root)
    const edge = goesOn ? last.edge : await this.#readEdge(before)
    const tiles = edge.add(entries)
    const tree = { size: before.size + entries.length, root: edge.root() }
    if (entries.length > 0) await this.#storage.write(tiles, tree.size)
    this.#last = { tree, edge }
    return tree
  }

  async #readEdge({ size, root }: Tree): Promise<Edge> {
    const width = size % TILE_WIDTH
    const bundle = { level: 'entries' as const, index: Math.floor(size / TILE_WIDTH), width }
    const [levels, stored] = await Promise.all([this.#levels(size), width === 0 ? Buffer.of() : this.tile(bundle)])
    const edge = new Edge(levels, { ...bundle, bytes: stored })
    if (!sameHash(edge.root(), root))
      throw new MusterError('ledger.corrupt', `the tiles of ${size} leaves do not have the root that was stored`)
    return edge
  }

  /** The last tile of each level of a tree, which is not full; none where all are. */
  #levels(size: number): Promise<EdgeTile[]> {
    const levels: Promise<EdgeTile>[] = []
    for (let level = 0, count = size; count > 0; level++, count = Math.floor(count / TILE_WIDTH)) {
      const [index, width] = [Math.floor(count / TILE_WIDTH), count % TILE_WIDTH]
      const stored = width === 0 ? Promise.resolve(Buffer.of()) : this.tile({ level, index, width })
      levels.push(stored.then((bytes) => ({ index, stored: width, width, hashes: Buffer.concat([bytes], TILE_BYTES) })))
    }
    return Promise.all(levels)
  }

  /** The root of the first `size` leaves, read as for `inclusion`. */
  async root(size: number, stored = size): Promise<Hash> {
    return rangeHash({ start: 0, end: size }, this.#reader(stored))
  }

  /** The proof that leaf `index` is in the tree of `size` leaves, read from the tiles of the tree of `stored` leaves. */
  inclusion(index: number, size: number, stored = size): Promise<Hash[]> {
    const read = this.#reader(stored)
    return Promise.all(inclusionRanges(index, size).map((range) => rangeHash(range, read)))
  }

  /** The proof that the tree of `size` leaves begins with the one of `old` leaves, read as for `inclusion`. */
  consistency(old: number, size: number, stored = size): Promise<Hash[]> {
    const read = this.#reader(stored)
    return Promise.all(consistencyRanges(old, size).map((range) => rangeHash(range, read)))
  }

  /** The bytes of a tile, or of a bundle, exactly as wide as it says. The tree must have it. */
  async tile(tile: Tile): Promise<Uint8Array> {
    const full = { ...tile, width: TILE_WIDTH }
    // A partial tile may be gone once its full one is there.
    const bytes =
      (await this.#storage.read(tilePath(tile))) ??
      (tile.width === TILE_WIDTH ? undefined : await this.#storage.read(tilePath(full)))
    const cut = bytes && (tile.level === 'entries' ? cutEntries(bytes, tile.width) : cutHashes(bytes, tile.width))
    if (cut) return cut
    throw new MusterError('ledger.corrupt', `${tilePath(tile)} is missing, or too short`)
  }

  /** The entries of a bundle in the tree of `size` leaves. */
  async entries(index: number, size: number): Promise<Uint8Array[]> {
    const width = tileWidth('entries', index, size)
    return decodeEntries(await this.tile({ level: 'entries', index, width })) ?? []
  }

  async entry(index: number, size: number): Promise<Uint8Array | undefined> {
    if (index >= size) return undefined
    return (await this.entries(Math.floor(index / TILE_WIDTH), size))[index % TILE_WIDTH]
  }

  /** Reads each tile once, as wide as the tree has it. */
  #reader(size: number): ReadTile {
    const tiles = new Map<string, Promise<Uint8Array>>()
    return (level, index) => {
      const key = `${level}/${index}`
      const known = tiles.get(key) ?? this.tile({ level, index, width: tileWidth(level, index, size) })
      tiles.set(key, known)
      return known
    }
  }
}

const TILE_BYTES = TILE_WIDTH * HASH_LENGTH

/** The last tile of a level. */
interface EdgeTile {
  index: number
  /** Hashes of it that are stored, and that it has by now. */
  stored: number
  width: number
  hashes: Buffer
}

/** The last entry bundle. */
interface EdgeBundle {
  index: number
  width: number
  bytes: Uint8Array
}

/** The right edge of a tree, which grows. */
class Edge {
  readonly #levels: EdgeTile[]
  #bundle: EdgeBundle

  constructor(levels: EdgeTile[], bundle: EdgeBundle) {
    this.#levels = levels
    this.#bundle = bundle
  }

  /** Adds entries; gives the bundles and tiles that they are in, and the other last ones, which are not full. */
  add(entries: readonly Uint8Array[]): TileFile[] {
    const bundles = this.#addToBundles(entries)
    const full: TileFile[] = []
    for (const entry of entries) {
      const tile = this.#level(0)
      writeLeafHash(tile.hashes, tile.width, entry)
      this.#grown(0, tile, full)
    }
    const partial = this.#levels.flatMap((tile, level) => (tile.width > 0 ? fileOf(level, tile) : []))
    for (const tile of this.#levels) tile.stored = tile.width
    return [...bundles, ...full, ...partial]
  }

  #addToBundles(entries: readonly Uint8Array[]): TileFile[] {
    const files: TileFile[] = []
    for (let given = 0; given < entries.length; ) {
      const { index, width: stored, bytes: before } = this.#bundle
      const added = entries.slice(given, given + TILE_WIDTH - stored)
      const width = stored + added.length
      const bytes = Buffer.concat([before, encodeEntries(added)])
      files.push({ path: tilePath({ level: 'entries', index, width }), bytes, width, stored })
      this.#bundle = width < TILE_WIDTH ? { index, width, bytes } : { index: index + 1, width: 0, bytes: Buffer.of() }
      given += added.length
    }
    return files
  }

  #level(level: number): EdgeTile {
    const known = this.#levels[level] ?? newTile(0)
    this.#levels[level] = known
    return known
  }

  /** A full tile's hash is one of the next level. */
  #grown(level: number, tile: EdgeTile, full: TileFile[]): void {
    tile.width++
    if (tile.width < TILE_WIDTH) return
    full.push(fileOf(level, tile))
    this.#levels[level] = newTile(tile.index + 1)
    const above = this.#level(level + 1)
    above.hashes.set(foldTile(tile.hashes, 0, TILE_WIDTH), above.width * HASH_LENGTH)
    this.#grown(level + 1, above, full)
  }

  root(): Hash {
    // The highest level is the left of the tree.
    const hashes = this.#levels.map(({ hashes, width }) =>
      subtrees({ start: 0, end: width }).map(({ level, index }) => {
        const from = index * 2 ** level
        return foldTile(hashes, from, from + 2 ** level)
      }),
    )
    return foldSubtrees(hashes.reverse().flat())
  }
}

function newTile(index: number): EdgeTile {
  return { index, stored: 0, width: 0, hashes: Buffer.allocUnsafe(TILE_BYTES) }
}

function fileOf(level: number, { index, stored, width, hashes }: EdgeTile): TileFile {
  return { path: tilePath({ level, index, width }), bytes: hashes.subarray(0, width * HASH_LENGTH), width, stored }
}

async function rangeHash(range: Range, read: ReadTile): Promise<Hash> {
  const hashes = subtrees(range).map(async (subtree) => {
    const { level, index, from, to } = tileOf(subtree)
    return foldTile(await read(level, index), from, to)
  })
  return foldSubtrees(await Promise.all(hashes))
}

function cutHashes(tile: Uint8Array, width: number): Uint8Array | undefined {
  return tile.length < width * HASH_LENGTH ? undefined : tile.subarray(0, width * HASH_LENGTH)
}

function cutEntries(bundle: Uint8Array, width: number): Uint8Array | undefined {
  const entries = decodeEntries(bundle)
  if (!entries || entries.length < width) return undefined
  return entries.length === width ? bundle : encodeEntries(entries.slice(0, width))
}
