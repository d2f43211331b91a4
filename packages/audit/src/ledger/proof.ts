import { type OpenCheckpoint, openCheckpoint } from './checkpoint.ts'
import { HASH_LENGTH, type Hash, leafHash, verifyInclusion } from './merkle.ts'
import { base64, type Verifier } from './note.ts'

/** A proof that can be kept and verified offline, as in C2SP tlog-proof: <https://c2sp.org/tlog-proof>. */
export interface Proof {
  index: number
  inclusion: Hash[]
  /** The signed checkpoint. */
  checkpoint: string
  /** The entry itself, where it comes along. */
  entry?: Uint8Array | undefined
}

const HEADER = 'c2sp.org/tlog-proof@v1'

export function formatProof({ index, inclusion, checkpoint, entry }: Proof): string {
  const lines = [
    HEADER,
    ...(entry ? [`extra ${Buffer.from(entry).toString('base64')}`] : []),
    `index ${index}`,
    ...inclusion.map((hash) => Buffer.from(hash).toString('base64')),
  ]
  return `${lines.join('\n')}\n\n${checkpoint}`
}

/** Reads a proof, and trusts nothing of it yet; undefined where it is not written as a proof is. */
export function parseProof(text: string): Proof | undefined {
  const end = text.indexOf('\n\n')
  if (end < 0) return undefined
  const [header, ...lines] = text.slice(0, end).split('\n')
  if (header !== HEADER) return undefined
  const extra = lines[0]?.startsWith('extra ') ? base64(lines.shift()?.slice(6) ?? '') : null
  const [, digits] = /^index (0|[1-9]\d*)$/.exec(lines.shift() ?? '') ?? []
  const inclusion = lines.map(base64)
  if (extra === undefined || digits === undefined || !Number.isSafeInteger(Number(digits))) return undefined
  if (!inclusion.every((hash) => hash?.length === HASH_LENGTH)) return undefined
  return {
    index: Number(digits),
    inclusion: inclusion.filter((hash) => hash !== undefined),
    checkpoint: text.slice(end + 2),
    ...(extra ? { entry: extra } : {}),
  }
}

/** The checkpoint under which an entry is proven to be in the log; undefined where it is not. */
export function verifyProof(
  proof: Proof,
  entry: Uint8Array,
  origin: string,
  keys: readonly Verifier[],
): OpenCheckpoint | undefined {
  const checkpoint = openCheckpoint(proof.checkpoint, origin, keys)
  if (!checkpoint) return undefined
  const leaf = { index: proof.index, hash: leafHash(entry) }
  return verifyInclusion(leaf, checkpoint, proof.inclusion) ? checkpoint : undefined
}
