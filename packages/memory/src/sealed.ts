import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { MusterError } from '@muster/protocol'

const CIPHER = 'aes-256-gcm'
const NONCE_BYTES = 12
const TAG_BYTES = 16
export const KEY_BYTES = 32

/** What is bound to the bytes, so that they cannot be put elsewhere: whose they are, and what. */
export type Place = readonly string[]

/** Bytes as only the key opens them: a fresh nonce, AES-256-GCM, tag. */
export function seal(key: Uint8Array, place: Place, bytes: Uint8Array): Uint8Array {
  const nonce = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES }).setAAD(boundTo(place))
  return Buffer.concat([nonce, cipher.update(bytes), cipher.final(), cipher.getAuthTag()])
}

/** @throws MusterError `content.corrupt` where the bytes were not sealed by this key for this place */
export function unseal(key: Uint8Array, place: Place, sealed: Uint8Array): Uint8Array {
  try {
    const nonce = sealed.subarray(0, NONCE_BYTES)
    const decipher = createDecipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES }).setAAD(boundTo(place))
    decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES))
    return Buffer.concat([decipher.update(sealed.subarray(NONCE_BYTES, sealed.length - TAG_BYTES)), decipher.final()])
  } catch (cause) {
    throw new MusterError('content.corrupt', `Stored content does not open: ${place.slice(1).join(' ')}`, { cause })
  }
}

function boundTo(place: Place): Buffer {
  return Buffer.from(JSON.stringify(place))
}
