import { createCipheriv, createDecipheriv, hash, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { MasterKey } from '@muster/memory'
import { MusterError } from '@muster/protocol'
import { openKms } from '../ledger/kms.ts'

const CIPHER = 'aes-256-gcm'
const KEY_BYTES = 32
const ID_BYTES = 8
const NONCE_BYTES = 12
const TAG_BYTES = 16

/** A new master key, as a line of its file. */
export function newContentKey(): string {
  return `${randomBytes(KEY_BYTES).toString('base64')}\n`
}

/**
 * The master keys of a file: the first wraps, and what any of them has wrapped is opened.
 *
 * @throws MusterError `content.key_invalid`
 */
export function readContentKeys(file: string): MasterKey {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (cause) {
    throw new MusterError('content.key_invalid', `${file} cannot be read`, { cause })
  }
  const lines = text.split('\n').filter((line) => line.trim() !== '')
  const keys = lines.map((line) => Buffer.from(line.trim(), 'base64'))
  const [first] = keys
  if (!first || keys.some(({ length }) => length !== KEY_BYTES))
    throw new MusterError('content.key_invalid', `${file} has not a key of ${KEY_BYTES} bytes in base64 on each line`)
  const byId = new Map(keys.map((key) => [idOf(key).toString('hex'), key]))
  return {
    async wrap(tenant, key) {
      const nonce = randomBytes(NONCE_BYTES)
      const cipher = createCipheriv(CIPHER, first, nonce, { authTagLength: TAG_BYTES }).setAAD(Buffer.from(tenant))
      return Buffer.concat([idOf(first), nonce, cipher.update(key), cipher.final(), cipher.getAuthTag()])
    },
    async unwrap(tenant, wrapped) {
      const bytes = Buffer.from(wrapped)
      const master = byId.get(bytes.subarray(0, ID_BYTES).toString('hex'))
      if (!master) throw refused(tenant, 'none of this file has wrapped it')
      const [nonce, rest] = [bytes.subarray(ID_BYTES, ID_BYTES + NONCE_BYTES), bytes.subarray(ID_BYTES + NONCE_BYTES)]
      try {
        const decipher = createDecipheriv(CIPHER, master, nonce, { authTagLength: TAG_BYTES })
        decipher.setAAD(Buffer.from(tenant)).setAuthTag(rest.subarray(rest.length - TAG_BYTES))
        return Buffer.concat([decipher.update(rest.subarray(0, rest.length - TAG_BYTES)), decipher.final()])
      } catch (cause) {
        throw refused(tenant, 'it was changed', cause)
      }
    },
  }
}

/** By which a key is found again: it tells nothing of it. */
function idOf(key: Uint8Array): Buffer {
  return hash('sha256', key, 'buffer').subarray(0, ID_BYTES)
}

/**
 * A symmetric key of AWS KMS as the master key: what it wraps is bound to its tenant. `endpoint` is for a server that speaks
 * as KMS does.
 */
export async function openContentKmsKey(keyId: string, endpoint?: string): Promise<MasterKey> {
  const { client, EncryptCommand, DecryptCommand } = await openKms(endpoint)
  const ask = async <T>(tenant: string, send: () => Promise<T | undefined>): Promise<T> => {
    try {
      const answer = await send()
      if (answer !== undefined) return answer
    } catch (cause) {
      throw refused(tenant, `KMS, ${keyId}: ${cause instanceof Error ? cause.message : cause}`, cause)
    }
    throw refused(tenant, `KMS gave nothing for ${keyId}`)
  }
  return {
    wrap: (tenant, Plaintext) =>
      ask(tenant, async () => {
        const encrypt = new EncryptCommand({ KeyId: keyId, Plaintext, EncryptionContext: { tenant } })
        return (await client.send(encrypt)).CiphertextBlob
      }),
    unwrap: (tenant, CiphertextBlob) =>
      ask(tenant, async () => {
        const decrypt = new DecryptCommand({ KeyId: keyId, CiphertextBlob, EncryptionContext: { tenant } })
        return (await client.send(decrypt)).Plaintext
      }),
  }
}

function refused(tenant: string, why: string, cause?: unknown): MusterError {
  return new MusterError('content.key_invalid', `The key of tenant ${tenant} cannot be used: ${why}`, { cause })
}
