import { generateKeyPairSync, hash, type KeyObject, sign } from 'node:crypto'
import {
  checkpointText,
  cosign,
  formatNote,
  leafHash as hashOfLeaf,
  newVerifier,
  type Signer,
  signNote,
} from '@muster/audit'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { base64 } from './bytes.ts'
import { openCheckpoint, parseKey } from './checkpoint.ts'
import { beginsWith, includes } from './merkle.ts'
import { checkReceipt } from './receipt.ts'

type Hash = Uint8Array<ArrayBuffer>
const bytes = (data: Uint8Array): Hash => Uint8Array.from(data)

/** Trees and proofs by the definitions of RFC 6962, to compare with. */
const split = (n: number): number => 2 ** Math.ceil(Math.log2(n) - 1)
const nodeHash = (left: Hash, right: Hash) => hash('sha256', Buffer.concat([Uint8Array.of(1), left, right]), 'buffer')
function rootOf(leaves: readonly Hash[]): Hash {
  if (leaves.length === 1) return leaves[0] as Hash
  const k = split(leaves.length)
  return bytes(nodeHash(rootOf(leaves.slice(0, k)), rootOf(leaves.slice(k))))
}
function path(m: number, leaves: readonly Hash[]): Hash[] {
  if (leaves.length === 1) return []
  const k = split(leaves.length)
  const [left, right] = [leaves.slice(0, k), leaves.slice(k)]
  return m < k ? [...path(m, left), rootOf(right)] : [...path(m - k, right), rootOf(left)]
}
function subproof(m: number, leaves: readonly Hash[], whole: boolean): Hash[] {
  if (m === leaves.length) return whole ? [] : [rootOf(leaves)]
  const k = split(leaves.length)
  const [left, right] = [leaves.slice(0, k), leaves.slice(k)]
  return m <= k ? [...subproof(m, left, whole), rootOf(right)] : [...subproof(m - k, right, false), rootOf(left)]
}

const leafOf = (i: number) =>
  JSON.stringify({ v: 1, run: `r${i}`, seq: 3, head: 'a'.repeat(64), at: 1, state: 'ended' })
const leaves = Array.from({ length: 70 }, (_, i) => bytes(hashOfLeaf(Buffer.from(leafOf(i)))))
const flipped = (hash: Hash, bit: number): Hash =>
  hash.map((byte, i) => (i === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte))
const place = fc.tuple(fc.integer({ min: 1, max: leaves.length }), fc.nat(), fc.nat(), fc.nat(255))

test('every leaf is proven to be in every tree, and by no proof with a bit changed, or at another place', async () => {
  await fc.assert(
    fc.asyncProperty(place, async ([size, at, which, bit]) => {
      const some = leaves.slice(0, size)
      const index = at % size
      const proof = path(index, some)
      const tree = { size, root: rootOf(some) }
      const leaf = { index, hash: some[index] as Hash }
      expect(await includes(leaf, tree, proof)).toBe(true)
      expect(await includes({ ...leaf, hash: flipped(leaf.hash, bit) }, tree, proof)).toBe(false)
      expect(await includes(leaf, { ...tree, root: flipped(tree.root, bit) }, proof)).toBe(false)
      expect(await includes({ ...leaf, index: size }, tree, proof)).toBe(false)
      if (size > 1) expect(await includes({ ...leaf, index: (index + 1) % size }, tree, proof)).toBe(false)
      expect(await includes(leaf, tree, [...proof, tree.root])).toBe(false)
      const changed = proof.map((hash, i) => (i === which % proof.length ? flipped(hash, bit) : hash))
      if (proof.length > 0) expect(await includes(leaf, tree, changed)).toBe(false)
    }),
  )
})

test('every tree is proven to begin with every older one, and by no proof with a bit changed', async () => {
  await fc.assert(
    fc.asyncProperty(place, async ([size, at, which, bit]) => {
      const now = { size, root: rootOf(leaves.slice(0, size)) }
      const old = { size: 1 + (at % size), root: rootOf(leaves.slice(0, 1 + (at % size))) }
      const proof = subproof(old.size, leaves.slice(0, size), true)
      expect(await beginsWith(old, now, proof)).toBe(true)
      expect(await beginsWith({ ...old, root: flipped(old.root, bit) }, now, proof)).toBe(false)
      expect(await beginsWith(old, { ...now, root: flipped(now.root, bit) }, proof)).toBe(false)
      expect(await beginsWith(now, old, proof)).toBe(old.size === now.size)
      const changed = proof.map((hash, i) => (i === which % proof.length ? flipped(hash, bit) : hash))
      if (proof.length > 0) expect(await beginsWith(old, now, changed)).toBe(false)
    }),
  )
})

const origin = 'log.example/acme'
function signerOf(): Signer & { privateKey: KeyObject } {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  return {
    publicKey: Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url'),
    privateKey,
    sign: async (message) => sign(null, message, privateKey),
  }
}
const signer = signerOf()
const witness = signerOf()
const { vkey } = newVerifier(origin, signer.publicKey)
const witnessKey = newVerifier('w.example', witness.publicKey, 'cosignature/v1').vkey
const text = checkpointText({ origin, size: leaves.length, root: rootOf(leaves) })
const ours = await signNote(text, origin, signer)
const theirs = await cosign(text, 'w.example', witness, 1_700_000_000)
const checkpoint = formatNote({ text, signatures: [ours, theirs] })

const receipt = {
  ...{ run: 'r9', leaf: leafOf(9), index: 9, inclusion: path(9, leaves).map(base64) },
  ...{ checkpoint, origin, keys: [vkey] },
}

test('a receipt says which leaf is under which head, and who signed that', async () => {
  const { leaf, index, head } = await checkReceipt('r9', receipt, [vkey, witnessKey])
  expect({ leaf, index }).toEqual({ leaf: JSON.parse(leafOf(9)), index: 9 })
  expect(head).toMatchObject({ origin, size: 70 })
  const [first, second] = head.signers ?? []
  expect(first).toEqual({ name: origin, keyId: vkey.split('+')[1] })
  expect(second).toEqual({ name: 'w.example', keyId: witnessKey.split('+')[1], at: 1_700_000_000 })
})

const stranger = signerOf()
const other = newVerifier(origin, stranger.publicKey).vkey
const bent = (at: number) => ours.signature.map((byte, i) => (i === at ? byte ^ 1 : byte))
const otherText = text.replace('acme', 'evil')

/** A log of another name, signed by the same key and shown under this one's. */
const relabelled = formatNote({
  text: otherText,
  signatures: [{ ...ours, signature: (await signNote(otherText, origin, signer)).signature }],
})

test.each<[string, Partial<typeof receipt>, string[], RegExp]>([
  ['a leaf of another run', { leaf: leafOf(8) }, [vkey], /not proven/],
  [
    'a leaf that is there, and another run’s',
    { leaf: leafOf(8), index: 8, inclusion: path(8, leaves).map(base64) },
    [vkey],
    /another run/,
  ],
  ['a leaf at another place', { index: 8 }, [vkey], /not proven/],
  ['no proof', { inclusion: [] }, [vkey], /not proven/],
  ['a proof that is none', { inclusion: ['!'] }, [vkey], /not written/],
  [
    'a signature that does not hold',
    { checkpoint: formatNote({ text, signatures: [{ ...ours, signature: bent(5) }] }) },
    [vkey],
    /does not hold/,
  ],
  [
    'a witness’s that does not',
    {
      checkpoint: formatNote({
        text,
        signatures: [ours, { ...theirs, signature: theirs.signature.map((b) => b ^ 1) }],
      }),
    },
    [vkey, witnessKey],
    /w\.example .* does not hold/,
  ],
  [
    'a root that was changed',
    { checkpoint: checkpoint.replace(base64(rootOf(leaves)), base64(rootOf(leaves.slice(1)))) },
    [vkey],
    /does not hold/,
  ],
  ['a key that did not sign', {}, [other], /none of the keys/],
  ['no key', {}, [], /none of the keys/],
  ['a witness alone', {}, [witnessKey], /none of the keys/],
  ['a key that is none', {}, ['x+00000000+AAAA'], /no vkey/],
  [
    'another ledger of the same key',
    { checkpoint: relabelled, origin: 'log.example/evil' },
    [vkey],
    /none of the keys/,
  ],
  ['another ledger’s checkpoint', { origin: 'log.example/evil' }, [vkey], /another ledger/],
  ['no checkpoint', { checkpoint: 'hello' }, [vkey], /not written/],
])('finds %s', async (_, change, keys, why) => {
  await expect(checkReceipt('r9', { ...receipt, ...change }, keys)).rejects.toThrow(why)
})

test('reads only keys that are what their id says', async () => {
  expect(await parseKey(vkey)).toMatchObject({ name: origin, isWitness: false })
  expect(await parseKey(vkey.replace('acme', 'evil'))).toBeUndefined()
  await expect(openCheckpoint(checkpoint, origin, [vkey.replace('acme', 'evil')])).rejects.toThrow('no vkey')
})
