import { MusterError } from '@muster/protocol'
import { bytesOf, type Item, numberOf } from './item.ts'
import { sort } from './key.ts'

/** Bytes of content that an item may hold. DynamoDB takes 409,600 with keys and names. */
export const PIECE_BYTES_MAX = 350_000

/** Content as items of at most PIECE_BYTES_MAX, each knowing its number and how many there are. */
export function piecesOf(pk: string, sk: readonly [string, ...(string | number)[]], content: Uint8Array): Item[] {
  const of = Math.max(1, Math.ceil(content.length / PIECE_BYTES_MAX))
  return Array.from({ length: of }, (_, n) => ({
    pk,
    sk: sort(...sk, n),
    n,
    of,
    data: content.subarray(n * PIECE_BYTES_MAX, (n + 1) * PIECE_BYTES_MAX),
  }))
}

/**
 * The contents whose pieces come in order.
 *
 * @throws MusterError `journal.corrupt` where a piece is missing
 */
export async function* joined(items: AsyncIterable<Item>): AsyncGenerator<Uint8Array> {
  let parts: Uint8Array[] = []
  let of = 0
  for await (const item of items) {
    of = numberOf(item, 'of')
    if (numberOf(item, 'n') !== parts.length) break
    parts.push(bytesOf(item, 'data'))
    if (parts.length < of) continue
    yield Buffer.concat(parts)
    parts = []
    of = 0
  }
  if (of > 0) throw new MusterError('journal.corrupt', 'A piece of the stored content is missing')
}
