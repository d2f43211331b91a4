import type { ModelReply, ModelRequest, Models } from '@muster/models'

/** What one check has found of one route. */
export interface Checked {
  route: string
  check: string
  ok: boolean
  detail: string
  ms: number
  tokens: number
  costUsd: number
}

type Check = (
  models: Models,
  route: string,
) => Promise<{ detail: string; replies: Pick<ModelReply, 'usage' | 'costUsd'>[] }>

/** Room for models that think before they answer. */
const settings = { maxTokens: 2000 }
const ask = (content: string): ModelRequest => ({ messages: [{ role: 'user', content }], settings })
const add = {
  name: 'add',
  description: 'Adds two whole numbers.',
  parameters: {
    type: 'object',
    properties: { a: { type: 'integer' }, b: { type: 'integer' } },
    required: ['a', 'b'],
    additionalProperties: false,
  },
}
const capital = {
  name: 'capital',
  schema: {
    type: 'object',
    properties: { city: { type: 'string' } },
    required: ['city'],
    additionalProperties: false,
  },
}

function expectMatch(text: string | null, pattern: RegExp): string {
  if (!pattern.test(text ?? '')) throw new Error(`expected ${pattern}, got ${JSON.stringify(text)}`)
  return text ?? ''
}

/** Small, and each is what an agent or a client of the gateway does. */
export const checks: Readonly<Record<string, Check>> = {
  async text(models, route) {
    const reply = await models.invoke(route, ask('Answer with the one word: pong'))
    return { detail: expectMatch(reply.text, /pong/i), replies: [reply] }
  },
  async stream(models, route) {
    let streamed = ''
    const onDelta = (text: string) => {
      streamed += text
    }
    const reply = await models.invoke(route, { ...ask('Count from one to five, in digits.'), onDelta })
    if (streamed !== reply.text) throw new Error(`what was streamed is not the answer: ${JSON.stringify(streamed)}`)
    return { detail: expectMatch(reply.text, /1[\s\S]*5/), replies: [reply] }
  },
  async tool(models, route) {
    const question = ask('What is 17 + 25? Use the tool add, then tell the result.')
    const first = await models.invoke(route, { ...question, tools: [add] })
    const [call] = first.toolCalls
    if (call?.name !== 'add') throw new Error(`expected a call of add, got ${JSON.stringify(first.text)}`)
    const { a, b } = JSON.parse(call.arguments)
    const { text, toolCalls, reasoning } = first
    const second = await models.invoke(route, {
      tools: [add],
      settings,
      messages: [
        ...question.messages,
        { role: 'assistant', content: text, toolCalls, ...(reasoning ? { reasoning } : {}) },
        ...toolCalls.map(({ id }) => ({ role: 'tool' as const, callId: id, content: JSON.stringify({ sum: a + b }) })),
      ],
    })
    return { detail: expectMatch(second.text, /42/), replies: [first, second] }
  },
  async output(models, route) {
    const reply = await models.invoke(route, { ...ask('What is the capital of France?'), output: capital })
    const { city } = JSON.parse(reply.text ?? '')
    return { detail: expectMatch(city, /paris/i), replies: [reply] }
  },
  async relay(models, route) {
    const [target] = models.routes().find(({ name }) => name === route)?.targets ?? []
    const dialect = target?.dialect === 'responses' || target?.dialect === 'messages' ? target.dialect : 'chat'
    const words = 'Answer with the one word: pong'
    const limit = { [dialect === 'responses' ? 'max_output_tokens' : 'max_tokens']: 2000 }
    const { answer, done } = await models.relay(route, {
      dialect,
      body: {
        ...{ model: route, stream: true, ...(dialect === 'chat' ? {} : limit) },
        ...(dialect === 'responses' ? { input: words } : { messages: [{ role: 'user', content: words }] }),
      },
      signal: AbortSignal.timeout(120_000),
      idempotencyKey: crypto.randomUUID(),
    })
    let events = ''
    if ('stream' in answer) for await (const part of answer.stream) events += part
    const end = await done
    expectMatch(JSON.stringify(end.whole), /pong/i)
    return { detail: `${dialect}: ${events.length} characters of events`, replies: [end] }
  },
}

export async function check(models: Models, route: string, name: string): Promise<Checked> {
  const began = performance.now()
  const common = () => ({ route, check: name, ms: Math.round(performance.now() - began) })
  try {
    const { detail, replies } = (await checks[name]?.(models, route)) ?? { detail: 'no such check', replies: [] }
    const tokens = replies.reduce((sum, { usage }) => sum + usage.inputTokens + usage.outputTokens, 0)
    const costUsd = replies.reduce((sum, reply) => sum + reply.costUsd, 0)
    return { ...common(), ok: replies.length > 0, detail: detail.slice(0, 80), tokens, costUsd }
  } catch (error) {
    return {
      ...common(),
      ok: false,
      detail: error instanceof Error ? error.message : String(error),
      tokens: 0,
      costUsd: 0,
    }
  }
}
