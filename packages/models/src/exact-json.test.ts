import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { ModelReply, ModelRequest } from './message.ts'
import { createModels, type Models } from './models.ts'

/** What JavaScript's numbers would change, each in its own way. */
const NUMBERS =
  '{"id":9007199254740993,"rate":0.12345678901234567891,"list":[-123456789012345678901234567890],"own":1.50}'

const asked: string[] = []
const server = createServer(async (request, response) => {
  let text = ''
  for await (const piece of request) text += piece
  asked.push(text)
  response.setHeader('content-type', 'application/json')
  const usage = { inputTokens: 1, outputTokens: 1, totalTokens: 2 }
  const toolUse = `{"toolUseId":"c2","name":"pay","input":${NUMBERS}}`
  response.end(
    request.url?.includes('/converse')
      ? `{"output":{"message":{"role":"assistant","content":[{"toolUse":${toolUse}}]}},"stopReason":"tool_use","usage":${JSON.stringify(usage)}}`
      : '{"id":"m","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"ok"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}',
  )
})
let models: Models

beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const price = { inputUsd: 1, cachedUsd: 1, outputUsd: 1 }
  models = createModels({
    routes: {
      default: { anthropic: { model: 'm', baseUrl: url }, apiKey: 'k', price },
      bedrock: { bedrock: { model: 'm', region: 'eu-central-1', endpoint: url }, apiKey: 'k', price },
    },
  })
})
afterAll(() => server.close())

const invoke = (route: string, args: string): Promise<ModelReply> => {
  const messages: ModelRequest['messages'] = [
    { role: 'user', content: 'go' },
    { role: 'assistant', content: null, toolCalls: [{ id: 'c1', name: 'pay', arguments: args }] },
    { role: 'tool', callId: 'c1', content: '{"receipt":9007199254740993}' },
  ]
  return models.invoke(route, { messages, tools: [{ name: 'pay', description: '', parameters: { type: 'object' } }] })
}

describe.each(['default', 'bedrock'])('%s', (route) => {
  it('is told numbers of a conversation as they were written', async () => {
    await invoke(route, NUMBERS)
    const [input = ''] = /\{"id".*?\}/.exec(asked.at(-1) ?? '') ?? []
    expect(input.replace('1.50', '1.5')).toBe(NUMBERS.replace('1.50', '1.5'))
    expect(asked.at(-1)).toContain('9007199254740993}')
  })
})

it('of Bedrock’s answers, numbers of a call are as they came', async () => {
  const { toolCalls } = await invoke('bedrock', '{}')
  expect(toolCalls[0]?.arguments).toBe(NUMBERS.replace('1.50', '1.5'))
})

it('a number that Bedrock cannot be told is refused, and named', async () => {
  const before = asked.length
  await expect(invoke('bedrock', '{"n":1e400}')).rejects.toMatchObject({
    code: 'model.unsupported',
    issues: [{ path: '/messages/1/tool_calls/0/arguments' }],
  })
  expect(asked).toHaveLength(before)
  await invoke('default', '{"n":1e400}')
  expect(asked.at(-1)).toContain('{"n":1e400}')
})
