import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  consistencyRanges,
  emptyRoot,
  type Hash,
  inclusionRanges,
  leafHash,
  nodeHash,
  type Range,
  subtrees,
  verifyConsistency,
  verifyInclusion,
} from './merkle.ts'
import consistency from './vectors/consistency.json' with { type: 'json' }
import inclusion from './vectors/inclusion.json' with { type: 'json' }

const hex = (hash: Hash) => Buffer.from(hash).toString('hex')
const b64 = (hash: string) => Buffer.from(hash, 'base64')

/** RFC 6962, 2.1, word for word. */
function mth(leaves: readonly Hash[]): Hash {
  if (leaves.length === 0) return emptyRoot
  const [only] = leaves
  if (leaves.length === 1 && only) return only
  let k = 1
  while (k * 2 < leaves.length) k *= 2
  return nodeHash(mth(leaves.slice(0, k)), mth(leaves.slice(k)))
}

const leavesOf = (count: number) => Array.from({ length: count }, (_, i) => leafHash(Buffer.from(`leaf ${i}`)))
const hashes = (leaves: readonly Hash[], ranges: readonly Range[]) =>
  ranges.map(({ start, end }) => mth(leaves.slice(start, end)))

// The eight leaves of Certificate Transparency's reference test, as in transparency-dev/merkle/testonly.
const published = ['', '00', '10', '2021', '3031', '40414243', '5051525354555657', '606162636465666768696a6b6c6d6e6f']
  .map((entry) => Buffer.from(entry, 'hex'))
  .map(leafHash)

describe('hashes', () => {
  // transparency-dev/merkle rfc6962/rfc6962_test.go, and `sha256sum`.
  it.each([
    ['empty tree', emptyRoot, 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'],
    ['empty leaf', leafHash(Buffer.of()), '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d'],
    ['leaf', leafHash(Buffer.from('L123456')), '395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56'],
    [
      'node',
      nodeHash(Buffer.from('N123'), Buffer.from('N456')),
      'aa217fe888e47007fa15edab33c2b492a722cb106c64667fc2b044444de66bbb',
    ],
  ])('are those of RFC 6962: %s', (_, hash, expected) => {
    expect(hex(hash)).toBe(expected)
  })

  it('give the published root of the published leaves', () => {
    expect(mth(published)).toEqual(b64('XcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg='))
  })
})

const inclusionVectors: {
  name: string
  leafIdx: number
  treeSize: number
  root: string
  leafHash: string
  proof: string[]
  wantErr: boolean
}[] = inclusion
const consistencyVectors: {
  name: string
  size1: number
  size2: number
  root1: string
  root2: string
  proof: string[]
  wantErr: boolean
}[] = consistency

describe('the published vectors (transparency-dev/merkle testdata)', () => {
  it.each(inclusionVectors)(
    'inclusion $name: refused $wantErr',
    ({ leafIdx, treeSize, root, leafHash, proof, wantErr }) => {
      const leaf = { index: leafIdx, hash: b64(leafHash) }
      expect(verifyInclusion(leaf, { size: treeSize, root: b64(root) }, proof.map(b64))).toBe(!wantErr)
    },
  )

  it.each(consistencyVectors)(
    'consistency $name: refused $wantErr',
    ({ size1, size2, root1, root2, proof, wantErr }) => {
      const [old, tree] = [
        { size: size1, root: b64(root1) },
        { size: size2, root: b64(root2) },
      ]
      // One of them has roots that are no hashes, which are refused here.
      const refused = wantErr || old.root.length !== 32
      expect(verifyConsistency(old, tree, proof.map(b64))).toBe(!refused)
    },
  )
})

describe('proofs', () => {
  const sizes = fc.integer({ min: 1, max: 300 })

  it('of any leaf in any tree hold, and of no other leaf, place or tree', () =>
    fc.assert(
      fc.property(sizes, fc.nat(), fc.nat(), (size, at, other) => {
        const leaves = leavesOf(size)
        const index = at % size
        const tree = { size, root: mth(leaves) }
        const proof = hashes(leaves, inclusionRanges(index, size))
        const hash = leaves[index] ?? emptyRoot
        expect(verifyInclusion({ index, hash }, tree, proof)).toBe(true)
        const elsewhere = other % (2 * size)
        if (elsewhere !== index) expect(verifyInclusion({ index: elsewhere, hash }, tree, proof)).toBe(false)
        expect(verifyInclusion({ index, hash: leafHash(hash) }, tree, proof)).toBe(false)
        expect(verifyInclusion({ index, hash }, { size, root: leafHash(tree.root) }, proof)).toBe(false)
        expect(verifyInclusion({ index, hash }, tree, [...proof, emptyRoot])).toBe(false)
        expect(verifyInclusion({ index, hash }, tree, proof.slice(0, -1))).toBe(proof.length === 0)
      }),
      { seed: 1, numRuns: 200 },
    ))

  it('of any tree that grew hold, and of none that was rewritten', () =>
    fc.assert(
      fc.property(sizes, fc.nat(), (size, at) => {
        const leaves = leavesOf(size)
        const before = at % (size + 1)
        const old = { size: before, root: mth(leaves.slice(0, before)) }
        const tree = { size, root: mth(leaves) }
        const proof = hashes(leaves, consistencyRanges(before, size))
        expect(verifyConsistency(old, tree, proof)).toBe(true)
        expect(verifyConsistency(old, tree, [...proof, emptyRoot])).toBe(false)
        expect(verifyConsistency({ ...old, root: leafHash(old.root) }, tree, proof)).toBe(false)
        if (before > 0) expect(verifyConsistency(old, { ...tree, root: leafHash(tree.root) }, proof)).toBe(false)
        if (proof.length > 0) expect(verifyConsistency(old, tree, proof.slice(1))).toBe(false)
      }),
      { seed: 2, numRuns: 200 },
    ))

  it('need of a large tree as much as its height', () => {
    const size = 2 ** 50 + 12_345
    expect(inclusionRanges(2 ** 49 + 1, size).length).toBeLessThanOrEqual(51)
    expect(consistencyRanges(2 ** 49 + 1, size).length).toBeLessThanOrEqual(52)
    expect(subtrees({ start: 0, end: size }).map(({ level }) => level)).toEqual([50, 13, 12, 5, 4, 3, 0])
  })
})
