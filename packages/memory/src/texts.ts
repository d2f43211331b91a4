import { MusterError } from '@muster/protocol'
import { digestOf } from './digest.ts'
import { bytesOf, textOf } from './item.ts'
import { partition, sort } from './key.ts'
import { pack, unpack } from './packed.ts'
import { joined, PIECE_BYTES_MAX, piecesOf } from './pieces.ts'
import type { Table } from './table.ts'

/** Texts of any length by their digests, as they are. */
export interface Texts {
  /**
   * Keeps the text under its digest, which the caller has computed. What is already there stays.
   *
   * @throws MusterError `memory.unavailable`
   */
  put(tenant: string, digest: string, bytes: string): Promise<void>
  /**
   * The text exactly as it was put.
   *
   * @throws MusterError `memory.unavailable`
   */
  get(tenant: string, digest: string): Promise<string | undefined>
}

/*
 * What fits into one item lies in the manifest itself: one write, one read. Otherwise the pieces come first, under a set name
 * that is the digest of their bytes, and the manifest last, as in the archive and for the same reasons.
 */
export function openTexts(table: Table, kind: string): Texts {
  const sk = 'MANIFEST'
  return {
    async put(tenant, digest, bytes) {
      const pk = partition(tenant, kind, digest)
      const content = await pack(bytes)
      if (content.length <= PIECE_BYTES_MAX) {
        await table.create({ pk, sk, content })
        return
      }
      if (await table.get(pk, sk)) return
      const set = digestOf([content])
      await table.putAll(piecesOf(pk, ['PIECE', set], content))
      await table.create({ pk, sk, set })
    },

    async get(tenant, digest) {
      const pk = partition(tenant, kind, digest)
      const manifest = await table.get(pk, sk)
      if (!manifest) return undefined
      if (manifest.content !== undefined) return unpack<string>(bytesOf(manifest, 'content'))
      const prefix = `${sort('PIECE', textOf(manifest, 'set'))}#`
      for await (const content of joined(table.query({ pk, sk: { prefix } }))) return unpack<string>(content)
      throw new MusterError('journal.corrupt', `The text ${digest} is not complete`)
    },
  }
}
