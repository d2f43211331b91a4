import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { failure } from './fixture.ts'
import { createModels } from './models.ts'
import { Paid } from './paid.ts'
import { says, vendor } from './relay/fixture.ts'
import type { Target } from './target.ts'

const price = { inputUsd: 2, cachedUsd: 1, outputUsd: 10 }
const messages = [{ role: 'user' as const, content: 'x' }]
let upstream: Awaited<ReturnType<typeof vendor>>
beforeAll(async () => {
  upstream = await vendor()
})
afterAll(() => upstream.close())

const at = (api: 'chat' | 'responses' | 'messages'): Target =>
  api === 'messages'
    ? { anthropic: { model: 'm', baseUrl: upstream.url }, apiKey: 'k', price }
    : { model: 'm', baseUrl: `${upstream.url}/v1`, apiKey: 'k', api, price }
const usage = { prompt_tokens: 100, completion_tokens: 50, input_tokens: 100, output_tokens: 50 }
const said = (message: object, finish_reason: string) => ({ usage, choices: [{ index: 0, finish_reason, message }] })
const spent = { usage: { inputTokens: 100, outputTokens: 50, cachedTokens: 0 }, model: 'm', costUsd: 700e-6 }

describe('an answer that is not taken for one', () => {
  it.each([
    ['chat', 'is cut', said({ content: 'a' }, 'length')],
    ['chat', 'is filtered', said({ content: 'a' }, 'content_filter')],
    ['chat', 'refuses', said({ content: null, refusal: 'no' }, 'stop')],
    ['chat', 'stops for what nobody knows', said({ content: 'a' }, 'tired')],
    ['responses', 'is cut', { status: 'incomplete', output: [], usage }],
    ['responses', 'is empty', { status: 'completed', output: [], usage }],
    ['messages', 'is cut', { stop_reason: 'max_tokens', content: [{ type: 'text', text: 'a' }], usage }],
    ['messages', 'refuses', { stop_reason: 'refusal', content: [], usage }],
  ] as const)('of %s tells what it cost where it %s', async (api, _, whole) => {
    upstream.behave = says(whole)
    const error = await failure(createModels({ routes: { default: at(api) } }).invoke('default', { messages }))
    expect(error).toBeInstanceOf(Paid)
    expect(error).toMatchObject({ code: 'model.failed', spent })
  })

  it('says which of several targets gave it', async () => {
    upstream.behave = says(said({ content: 'a' }, 'length'))
    const models = createModels({ routes: { default: [at('chat'), at('messages')] } })
    const host = new URL(upstream.url).host
    expect(await failure(models.invoke('default', { messages }))).toMatchObject({
      spent: { ...spent, via: { target: `${host} m` } },
    })
  })

  it('is none where nothing came of it', async () => {
    upstream.behave = says({ error: { message: 'no' } }, 400)
    const models = createModels({ routes: { default: at('chat') } })
    expect(await failure(models.invoke('default', { messages }))).not.toBeInstanceOf(Paid)
  })
})
