import { isObject, type JsonObject, numberOf, objectOf, objectsOf, textOf } from './json.ts'
import type { Dialect } from './request.ts'
import { eventText } from './sse.ts'

/** The events of a stream that comes to this answer, each of its pieces at once: for an answer that was held, and changed. */
export function retold(dialect: Dialect, whole: JsonObject, asked: JsonObject): string[] {
  if (dialect === 'chat') return chatEvents(whole, objectOf(asked.stream_options).include_usage === true)
  const events = dialect === 'messages' ? messageEvents(whole) : responseEvents(whole)
  return events.map((value) => eventText(textOf(value.type), value))
}

/** What keeps a stream open: a comment, or where there is an event for it, that; no SDK shows either. */
export function keepAlive(dialect: Dialect): string {
  return dialect === 'messages' ? eventText('ping', { type: 'ping' }) : ': keep-alive\n\n'
}

/** Ends a stream of which nothing was told yet. */
export function broken(dialect: Dialect, message: string): string {
  if (dialect === 'messages') return eventText('error', { type: 'error', error: { type: 'api_error', message } })
  const error = { code: 'server_error', message, param: null }
  return dialect === 'responses'
    ? eventText('error', { type: 'error', ...error, sequence_number: 0 })
    : eventText('', { error: { ...error, type: 'server_error' } })
}

function chatEvents({ choices, usage = null, object: _, ...meta }: JsonObject, isUsageAsked: boolean): string[] {
  const chunk = (choices: JsonObject[], more: JsonObject = {}) =>
    `data: ${JSON.stringify({ ...meta, object: 'chat.completion.chunk', choices, ...more })}\n\n`
  const events = objectsOf(choices).flatMap(({ index = 0, message, finish_reason = null }) => {
    const { tool_calls, ...said } = objectOf(message)
    const calls = objectsOf(tool_calls).map((call, index) => ({ index, ...call }))
    const delta = { ...said, ...(calls.length > 0 ? { tool_calls: calls } : {}) }
    return [chunk([{ index, delta, finish_reason: null }]), chunk([{ index, delta: {}, finish_reason }])]
  })
  return [...events, ...(isUsageAsked ? [chunk([], { usage })] : []), 'data: [DONE]\n\n']
}

function messageEvents({ content, stop_reason = null, stop_sequence = null, ...rest }: JsonObject): JsonObject[] {
  const blocks = objectsOf(content).flatMap((block, index): JsonObject[] => [
    { type: 'content_block_start', index, content_block: emptied(block) },
    ...deltasOf(block).map((delta) => ({ type: 'content_block_delta', index, delta })),
    { type: 'content_block_stop', index },
  ])
  const usage = objectOf(rest.usage)
  const begun = { ...rest, content: [], stop_reason: null, stop_sequence: null, usage: { ...usage, output_tokens: 0 } }
  return [
    { type: 'message_start', message: begun },
    ...blocks,
    {
      type: 'message_delta',
      delta: { stop_reason, stop_sequence },
      usage: { output_tokens: numberOf(usage.output_tokens) },
    },
    { type: 'message_stop' },
  ]
}

/** What comes in pieces is empty at first; of what no client is told in pieces all is there. */
function emptied(block: JsonObject): JsonObject {
  if (block.type === 'text') return { ...block, text: '' }
  if (block.type === 'thinking') return { ...block, thinking: '', signature: '' }
  return isCalled(block) ? { ...block, input: {} } : block
}

function deltasOf(block: JsonObject): JsonObject[] {
  if (block.type === 'text') return [{ type: 'text_delta', text: textOf(block.text) }]
  if (block.type === 'thinking')
    return [
      { type: 'thinking_delta', thinking: textOf(block.thinking) },
      { type: 'signature_delta', signature: textOf(block.signature) },
    ]
  return isCalled(block) ? [{ type: 'input_json_delta', partial_json: JSON.stringify(block.input) }] : []
}

function isCalled({ type, input }: JsonObject): boolean {
  return textOf(type).endsWith('tool_use') && isObject(input)
}

function responseEvents(whole: JsonObject): JsonObject[] {
  const begun = { ...whole, status: 'in_progress', output: [], usage: null }
  const events: JsonObject[] = [
    { type: 'response.created', response: begun },
    { type: 'response.in_progress', response: begun },
    ...objectsOf(whole.output).flatMap(itemEvents),
    { type: `response.${textOf(whole.status) || 'completed'}`, response: whole },
  ]
  return events.map((event, sequence_number) => ({ ...event, sequence_number }))
}

function itemEvents(item: JsonObject, output_index: number): JsonObject[] {
  const where = { item_id: item.id ?? '', output_index }
  const isMessage = item.type === 'message'
  const parts = isMessage ? objectsOf(item.content) : []
  const begun = isMessage ? { ...item, content: [], status: 'in_progress' } : item
  const { arguments: args } = item
  const isCall = item.type === 'function_call' && typeof args === 'string'
  return [
    { type: 'response.output_item.added', output_index, item: isCall ? { ...begun, arguments: '' } : begun },
    ...parts.flatMap((part, content_index) => partEvents(part, { ...where, content_index })),
    ...(isCall
      ? [
          { type: 'response.function_call_arguments.delta', ...where, delta: args },
          { type: 'response.function_call_arguments.done', ...where, arguments: args },
        ]
      : []),
    { type: 'response.output_item.done', output_index, item },
  ]
}

function partEvents(part: JsonObject, at: JsonObject): JsonObject[] {
  const name = part.type === 'refusal' ? 'refusal' : 'text'
  const said = part[name] ?? ''
  const type = part.type === 'refusal' ? 'response.refusal' : 'response.output_text'
  return [
    { type: 'response.content_part.added', ...at, part: { ...part, [name]: '' } },
    { type: `${type}.delta`, ...at, delta: said },
    { type: `${type}.done`, ...at, [name]: said },
    { type: 'response.content_part.done', ...at, part },
  ]
}
