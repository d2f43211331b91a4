import { hash, randomFillSync } from 'node:crypto'

/**
 * The hash chain of a run's journal. Every hash is SHA-256 as 64 lowercase hexadecimal digits and
 * covers text, so that anyone can recompute it from the stored bytes with any SHA-256:
 *
 *     h(0) = SHA-256("muster/journal/v1\n" || run id)
 *     h(n) = SHA-256(h(n-1) || bytes(n))
 *
 * h(0) names the run, so that entries of one run cannot be passed off as another's.
 */
export function genesis(run: string): string {
  return hash('sha256', `muster/journal/v1\n${run}`, 'hex')
}

/** The hash of an entry, from the hash before it and its exact bytes. */
export function link(previous: string, bytes: string): string {
  return hash('sha256', previous + bytes, 'hex')
}

const SALT_LENGTH = 22

// Salts come from a pool: one call to the system's generator serves many entries.
const pool = Buffer.alloc(16 * 256)
let used = pool.length

function newSalt(): string {
  if (used === pool.length) {
    randomFillSync(pool)
    used = 0
  }
  const salt = pool.toString('base64url', used, used + 16)
  pool.fill(0, used, used + 16)
  used += 16
  return salt
}

/** Content as it lies beside an entry: 128 bits of salt as 22 characters of base64url, then JSON. */
export function saltContent(json: string): string {
  return newSalt() + json
}

/**
 * What an entry holds in place of its content. The salt keeps a digest from telling what short
 * content was after the content has been erased.
 */
export function contentDigest(salted: string): string {
  return hash('sha256', salted, 'hex')
}

/** The JSON text in salted content. */
export function contentJson(salted: string): string {
  return salted.slice(SALT_LENGTH)
}
