import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import type { RunEvent } from '@muster/protocol'

const HEARTBEAT_MS = 15_000

/** Sends events as server-sent events (WHATWG HTML, section 9.2), no faster than the client reads. */
export async function sendEvents(
  response: ServerResponse,
  events: AsyncGenerator<RunEvent>,
  gone: AbortSignal,
): Promise<void> {
  response.writeHead(200, {
    'content-type': 'text/event-stream',
    'cache-control': 'no-store',
    'x-accel-buffering': 'no',
  })
  response.flushHeaders()
  const heartbeat = setInterval(() => response.write(': still here\n\n'), HEARTBEAT_MS)
  try {
    for await (const event of events) {
      const more = response.write(`id: ${event.seq}\nevent: ${event.entry.type}\ndata: ${JSON.stringify(event)}\n\n`)
      if (!more) await once(response, 'drain', { signal: gone })
      if (gone.aborted) return
    }
    response.write('event: end\ndata: {}\n\n')
  } catch {
    // The client is gone, or will come back with Last-Event-ID: a cut stream says so.
  } finally {
    clearInterval(heartbeat)
    response.end()
  }
}
