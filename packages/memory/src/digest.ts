import { createHash } from 'node:crypto'

/** The first 128 bits of the SHA-256 of the parts, each preceded by its length, in hexadecimal digits. */
export function digestOf(parts: (string | Uint8Array)[]): string {
  const hash = createHash('sha256')
  for (const part of parts) {
    const bytes = typeof part === 'string' ? Buffer.from(part) : part
    hash.update(`${bytes.length}:`).update(bytes)
  }
  return hash.digest('hex').slice(0, 32)
}
