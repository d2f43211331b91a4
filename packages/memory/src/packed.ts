import { promisify } from 'node:util'
import {
  constants,
  type ZstdOptions,
  zstdCompress,
  zstdCompressSync,
  zstdDecompress,
  zstdDecompressSync,
} from 'node:zlib'

const compress = promisify<Uint8Array, ZstdOptions, Uint8Array>(zstdCompress)
const decompress = promisify(zstdDecompress)

/** What is usual, for texts. */
const TEXTS = 3
/** Half the work, and no larger for it where digests and ids are most of the bytes. */
export const DIGESTS = 1
/** What is shorter is done at once: the way to another thread takes as much of this one, and of that one more. */
const AT_ONCE = { bytes: 32_768, packed: 8192 }

/**
 * A value as JSON, compressed with Zstandard (RFC 8878). JSON and not the text itself, because JSON.stringify escapes half
 * surrogate pairs, which UTF-8 would lose: any string comes back as it was.
 */
export async function pack(value: unknown, level: number = TEXTS): Promise<Uint8Array> {
  const bytes = Buffer.from(JSON.stringify(value))
  const options = optionsFor(bytes, level)
  return bytes.length < AT_ONCE.bytes ? zstdCompressSync(bytes, options) : compress(bytes, options)
}

/** With its length told it makes room for that, not for what may come. */
function optionsFor(bytes: Uint8Array, level: number): ZstdOptions {
  const params = { [constants.ZSTD_c_compressionLevel]: level }
  return { params, chunkSize: Math.max(64, Math.ceil(bytes.length / 2)), pledgedSrcSize: bytes.length }
}

/**
 * The value that was packed. T is the caller's word for what it packed under that key; it is not checked, because a schema
 * would cost more than the decompression and drop what a newer version wrote.
 */
export async function unpack<T>(bytes: Uint8Array): Promise<T> {
  const json = bytes.length < AT_ONCE.packed ? zstdDecompressSync(bytes) : await decompress(bytes)
  const value: T = JSON.parse(json.toString())
  return value
}

/** DynamoDB counts whole KB: of less nothing is saved. */
const SQUEEZED_MIN = 1024
// The first byte says which.
const AS_IT_IS = Uint8Array.of(0)
const SQUEEZED = Uint8Array.of(1)

/** Bytes that are mostly digests and ids, compressed where that is worth while. */
export function squeeze(bytes: Uint8Array): Uint8Array {
  if (bytes.length < SQUEEZED_MIN) return Buffer.concat([AS_IT_IS, bytes])
  return Buffer.concat([SQUEEZED, zstdCompressSync(bytes, optionsFor(bytes, DIGESTS))])
}

export function unsqueeze(bytes: Uint8Array): Uint8Array {
  return bytes[0] === SQUEEZED[0] ? zstdDecompressSync(bytes.subarray(1)) : bytes.subarray(1)
}
