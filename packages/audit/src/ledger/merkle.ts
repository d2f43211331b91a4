import { hash as digest } from 'node:crypto'

/**
 * Merkle trees as in RFC 6962, section 2.1, with SHA-256. Places and sizes are integers up to 2^53.
 *
 * A hash is 32 bytes. What is to be read from a store is named by ranges of leaves first, so that this file needs no I/O.
 */
export type Hash = Uint8Array

export const HASH_LENGTH = 32

/** The most bytes of an entry: in a bundle its length has 16 bits. */
export const ENTRY_BYTES_MAX = 65_535

/** The root of a tree without leaves. */
export const emptyRoot: Hash = digest('sha256', '', 'buffer')

const NODE = Uint8Array.of(1)

// What is hashed follows a byte that says whether it is a leaf or a node.
const leaf = Buffer.alloc(1 + ENTRY_BYTES_MAX, 0)
const node = Buffer.alloc(1 + 2 * HASH_LENGTH, 1)

/*
 * Hashes are written where they are to stand, by way of text: a digest that comes as bytes has memory of its own, which
 * costs three times as much as the digest (Node 24: 2.4 µs instead of 0.7).
 */

/** Writes the hash of an entry as the hash `at` of those in a row. */
export function writeLeafHash(hashes: Buffer, at: number, entry: Uint8Array): void {
  // No log has a longer one, but a proof that somebody made up may.
  const input = entry.length > ENTRY_BYTES_MAX ? Buffer.alloc(1 + entry.length) : leaf.subarray(0, 1 + entry.length)
  input.set(entry, 1)
  hashes.write(digest('sha256', input, 'binary'), at * HASH_LENGTH, 'binary')
}

/** Puts the hashes of pairs of neighbours in the place of the first `count` hashes. */
export function halve(hashes: Buffer, count: number): void {
  for (let i = 0; i < count / 2; i++) {
    hashes.copy(node, 1, 2 * i * HASH_LENGTH, 2 * (i + 1) * HASH_LENGTH)
    hashes.write(digest('sha256', node, 'binary'), i * HASH_LENGTH, 'binary')
  }
}

export function leafHash(entry: Uint8Array): Hash {
  const hash = Buffer.allocUnsafe(HASH_LENGTH)
  writeLeafHash(hash, 0, entry)
  return hash
}

export function nodeHash(left: Hash, right: Hash): Hash {
  return Buffer.from(digest('sha256', Buffer.concat([NODE, left, right]), 'binary'), 'binary')
}

export function sameHash(a: Hash, b: Hash): boolean {
  return Buffer.compare(a, b) === 0
}

/** Leaves from `start` up to, not including, `end`. */
export interface Range {
  start: number
  end: number
}

/** A subtree of 2^level leaves that begins at leaf `index` * 2^level. */
export interface Subtree {
  level: number
  index: number
}

/** The largest power of two below `n`, which is above 1. */
function split(n: number): number {
  let k = 1
  while (k * 2 < n) k *= 2
  return k
}

/** The full subtrees that a range is made of, the largest first. The range is one that a tree has a node for. */
export function subtrees({ start, end }: Range): Subtree[] {
  const found: Subtree[] = []
  let at = start
  while (at < end) {
    let level = 0
    let width = 1
    while (at + width * 2 <= end && at % (width * 2) === 0) {
      level++
      width *= 2
    }
    found.push({ level, index: at / width })
    at += width
  }
  return found
}

/** The hash of a range from those of its subtrees. */
export function foldSubtrees(hashes: readonly Hash[]): Hash {
  return (
    hashes.reduceRight<Hash | undefined>((right, left) => (right ? nodeHash(left, right) : left), undefined) ??
    emptyRoot
  )
}

/** The ranges whose hashes prove that leaf `index` is in the tree of `size` leaves, from the leaf to the root. */
export function inclusionRanges(index: number, size: number): Range[] {
  if (!(index >= 0 && index < size)) throw new RangeError(`a tree of ${size} leaves has no leaf ${index}`)
  const ranges: Range[] = []
  let start = 0
  let end = size
  while (end - start > 1) {
    const middle = start + split(end - start)
    if (index < middle) {
      ranges.push({ start: middle, end })
      end = middle
    } else {
      ranges.push({ start, end: middle })
      start = middle
    }
  }
  return ranges.reverse()
}

/** The ranges whose hashes prove that the tree of `size` leaves begins with the one of `old` leaves. */
export function consistencyRanges(old: number, size: number): Range[] {
  if (!(old >= 0 && old <= size)) throw new RangeError(`a tree of ${size} leaves does not begin with ${old}`)
  if (old === 0 || old === size) return []
  const ranges: Range[] = []
  let start = 0
  let end = size
  while (old !== end) {
    const middle = start + split(end - start)
    if (old <= middle) {
      ranges.push({ start: middle, end })
      end = middle
    } else {
      ranges.push({ start, end: middle })
      start = middle
    }
  }
  // The old tree's own root is what the proof is about: it is not part of it.
  if (start > 0) ranges.push({ start, end })
  return ranges.reverse()
}

function half(n: number): number {
  return Math.floor(n / 2)
}

/** Whether the proof shows that the leaf with this hash is at `index` of the tree with this root. */
export function verifyInclusion(
  leaf: { index: number; hash: Hash },
  tree: { size: number; root: Hash },
  proof: readonly Hash[],
): boolean {
  if (!isPlace(leaf.index) || !isPlace(tree.size) || leaf.index >= tree.size) return false
  if (![leaf.hash, tree.root, ...proof].every(isHash)) return false
  const sides = sidesOf(leaf.index, tree.size - 1, proof.length)
  if (!sides) return false
  let hash = leaf.hash
  for (const [i, sibling] of proof.entries())
    hash = sides[i] === 'left' ? nodeHash(sibling, hash) : nodeHash(hash, sibling)
  return sameHash(hash, tree.root)
}

/** Whether the proof shows that the tree `size`, `root` begins with all leaves of the tree `old`. */
export function verifyConsistency(
  old: { size: number; root: Hash },
  tree: { size: number; root: Hash },
  proof: readonly Hash[],
): boolean {
  if (!isPlace(old.size) || !isPlace(tree.size) || old.size > tree.size) return false
  if (![old.root, tree.root, ...proof].every(isHash)) return false
  if (old.size === 0 && !sameHash(old.root, emptyRoot)) return false
  if (old.size === tree.size) return proof.length === 0 && sameHash(old.root, tree.root)
  // Every tree begins with the empty one.
  if (old.size === 0) return proof.length === 0
  let at = old.size - 1
  let last = tree.size - 1
  while (at % 2 === 1) {
    at = half(at)
    last = half(last)
  }
  // Where the old tree is a full subtree of the new one, its root begins the path.
  const path = at === 0 ? [old.root, ...proof] : proof
  const [first, ...rest] = path
  if (first === undefined) return false
  const sides = sidesOf(at, last, rest.length)
  if (!sides) return false
  let before = first
  let now = first
  for (const [i, sibling] of rest.entries()) {
    // What stands on the right came later.
    if (sides[i] === 'left') before = nodeHash(sibling, before)
    now = sides[i] === 'left' ? nodeHash(sibling, now) : nodeHash(now, sibling)
  }
  return sameHash(before, old.root) && sameHash(now, tree.root)
}

/**
 * On which side of a path from the place `at` to the root each of its siblings stands, in a level that ends with the place
 * `last`; undefined where a path has another number of them.
 */
function sidesOf(at: number, last: number, count: number): ('left' | 'right')[] | undefined {
  const sides: ('left' | 'right')[] = []
  while (sides.length < count) {
    if (last === 0) return undefined
    const isLeft = at % 2 === 1 || at === last
    sides.push(isLeft ? 'left' : 'right')
    while (isLeft && at % 2 === 0 && at !== 0) {
      at = half(at)
      last = half(last)
    }
    at = half(at)
    last = half(last)
  }
  return last === 0 ? sides : undefined
}

function isHash(hash: Hash): boolean {
  return hash.length === HASH_LENGTH
}

function isPlace(n: number): boolean {
  return Number.isSafeInteger(n) && n >= 0
}
