import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { formatNote, newVerifier, parseNote, signNote, verifySignatures } from '@muster/audit'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { openKmsKey } from './kms.ts'

interface Call {
  KeyId: string
  Message?: string
  MessageType?: string
  SigningAlgorithm?: string
}

const calls: { target: string; call: Call; signed: string }[] = []
const keys = new Map<string, { spec: string; pair: { publicKey: KeyObject; privateKey: KeyObject } }>([
  ['alias/ledger', { spec: 'ECC_NIST_EDWARDS25519', pair: generateKeyPairSync('ed25519') }],
  ['alias/p256', { spec: 'ECC_NIST_P256', pair: generateKeyPairSync('ec', { namedCurve: 'P-256' }) }],
])
let failures = 0
let server: Server
let endpoint: string

/** As AWS KMS answers: JSON 1.1, the operation in a header. */
function answer(target: string, call: Call): [status: number, body: object] {
  if (failures > 0) {
    failures--
    return [500, { __type: 'KMSInternalException', message: 'try again' }]
  }
  const key = keys.get(call.KeyId)
  if (!key) return [400, { __type: 'NotFoundException', message: `Alias ${call.KeyId} is not found.` }]
  const KeyId = `arn:aws:kms:eu-central-1:000000000000:key/${call.KeyId}`
  if (target === 'TrentService.GetPublicKey') {
    const PublicKey = key.pair.publicKey.export({ format: 'der', type: 'spki' }).toString('base64')
    return [200, { KeyId, KeySpec: key.spec, KeyUsage: 'SIGN_VERIFY', PublicKey }]
  }
  const { Message = '', MessageType, SigningAlgorithm } = call
  if (target !== 'TrentService.Sign' || MessageType !== 'RAW' || SigningAlgorithm !== 'ED25519_SHA_512')
    return [400, { __type: 'ValidationException', message: 'not what such a key does' }]
  const Signature = sign(null, Buffer.from(Message, 'base64'), key.pair.privateKey).toString('base64')
  return [200, { KeyId, Signature, SigningAlgorithm }]
}

beforeAll(async () => {
  vi.stubEnv('AWS_ACCESS_KEY_ID', 'AKIDTEST')
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'secret')
  vi.stubEnv('AWS_REGION', 'eu-central-1')
  server = createServer(async (request, response) => {
    let text = ''
    for await (const part of request) text += part
    const target = String(request.headers['x-amz-target'])
    const call: Call = JSON.parse(text)
    calls.push({ target, call, signed: String(request.headers.authorization) })
    const [status, body] = answer(target, call)
    response.writeHead(status, { 'content-type': 'application/x-amz-json-1.1' }).end(JSON.stringify(body))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  // Null only before it listens.
  endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterAll(() => {
  vi.unstubAllEnvs()
  server.closeAllConnections()
  server.close()
})

describe('a key of KMS', () => {
  it('signs notes that anybody verifies with its public key', async () => {
    const signer = await openKmsKey('alias/ledger', endpoint)
    const note = formatNote({ text: 'a\nb\n', signatures: [await signNote('a\nb\n', 'log.example', signer)] })
    const key = newVerifier('log.example', signer.publicKey)
    const parsed = parseNote(note)
    expect(parsed && verifySignatures(parsed, [key])).toEqual([{ vkey: key.vkey }])
    expect(calls.at(-1)).toMatchObject({
      target: 'TrentService.Sign',
      call: { KeyId: 'alias/ledger', Message: Buffer.from('a\nb\n').toString('base64') },
      signed: expect.stringContaining('/eu-central-1/kms/aws4_request'),
    })
  })

  it('is asked again where KMS fails for a moment', async () => {
    const signer = await openKmsKey('alias/ledger', endpoint)
    failures = 2
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
