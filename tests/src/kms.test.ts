import { formatNote, newVerifier, parseNote, signNote, verifySignatures } from '@muster/audit'
import { openKmsKey } from '@muster/worker/settings'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { KmsServer } from './fixtures/kms-server.ts'

const kms = new KmsServer()
let endpoint: string

beforeAll(async () => {
  vi.stubEnv('AWS_ACCESS_KEY_ID', 'AKIDTEST')
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'secret')
  vi.stubEnv('AWS_REGION', 'eu-central-1')
  endpoint = await kms.listen()
})
afterAll(() => {
  vi.unstubAllEnvs()
  kms.close()
})

describe('a key of KMS', () => {
  it('signs notes that anybody verifies with its public key', async () => {
    const signer = await openKmsKey('alias/ledger', endpoint)
    const note = formatNote({ text: 'a\nb\n', signatures: [await signNote('a\nb\n', 'log.example', signer)] })
    const key = newVerifier('log.example', signer.publicKey)
    const parsed = parseNote(note)
    expect(parsed && verifySignatures(parsed, [key])).toEqual([{ vkey: key.vkey }])
    expect(kms.calls.at(-1)).toMatchObject({
      target: 'TrentService.Sign',
      call: { KeyId: 'alias/ledger', Message: Buffer.from('a\nb\n').toString('base64') },
      signed: expect.stringContaining('/eu-central-1/kms/aws4_request'),
    })
  })

  it('is asked again where KMS fails for a moment', async () => {
    const signer = await openKmsKey('alias/ledger', endpoint)
    kms.failures = 2
    expect(await signer.sign(Buffer.from('x'))).toHaveLength(64)
  })

  it.each([
    ['alias/none', 'is not found'],
    ['alias/p256', 'ECC_NIST_P256'],
  ])('that cannot be used is told at once: %s', async (id, why) => {
    const refused = openKmsKey(id, endpoint)
    await expect(refused).rejects.toMatchObject({ code: 'ledger.key_invalid' })
    await expect(refused).rejects.toThrow(why)
  })
})
