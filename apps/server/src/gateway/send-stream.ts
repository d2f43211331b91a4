import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { MusterError } from '@muster/protocol'

/** A client that takes nothing for this long has gone without saying so, ms. */
const STALL_MS = 60_000

/**
 * Sends events no faster than the client reads. Leaves the response open, so that its end can wait for what is written.
 *
 * @throws MusterError `gateway.stalled`; where the client is gone it just ends
 */
export async function sendStream(
  response: ServerResponse,
  headers: Record<string, string>,
  stream: AsyncIterable<string>,
  gone: AbortSignal,
): Promise<void> {
  response.writeHead(200, {
    ...headers,
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-store',
    'x-accel-buffering': 'no',
  })
  for await (const events of stream) {
    if (gone.aborted) return
    if (!response.write(events)) await drained(response, gone)
  }
}

async function drained(response: ServerResponse, gone: AbortSignal): Promise<void> {
  const late = AbortSignal.timeout(STALL_MS)
  try {
    await once(response, 'drain', { signal: AbortSignal.any([gone, late]) })
  } catch (error) {
    if (gone.aborted) return
    if (late.aborted) throw new MusterError('gateway.stalled', `the client has read nothing for ${STALL_MS} ms`)
    throw error
  }
}
