import { createPrivateKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { Signer } from '@muster/audit'
import { MusterError } from '@muster/protocol'

const BLOCK = /-----BEGIN PRIVATE KEY-----[\s\S]+?-----END PRIVATE KEY-----/g

/** A new key of the ledger, as PEM (PKCS #8). */
export function newLedgerKey(): string {
  return String(generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' }))
}

/**
 * The keys of a file, which all sign. Several stand one after the other while one takes another's place.
 *
 * @throws MusterError `ledger.key_invalid`
 */
export function readLedgerKeys(file: string): Signer[] {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (cause) {
    throw new MusterError('ledger.key_invalid', `${file} cannot be read`, { cause })
  }
  const keys = (text.match(BLOCK) ?? []).map((pem) => signerOf(pem, file))
  if (keys.length === 0) throw new MusterError('ledger.key_invalid', `${file} has no private key in PEM`)
  return keys
}

function signerOf(pem: string, file: string): Signer {
  let key: KeyObject
  try {
    key = createPrivateKey(pem)
  } catch (cause) {
    throw new MusterError('ledger.key_invalid', `a key in ${file} cannot be read`, { cause })
  }
  if (key.asymmetricKeyType !== 'ed25519')
    throw new MusterError('ledger.key_invalid', `a key in ${file} is of ${key.asymmetricKeyType}, not of ed25519`)
  const publicKey = Buffer.from(key.export({ format: 'jwk' }).x ?? '', 'base64url')
  return { publicKey, sign: async (message) => sign(null, message, key) }
}
