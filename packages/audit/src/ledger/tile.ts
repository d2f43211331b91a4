import { ENTRY_BYTES_MAX, HASH_LENGTH, type Hash, halve, type Subtree, writeLeafHash } from './merkle.ts'

/** Tiles and entry bundles as in C2SP tlog-tiles: <https://c2sp.org/tlog-tiles>. */
export const TILE_WIDTH = 256
const TILE_HEIGHT = 8
const LEVEL_MAX = 63

/** `entries` is a bundle of the leaves themselves, a number the level of a tile of hashes. */
export interface Tile {
  level: number | 'entries'
  index: number
  /** Hashes or entries in it: 256 in a full one. */
  width: number
}

/** Its path below the log's own address: `tile/0/x001/234`, or `tile/0/x001/234.p/7` where it is partial. */
export function tilePath({ level, index, width }: Tile): string {
  let rest = Math.floor(index / 1000)
  let place = digits(index % 1000)
  while (rest > 0) {
    place = `x${digits(rest % 1000)}/${place}`
    rest = Math.floor(rest / 1000)
  }
  return `tile/${level}/${place}${width === TILE_WIDTH ? '' : `.p/${width}`}`
}

function digits(n: number): string {
  return String(n).padStart(3, '0')
}

const PATH = /^tile\/(entries|0|[1-9]\d?)\/((?:x\d{3}\/)*)(\d{3})(?:\.p\/([1-9]\d{0,2}))?$/

/** The tile with this path; undefined where a path is written otherwise than `tilePath` does. */
export function parseTilePath(path: string): Tile | undefined {
  const [, name, above = '', last, partial] = PATH.exec(path) ?? []
  if (name === undefined || last === undefined) return undefined
  const level: Tile['level'] = name === 'entries' ? name : Number(name)
  const tile = {
    level,
    index: Number(above.replaceAll(/[x/]/g, '') + last),
    width: partial === undefined ? TILE_WIDTH : Number(partial),
  }
  const fits = level === 'entries' || level <= LEVEL_MAX
  return fits && Number.isSafeInteger(tile.index) && tilePath(tile) === path ? tile : undefined
}

/** How many hashes a tile has in the tree of `size` leaves; 0 where the tree does not reach it. */
export function tileWidth(level: Tile['level'], index: number, size: number): number {
  const all = Math.floor(size / TILE_WIDTH ** (level === 'entries' ? 0 : level))
  return Math.max(0, Math.min(TILE_WIDTH, all - index * TILE_WIDTH))
}

/** The tile that has what a subtree's hash is made of, and which of its hashes that are. */
export function tileOf({ level, index }: Subtree): { level: number; index: number; from: number; to: number } {
  const within = 2 ** (level % TILE_HEIGHT)
  const from = index * within
  const tile = Math.floor(from / TILE_WIDTH)
  const first = from - tile * TILE_WIDTH
  return { level: Math.floor(level / TILE_HEIGHT), index: tile, from: first, to: first + within }
}

/** The hash over a power of two of a tile's hashes. */
export function foldTile(tile: Uint8Array, from: number, to: number): Hash {
  const hashes = Buffer.from(tile.subarray(from * HASH_LENGTH, to * HASH_LENGTH))
  for (let count = to - from; count > 1; count /= 2) halve(hashes, count)
  return hashes.subarray(0, HASH_LENGTH)
}

export function encodeEntries(entries: readonly Uint8Array[]): Uint8Array {
  const bundle = Buffer.allocUnsafe(entries.reduce((length, entry) => length + 2 + entry.length, 0))
  let at = 0
  for (const entry of entries) {
    if (entry.length > ENTRY_BYTES_MAX) throw new RangeError(`an entry has at most ${ENTRY_BYTES_MAX} bytes`)
    bundle.writeUInt16BE(entry.length, at)
    bundle.set(entry, at + 2)
    at += 2 + entry.length
  }
  return bundle
}

/** The entries of a bundle; undefined where its bytes do not end with an entry. */
export function decodeEntries(bundle: Uint8Array): Uint8Array[] | undefined {
  const view = new DataView(bundle.buffer, bundle.byteOffset, bundle.byteLength)
  const entries: Uint8Array[] = []
  let at = 0
  while (at < bundle.length) {
    if (at + 2 > bundle.length) return undefined
    const end = at + 2 + view.getUint16(at)
    if (end > bundle.length) return undefined
    entries.push(bundle.subarray(at + 2, end))
    at = end
  }
  return entries
}

/** The tile of the lowest level over a bundle's entries; undefined where its bytes do not end with an entry. */
export function tileOfBundle(bundle: Uint8Array): Uint8Array | undefined {
  const entries = decodeEntries(bundle)
  const hashes = Buffer.allocUnsafe((entries?.length ?? 0) * HASH_LENGTH)
  for (const [i, entry] of entries?.entries() ?? []) writeLeafHash(hashes, i, entry)
  return entries && hashes
}
