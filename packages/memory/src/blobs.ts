import { MusterError } from '@muster/protocol'
import type { ContentKeys, Owner } from './content-keys.ts'
import { digestOf } from './digest.ts'
import { bytesOf, textOf } from './item.ts'
import { partition, sort } from './key.ts'
import { pack, unpack } from './packed.ts'
import { joined, PIECE_BYTES_MAX, piecesOf } from './pieces.ts'
import { seal, unseal } from './sealed.ts'
import type { Table } from './table.ts'
import { openTexts } from './texts.ts'

/** Large content of runs by its digest. */
export interface Blobs {
  /**
   * Keeps the text under its digest, which the caller has computed. What is already there stays.
   *
   * @throws MusterError `content.erased` where the run's content was erased; `memory.unavailable`
   */
  put(owner: Owner, digest: string, bytes: string): Promise<void>
  /**
   * The text exactly as it was put; undefined where it is not there, or was erased.
   *
   * @throws MusterError `memory.unavailable`
   */
  get(owner: Pick<Owner, 'tenant' | 'run'>, digest: string): Promise<string | undefined>
}

/*
 * Sealed by the run's key, in the run's partition. What fits into one item lies in the manifest itself: one write, one read.
 * Otherwise the pieces come first, under a set name that is the digest of their bytes, and the manifest last, as in the
 * archive and for the same reasons.
 */
export function openBlobs(table: Table, keys: ContentKeys): Blobs {
  // From before there were keys: not of a run, and not sealed.
  const open = openTexts(table, 'BLOB')
  return {
    async put(owner, digest, bytes) {
      const { tenant, run } = owner
      const { pk, sk } = blobKey(tenant, run, digest)
      const key = await keys.ofRun(owner)
      if (!key) throw new MusterError('content.erased', `The content of run ${run} was erased`)
      const content = seal(key, [tenant, run, digest], await pack(bytes))
      if (content.length <= PIECE_BYTES_MAX) {
        await table.create({ pk, sk, content })
        return
      }
      if (await table.get(pk, sk)) return
      const set = digestOf([content])
      await table.putAll(piecesOf(pk, ['BLOB', digest, 'PIECE', set], content))
      await table.create({ pk, sk, set })
    },

    async get({ tenant, run }, digest) {
      const { pk, sk } = blobKey(tenant, run, digest)
      const manifest = await table.get(pk, sk)
      if (!manifest) return open.get(tenant, digest)
      const key = await keys.findRun(tenant, run)
      if (!key) return undefined
      const unsealed = (content: Uint8Array) => unpack<string>(unseal(key, [tenant, run, digest], content))
      if (manifest.content !== undefined) return unsealed(bytesOf(manifest, 'content'))
      const prefix = `${sort('BLOB', digest, 'PIECE', textOf(manifest, 'set'))}#`
      for await (const content of joined(table.query({ pk, sk: { prefix } }))) return unsealed(content)
      // It was erased in between, or damaged.
      if (!(await table.get(pk, sk))) return undefined
      throw new MusterError('journal.corrupt', `The blob ${digest} is not complete`)
    },
  }
}

function blobKey(tenant: string, run: string, digest: string): { pk: string; sk: string } {
  return { pk: partition(tenant, 'RUN', run), sk: sort('BLOB', digest, 'MANIFEST') }
}

/** Removes a blob from before there were keys. */
export async function removeOpenBlob(table: Table, tenant: string, digest: string): Promise<void> {
  const pk = partition(tenant, 'BLOB', digest)
  for await (const item of table.query({ pk })) await table.remove(pk, textOf(item, 'sk'))
}
