import { type Bytes, concat, same, sha256 } from './bytes.ts'

/** Proofs about Merkle trees, as RFC 6962, section 2.1, defines them: from the root down, with WebCrypto. */

export interface Tree {
  size: number
  root: Bytes
}

const HASH_LENGTH = 32

export function leafHash(entry: Bytes): Promise<Bytes> {
  return sha256(concat(Uint8Array.of(0), entry))
}

function nodeHash(left: Bytes, right: Bytes): Promise<Bytes> {
  return sha256(concat(Uint8Array.of(1), left, right))
}

/** The largest power of two below `n`, which is above 1. */
function split(n: number): number {
  let k = 1
  while (k * 2 < n) k *= 2
  return k
}

function areHashes(hashes: readonly Bytes[]): boolean {
  return hashes.every(({ length }) => length === HASH_LENGTH)
}

function isPlace(n: number): boolean {
  return Number.isSafeInteger(n) && n >= 0
}

/** Whether the proof shows that the leaf with this hash is at `index` of the tree. */
export async function includes(
  leaf: { index: number; hash: Bytes },
  tree: Tree,
  proof: readonly Bytes[],
): Promise<boolean> {
  if (!isPlace(leaf.index) || !isPlace(tree.size) || leaf.index >= tree.size) return false
  if (!areHashes([leaf.hash, tree.root, ...proof])) return false
  const rest = [...proof]
  const rootOf = async (index: number, size: number): Promise<Bytes | undefined> => {
    if (size === 1) return leaf.hash
    const sibling = rest.pop()
    const middle = split(size)
    const below = await (index < middle ? rootOf(index, middle) : rootOf(index - middle, size - middle))
    if (!sibling || !below) return undefined
    return index < middle ? nodeHash(below, sibling) : nodeHash(sibling, below)
  }
  const root = await rootOf(leaf.index, tree.size)
  return root !== undefined && rest.length === 0 && same(root, tree.root)
}

/** Whether the proof shows that the tree begins with all leaves of the tree `old`, which has some. */
export async function beginsWith(old: Tree, tree: Tree, proof: readonly Bytes[]): Promise<boolean> {
  if (!isPlace(old.size) || !isPlace(tree.size) || old.size === 0 || old.size > tree.size) return false
  if (!areHashes([old.root, tree.root, ...proof])) return false
  const rest = [...proof]
  /** The roots then and now of a part of the tree; `whole` where that is all that there was then. */
  const rootsOf = async (then: number, now: number, whole: boolean): Promise<[Bytes, Bytes] | undefined> => {
    if (then === now) {
      const root = whole ? old.root : rest.pop()
      return root && [root, root]
    }
    const sibling = rest.pop()
    const middle = split(now)
    const below = await (then <= middle ? rootsOf(then, middle, whole) : rootsOf(then - middle, now - middle, false))
    if (!sibling || !below) return undefined
    // What stands on the right came later, unless the old tree reaches into it.
    if (then <= middle) return [below[0], await nodeHash(below[1], sibling)]
    return [await nodeHash(sibling, below[0]), await nodeHash(sibling, below[1])]
  }
  const roots = await rootsOf(old.size, tree.size, true)
  return roots !== undefined && rest.length === 0 && same(roots[0], old.root) && same(roots[1], tree.root)
}
