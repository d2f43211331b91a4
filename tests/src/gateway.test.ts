import { createModels } from '@muster/models'
import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ScriptedModel } from './fixtures/scripted-model.ts'
import { type Harness, startHarness } from './harness.ts'

const model = new ScriptedModel()
let harness: Harness

beforeAll(async () => {
  const baseUrl = await model.listen()
  const price = { inputUsd: 10, cachedUsd: 1, outputUsd: 20 }
  const target = (api: 'chat' | 'responses') => ({ model: 'scripted', baseUrl, apiKey: 'sk-upstream', api, price })
  const models = createModels({
    routes: { default: target('chat'), chat: target('chat'), responses: target('responses') },
  })
  const policies = [{ file: 'gateway.cedar', text: 'permit (principal, action, resource);' }]
  harness = await startHarness({}, { gateway: { models, policies: () => policies, lockMs: 1000 } })
  await harness.worker()
})
afterAll(async () => {
  await harness.close()
  model.close()
})

describe('the gateway', () => {
  it('answers a chat', async () => {
    const openai = new OpenAI({ apiKey: harness.key, baseURL: `${harness.url}/v1` })
    const { data, response } = await openai.chat.completions
      .create({ model: 'chat', messages: [{ role: 'user', content: 'hi' }] })
      .withResponse()
    expect(data.choices[0]?.message.content).toBe('a plain answer')
    const run = response.headers.get('x-muster-run') ?? ''
    console.log(JSON.stringify(await harness.muster.runs.get(run), null, 1))
    const stream = await openai.chat.completions.create({
      model: 'chat',
      stream: true,
      messages: [{ role: 'user', content: 'hi' }],
    })
    let text = ''
    for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? ''
    expect(text).toBe('a plain answer')
    const r = await openai.responses.create({ model: 'responses', input: 'hi' })
    expect(r.output_text).toBe('a plain answer')
  })
})
