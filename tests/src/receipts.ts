import { base64, parseVerifier, type TileStorage, verifyProof } from '@muster/audit'
import type { LedgerLeaf } from '@muster/protocol'
import type { Muster } from '@muster/sdk'
import { until } from './harness.ts'

/** The leaf of a run's end, once it is in the ledger; it is proven, and has the head of the run's journal. */
export async function provenEnd(muster: Muster, run: string): Promise<LedgerLeaf> {
  const receipt = await until(
    () => muster.ledger.receipt(run).catch(() => undefined),
    (found) => found !== undefined && JSON.parse(found.leaf).state === 'ended',
    60_000,
  )
  if (!receipt) throw new Error(`no receipt of ${run}`)
  const leaf: LedgerLeaf = JSON.parse(receipt.leaf)
  const entry = Buffer.from(receipt.leaf)
  const proof = { ...receipt, inclusion: receipt.inclusion.flatMap((hash) => base64(hash) ?? []), entry }
  const keys = receipt.keys.flatMap((vkey) => parseVerifier(vkey) ?? [])
  if (!verifyProof(proof, entry, receipt.origin, keys)) throw new Error(`the leaf of ${run} is not proven`)
  const journal = await muster.open('GET', `/v1/runs/${run}/journal`)
  await journal.text()
  if (journal.headers.get('muster-head') !== leaf.head) throw new Error(`the leaf of ${run} has another head`)
  return leaf
}

/** The ledger's tiles as the server has them. */
export function tilesOf(muster: Muster): TileStorage {
  return {
    read: async (path) => new Uint8Array(await (await muster.open('GET', `/v1/ledger/${path}`)).arrayBuffer()),
    write: () => Promise.reject(new Error('it is only read')),
  }
}
