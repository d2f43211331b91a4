import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { MusterError } from '@muster/protocol'
import { afterAll, beforeAll, beforeEach } from 'vitest'
import type { ModelReply, ModelRequest } from './message.ts'
import type { Models } from './models.ts'
import type { Target } from './target.ts'

/** The error that a call must end with. */
export async function failure(promise: Promise<unknown>): Promise<MusterError> {
  const error = await promise.then(
    () => undefined,
    (error: unknown) => error,
  )
  if (error instanceof MusterError) return error
  throw error ?? new Error('did not fail')
}

/** A call of the route `default`, and what was shown while it was answered. */
export async function watched(models: Models, request: ModelRequest): Promise<{ reply: ModelReply; written: string }> {
  let written = ''
  const reply = await models.invoke('default', {
    ...request,
    onDelta: (text) => {
      written += text
    },
  })
  return { reply, written }
}

export type Answer = (response: ServerResponse, request: IncomingMessage) => void

/** A server of a model: what it answers is said for each test. */
export interface Vendor {
  target: Target
  /** As replies and errors name it. */
  name: string
  answer: Answer
  calls: number
  /** Calls that were left before they were answered. */
  aborted: number
}

/** Servers of the models `m0`, `m1` and so on, for the tests of a file, which cost so much each. They are there once these run. */
export function vendors(usd: readonly number[]): Vendor[] {
  const all: (Vendor & { close(): void })[] = []
  beforeAll(async () => {
    for (const [i, price] of usd.entries()) all.push(await vendor(i, price))
  })
  beforeEach(() => {
    for (const one of all) Object.assign(one, { calls: 0, aborted: 0 })
  })
  afterAll(() => {
    for (const one of all) one.close()
  })
  return all
}

async function vendor(at: number, usd: number): Promise<Vendor & { close(): void }> {
  const server = createServer((request, response) => {
    one.calls++
    response.on('close', () => {
      if (!response.writableEnded) one.aborted++
    })
    request.resume().on('end', () => one.answer(response, request))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`
  const price = { inputUsd: usd, cachedUsd: usd, outputUsd: usd }
  const target = { model: `m${at}`, baseUrl: `http://${host}`, apiKey: `key-of-${at}`, timeoutMs: 20_000, price }
  const one: Vendor = { ...{ target, name: `${host} m${at}`, calls: 0, aborted: 0 }, answer: says }
  return Object.assign(one, {
    close() {
      server.closeAllConnections()
      server.close()
    },
  })
}

export const status =
  (code: number, headers: Record<string, string> = {}, error: object = { message: 'no' }): Answer =>
  (response) =>
    response.writeHead(code, { 'content-type': 'application/json', ...headers }).end(JSON.stringify({ error }))

export const hang: Answer = () => {}

export const says: Answer = (response) => {
  const message = { role: 'assistant', content: 'Good day.' }
  const usage = { prompt_tokens: 10, completion_tokens: 5 }
  const body = { model: 'm', choices: [{ index: 0, finish_reason: 'stop', message }], usage }
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}
