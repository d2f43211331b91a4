import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { newContentKey, openContentKmsKey, readContentKeys } from './content-master.ts'

const dir = mkdtempSync(join(tmpdir(), 'muster-content-'))
let server: Server
let endpoint: string
const kmsKey = randomBytes(32)
let signed = ''

interface Call {
  KeyId: string
  Plaintext?: string
  CiphertextBlob?: string
  EncryptionContext?: Record<string, string>
}

/** As AWS KMS answers for a symmetric key: the context is bound to what it encrypts. */
function answer(target: string, { KeyId, Plaintext, CiphertextBlob = '', EncryptionContext }: Call): [number, object] {
  if (KeyId !== 'alias/content') return [400, { __type: 'NotFoundException', message: `${KeyId} is not found.` }]
  const bound = Buffer.from(JSON.stringify(EncryptionContext))
  if (target === 'TrentService.Encrypt') {
    const nonce = randomBytes(12)
    const cipher = createCipheriv('aes-256-gcm', kmsKey, nonce).setAAD(bound)
    const parts = [nonce, cipher.update(Buffer.from(Plaintext ?? '', 'base64')), cipher.final(), cipher.getAuthTag()]
    return [200, { KeyId, CiphertextBlob: Buffer.concat(parts).toString('base64') }]
  }
  const bytes = Buffer.from(CiphertextBlob, 'base64')
  const decipher = createDecipheriv('aes-256-gcm', kmsKey, bytes.subarray(0, 12)).setAAD(bound)
  decipher.setAuthTag(bytes.subarray(-16))
  try {
    const plain = Buffer.concat([decipher.update(bytes.subarray(12, -16)), decipher.final()])
    return [200, { KeyId, Plaintext: plain.toString('base64') }]
  } catch {
    return [400, { __type: 'InvalidCiphertextException', message: 'the ciphertext is not valid' }]
  }
}

beforeAll(async () => {
  vi.stubEnv('AWS_ACCESS_KEY_ID', 'AKIDTEST')
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'secret')
  vi.stubEnv('AWS_REGION', 'eu-central-1')
  server = createServer(async (request, response) => {
    let text = ''
    for await (const part of request) text += part
    signed = String(request.headers.authorization)
    const [status, body] = answer(String(request.headers['x-amz-target']), JSON.parse(text))
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
  rmSync(dir, { recursive: true })
})

const file = (name: string, text: string) => {
  writeFileSync(join(dir, name), text)
  return join(dir, name)
}
const key = randomBytes(32)
const refused = expect.objectContaining({ code: 'content.key_invalid' })

describe('a master key in a file', () => {
  it('opens what it has wrapped, for that tenant alone, and after another took its place', async () => {
    const [one, two] = [newContentKey(), newContentKey()]
    const first = readContentKeys(file('one', one))
    const wrapped = await first.wrap('acme', key)
    expect(Buffer.from(await first.unwrap('acme', wrapped))).toEqual(key)
    const rotated = readContentKeys(file('both', two + one))
    expect(Buffer.from(await rotated.unwrap('acme', wrapped))).toEqual(key)
    await expect(first.unwrap('other', wrapped)).rejects.toEqual(refused)
    await expect(readContentKeys(file('two', two)).unwrap('acme', wrapped)).rejects.toEqual(refused)
    await expect(first.unwrap('acme', await rotated.wrap('acme', key))).rejects.toEqual(refused)
  })

  it.each([
    ['none', ''],
    ['short', 'c2hvcnQ=\n'],
    ['one-is-short', `${newContentKey()}c2hvcnQ=\n`],
  ])('that is none is told: %s', (name, text) => {
    expect(() => readContentKeys(file(name, text))).toThrow(refused)
    expect(() => readContentKeys(join(dir, 'nowhere'))).toThrow(refused)
  })
})

describe('a master key of KMS', () => {
  it('binds what it wraps to its tenant', async () => {
    const master = await openContentKmsKey('alias/content', endpoint)
    const wrapped = await master.wrap('acme', key)
    expect(Buffer.from(wrapped).includes(key)).toBe(false)
    expect(Buffer.from(await master.unwrap('acme', wrapped))).toEqual(key)
    expect(signed).toContain('/eu-central-1/kms/aws4_request')
    await expect(master.unwrap('other', wrapped)).rejects.toEqual(refused)
  })

  it('that cannot be used is told', async () => {
    const master = await openContentKmsKey('alias/none', endpoint)
    await expect(master.wrap('acme', key)).rejects.toThrow('is not found')
    await expect(master.unwrap('acme', key)).rejects.toEqual(refused)
  })
})
