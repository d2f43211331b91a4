import { createOpenAI } from '@ai-sdk/openai'
import { type BaseMessage, HumanMessage, ToolMessage } from '@langchain/core/messages'
import { tool as langTool } from '@langchain/core/tools'
import { ChatOpenAI } from '@langchain/openai'
import { createModels } from '@muster/models'
import { isEnded } from '@muster/protocol'
import { Agent, tool as agentTool, OpenAIProvider, Runner } from '@openai/agents'
import { generateText, stepCountIs, streamText, tool as vercelTool } from 'ai'
import OpenAI from 'openai'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { answerUsd, price, ScriptedModel } from './fixtures/scripted-model.ts'
import { type Harness, startHarness, until } from './harness.ts'

/** Asks for a sum, and says what it was told. */
const model = new ScriptedModel(({ results: [sum] }) =>
  sum === undefined
    ? { text: 'Let me see.', calls: [{ name: 'add', arguments: { a: 2, b: 3 } }] }
    : { text: `It is ${sum}.` },
)
const question = 'What is 2 + 3?'
const description = 'Adds.'
const schema = z.object({ a: z.number(), b: z.number() })
const add = ({ a, b }: z.infer<typeof schema>) => String(a + b)

let harness: Harness
let at: { apiKey: string; baseURL: string }
const apis = ['chat', 'responses'] as const

beforeAll(async () => {
  const baseUrl = await model.listen()
  const target = (api: (typeof apis)[number]) => ({ model: 'scripted', baseUrl, apiKey: 'sk-upstream', api, price })
  const models = createModels({
    routes: { default: target('chat'), chat: target('chat'), responses: target('responses') },
  })
  const policies = [{ file: 'clients.cedar', text: 'permit (principal, action, resource);' }]
  harness = await startHarness({}, { gateway: { models, policies: () => policies, lockMs: 1000 } })
  at = { apiKey: harness.key, baseURL: `${harness.url}/v1` }
})
afterAll(async () => {
  await harness.close()
  model.close()
})
beforeEach(() => {
  model.asked.length = 0
})

/** What was said comes to the client, and each of its two requests is a run that was paid. */
async function isTold(text: string): Promise<void> {
  expect(text).toBe('It is 5.')
  expect(model.asked.map(({ results }) => results.length)).toEqual([0, 1])
  const { runs } = await until(
    () => harness.muster.runs.list({ limit: 2 }),
    ({ runs }) => runs.every(({ status }) => isEnded(status)),
  )
  for (const run of runs) {
    expect(run).toMatchObject({ name: 'gateway', status: 'succeeded' })
    expect(run.costUsd).toBeCloseTo(answerUsd, 12)
  }
}

describe.each([false, true])('a conversation with a tool, streamed: %s', (stream) => {
  it('by the OpenAI SDK: Chat Completions', async () => {
    const openai = new OpenAI(at)
    const messages: OpenAI.ChatCompletionMessageParam[] = [{ role: 'user', content: question }]
    const parameters = z.toJSONSchema(schema)
    const body = {
      ...{ model: 'chat', messages },
      tools: [{ type: 'function' as const, function: { name: 'add', description, parameters } }],
    }
    const ask = async () => {
      if (!stream) return (await openai.chat.completions.create(body)).choices[0]?.message
      const whole = await openai.chat.completions.stream(body).finalChatCompletion()
      return whole.choices[0]?.message
    }
    const first = await ask()
    const [call] = first?.tool_calls ?? []
    if (!first || call?.type !== 'function') throw new Error(`no call: ${JSON.stringify(first)}`)
    const content = add(schema.parse(JSON.parse(call.function.arguments)))
    messages.push(first, { role: 'tool', tool_call_id: call.id, content })
    await isTold((await ask())?.content ?? '')
  })

  it('by the OpenAI SDK: Responses', async () => {
    const openai = new OpenAI(at)
    const input: OpenAI.Responses.ResponseInput = [{ role: 'user', content: question }]
    const parameters = z.toJSONSchema(schema)
    const body = {
      ...{ model: 'responses', input },
      tools: [{ type: 'function' as const, name: 'add', description, parameters, strict: false }],
    }
    const ask = () => (stream ? openai.responses.stream(body).finalResponse() : openai.responses.create(body))
    const { output } = await ask()
    const [call] = output.flatMap((item) => (item.type === 'function_call' ? [item] : []))
    if (!call) throw new Error(`no call: ${JSON.stringify(output)}`)
    const told = add(schema.parse(JSON.parse(call.arguments)))
    // As its own output came: what the SDK has parsed beside it is its own affair.
    input.push(...(output as OpenAI.Responses.ResponseInput), {
      ...{ type: 'function_call_output', call_id: call.call_id, output: told },
    })
    await isTold((await ask()).output_text)
  })

  it.each(apis)('by the OpenAI Agents SDK: %s', async (api) => {
    const modelProvider = new OpenAIProvider({ openAIClient: new OpenAI(at), useResponses: api === 'responses' })
    const runner = new Runner({ modelProvider, tracingDisabled: true })
    const tools = [agentTool({ name: 'add', description, parameters: schema, execute: add })]
    const agent = new Agent({ name: 'Adder', instructions: 'Add.', model: api, tools })
    if (!stream) {
      await isTold((await runner.run(agent, question)).finalOutput ?? '')
      return
    }
    const result = await runner.run(agent, question, { stream })
    await result.completed
    await isTold(result.finalOutput ?? '')
  })

  it.each(apis)('by the Vercel AI SDK: %s', async (api) => {
    const openai = createOpenAI(at)
    const options = {
      ...{ model: api === 'chat' ? openai.chat(api) : openai.responses(api), prompt: question },
      tools: { add: vercelTool({ description, inputSchema: schema, execute: add }) },
      stopWhen: stepCountIs(3),
    }
    await isTold(stream ? await streamText(options).text : (await generateText(options)).text)
  })

  it.each(apis)('by LangChain: %s', async (api) => {
    const { apiKey, baseURL } = at
    const chat = new ChatOpenAI({
      model: api,
      apiKey,
      configuration: { baseURL },
      useResponsesApi: api === 'responses',
    })
    const tool = langTool(add, { name: 'add', description, schema })
    const bound = chat.bindTools([tool])
    const messages: BaseMessage[] = [new HumanMessage(question)]
    const ask = async () => {
      if (!stream) return bound.invoke(messages)
      const parts = []
      for await (const part of await bound.stream(messages)) parts.push(part)
      return parts.reduce((whole, part) => whole.concat(part))
    }
    const first = await ask()
    const [call] = first.tool_calls ?? []
    if (!call) throw new Error(`no call: ${JSON.stringify(first)}`)
    const content = add(schema.parse(call.args))
    messages.push(first, new ToolMessage({ tool_call_id: call.id ?? '', content }))
    await isTold((await ask()).text)
  })
})
