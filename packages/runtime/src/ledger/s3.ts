import {
  GetObjectCommand,
  GetObjectLockConfigurationCommand,
  ListObjectVersionsCommand,
  PutObjectCommand,
  S3Client,
  S3ServiceException,
} from '@aws-sdk/client-s3'
import { type Config, MusterError } from '@muster/protocol'
import { awsOptions } from './aws.ts'
import type { Shelf } from './shelf.ts'
import { textOf } from './text-of.ts'

const DAY_MS = 86_400_000
/** Another may write the same name at the same time: S3 then says to ask again. */
const ATTEMPTS = 3

export type Bucket = Extract<NonNullable<Config['MUSTER_LEDGER_WITNESSES']>[number], { bucket: string }>

/**
 * A bucket of S3 with object lock: for `retainDays` nobody can change or remove what was put there, whoever has the account.
 *
 * @throws MusterError `config.invalid` where it cannot be used, or has no object lock
 */
export async function openS3Shelf({ bucket, prefix = '', region, endpoint, retainDays }: Bucket): Promise<Shelf> {
  const client = new S3Client({
    ...awsOptions(endpoint),
    ...(region === undefined ? {} : { region }),
    // A server that stands in for S3 has no host name for each bucket.
    forcePathStyle: endpoint !== undefined,
  })
  const name = `s3://${[bucket, ...partsOf(prefix)].join('/')}`
  await requireLock(client, bucket, name).catch((error) => {
    client.destroy()
    throw error
  })
  const keyOf = (...names: string[]) => [...partsOf(prefix), ...names].join('/')
  const read = async (Key: string, VersionId?: string) => {
    const { Body } = await client.send(new GetObjectCommand({ Bucket: bucket, Key, VersionId }))
    if (!Body) throw new Error(`${name} gave no ${Key}`)
    return textOf(Body.transformToWebStream(), name)
  }
  return {
    name,
    async put(folder, file, text) {
      const Key = keyOf(folder, file)
      for (let attempt = 1; ; attempt++)
        try {
          const put = new PutObjectCommand({
            ...{ Bucket: bucket, Key, Body: text, ContentType: 'text/plain; charset=utf-8', IfNoneMatch: '*' },
            // S3 wants a checksum of what it is to lock.
            ChecksumAlgorithm: 'SHA256',
            ObjectLockMode: 'COMPLIANCE',
            ObjectLockRetainUntilDate: new Date(Date.now() + retainDays * DAY_MS),
          })
          await client.send(put)
          return text
        } catch (error) {
          if (isStatus(error, 412)) return await read(Key)
          if (!isStatus(error, 409) || attempt === ATTEMPTS) throw error
        }
    },
    /** All versions: a newer one, or a mark that it was deleted, hides none. */
    async *list(folder, after) {
      const Prefix = `${keyOf(folder)}/`
      let next: { KeyMarker?: string; VersionIdMarker?: string | undefined } =
        after === undefined ? {} : { KeyMarker: Prefix + after }
      for (;;) {
        const page = await client.send(new ListObjectVersionsCommand({ Bucket: bucket, Prefix, ...next }))
        for (const { Key = '', VersionId } of page.Versions ?? [])
          yield { file: Key.slice(Prefix.length), read: () => read(Key, VersionId) }
        if (!page.IsTruncated || page.NextKeyMarker === undefined) return
        next = { KeyMarker: page.NextKeyMarker, VersionIdMarker: page.NextVersionIdMarker }
      }
    },
  }
}

function partsOf(prefix: string): string[] {
  return prefix.split('/').filter((part) => part !== '')
}

async function requireLock(client: S3Client, bucket: string, name: string): Promise<void> {
  const refuse = (why: string, cause?: unknown) =>
    new MusterError('config.invalid', `MUSTER_LEDGER_WITNESSES: ${name} ${why}`, {
      cause,
      issues: [{ path: '/MUSTER_LEDGER_WITNESSES', message: `bucket ${bucket}: ${why}` }],
    })
  let enabled: string | undefined
  try {
    const found = await client.send(new GetObjectLockConfigurationCommand({ Bucket: bucket }))
    enabled = found.ObjectLockConfiguration?.ObjectLockEnabled
  } catch (cause) {
    if (!(cause instanceof S3ServiceException) || cause.name !== 'ObjectLockConfigurationNotFoundError')
      throw refuse(`cannot be used: ${cause instanceof Error ? cause.message : String(cause)}`, cause)
  }
  if (enabled !== 'Enabled') throw refuse('has no object lock, so that what it keeps could be removed')
}

function isStatus(error: unknown, status: number): boolean {
  return error instanceof S3ServiceException && error.$metadata.httpStatusCode === status
}
