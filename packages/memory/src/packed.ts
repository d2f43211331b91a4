import { promisify } from 'node:util'
import { constants, zstdCompress, zstdCompressSync, zstdDecompress, zstdDecompressSync } from 'node:zlib'

const compress = promisify(zstdCompress)
const decompress = promisify(zstdDecompress)

/**
 * A value as JSON, compressed with Zstandard (RFC 8878) off the main thread. JSON and not the text itself, because
 * JSON.stringify escapes half surrogate pairs, which UTF-8 would lose: any string comes back as it was.
 */
export async function pack(value: unknown): Promise<Uint8Array> {
  return compress(JSON.stringify(value))
}

/**
 * The value that was packed. T is the caller's word for what it packed under that key; it is not checked, because a schema
 * would cost more than the decompression and drop what a newer version wrote.
 */
export async function unpack<T>(bytes: Uint8Array): Promise<T> {
  const value: T = JSON.parse((await decompress(bytes)).toString())
  return value
}

/** Half the work of what is usual, and no larger for it where digests and ids are most of the bytes. */
const params = { [constants.ZSTD_c_compressionLevel]: 1 }
/** DynamoDB counts whole KB: of less nothing is saved. */
const SQUEEZED_MIN = 1024
// The first byte says which.
const AS_IT_IS = Uint8Array.of(0)
const SQUEEZED = Uint8Array.of(1)

/**
 * Bytes that are mostly digests and ids, compressed where that is worth while. At once: 16 KB take 0.1 ms, and by way of
 * another thread three times as much of the processor.
 */
export function squeeze(bytes: Uint8Array): Uint8Array {
  if (bytes.length < SQUEEZED_MIN) return Buffer.concat([AS_IT_IS, bytes])
  return Buffer.concat([SQUEEZED, zstdCompressSync(bytes, { params, chunkSize: Math.ceil(bytes.length / 2) })])
}

export function unsqueeze(bytes: Uint8Array): Uint8Array {
  return bytes[0] === SQUEEZED[0] ? zstdDecompressSync(bytes.subarray(1)) : bytes.subarray(1)
}
