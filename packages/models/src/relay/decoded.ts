import { pipeline, Readable, type Transform } from 'node:stream'
import { createBrotliDecompress, createGunzip, createInflate, createZstdDecompress } from 'node:zlib'
import type { Bytes } from './bytes.ts'

const DECODERS: Record<string, () => Transform> = {
  gzip: createGunzip,
  'x-gzip': createGunzip,
  deflate: createInflate,
  br: createBrotliDecompress,
  zstd: createZstdDecompress,
}

/** An answer came compressed in a way that is not known. */
export class UnknownEncoding extends Error {
  constructor(encoding: string) {
    super(`its answer has the content-encoding "${encoding.slice(0, 40)}", which nobody asked for`)
  }
}

/**
 * An answer as it was before a server compressed it, which some do unasked. No more is unpacked than is read, so that who reads
 * bounds it.
 *
 * @throws UnknownEncoding
 */
export function decoded(incoming: Bytes, encoding = 'identity'): Bytes {
  const name = encoding.trim().toLowerCase()
  if (name === 'identity' || name === '') return incoming
  const decoder = Object.hasOwn(DECODERS, name) ? DECODERS[name]?.() : undefined
  if (!decoder) {
    incoming.leave()
    throw new UnknownEncoding(encoding)
  }
  // What breaks off is told to who reads.
  pipeline(Readable.from(partsOf(incoming)), decoder, () => {})
  const parts: AsyncIterator<Buffer> = decoder[Symbol.asyncIterator]()
  let isOver = false
  return {
    get isOver() {
      return isOver
    },
    async take() {
      const { done, value } = await parts.next()
      isOver = done === true
      return done ? undefined : value
    },
    leave() {
      incoming.leave()
      decoder.destroy()
    },
  }
}

async function* partsOf(incoming: Bytes): AsyncGenerator<Buffer> {
  for (let bytes = await incoming.take(); bytes; bytes = await incoming.take()) yield bytes
}
