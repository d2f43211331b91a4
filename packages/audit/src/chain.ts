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

// Salts come from a pool: one call to the system's generator, and one encoding, serve many entries.
const POOL = 256
const random = Buffer.alloc((POOL * SALT_LENGTH * 3) / 4)
let pool = ''
let used = 0

function newSalt(): string {
  if (used === pool.length) {
    pool = randomFillSync(random).toString('base64url')
    random.fill(0)
    used = 0
  }
  used += SALT_LENGTH
  return pool.slice(used - SALT_LENGTH, used)
}

/** Content as it lies beside an entry: 132 bits of salt as 22 characters of base64url, then JSON. */
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
