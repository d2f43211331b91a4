import { MusterError } from '@muster/protocol'
import {
  consistencyRanges,
  foldSubtrees,
  HASH_LENGTH,
  type Hash,
  inclusionRanges,
  leafHash,
  type Range,
  subtrees,
} from './merkle.ts'
import { decodeEntries, encodeEntries, foldTile, TILE_WIDTH, type Tile, tileOf, tilePath, tileWidth } from './tile.ts'

/**
 * Where a log's tiles and entry bundles are. What is read under the path of a partial tile may be a wider tile of the same
 * place: it begins with what was asked for. Writing is repeated with the same bytes after a crash.
 */
export interface TileStorage {
  read(path: string): Promise<Uint8Array | undefined>
  write(path: string, bytes: Uint8Array): Promise<void>
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

  constructor(storage: TileStorage) {
    this.#storage = storage
  }

  /** Appends entries to the tree of `size` leaves. Holds the right edge of the tree, a tile of each level. */
  async append(size: number, entries: readonly Uint8Array[]): Promise<Tree> {
    const edge: Hash[][] = []
    let at = size
    let given = 0
    while (given < entries.length) {
      const index = Math.floor(at / TILE_WIDTH)
      const before = at % TILE_WIDTH
      const added = entries.slice(given, given + TILE_WIDTH - before)
      const bundle = before === 0 ? [] : await this.entries(index, at)
      await this.#write({ level: 'entries', index, width: before + added.length }, encodeEntries([...bundle, ...added]))
      await this.#extend(edge, 0, at, added.map(leafHash))
      given += added.length
      at += added.length
    }
    await Promise.all(edge.map((hashes, level) => this.#writeTile(level, at, hashes)))
    return { size: at, root: await this.root(at) }
  }

  /** Adds hashes to the last tile of a level, which has room for them, and the hash of a tile that is full to the next. */
  async #extend(edge: Hash[][], level: number, size: number, hashes: readonly Hash[]): Promise<void> {
    const count = Math.floor(size / TILE_WIDTH ** level)
    const index = Math.floor(count / TILE_WIDTH)
    let tile = edge[level]
    if (!tile) {
      tile = count % TILE_WIDTH === 0 ? [] : hashesOf(await this.tile({ level, index, width: count % TILE_WIDTH }))
      edge[level] = tile
    }
    tile.push(...hashes)
    if (tile.length < TILE_WIDTH) return
    const bytes = Buffer.concat(tile)
    await this.#write({ level, index, width: TILE_WIDTH }, bytes)
    edge[level] = []
    await this.#extend(edge, level + 1, size, [foldTile(bytes, 0, TILE_WIDTH)])
  }

  async #writeTile(level: number, size: number, hashes: readonly Hash[]): Promise<void> {
    if (hashes.length === 0) return
    const index = Math.floor(size / TILE_WIDTH ** (level + 1))
    await this.#write({ level, index, width: hashes.length }, Buffer.concat(hashes))
  }

  async #write(tile: Tile, bytes: Uint8Array): Promise<void> {
    await this.#storage.write(tilePath(tile), bytes)
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

async function rangeHash(range: Range, read: ReadTile): Promise<Hash> {
  const hashes = subtrees(range).map(async (subtree) => {
    const { level, index, from, to } = tileOf(subtree)
    return foldTile(await read(level, index), from, to)
  })
  return foldSubtrees(await Promise.all(hashes))
}

function hashesOf(tile: Uint8Array): Hash[] {
  return Array.from({ length: tile.length / HASH_LENGTH }, (_, i) =>
    tile.subarray(i * HASH_LENGTH, (i + 1) * HASH_LENGTH),
  )
}

function cutHashes(tile: Uint8Array, width: number): Uint8Array | undefined {
  return tile.length < width * HASH_LENGTH ? undefined : tile.subarray(0, width * HASH_LENGTH)
}

function cutEntries(bundle: Uint8Array, width: number): Uint8Array | undefined {
  const entries = decodeEntries(bundle)
  if (!entries || entries.length < width) return undefined
  return entries.length === width ? bundle : encodeEntries(entries.slice(0, width))
}
