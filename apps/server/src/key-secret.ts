import { createHmac, hash, randomBytes, timingSafeEqual } from 'node:crypto'

export const PREFIX = 'mk_'
const RANDOM_BYTES = 32
const MARK_BYTES = 7
const SECRET = /^mk_[\w-]{52}$/

/**
 * A new secret of a key: 256 random bits, and a mark that only servers on this table can make. So what somebody has made up
 * is refused without asking the table, however much of it comes.
 */
export function newSecret(seal: Uint8Array): string {
  const random = randomBytes(RANDOM_BYTES)
  return PREFIX + Buffer.concat([random, markOf(random, seal)]).toString('base64url')
}

/** Whether a server on this table has made it. */
export function isSealed(secret: string, seal: Uint8Array): boolean {
  if (!SECRET.test(secret)) return false
  const bytes = Buffer.from(secret.slice(PREFIX.length), 'base64url')
  return timingSafeEqual(bytes.subarray(RANDOM_BYTES), markOf(bytes.subarray(0, RANDOM_BYTES), seal))
}

/** What is kept of a secret. It has 256 random bits, so a plain hash is enough. */
export function hashOf(secret: string): string {
  return hash('sha256', secret, 'hex')
}

/** By which a person knows a secret: characters of its mark, which tell nothing of the rest. */
export function endOf(secret: string): string {
  return secret.slice(-4)
}

function markOf(random: Uint8Array, seal: Uint8Array): Buffer {
  return createHmac('sha256', seal).update(random).digest().subarray(0, MARK_BYTES)
}
