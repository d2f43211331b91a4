import type { ContentKeys, Owner } from './content-keys.ts'
import { bytesOf, type Item, numberOf, textOf } from './item.ts'
import { partition } from './key.ts'
import { pack, unpack } from './packed.ts'
import { PIECE_BYTES_MAX } from './pieces.ts'
import { seal, unseal } from './sealed.ts'
import type { Table } from './table.ts'

/** What a model has answered: a step's output as JSON text, and which model it was. */
export interface KeptAnswer {
  text: string
  model: string
}

/** Answers of models for calls that are identical, by the digest of the call. */
export interface Answers {
  /**
   * Undefined where there is none, where its time is over, and where the run that it is of was erased.
   *
   * @throws MusterError `memory.unavailable`
   */
  find(tenant: string, digest: string): Promise<KeptAnswer | undefined>
  /**
   * Keeps an answer for so long, in the place of one that is there. One of over 350 KB compressed is not kept.
   *
   * @throws MusterError `memory.unavailable`
   */
  keep(whose: Owner, digest: string, answer: KeptAnswer, ttlMs: number): Promise<void>
}

const SK = 'ANSWER'

/** Sealed by the key of the run that has asked: when that is erased, or its subject, so is the answer. */
export function openAnswers(table: Table, keys: ContentKeys, clock: () => number): Answers {
  return {
    async find(tenant, digest) {
      const item = await table.get(partition(tenant, 'ANSWER', digest), SK)
      if (!item || numberOf(item, 'until') <= clock()) return undefined
      const key = await keys.findRun(tenant, textOf(item, 'run'))
      return key && unpack<KeptAnswer>(unseal(key, placeOf(tenant, item), bytesOf(item, 'content')))
    },

    async keep(whose, digest, answer, ttlMs) {
      const { tenant, run } = whose
      const content = await pack(answer)
      if (content.length > PIECE_BYTES_MAX) return
      const key = await keys.ofRun(whose)
      if (!key) return
      const until = clock() + ttlMs
      const item = { pk: partition(tenant, 'ANSWER', digest), sk: SK, run, until, expires: Math.ceil(until / 1000) }
      await table.put({ ...item, content: seal(key, placeOf(tenant, item), content) })
    },
  }
}

function placeOf(tenant: string, item: Item): string[] {
  return [tenant, textOf(item, 'pk'), textOf(item, 'run')]
}
