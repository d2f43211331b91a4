import { createHash, createHmac } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'

/** What a request to AWS says that it is signed with. */
export interface Signature {
  accessKey: string
  service: string
  /** Names of the headers that are signed. */
  headers: string[]
  /** Whether it is that of the method, path and query, in their canonical form, the signed headers and the body's digest. */
  isOf(request: readonly [method: string, path: string, query: string], digest: string, secretKey: string): boolean
}

const AUTHORIZATION =
  /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/([^/]+)\/aws4_request, SignedHeaders=([^,]+), Signature=([0-9a-f]{64})$/

/** The signature of a request (SigV4), to be checked as AWS does (IAM User Guide, "Create a signed AWS API request"). */
export function readSignature(headers: IncomingHttpHeaders): Signature {
  const [, accessKey = '', date = '', region = '', service = '', names = '', given] =
    AUTHORIZATION.exec(headers.authorization ?? '') ?? []
  const scope = [date, region, service, 'aws4_request']
  return {
    ...{ accessKey, service, headers: names.split(';') },
    isOf(request, digest, secretKey) {
      const signed = names.split(';').map((name) => `${name}:${String(headers[name]).trim()}`)
      const canonical = [...request, ...signed, '', names, digest].join('\n')
      const text = ['AWS4-HMAC-SHA256', headers['x-amz-date'], scope.join('/'), sha256(canonical)].join('\n')
      const key = scope.reduce<Buffer | string>(hmac, `AWS4${secretKey}`)
      return hmac(key, text).toString('hex') === given
    },
  }
}

export function sha256(data: Uint8Array | string): string {
  return createHash('sha256').update(data).digest('hex')
}

function hmac(key: Buffer | string, message: string): Buffer {
  return createHmac('sha256', key).update(message).digest()
}
