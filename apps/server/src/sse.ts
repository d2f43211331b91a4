import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import type { LiveDelta } from '@muster/journal'
import type { RunEvent } from '@muster/protocol'

const HEARTBEAT_MS = 15_000

/** How far a client has come: in the journal, and in what models write. As the id of an event: `12` or `12/1700000000000-0`. */
export interface Place {
  after: number
  live: string
}

const START = '0-0'

/** A place as a client sends it back. */
export function placeOf(id = '0'): Place {
  const [after = '0', live = START] = id.split('/')
  return { after: Number(after), live }
}

/** What `placeOf` takes. */
export const PLACE = /^\d{1,15}(\/\d{1,15}-\d{1,15})?$/

/** Sends events as server-sent events (WHATWG HTML, section 9.2), no faster than the client reads. */
export async function sendEvents(
  response: ServerResponse,
  events: AsyncGenerator<RunEvent | LiveDelta>,
  { after, live }: Place,
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
      let text: string
      if ('entry' in event) {
        after = event.seq
        text = `event: ${event.entry.type}\ndata: ${JSON.stringify(event)}`
      } else {
        const { id, ...delta } = event
        live = id
        text = `event: delta\ndata: ${JSON.stringify(delta)}`
      }
      const more = response.write(`id: ${after}${live === START ? '' : `/${live}`}\n${text}\n\n`)
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
