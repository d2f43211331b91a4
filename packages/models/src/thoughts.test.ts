import { ACCESS_KEY, bedrockServer, SECRET_KEY } from '@muster/stack/bedrock-server'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import type { ModelRequest } from './message.ts'
import { createModels } from './models.ts'
import { says, vendor } from './relay/fixture.ts'
import type { Target } from './target.ts'
import { type Piece, piecesOf, reasoningOf } from './thoughts.ts'

let upstream: Awaited<ReturnType<typeof vendor>>
let bedrock: Awaited<ReturnType<typeof bedrockServer>>
let converse: object[]
beforeAll(async () => {
  vi.stubEnv('AWS_ACCESS_KEY_ID', ACCESS_KEY)
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', SECRET_KEY)
  upstream = await vendor()
  bedrock = await bedrockServer((response) => {
    response.writeHead(200, { 'content-type': 'application/json' })
    const output = { message: { role: 'assistant', content: converse } }
    response.end(JSON.stringify({ output, stopReason: 'tool_use', usage: { inputTokens: 1, outputTokens: 1 } }))
  })
})
afterAll(() => {
  upstream.close()
  bedrock.close()
  vi.unstubAllEnvs()
})

const user: ModelRequest['messages'] = [{ role: 'user', content: 'x' }]
/** Asks once, gives the answer back, and tells what was sent then. */
async function givenBack(target: Target): Promise<void> {
  const models = createModels({ routes: { default: target } })
  const { text, toolCalls, reasoning } = await models.invoke('default', { messages: user })
  const turn: ModelRequest['messages'] = [
    { role: 'assistant', content: text, toolCalls, ...(reasoning ? { reasoning } : {}) },
    ...toolCalls.map(({ id }) => ({ role: 'tool' as const, callId: id, content: 'done' })),
  ]
  await models.invoke('default', { messages: [...user, ...turn] })
}

it('thoughts between calls and texts are given back to Claude where they stood', async () => {
  const content = [
    { type: 'thinking', thinking: 'One.', signature: 's1' },
    { type: 'text', text: 'I look.' },
    { type: 'tool_use', id: 'c1', name: 'look', input: {} },
    { type: 'thinking', thinking: 'Two.', signature: 's2' },
    { type: 'text', text: 'And pay.' },
    { type: 'redacted_thinking', data: 's3' },
    { type: 'tool_use', id: 'c2', name: 'pay', input: { a: 1 } },
    { type: 'text', text: 'Both.' },
  ]
  upstream.behave = says({ stop_reason: 'tool_use', content, usage: { input_tokens: 1, output_tokens: 1 } })
  await givenBack({ anthropic: { model: 'm', baseUrl: upstream.url }, apiKey: 'k' })
  const { messages } = (upstream.asked.at(-1)?.body ?? {}) as { messages: { content: object }[] }
  // What follows the last thought may stand in another order.
  expect(messages[1]?.content).toEqual([...content.slice(0, 6), content[7], content[6]])
})

it('and to models of OpenAI', async () => {
  const thought = (id: string) => ({ type: 'reasoning', id, summary: [], encrypted_content: id })
  const call = (call_id: string) => ({ type: 'function_call', call_id, name: 'look', arguments: '{}' })
  const output = [
    thought('rs_1'),
    { type: 'message', role: 'assistant', content: [{ type: 'output_text', text: 'I look.' }] },
    thought('rs_2'),
    call('c1'),
    thought('rs_3'),
    call('c2'),
  ]
  upstream.behave = says({ status: 'completed', output, usage: { input_tokens: 1, output_tokens: 1 } })
  await givenBack({ model: 'm', baseUrl: `${upstream.url}/v1`, apiKey: 'k', api: 'responses' })
  const { input } = (upstream.asked.at(-1)?.body ?? {}) as { input: object[] }
  const said = { role: 'assistant', content: 'I look.' }
  expect(input.slice(1, -2)).toEqual(output.map((item, at) => (at === 1 ? said : item)))
})

it('and by Converse', async () => {
  const thought = (text: string) => ({ reasoningContent: { reasoningText: { text, signature: text } } })
  const use = (toolUseId: string) => ({ toolUse: { toolUseId, name: 'look', input: {} } })
  converse = [thought('s1'), { text: 'I look.' }, use('c1'), thought('s2'), use('c2')]
  const { endpoint } = bedrock
  await givenBack({ bedrock: { model: 'claude', region: 'eu-central-1', endpoint }, free: true })
  const { messages } = (bedrock.seen.at(-1)?.body ?? {}) as { messages: { content: object }[] }
  expect(messages[1]?.content).toEqual(converse)
})

it('a message has all that was said and called, whatever a client gives back of it', () => {
  const call = (id: string) => ({ id, name: 'n', arguments: '{}' })
  const piece: fc.Arbitrary<Piece> = fc.oneof(
    fc.string({ maxLength: 4 }).map((text) => ({ text })),
    fc.constantFrom('a', 'b').map((id) => ({ call: call(id) })),
    fc.constantFrom('x', 'y').map((thought) => ({ thought: { thought } })),
  )
  const junk = fc.constantFrom({ type: 'muster.text', length: -1 }, { type: 'muster.call' }, 'x', { type: 'other' })
  const told = (pieces: readonly Piece[]) => ({
    text: pieces.map((one) => ('text' in one ? one.text : '')).join(''),
    calls: pieces.flatMap((one) => ('call' in one ? [one.call] : [])),
    thoughts: pieces.flatMap((one) => ('thought' in one ? [one.thought] : [])),
  })
  fc.assert(
    fc.property(fc.array(piece), fc.array(junk), (pieces, more) => {
      const { text: content, calls: toolCalls, thoughts } = told(pieces)
      const { reasoning } = reasoningOf('m', pieces)
      const message = { role: 'assistant' as const, content, toolCalls }
      const isThought = (item: unknown) => typeof item === 'object' && item !== null && 'thought' in item
      const back = (by: string, items = reasoning?.items ?? []) =>
        told(piecesOf({ ...message, reasoning: { by: 'm', items } }, by, isThought))
      expect(back('m')).toEqual({ text: content, calls: toolCalls, thoughts })
      expect(back('another')).toEqual({ text: content, calls: toolCalls, thoughts: [] })
      expect(back('m', [...more, ...(reasoning?.items ?? [])])).toMatchObject({ text: content, calls: toolCalls })
    }),
  )
})
