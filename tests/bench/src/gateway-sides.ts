/** What stands on the two sides of a gateway, each in a process of its own: the model server, and the clients. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import autocannon from 'autocannon'
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

interface Answers {
  whole: string
  streamed: string
}

const TEXT = 'word '.repeat(40)
const WORDS = Array.from({ length: 40 }, () => 'word ')

function chat(): Answers {
  const usage = { prompt_tokens: 20, completion_tokens: 60, total_tokens: 80 }
  const about = { id: 'chatcmpl-1', created: 1_790_000_000, model: 'instant' }
  const chunk = (more: object) => ({ ...about, object: 'chat.completion.chunk', ...more })
  const message = { role: 'assistant', content: TEXT }
  const chunks = [
    ...WORDS.map((content) => chunk({ choices: [{ index: 0, delta: { content } }] })),
    chunk({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] }),
    chunk({ choices: [], usage }),
  ]
  const choices = [{ index: 0, message, finish_reason: 'stop' }]
  return {
    whole: JSON.stringify({ ...about, object: 'chat.completion', choices, usage }),
    streamed: `${chunks.map((one) => `data: ${JSON.stringify(one)}\n\n`).join('')}data: [DONE]\n\n`,
  }
}

function responses(): Answers {
  const details = { input_tokens_details: { cached_tokens: 0 }, output_tokens_details: { reasoning_tokens: 0 } }
  const usage = { input_tokens: 20, output_tokens: 60, total_tokens: 80, ...details }
  const about = { id: 'resp_1', object: 'response', created_at: 1_790_000_000, model: 'instant' }
  const part = { type: 'output_text', text: TEXT, annotations: [] }
  const item = { type: 'message', id: 'msg_1', status: 'completed', role: 'assistant', content: [part] }
  const response = { ...about, status: 'completed', output: [item], usage }
  const place = { item_id: 'msg_1', output_index: 0, content_index: 0 }
  const begun = { ...about, status: 'in_progress', output: [], usage: null }
  const events = [
    { type: 'response.created', response: begun },
    { type: 'response.output_item.added', output_index: 0, item: { ...item, status: 'in_progress', content: [] } },
    { type: 'response.content_part.added', ...place, part: { ...part, text: '' } },
    ...WORDS.map((delta) => ({ type: 'response.output_text.delta', ...place, delta })),
    { type: 'response.output_text.done', ...place, text: TEXT },
    { type: 'response.content_part.done', ...place, part },
    { type: 'response.output_item.done', output_index: 0, item },
    { type: 'response.completed', response },
  ]
  const texts = events.map(
    (one, sequence_number) => `event: ${one.type}\ndata: ${JSON.stringify({ ...one, sequence_number })}\n\n`,
  )
  return { whole: JSON.stringify(response), streamed: texts.join('') }
}

/** A model server that answers at once. */
async function listen(): Promise<string> {
  const [ofChat, ofResponses] = [chat(), responses()]
  const server = createServer((request, response) => {
    const { whole, streamed } = request.url?.endsWith('/responses') ? ofResponses : ofChat
    let isStream = false
    request.on('data', (part: Buffer) => {
      isStream ||= part.includes('"stream":true')
    })
    request.on('end', () => {
      if (isStream) response.writeHead(200, { 'content-type': 'text/event-stream' }).end(streamed)
      else response.writeHead(200, { 'content-type': 'application/json' }).end(whole)
    })
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  // Null only before it listens.
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** Requests in a closed loop on so many connections. */
async function load({ origin, path, headers, body, connections, ms }: Load): Promise<Work> {
  const isStream = body.includes('"stream":true')
  const end = !isStream ? 'word word' : path.endsWith('/responses') ? 'response.completed' : '[DONE]'
  const tookMs: number[] = []
  const firstMs: number[] = []
  const began = performance.now()
  let lastAt = began
  const { errors, mismatches, non2xx } = await autocannon({
    ...{ url: `${origin}${path}`, method: 'POST', body, connections, duration: ms / 1000, sampleInt: 50 },
    headers: { 'content-type': 'application/json', ...headers },
    verifyBody: (text) => String(text).includes(end),
    setupClient(client) {
      // The next request is sent as soon as the last is answered.
      let sent = performance.now()
      let isFirst = true
      client.on('body', () => {
        if (isFirst) firstMs.push(performance.now() - sent)
        isFirst = false
      })
      client.on('response', () => {
        lastAt = performance.now()
        tookMs.push(lastAt - sent)
        sent = lastAt
        isFirst = true
      })
    },
  })
  if (errors + mismatches + non2xx > 0)
    throw new Error(`${errors} errors, ${non2xx} refusals, ${mismatches} answers that were not whole`)
  const figures = { p50Ms: percentile(tookMs, 0.5), p99Ms: percentile(tookMs, 0.99), firstMs: percentile(firstMs, 0.5) }
  return { units: tookMs.length, elapsedMs: lastAt - began, figures }
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
