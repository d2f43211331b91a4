/** What stands on the two sides of a gateway, each in a process of its own: the model server, and the clients. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Pool } from 'undici'
import { percentile, type Work } from './subject.ts'

/** What clients are to do. */
export interface Load {
  origin: string
  path: string
  headers: Record<string, string>
  body: string
  connections: number
  ms: number
}

type Question = { listen: true } | { load: Load }

const usage = { prompt_tokens: 20, completion_tokens: 60, total_tokens: 80 }
const about = { id: 'chatcmpl-1', created: 1_790_000_000, model: 'instant' }
const TEXT = 'word '.repeat(40)
const whole = JSON.stringify({
  ...{ ...about, object: 'chat.completion', usage },
  choices: [{ index: 0, message: { role: 'assistant', content: TEXT }, finish_reason: 'stop' }],
})
const chunk = (more: object) => `data: ${JSON.stringify({ ...about, object: 'chat.completion.chunk', ...more })}\n\n`
const streamed = [
  ...Array.from({ length: 40 }, () => chunk({ choices: [{ index: 0, delta: { content: 'word ' } }] })),
  chunk({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] }),
  chunk({ choices: [], usage }),
  'data: [DONE]\n\n',
].join('')

/** A model server that answers at once. */
async function listen(): Promise<string> {
  const server = createServer(async (request, response) => {
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part)
    const isStream = Buffer.concat(parts).includes('"stream":true')
    if (isStream) response.writeHead(200, { 'content-type': 'text/event-stream' }).end(streamed)
    else response.writeHead(200, { 'content-type': 'application/json' }).end(whole)
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  // Null only before it listens.
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** Requests in a closed loop on so many connections. */
async function load({ origin, path, headers, body, connections, ms }: Load): Promise<Work> {
  const pool = new Pool(origin, { connections })
  const end = body.includes('"stream":true') ? '[DONE]' : 'word word'
  const tookMs: number[] = []
  const firstMs: number[] = []
  const began = performance.now()
  const one = async () => {
    while (performance.now() - began < ms) {
      const sent = performance.now()
      const answer = await pool.request({
        ...{ method: 'POST', path, body },
        headers: { 'content-type': 'application/json', ...headers },
      })
      let text = ''
      for await (const part of answer.body) {
        if (text === '') firstMs.push(performance.now() - sent)
        text += part
      }
      if (answer.statusCode !== 200 || !text.includes(end))
        throw new Error(`${answer.statusCode}: ${text.slice(0, 500)}`)
      tookMs.push(performance.now() - sent)
    }
  }
  await Promise.all(Array.from({ length: connections }, one))
  const elapsedMs = performance.now() - began
  await pool.close()
  const figures = { p50Ms: percentile(tookMs, 0.5), p99Ms: percentile(tookMs, 0.99), firstMs: percentile(firstMs, 0.5) }
  return { units: tookMs.length, elapsedMs, figures }
}

process.on('message', async (question: Question) => {
  try {
    process.send?.({ answer: 'load' in question ? await load(question.load) : await listen() })
  } catch (error) {
    process.send?.({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) })
  }
})
process.on('disconnect', () => process.exit())
process.on('SIGINT', () => {})
