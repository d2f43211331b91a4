import type { LedgerLeaf, LedgerReceipt } from '@muster/protocol'
import { fromBase64, utf8 } from './bytes.ts'
import { openCheckpoint, type SignedHead, Unproven } from './checkpoint.ts'
import { includes, leafHash } from './merkle.ts'

export interface ProvenLeaf {
  leaf: LedgerLeaf
  index: number
  head: SignedHead
}

/**
 * What a receipt proves of a run: that this leaf is in the ledger under this head.
 *
 * @throws Unproven
 */
export async function checkReceipt(run: string, receipt: LedgerReceipt, vkeys: readonly string[]): Promise<ProvenLeaf> {
  const head = await openCheckpoint(receipt.checkpoint, receipt.origin, vkeys)
  const hash = await leafHash(utf8(receipt.leaf))
  if (!(await includes({ index: receipt.index, hash }, head, hashesOf(receipt.inclusion))))
    throw new Unproven('its leaf is not proven to be under the checkpoint')
  const leaf = readLeaf(receipt.leaf)
  if (leaf.run !== run) throw new Unproven('the leaf is of another run')
  return { leaf, index: receipt.index, head }
}

/** @throws Unproven */
export function hashesOf(proof: readonly string[]): NonNullable<ReturnType<typeof fromBase64>>[] {
  return proof.map((text) => {
    const hash = fromBase64(text)
    if (!hash) throw new Unproven('the proof is not written as one is')
    return hash
  })
}

/** @throws Unproven */
export function readLeaf(text: string): LedgerLeaf {
  try {
    const leaf: Partial<LedgerLeaf> = JSON.parse(text)
    const { v, run, seq, head, at, state } = leaf
    if (v === 1 && typeof run === 'string' && typeof head === 'string' && Number.isSafeInteger(seq) && isTime(at))
      if (state === 'running' || state === 'parked' || state === 'ended') return { ...leaf } as LedgerLeaf
  } catch {
    // Said below.
  }
  throw new Unproven('the leaf is none that a run leaves')
}

function isTime(at: unknown): boolean {
  return Number.isSafeInteger(at) && Math.abs(Number(at)) <= 8.64e15
}
