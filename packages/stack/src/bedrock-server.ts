import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { crc32 } from 'node:zlib'
import { readSignature, sha256 } from './sigv4.ts'

export const ACCESS_KEY = 'AKIDEXAMPLE'
export const SECRET_KEY = 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY'
export const API_KEY = 'bedrock-api-key-0123456789'

export interface Seen {
  path: string
  headers: IncomingHttpHeaders
  body: Record<string, unknown>
  /** The body to the byte. */
  text: string
}

/** Speaks as Bedrock's runtime does, for tests: signatures are computed anew, streams are binary frames. */
export async function bedrockServer(answer: (response: ServerResponse, seen: Seen) => void) {
  const seen: Seen[] = []
  const server = createServer(async (request, response) => {
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part)
    const bytes = Buffer.concat(parts)
    const { headers, url: path = '' } = request
    if (headers.authorization !== `Bearer ${API_KEY}` && !isSigned(path, headers, bytes)) {
      refuse(response, 403, 'InvalidSignatureException', 'The request signature we calculated does not match')
      return
    }
    const text = bytes.toString()
    const one = { path, headers, body: JSON.parse(text), text }
    seen.push(one)
    answer(response, one)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    close() {
      server.closeAllConnections()
      server.close()
    },
  }
}

export function refuse(
  response: ServerResponse,
  status: number,
  type: string,
  message: string,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', 'x-amzn-errortype': type, ...headers })
  response.end(JSON.stringify({ message }))
}

export function stream(response: ServerResponse, frames: readonly Buffer[]): void {
  response.writeHead(200, { 'content-type': 'application/vnd.amazon.eventstream' })
  for (const frame of frames) response.write(frame)
  response.end()
}

/** An event of a stream; `exception`: one of its exceptions in place of an event. */
export function frame(type: string, payload: object, kind: 'event' | 'exception' = 'event'): Buffer {
  const headers = Buffer.concat(
    Object.entries({
      [`:${kind}-type`]: type,
      ':content-type': 'application/json',
      ':message-type': kind,
    }).map(([name, value]) =>
      Buffer.concat([
        Buffer.of(name.length),
        Buffer.from(name),
        Buffer.of(7, value.length >> 8, value.length & 0xff),
        Buffer.from(value),
      ]),
    ),
  )
  const body = Buffer.from(JSON.stringify(payload))
  const prelude = Buffer.alloc(12)
  prelude.writeUInt32BE(16 + headers.length + body.length, 0)
  prelude.writeUInt32BE(headers.length, 4)
  prelude.writeUInt32BE(crc32(prelude.subarray(0, 8)), 8)
  const message = Buffer.concat([prelude, headers, body])
  const end = Buffer.alloc(4)
  end.writeUInt32BE(crc32(message))
  return Buffer.concat([message, end])
}

function isSigned(path: string, headers: IncomingHttpHeaders, body: Buffer): boolean {
  const signature = readSignature(headers)
  // All services but S3 have the path encoded once more.
  const encoded = path.split('/').map(encodeURIComponent).join('/')
  return (
    signature.accessKey === ACCESS_KEY &&
    signature.service === 'bedrock' &&
    signature.isOf(['POST', encoded, ''], sha256(body), SECRET_KEY)
  )
}
