import { createPublicKey } from 'node:crypto'
import type { KMSClient } from '@aws-sdk/client-kms'
import type { Signer } from '@muster/audit'
import { MusterError } from '@muster/protocol'
import { awsOptions } from './aws.ts'

/** Its private key never leaves KMS. */
const SPEC = 'ECC_NIST_EDWARDS25519'
const ALGORITHM = 'ED25519_SHA_512'

/**
 * A key of AWS KMS, by its id, ARN or alias. `endpoint` is for a server that speaks as KMS does.
 *
 * @throws MusterError `ledger.key_invalid`
 */
export async function openKmsKey(keyId: string, endpoint?: string): Promise<Signer> {
  const { client, GetPublicKeyCommand, SignCommand } = await openKms(endpoint)
  try {
    const { KeySpec, PublicKey } = await client.send(new GetPublicKeyCommand({ KeyId: keyId }))
    if (KeySpec !== SPEC || !PublicKey) throw new Error(`it is of ${KeySpec}, not of ${SPEC}`)
    const key = createPublicKey({ key: Buffer.from(PublicKey), format: 'der', type: 'spki' })
    const publicKey = Buffer.from(key.export({ format: 'jwk' }).x ?? '', 'base64url')
    return {
      publicKey,
      async sign(message) {
        // RAW: with a digest it would be another kind of signature, which nobody verifies as Ed25519.
        const ask = { KeyId: keyId, Message: message, MessageType: 'RAW', SigningAlgorithm: ALGORITHM } as const
        const { Signature } = await client.send(new SignCommand(ask))
        if (!Signature) throw new MusterError('ledger.key_invalid', `KMS gave no signature for ${keyId}`)
        return Signature
      },
    }
  } catch (cause) {
    client.destroy()
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new MusterError('ledger.key_invalid', `the key ${keyId} of KMS cannot be used: ${why}`, { cause })
  }
}

/** A client with bounds on attempts, connecting and waiting. The SDK is loaded for those who have keys there. */
export async function openKms(
  endpoint: string | undefined,
): Promise<{ client: KMSClient } & typeof import('@aws-sdk/client-kms')> {
  const sdk = await import('@aws-sdk/client-kms')
  return { ...sdk, client: new sdk.KMSClient(awsOptions(endpoint)) }
}
