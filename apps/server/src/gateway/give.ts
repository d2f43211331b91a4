import { type Actor, MusterError } from '@muster/protocol'
import type { HeldRequest } from '@muster/runtime'
import type { FastifyReply } from 'fastify'
import { sendStream } from './send-stream.ts'

/** Gives the client its answer as it comes, and ends the run where the client does not wait for it. */
export async function give(held: HeldRequest, reply: FastifyReply, by: Actor): Promise<FastifyReply> {
  const { exchange, run, closed } = held
  const { raw } = reply
  let gone: AbortController | undefined
  raw.on('close', () => {
    if (raw.writableFinished) return
    gone?.abort()
    held.cancel(by)
  })
  // It may have gone while what it asks was looked at.
  if (raw.destroyed) held.cancel(by)
  const headers = { 'x-muster-run': run, 'x-request-id': run }
  reply.headers(headers)
  const answer = await exchange.answer
  if ('text' in answer) {
    // What a client has been told is in the journal.
    if ((await closed) !== 'ended') throw new MusterError('journal.fenced', `Run ${run} could not be recorded`)
    return reply.header('content-type', 'application/json').send(answer.text)
  }
  reply.hijack()
  gone = new AbortController()
  if (raw.destroyed) gone.abort()
  try {
    await sendStream(raw, headers, answer.stream, gone.signal)
    await closed
    raw.end()
  } catch {
    // A stream that breaks off says so itself; what is left is a client that does not read, or an answer that was cut off.
    held.cancel(by)
    raw.destroy()
  }
  return reply
}
