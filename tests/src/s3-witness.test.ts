import { createHash } from 'node:crypto'
import { DeleteObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { checkpointsOn, shelfWitness } from '@muster/runtime'
import { openS3Shelf } from '@muster/runtime/s3'
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { ACCESS_KEY, S3Server, SECRET_KEY, type Version } from './fixtures/s3-server.ts'

const origin = 'log.example/acme'
const home = `ledgers/${createHash('sha256').update(origin).digest('hex')}`
const s3 = new S3Server()
let endpoint: string
let bucket: string
let versions: Map<string, Version[]>

const note = (size: number, letter = 'A') => `${origin}\n${size}\n${letter.repeat(43)}=\n\n— a AAAAAAAA\n`
const shown = (size: number, letter?: string) => ({
  origin,
  size,
  checkpoint: note(size, letter),
  proofFrom: async () => [],
})
const keyOf = (size: number) => `${home}/${String(size).padStart(16, '0')}`
const open = (name = bucket) => openS3Shelf({ bucket: name, prefix: 'ledgers/', endpoint, retainDays: 30 })
const witness = async () => shelfWitness(await open())
const corrupt = { code: 'ledger.corrupt' }

beforeAll(async () => {
  vi.stubEnv('AWS_ACCESS_KEY_ID', ACCESS_KEY)
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', SECRET_KEY)
  vi.stubEnv('AWS_REGION', 'eu-central-1')
  endpoint = await s3.listen()
})
beforeEach(({ task }) => {
  bucket = task.id
  versions = s3.bucket(bucket)
  s3.pageSize = 1000
})
afterAll(() => {
  vi.unstubAllEnvs()
  s3.close()
})

describe('a bucket of S3 as witness', () => {
  it('keeps each checkpoint once, locked', async () => {
    const before = Date.now()
    const one = await witness()
    await one.show(shown(2))
    await one.show(shown(5))
    // Another process, and the same checkpoint with a signature more.
    await (await witness()).show({ ...shown(5), checkpoint: `${note(5)}— b AAAAAAAA\n` })
    expect([...versions.keys()]).toEqual([keyOf(2), keyOf(5)])
    for (const [key, [version, ...more]] of versions) {
      expect(more).toEqual([])
      expect(version?.body.toString()).toBe(note(key === keyOf(2) ? 2 : 5))
      expect(version?.lock?.mode).toBe('COMPLIANCE')
      const kept = (Date.parse(version?.lock?.until ?? '') - before) / 86_400_000
      expect(kept).toBeGreaterThan(29.99)
      expect(kept).toBeLessThan(30.01)
    }
  })

  it('says where a ledger of this size was another, or a longer one was seen', async () => {
    await (await witness()).show(shown(5))
    await expect((await witness()).show(shown(5, 'E'))).rejects.toMatchObject(corrupt)
    await expect((await witness()).show(shown(4))).rejects.toThrow('has seen 5 leaves, and here are 4')
    const held = await witness()
    await held.show(shown(7))
    await expect(held.show(shown(6))).rejects.toMatchObject(corrupt)
  })

  it('shows to who looks all that was ever put there, whatever was put over it', async () => {
    await (await witness()).show(shown(1))
    await (await witness()).show(shown(3))
    // Who has the account: the object cannot be removed, only hidden, and another put in its place.
    const client = new S3Client({ endpoint, forcePathStyle: true })
    const [first, last] = [1, 3].map((size) => ({ Bucket: bucket, Key: keyOf(size) }))
    if (!first || !last) throw new Error('two keys')
    const removed = client.send(new DeleteObjectCommand({ ...first, VersionId: 'v1' }))
    await expect(removed).rejects.toMatchObject({ name: 'AccessDenied' })
    await client.send(new DeleteObjectCommand(first))
    await client.send(new PutObjectCommand({ ...first, Body: note(1, 'E') }))
    s3.pageSize = 1
    const found: string[] = []
    for await (const kept of checkpointsOn(await open(), origin)) found.push(kept.note)
    expect(found).toEqual([note(1, 'E'), note(1), note(3)])
    await client.send(new DeleteObjectCommand(last))
    await expect((await witness()).show(shown(2))).rejects.toThrow('has seen 3 leaves')
  })

  it('is asked again where it is throttled, does not answer, or another writes at the same time', async () => {
    const one = await witness()
    s3.fail(503, 'SlowDown', 2)
    s3.fail(409, 'ConditionalRequestConflict')
    s3.fail(500, 'InternalError')
    await one.show(shown(2))
    expect(versions.get(keyOf(2))).toHaveLength(1)
    s3.fail(503, 'SlowDown', 4)
    await expect(one.show(shown(3))).rejects.toMatchObject({ name: 'SlowDown' })
    await one.show(shown(3))
    s3.troubles.push('hang')
    await one.show(shown(4))
    expect([...versions.keys()]).toEqual([keyOf(2), keyOf(3), keyOf(4)])
  }, 60_000)

  it('whose object is too long for a checkpoint is not read', async () => {
    versions.set(keyOf(2), [{ id: 'v1', body: Buffer.alloc(200_000, 97), deleted: false, lock: undefined }])
    await expect((await witness()).show(shown(2))).rejects.toThrow('too long')
  })

  it.each([
    ['no-lock', 'has no object lock'],
    ['none', 'NoSuchBucket'],
  ])('that keeps nothing for sure is refused at once: %s', async (name, why) => {
    s3.bucket('no-lock', false)
    const refused = open(name)
    await expect(refused).rejects.toMatchObject({
      code: 'config.invalid',
      issues: [{ path: '/MUSTER_LEDGER_WITNESSES', message: expect.stringContaining(why) }],
    })
  })

  it('is refused with keys that are none of its own', async () => {
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'another')
    await expect(open()).rejects.toThrow('SignatureDoesNotMatch')
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', SECRET_KEY)
  })
})
