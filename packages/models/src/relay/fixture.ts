import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exactJson, MusterError } from '@muster/protocol'
import type { Models } from '../models.ts'
import { type JsonObject, objectOf } from './json.ts'
import type { Dialect, Gate, RelayEnd } from './request.ts'
import { VendorError } from './upstream.ts'

interface Asked {
  path: string
  headers: IncomingHttpHeaders
  body: JsonObject
  /** The body to the byte. */
  text: string
}

export type Behave = (response: ServerResponse, asked: Asked) => void

/** A vendor's server: what it answers is said for each test. */
export async function vendor() {
  const asked: Asked[] = []
  const one = { asked, behave: (() => {}) as Behave, url: '', close: () => {} }
  const server = createServer(async (request, response) => {
    let text = ''
    for await (const part of request) text += part
    const now = { path: request.url ?? '', headers: request.headers, body: JSON.parse(text), text }
    asked.push(now)
    one.behave(response, now)
  })
  one.url = await listening(server)
  one.close = () => closed(server)
  return one
}

const DIALECTS: Record<string, Dialect> = {
  '/v1/chat/completions': 'chat',
  '/v1/responses': 'responses',
  '/v1/messages': 'messages',
  '/v1/embeddings': 'embeddings',
}

/** The smallest gateway there is: it shows `relay` to the vendors' own SDKs. */
export async function gateway(models: Models) {
  const one: {
    gate?: Gate | undefined
    responseId?: string | undefined
    kept?: JsonObject | undefined
    ends: Promise<RelayEnd>[]
    url: string
    close(): void
  } = { ends: [], url: '', close: () => {} }
  const server = createServer(async (request, response) => {
    let text = ''
    for await (const part of request) text += part
    const body = objectOf(exactJson(text))
    const left = new AbortController()
    response.on('close', () => left.abort())
    const { gate, responseId, kept } = one
    try {
      if (request.url === '/v1/messages/count_tokens' || request.url === '/v1/responses/input_tokens') {
        const input_tokens = await models.countTokens(String(body.model), {
          ...{ dialect: request.url === '/v1/messages/count_tokens' ? 'messages' : 'responses', body },
          ...{ headers: { 'anthropic-beta': 'of-client' }, signal: left.signal },
        })
        response.setHeader('content-type', 'application/json').end(JSON.stringify({ input_tokens }))
        return
      }
      const { answer, done } = await models.relay(String(body.model), {
        ...{ dialect: DIALECTS[request.url ?? ''] ?? 'chat', body, signal: left.signal, idempotencyKey: 'run-1/1' },
        ...(gate ? { gate } : {}),
        ...(responseId === undefined ? {} : { responseId }),
        ...(kept ? { kept } : {}),
      })
      one.ends.push(done)
      done.catch(() => {})
      if ('whole' in answer) response.setHeader('content-type', 'application/json').end(JSON.stringify(answer.whole))
      else {
        response.setHeader('content-type', 'text/event-stream')
        for await (const events of answer.stream) response.write(events)
        response.end()
      }
    } catch (error) {
      if (!(error instanceof MusterError) || response.headersSent) return void response.destroy()
      const { cause, code, message, issues } = error
      response.writeHead(cause instanceof VendorError ? cause.status : error.status, { 'x-should-retry': 'false' })
      response.end(JSON.stringify({ error: { message, code, issues } }))
    }
  })
  one.url = await listening(server)
  one.close = () => closed(server)
  return one
}

async function listening(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

function closed(server: Server): void {
  server.closeAllConnections()
  server.close()
}

export const says =
  (value: object, status = 200, headers: Record<string, string> = {}): Behave =>
  (response) =>
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(value))

export const streams =
  (...events: string[]): Behave =>
  (response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    for (const event of events) response.write(event)
    response.end()
  }

/** A chunk of a chat, as OpenAI writes it. */
export const chunk = (delta: object, finish_reason: string | null = null) =>
  `data: ${JSON.stringify({ id: 'chatcmpl-of-vendor', object: 'chat.completion.chunk', created: 1, model: 'gpt-of-vendor', choices: [{ index: 0, delta, logprobs: null, finish_reason }], usage: null })}\n\n`
export const chunkOfUsage = `data: ${JSON.stringify({ id: 'chatcmpl-of-vendor', object: 'chat.completion.chunk', created: 1, model: 'gpt-of-vendor', choices: [], usage: { prompt_tokens: 100, completion_tokens: 20, total_tokens: 120, prompt_tokens_details: { cached_tokens: 40 } } })}\n\n`
export const DONE = 'data: [DONE]\n\n'

/** Events that are named by their type. */
export const events = (...values: ({ type: string } & Record<string, unknown>)[]) =>
  values.map((value) => `event: ${value.type}\ndata: ${JSON.stringify(value)}\n\n`)

/** A response as OpenAI streams it, each of its items in pieces. */
export function responseEvents(items: JsonObject[], status = 'completed'): string[] {
  const usage = {
    ...{ input_tokens: 100, output_tokens: 20, total_tokens: 120 },
    ...{ input_tokens_details: { cached_tokens: 40 }, output_tokens_details: { reasoning_tokens: 5 } },
  }
  const response = { id: 'resp_of_vendor', object: 'response', created_at: 1, model: 'gpt-of-vendor', output: [] }
  const all: ({ type: string } & Record<string, unknown>)[] = [
    { type: 'response.created', response: { ...response, status: 'in_progress' } },
    { type: 'response.in_progress', response: { ...response, status: 'in_progress' } },
  ]
  for (const [output_index, item] of items.entries()) all.push(...itemEvents(item, output_index))
  all.push({ type: `response.${status}`, response: { ...response, status, output: items, usage } })
  return events(...all.map((event, sequence_number) => ({ ...event, sequence_number })))
}

function itemEvents(item: JsonObject, output_index: number): ({ type: string } & Record<string, unknown>)[] {
  const where = { item_id: item.id, output_index }
  const pieces: ({ type: string } & Record<string, unknown>)[] = []
  if (item.type === 'message') {
    const [part] = item.content as { text: string }[]
    const { text } = part ?? { text: '' }
    const at = { ...where, content_index: 0 }
    pieces.push({ type: 'response.content_part.added', ...at, part: { ...part, text: '' } })
    for (const delta of text.match(/.{1,4}/gs) ?? []) pieces.push({ type: 'response.output_text.delta', ...at, delta })
    pieces.push({ type: 'response.output_text.done', ...at, text }, { type: 'response.content_part.done', ...at, part })
  } else if (item.type === 'function_call') {
    for (const delta of String(item.arguments).match(/.{1,4}/gs) ?? [])
      pieces.push({ type: 'response.function_call_arguments.delta', ...where, delta })
    pieces.push({ type: 'response.function_call_arguments.done', ...where, arguments: item.arguments })
  } else if (item.type === 'custom_tool_call') {
    pieces.push({ type: 'response.custom_tool_call_input.delta', ...where, delta: item.input })
    pieces.push({ type: 'response.custom_tool_call_input.done', ...where, input: item.input })
  }
  const { content, arguments: args, input, ...begun } = item
  const begins = {
    ...begun,
    ...(content ? { content: [] } : {}),
    ...(args ? { arguments: '' } : {}),
    ...(input ? { input: '' } : {}),
  }
  return [
    { type: 'response.output_item.added', output_index, item: { ...begins, status: 'in_progress' } },
    ...pieces,
    { type: 'response.output_item.done', output_index, item },
  ]
}

export const message = (text: string): JsonObject => ({
  ...{ id: 'msg_1', type: 'message', status: 'completed', role: 'assistant' },
  content: [{ type: 'output_text', text, annotations: [] }],
})
export const functionCall = (id: string, name: string, args: string): JsonObject => ({
  ...{ id: `fc_${id}`, type: 'function_call', status: 'completed', call_id: id, name, arguments: args },
})

type Block = { type: 'text'; text: string } | { type: 'tool_use'; id: string; name: string; input: JsonObject }

/** A message as Anthropic streams it. */
export function messageEvents(blocks: Block[], stop_reason: string): string[] {
  const counts = { input_tokens: 50, cache_creation_input_tokens: 10, cache_read_input_tokens: 40, output_tokens: 1 }
  const begun = { id: 'msg_of_vendor', type: 'message', role: 'assistant', model: 'claude-of-vendor', content: [] }
  const pieces = blocks.flatMap((block, index) => {
    const isText = block.type === 'text'
    const text = isText ? block.text : JSON.stringify(block.input)
    return [
      {
        type: 'content_block_start',
        index,
        content_block: isText ? { type: 'text', text: '' } : { ...block, input: {} },
      },
      ...(text.match(/.{1,4}/gs) ?? []).map((piece) => ({
        ...{ type: 'content_block_delta', index },
        delta: isText ? { type: 'text_delta', text: piece } : { type: 'input_json_delta', partial_json: piece },
      })),
      { type: 'content_block_stop', index },
    ]
  })
  return events(
    { type: 'message_start', message: { ...begun, stop_reason: null, stop_sequence: null, usage: counts } },
    { type: 'ping' },
    ...pieces,
    { type: 'message_delta', delta: { stop_reason, stop_sequence: null }, usage: { output_tokens: 20 } },
    { type: 'message_stop' },
  )
}
