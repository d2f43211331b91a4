import Anthropic from '@anthropic-ai/sdk'
import { API_KEY, bedrockServer, frame, stream as frames } from '@muster/stack/bedrock-server'
import OpenAI from 'openai'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createModels } from '../models.ts'
import {
  type Behave,
  chunk,
  chunkOfUsage,
  DONE,
  functionCall,
  gateway,
  message,
  messageEvents,
  responseEvents,
  says,
  streams,
  vendor,
} from './fixture.ts'
import type { JsonObject } from './json.ts'

const price = { inputUsd: 10, cachedUsd: 1, outputUsd: 100 }
/** What every vendor says it was: 100 tokens of input, of which 40 were cached, and 20 of output. */
const COST = (60 * 10 + 40 * 1 + 20 * 100) / 1e6

/** What the model says, told by each vendor in its own way. */
interface Script {
  text: string
  calls: { id: string; name: string; args: string }[]
  cut: boolean
  /** In the middle of a stream. */
  breaks: boolean
}
const pays: Script = {
  text: 'I will pay.',
  calls: [
    { id: 'c1', name: 'pay', args: '{"amount":12}' },
    { id: 'c2', name: 'look', args: '{}' },
  ],
  cut: false,
  breaks: false,
}
let script = pays
const targets = ['chat', 'responses', 'messages', 'converse'] as const
type Target = (typeof targets)[number]
const asked: Record<Target, JsonObject[]> = { chat: [], responses: [], messages: [], converse: [] }

const ofVendor: Behave = (response, came) => {
  const { path, body } = came
  const target = path.endsWith('/completions') ? 'chat' : path.endsWith('/responses') ? 'responses' : 'messages'
  asked[target].push(body)
  const { text, calls, cut, breaks } = script
  const answer = {
    chat: [
      chunk({ role: 'assistant', content: text ? '' : null }),
      ...(text.match(/.{1,4}/g) ?? []).map((content) => chunk({ content })),
      ...calls.map(({ id, name, args }, index) =>
        chunk({ tool_calls: [{ index, id, type: 'function', function: { name, arguments: args } }] }),
      ),
      ...[chunk({}, cut ? 'length' : calls.length > 0 ? 'tool_calls' : 'stop'), chunkOfUsage, DONE],
    ],
    responses: responseEvents(
      [...(text ? [message(text)] : []), ...calls.map(({ id, name, args }) => functionCall(id, name, args))],
      cut ? 'incomplete' : 'completed',
    ),
    messages: messageEvents(
      [
        ...(text ? [{ type: 'text' as const, text }] : []),
        ...calls.map(({ id, name, args }) => ({ type: 'tool_use' as const, id, name, input: JSON.parse(args) })),
      ],
      cut ? 'max_tokens' : calls.length > 0 ? 'tool_use' : 'end_turn',
    ),
  }[target]
  if (body.stream) return streams(...(breaks ? answer.slice(0, target === 'chat' ? 3 : 7) : answer))(response, came)
  // The same vendor's SDK puts the whole together.
  wholeOf(target, answer).then(
    (whole) => says(whole)(response, came),
    (error) => response.destroy(error),
  )
}

async function wholeOf(target: 'chat' | 'responses' | 'messages', events: string[]): Promise<object> {
  const fetch = async () => new Response(events.join(''), { headers: { 'content-type': 'text/event-stream' } })
  const openai = new OpenAI({ apiKey: 'none', fetch })
  if (target === 'chat') return openai.chat.completions.stream({ model: 'm', messages: [] }).finalChatCompletion()
  if (target === 'responses') return openai.responses.stream({ model: 'm', input: '' }).finalResponse()
  const anthropic = new Anthropic({ apiKey: 'none', fetch })
  return anthropic.messages.stream({ model: 'm', max_tokens: 9, messages: [] }).finalMessage()
}

const ofBedrock: Parameters<typeof bedrockServer>[0] = (response, seen) => {
  asked.converse.push(seen.body as JsonObject) // it came as JSON
  const { text, calls, cut, breaks } = script
  const usage = { inputTokens: 60, outputTokens: 20, totalTokens: 80, cacheReadInputTokens: 40 }
  const stopReason = cut ? 'max_tokens' : calls.length > 0 ? 'tool_use' : 'end_turn'
  const toolUses = calls.map(({ id, name, args }) => ({ toolUseId: id, name, input: JSON.parse(args) }))
  const reasoningText = { text: 'Hm.', signature: 's1' }
  if (!seen.path.endsWith('converse-stream')) {
    const content = [
      { reasoningContent: { reasoningText } },
      ...(text ? [{ text }] : []),
      ...toolUses.map((toolUse) => ({ toolUse })),
    ]
    says({ output: { message: { role: 'assistant', content } }, stopReason, usage })(response, {} as never)
    return
  }
  const all = [
    frame('contentBlockDelta', { contentBlockIndex: 0, delta: { reasoningContent: { text: 'Hm.' } } }),
    frame('contentBlockDelta', { contentBlockIndex: 0, delta: { reasoningContent: { signature: 's1' } } }),
    ...(text.match(/.{1,4}/g) ?? []).map((piece) =>
      frame('contentBlockDelta', { contentBlockIndex: 1, delta: { text: piece } }),
    ),
    ...toolUses.flatMap(({ input, ...toolUse }, at) => [
      frame('contentBlockStart', { contentBlockIndex: at + 2, start: { toolUse } }),
      frame('contentBlockDelta', { contentBlockIndex: at + 2, delta: { toolUse: { input: JSON.stringify(input) } } }),
    ]),
    ...[frame('messageStop', { stopReason }), frame('metadata', { usage })],
  ]
  frames(response, breaks ? all.slice(0, 4) : all)
}

let upstream: Awaited<ReturnType<typeof vendor>>
let amazon: Awaited<ReturnType<typeof bedrockServer>>
let gate: Awaited<ReturnType<typeof gateway>>
let openai: OpenAI
let anthropic: Anthropic

beforeAll(async () => {
  upstream = await vendor()
  upstream.behave = ofVendor
  amazon = await bedrockServer(ofBedrock)
  const common = { apiKey: API_KEY, price }
  const chat = { model: 'gpt', baseUrl: `${upstream.url}/v1`, ...common }
  const converse = { bedrock: { model: 'nova', region: 'eu-central-1', endpoint: amazon.endpoint }, ...common }
  const models = createModels({
    routes: {
      default: chat,
      chat,
      responses: { ...chat, api: 'responses' },
      messages: { anthropic: { model: 'claude', baseUrl: upstream.url }, ...common },
      converse,
      either: [converse, chat],
    },
  })
  gate = await gateway(models)
  openai = new OpenAI({ baseURL: `${gate.url}/v1`, apiKey: 'of-the-client', maxRetries: 0 })
  anthropic = new Anthropic({ baseURL: gate.url, apiKey: 'of-the-client', maxRetries: 0 })
})
afterAll(() => {
  for (const server of [upstream, amazon, gate]) server.close()
})
beforeEach(() => {
  script = pays
  upstream.behave = ofVendor
  for (const target of targets) asked[target] = []
  gate.ends.length = 0
  gate.gate = undefined
  gate.responseId = undefined
})

const end = () => gate.ends.at(-1) ?? Promise.reject(new Error('nothing was relayed'))
const schema = { type: 'object' as const, properties: { amount: { type: 'number' } } }

interface Told {
  text: string
  calls: { id: string; name: string; args: unknown }[]
  stop: string | null | undefined
  whole: unknown
}

/** One turn after a call and its result, asked by each vendor's own SDK, in a stream or whole. */
const ask = {
  async chat(model: string, stream: boolean, more: object = {}): Promise<Told> {
    const tool_calls = [{ id: 'c0', type: 'function' as const, function: { name: 'look', arguments: '{"at":1}' } }]
    const body = {
      ...{ model, max_completion_tokens: 500, temperature: 0.5, parallel_tool_calls: true, user: 'u' },
      messages: [
        { role: 'developer' as const, content: 'Be brief.' },
        { role: 'user' as const, content: [{ type: 'text' as const, text: 'Good day.' }] },
        { role: 'assistant' as const, content: null, tool_calls },
        { role: 'tool' as const, tool_call_id: 'c0', content: 'It is open.' },
      ],
      tools: [{ type: 'function' as const, function: { name: 'pay', description: 'Pays.', parameters: schema } }],
      ...more,
    }
    const whole = stream
      ? await openai.chat.completions.stream(body).finalChatCompletion()
      : await openai.chat.completions.create(body)
    const [choice] = whole.choices
    const calls = (choice?.message.tool_calls ?? []).flatMap((call) =>
      call.type === 'function'
        ? [{ id: call.id, name: call.function.name, args: JSON.parse(call.function.arguments) }]
        : [],
    )
    return { text: choice?.message.content ?? '', calls, stop: choice?.finish_reason, whole }
  },
  async responses(model: string, stream: boolean, more: object = {}): Promise<Told> {
    const body = {
      ...{ model, max_output_tokens: 500, temperature: 0.5, parallel_tool_calls: true, user: 'u', store: false },
      instructions: 'Be brief.',
      input: [
        { role: 'user' as const, content: [{ type: 'input_text' as const, text: 'Good day.' }] },
        { type: 'reasoning' as const, id: 'rs_0', summary: [], encrypted_content: 'of another' },
        { type: 'function_call' as const, call_id: 'c0', name: 'look', arguments: '{"at":1}' },
        { type: 'function_call_output' as const, call_id: 'c0', output: 'It is open.' },
      ],
      tools: [{ type: 'function' as const, name: 'pay', description: 'Pays.', parameters: schema, strict: false }],
      ...more,
    }
    let last: unknown
    const raw = stream ? openai.responses.stream(body) : undefined
    raw?.on('event', (event) => {
      if (event.type === 'response.completed' || event.type === 'response.incomplete') last = event.response
    })
    const whole = raw ? await raw.finalResponse() : await openai.responses.create(body)
    if (whole.status === 'failed') throw new Error(whole.error?.message)
    const calls = whole.output.flatMap((item) =>
      item.type === 'function_call' ? [{ id: item.call_id, name: item.name, args: JSON.parse(item.arguments) }] : [],
    )
    const stop = calls.length > 0 ? 'tool_calls' : whole.status === 'completed' ? 'stop' : 'length'
    return { text: whole.output_text, calls, stop, whole: last ?? whole }
  },
  async messages(model: string, stream: boolean, more: object = {}): Promise<Told> {
    const body = {
      ...{ model, max_tokens: 500, temperature: 0.5, metadata: { user_id: 'u' } },
      system: [{ type: 'text' as const, text: 'Be brief.', cache_control: { type: 'ephemeral' as const } }],
      messages: [
        { role: 'user' as const, content: 'Good day.' },
        {
          role: 'assistant' as const,
          content: [{ type: 'tool_use' as const, id: 'c0', name: 'look', input: { at: 1 } }],
        },
        {
          role: 'user' as const,
          content: [{ type: 'tool_result' as const, tool_use_id: 'c0', content: 'It is open.' }],
        },
      ],
      tools: [{ name: 'pay', description: 'Pays.', input_schema: schema }],
      ...more,
    }
    const whole = stream ? await anthropic.messages.stream(body).finalMessage() : await anthropic.messages.create(body)
    const calls = whole.content.flatMap((block) =>
      block.type === 'tool_use' ? [{ id: block.id, name: block.name, args: block.input }] : [],
    )
    const text = whole.content.flatMap((block) => (block.type === 'text' ? [block.text] : [])).join('')
    const stop = { tool_use: 'tool_calls', end_turn: 'stop', max_tokens: 'length' }[String(whole.stop_reason)]
    return { text, calls, stop, whole }
  },
}

/** What each vendor must have been asked, in its own words. */
const wire: Record<Target, object> = {
  chat: {
    ...{ model: 'gpt', max_tokens: 500, temperature: 0.5 },
    messages: [
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'Good day.' },
      {
        role: 'assistant',
        content: null,
        tool_calls: [{ id: 'c0', function: { name: 'look', arguments: '{"at":1}' } }],
      },
      { role: 'tool', tool_call_id: 'c0', content: 'It is open.' },
    ],
    tools: [{ function: { name: 'pay', description: 'Pays.', parameters: schema } }],
  },
  responses: {
    ...{ model: 'gpt', max_output_tokens: 500, temperature: 0.5, store: false },
    input: [
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'Good day.' },
      { type: 'function_call', call_id: 'c0', name: 'look', arguments: '{"at":1}' },
      { type: 'function_call_output', call_id: 'c0', output: 'It is open.' },
    ],
    tools: [{ name: 'pay', description: 'Pays.', parameters: schema, strict: false }],
  },
  messages: {
    ...{ model: 'claude', max_tokens: 500, temperature: 0.5, system: [{ type: 'text', text: 'Be brief.' }] },
    messages: [
      { role: 'user', content: [{ type: 'text', text: 'Good day.' }] },
      { role: 'assistant', content: [{ type: 'tool_use', id: 'c0', name: 'look', input: { at: 1 } }] },
      { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'c0', content: 'It is open.' }] },
    ],
    tools: [{ name: 'pay', description: 'Pays.', input_schema: schema }],
  },
  converse: {
    inferenceConfig: { maxTokens: 500, temperature: 0.5 },
    system: [{ text: 'Be brief.' }],
    messages: [
      { role: 'user', content: [{ text: 'Good day.' }] },
      { role: 'assistant', content: [{ toolUse: { toolUseId: 'c0', name: 'look', input: { at: 1 } } }] },
      { role: 'user', content: [{ toolResult: { toolUseId: 'c0', content: [{ text: 'It is open.' }] } }] },
    ],
    toolConfig: { tools: [{ toolSpec: { name: 'pay', description: 'Pays.', inputSchema: { json: schema } } }] },
  },
}

const dialects = ['chat', 'responses', 'messages'] as const
const pairs = dialects.flatMap((dialect) =>
  targets.filter((target) => target !== dialect).map((target) => [dialect, target] as const),
)
const plain = (value: unknown) => JSON.parse(JSON.stringify(value))

describe.each(pairs)('%s at a target that speaks %s', (dialect, target) => {
  it.each([
    ['whole', false],
    ['as a stream', true],
  ])('says the same %s: texts, calls, settings, usage and cost', async (_, stream) => {
    gate.responseId = 'of-ours'
    const told = await ask[dialect](target, stream)
    const calls = pays.calls.map(({ args, ...call }) => ({ ...call, args: JSON.parse(args) }))
    expect(told).toMatchObject({ text: 'I will pay.', calls, stop: 'tool_calls', whole: { id: 'of-ours' } })
    expect(asked[target]).toMatchObject([wire[target]])
    const usage = { inputTokens: 100, outputTokens: 20, cachedTokens: 40 }
    const { whole, ...ended } = await end()
    expect(ended).toMatchObject({ usage, toolCalls: [{ id: 'c1' }, { id: 'c2' }], refused: [] })
    expect(ended.costUsd).toBeCloseTo(COST, 12)
    // What is journaled is what the client has put together.
    const { usage: _usage, ...said } = whole as JsonObject
    if (dialect !== 'chat') expect(plain(told.whole)).toMatchObject(said)
  })

  it('puts what the gate says in the place of calls, and says that an answer was cut', async () => {
    gate.gate = async ({ name }) => (name === 'look' ? { allow: true } : { allow: false, message: `not ${name}` })
    for (const stream of [false, true]) {
      const told = await ask[dialect](target, stream)
      expect(told).toMatchObject({ text: 'I will pay.\n\nnot pay', calls: [{ id: 'c2' }], stop: 'tool_calls' })
      expect(await end()).toMatchObject({ toolCalls: [{ id: 'c2' }], refused: [{ id: 'c1' }] })
    }
    script = { ...pays, calls: [pays.calls[0] ?? { id: '', name: '', args: '' }], text: '' }
    expect(await ask[dialect](target, true)).toMatchObject({ text: 'not pay', calls: [], stop: 'stop' })
    script = { ...pays, calls: [], cut: true }
    for (const stream of [false, true])
      expect(await ask[dialect](target, stream)).toMatchObject({ text: 'I will pay.', stop: 'length' })
  })

  it('ends a stream that breaks with an error', async () => {
    script = { ...pays, breaks: true }
    await expect(ask[dialect](target, true)).rejects.toThrow()
    await expect(end()).rejects.toMatchObject({ code: 'model.unavailable' })
  })
})

describe('what is carried', () => {
  const settings = {
    chat: { stop: ['x'], tool_choice: { type: 'function', function: { name: 'pay' } }, parallel_tool_calls: false },
    responses: { reasoning: { effort: 'low', summary: 'auto' }, tool_choice: 'required', top_p: 0.25 },
    messages: { stop_sequences: ['x'], tool_choice: { type: 'any', disable_parallel_tool_use: true }, top_p: 0.25 },
  }
  it.each([
    [
      'chat',
      'messages',
      { stop_sequences: ['x'], tool_choice: { type: 'tool', name: 'pay', disable_parallel_tool_use: true } },
    ],
    ['responses', 'chat', { reasoning_effort: 'low', tool_choice: 'required', top_p: 0.25 }],
    ['messages', 'chat', { stop: ['x'], tool_choice: 'required', parallel_tool_calls: false, top_p: 0.25 }],
    ['responses', 'messages', { output_config: { effort: 'low' }, tool_choice: { type: 'any' }, top_p: 0.25 }],
  ] as const)('settings of %s, to %s', async (dialect, target, expected) => {
    await ask[dialect](target, false, settings[dialect])
    expect(asked[target]).toMatchObject([expected])
  })

  it.each([
    [
      'chat',
      'responses',
      { response_format: { type: 'json_schema', json_schema: { name: 'n', schema, strict: true } } },
    ],
    ['responses', 'messages', { text: { format: { type: 'json_schema', name: 'n', schema, strict: true } } }],
    ['messages', 'chat', { output_config: { format: { type: 'json_schema', schema } } }],
    ['chat', 'converse', { response_format: { type: 'json_object' }, tools: [] }],
  ] as const)('the schema of an answer of %s, to %s', async (dialect, target, more) => {
    script = { ...pays, text: '{"amount":12}', calls: [] }
    if (target === 'converse')
      script = { ...script, calls: [{ id: 'a', name: 'answer', args: '{"amount":12}' }], text: '' }
    for (const stream of [false, true])
      expect(await ask[dialect](target, stream, more)).toMatchObject({ text: '{"amount":12}', calls: [], stop: 'stop' })
    const [body = {}] = asked[target]
    expect(body).toMatchObject(
      {
        responses: { text: { format: { type: 'json_schema', name: 'n', schema, strict: true } } },
        messages: { output_config: { format: { type: 'json_schema', schema } } },
        chat: { response_format: { type: 'json_schema', json_schema: { schema } } },
        converse: { toolConfig: { toolChoice: { tool: { name: 'answer' } } } },
      }[target],
    )
  })

  const turnsOf = (target: keyof typeof asked, body: object | undefined = asked[target].at(-1)): object[] =>
    Object.entries(body ?? {}).find(([name]) => name === 'messages' || name === 'input')?.[1] ?? []
  const png = 'iVBORw0KGgo='
  const pdf = 'JVBERi0xLjcK'
  const seen = {
    chat: {
      messages: [
        {
          role: 'user',
          content: [
            { type: 'text', text: 'See ' },
            { type: 'image_url', image_url: { url: `data:image/png;base64,${png}`, detail: 'high' } },
            { type: 'file', file: { filename: 'a_b.pdf', file_data: `data:application/pdf;base64,${pdf}` } },
            { type: 'text', text: 'and say.' },
          ],
        },
      ],
    },
    responses: {
      input: [
        {
          role: 'user',
          content: [
            { type: 'input_text', text: 'See ' },
            { type: 'input_image', image_url: `data:image/png;base64,${png}`, detail: 'auto' },
            { type: 'input_file', filename: 'a_b.pdf', file_data: `data:application/pdf;base64,${pdf}` },
            { type: 'input_text', text: 'and say.' },
          ],
        },
      ],
    },
    messages: {
      messages: [
        {
          role: 'user',
          content: [
            { type: 'text', text: 'See ' },
            { type: 'image', source: { type: 'base64', media_type: 'image/png', data: png } },
            {
              type: 'document',
              title: 'a_b.pdf',
              source: { type: 'base64', media_type: 'application/pdf', data: pdf },
            },
            { type: 'text', text: 'and say.' },
          ],
        },
      ],
    },
    converse: {
      messages: [
        {
          role: 'user',
          content: [
            { text: 'See ' },
            { image: { format: 'png', source: { bytes: png } } },
            { document: { format: 'pdf', name: 'a b pdf', source: { bytes: pdf } } },
            { text: 'and say.' },
          ],
        },
      ],
    },
  }
  it.each(pairs)('images and files of %s, to %s, in their order', async (dialect, target) => {
    await ask[dialect](target, false, seen[dialect])
    const expected = JSON.parse(JSON.stringify(seen[target]).replace(',"detail":"high"', ''))
    // What the system says comes before it, in some.
    expect(turnsOf(target).at(-1)).toMatchObject(turnsOf(target, expected)[0] ?? {})
  })

  it('texts of messages apart, and what stops nothing', async () => {
    const texts = [
      { type: 'text', text: 'One.' },
      { type: 'text', text: 'Two.' },
    ]
    const result = { type: 'tool_result', tool_use_id: 'c0', is_error: true, content: texts }
    await ask.messages('chat', false, { system: texts, messages: [{ role: 'user', content: [result, ...texts] }] })
    expect(turnsOf('chat')).toEqual([
      { role: 'system', content: 'One.\n\nTwo.' },
      { role: 'tool', tool_call_id: 'c0', content: 'Error: One.\n\nTwo.' },
      { role: 'user', content: 'One.\n\nTwo.' },
    ])
    await ask.chat('responses', false, { stop: [] })
    expect(asked.responses).toHaveLength(1)
  })

  it('an image that a tool gave, and a text as a file', async () => {
    const source = { type: 'base64', media_type: 'image/png', data: png }
    const text = { type: 'document', source: { type: 'text', media_type: 'text/plain', data: 'Hé' } }
    const content = [{ type: 'text', text: 'This: ' }, { type: 'image', source }, text]
    const result = { type: 'tool_result', tool_use_id: 'c1', is_error: true, content }
    const given = { messages: [{ role: 'user', content: [result] }] }
    await ask.messages('converse', false, given)
    const parts = [
      ...[{ text: 'Error: ' }, { text: 'This: ' }, { image: { format: 'png', source: { bytes: png } } }],
      { document: { format: 'txt', name: 'document', source: { bytes: 'SMOp' } } },
    ]
    expect(turnsOf('converse').at(-1)).toMatchObject({ content: [{ toolResult: { content: parts } }] })
    await ask.messages('responses', false, given)
    const output = [{}, {}, { type: 'input_image' }, { file_data: 'data:text/plain;base64,SMOp' }]
    expect(turnsOf('responses').at(-1)).toMatchObject({ type: 'function_call_output', output })
    const output_ = [{ type: 'input_image', detail: 'auto', image_url: `data:image/png;base64,${png}` }]
    await ask.responses('messages', false, {
      input: [{ type: 'function_call_output', call_id: 'c1', output: output_ }],
    })
    expect(turnsOf('messages').at(-1)).toMatchObject({
      content: [{ type: 'tool_result', content: [{ type: 'image', source }] }],
    })
  })

  it.each(['responses', 'messages'] as const)('what a model thought, sealed, in %s and back', async (dialect) => {
    const { whole } = (await ask[dialect]('converse', true)) as { whole: { output?: object[]; content?: object[] } }
    const turn =
      dialect === 'responses'
        ? { input: [...(whole.output ?? []), { type: 'function_call_output', call_id: 'c1', output: 'Paid.' }] }
        : {
            messages: [
              { role: 'assistant', content: whole.content },
              { role: 'user', content: 'Go on.' },
            ],
          }
    await ask[dialect]('converse', false, turn)
    const thought = { reasoningContent: { reasoningText: { text: 'Hm.', signature: 's1' } } }
    expect(asked.converse[1]).toMatchObject({
      messages: [
        { role: 'assistant', content: [thought, { text: 'I will pay.' }, { toolUse: {} }, { toolUse: {} }] },
        {},
      ],
    })
    await ask[dialect]('chat', false, turn)
    expect(JSON.stringify(asked.chat)).not.toContain('Hm.')
  })
})

describe('an answer that is no usual one', () => {
  const usage = { prompt_tokens: 100, completion_tokens: 20, prompt_tokens_details: { cached_tokens: 40 } }
  const ofChat = (message: object, finish_reason: string) => says({ choices: [{ message, finish_reason }], usage })
  const refusal = { type: 'refusal', refusal: 'I will not.' }
  const ofResponses = { status: 'completed', output: [{ ...message(''), content: [refusal] }] }
  const ofMessages = { content: [], stop_reason: 'end_turn', usage: { input_tokens: 100, output_tokens: 20 } }
  // As some servers write it, without its type.
  const begun = { tool_calls: [{ index: 0, id: 'c1', function: { name: 'pay', arguments: '{"amount"' } }] }

  it.each([
    ['a refusal', 'messages', 'chat', ofChat({ content: null, refusal: 'I will not.' }, 'stop'), 'refusal'],
    ['a refusal', 'chat', 'responses', says(ofResponses), 'content_filter'],
    ['nothing', 'chat', 'messages', says(ofMessages), 'stop'],
    ['nothing', 'messages', 'responses', says({ status: 'completed', output: [] }), 'end_turn'],
  ] as const)('is given as it is: %s, to a client of %s, of %s', async (what, dialect, target, behave, stop) => {
    upstream.behave = behave
    await ask[dialect](target, false)
    const { whole, usage } = await end()
    expect(JSON.stringify(whole)).toContain(`"${stop}"`)
    if (what === 'a refusal') expect(JSON.stringify(whole)).toContain('I will not.')
    expect(usage.outputTokens).toBeGreaterThan(0)
  })

  it('is told as one that was cut, though a tool is strict and its call is not whole', async () => {
    upstream.behave = streams(chunk({ content: 'I pay.' }), chunk(begun), chunk({}, 'length'), chunkOfUsage, DONE)
    const tools = [{ name: 'pay', input_schema: schema, strict: true }]
    const body = { model: 'chat', max_tokens: 9, messages: [{ role: 'user' as const, content: 'Pay.' }], tools }
    const seen: string[] = []
    for await (const event of await anthropic.messages.create({ ...body, stream: true }))
      if (event.type === 'message_delta') seen.push(String(event.delta.stop_reason))
    expect(seen).toEqual(['max_tokens'])
    expect((await end()).costUsd).toBeCloseTo(COST, 12)
  })

  it('is refused as the vendor refuses, or where its reason to stop is not known', async () => {
    upstream.behave = says({ error: { message: 'too long', code: 'context_length_exceeded' } }, 400)
    await expect(ask.messages('chat', false)).rejects.toMatchObject({ status: 400 })
    await expect(ask.chat('responses', true)).rejects.toMatchObject({ status: 400 })
    upstream.behave = ofChat({ content: 'half of' }, 'error')
    await expect(ask.messages('chat', false)).rejects.toMatchObject({ status: 502 })
  })

  it('keeps a call that was cut as it was written', async () => {
    const [start = '', ...rest] = messageEvents(
      [{ type: 'tool_use', id: 'c1', name: 'pay', input: { a: 1 } }],
      'max_tokens',
    )
    upstream.behave = streams(start, ...rest.map((event) => event.replace('1}', '')))
    const stream = await openai.chat.completions.create({
      ...{ model: 'messages', stream: true, messages: [{ role: 'user', content: 'Pay.' }] },
    })
    let args = ''
    for await (const { choices } of stream) args += choices[0]?.delta.tool_calls?.[0]?.function?.arguments ?? ''
    expect(args).toBe('{"a":')
  })
})

describe('what cannot be said otherwise', () => {
  const image = { type: 'image_url', image_url: { url: 'data:' } }
  const userOf = (part: object) => ({ messages: [{ role: 'user', content: [{ type: 'text', text: 'x' }, part] }] })
  const PART = '/messages/0/content/1'
  const keepsThoughts = { type: 'clear_thinking_20251015', keep: 'all' }
  it('but for what asks for nothing', async () => {
    await ask.messages('chat', false, { context_management: { edits: [keepsThoughts] } })
    expect(asked.chat).toHaveLength(1)
  })

  it.each([
    ['chat', 'responses', { stop: 'x' }, '/stop'],
    ['chat', 'converse', { seed: 1 }, '/seed'],
    ['chat', 'converse', { parallel_tool_calls: false }, '/parallel_tool_calls'],
    ['chat', 'messages', { n: 2 }, '/n'],
    ['chat', 'messages', { logprobs: true }, '/logprobs'],
    ['chat', 'messages', { of_next_year: 1 }, '/of_next_year'],
    [
      'chat',
      'responses',
      { messages: [{ role: 'user', content: [{ type: 'text', text: 'x' }, image] }] },
      '/messages/0/content/1',
    ],
    ['chat', 'responses', { messages: [{ role: 'user', name: 'me', content: 'x' }] }, '/messages/0/name'],
    ['chat', 'responses', { tools: [{ type: 'custom', custom: { name: 'x' } }] }, '/tools/0'],
    ['responses', 'chat', { tools: [{ type: 'web_search' }] }, '/tools/0'],
    [
      'responses',
      'chat',
      { tools: [{ type: 'function', name: 'x', output_schema: schema }] },
      '/tools/0/output_schema',
    ],
    [
      'chat',
      'messages',
      { tools: [{ type: 'function', function: { name: 'x', later: 1 } }] },
      '/tools/0/function/later',
    ],
    ['chat', 'messages', { stop: ['x', 1] }, '/stop/1'],
    ['responses', 'chat', { instructions: [{ role: 'user', content: 'x' }] }, '/instructions'],
    ['responses', 'chat', { input: [{ type: 'function_call', name: 'x', async: true }] }, '/input/0/async'],
    ['responses', 'chat', { input: [{ type: 'item_reference', id: 'x' }] }, '/input/0'],
    ['responses', 'chat', { input: [{ type: 'custom_tool_call', name: 'x' }] }, '/input/0'],
    ['responses', 'converse', { reasoning: { effort: 'low' } }, '/reasoning/effort'],
    ['responses', 'converse', { include: ['message.output_text.logprobs'] }, '/include/0'],
    ['messages', 'chat', { messages: [{ role: 'user', content: [{ type: 'image' }] }] }, '/messages/0/content/0'],
    ['messages', 'chat', { messages: [{ role: 'assistant', content: 'I ' }] }, '/messages/0'],
    [
      'chat',
      'messages',
      {
        messages: [
          { role: 'assistant', content: 'I ' },
          { role: 'system', content: 'x' },
        ],
      },
      '/messages',
    ],
    ['chat', 'converse', { messages: [{ role: 'assistant', content: 'I ' }] }, '/messages'],
    ['responses', 'messages', { input: [{ role: 'assistant', content: 'I ' }] }, '/input'],
    ['chat', 'converse', userOf({ type: 'image_url', image_url: { url: 'https://a.example/b.png' } }), PART],
    ['chat', 'messages', userOf({ type: 'image_url', image_url: { url: 'file:///etc/passwd' } }), PART],
    ['chat', 'messages', userOf({ type: 'image_url', image_url: { url: 'data:image/tiff;base64,AAAA' } }), PART],
    ['chat', 'messages', userOf({ type: 'image_url', image_url: { url: 'data:image/png;base64,A A=' } }), PART],
    ['chat', 'messages', userOf({ type: 'file', file: { file_id: 'file-1' } }), PART],
    ['chat', 'messages', userOf({ type: 'file', file: { file_data: 'data:text/csv;base64,AAAA' } }), PART],
    ['chat', 'messages', userOf({ type: 'input_audio', input_audio: { data: 'AAAA', format: 'wav' } }), PART],
    [
      'responses',
      'chat',
      {
        input: [
          {
            ...{ type: 'function_call_output', call_id: 'c' },
            output: [{ type: 'input_image', image_url: 'https://a.example/b.png' }],
          },
        ],
      },
      '/input/0/output/0',
    ],
    [
      'messages',
      'chat',
      userOf({ type: 'document', source: { type: 'url', url: 'https://a.example' }, citations: { enabled: true } }),
      PART,
    ],
    ['messages', 'chat', { thinking: { type: 'enabled', budget_tokens: 1024 } }, '/thinking'],
    [
      'messages',
      'chat',
      { context_management: { edits: [keepsThoughts, { type: 'clear_tool_uses_20250919' }] } },
      '/context_management/edits/1',
    ],
    ['messages', 'responses', { stop_sequences: ['x'] }, '/stop_sequences'],
    ['messages', 'converse', { top_k: 1 }, '/top_k'],
  ] as const)('is refused: %s to %s, %j', async (dialect, target, more, path) => {
    const refusal = await ask[dialect](target, false, more).catch((error: unknown) => error)
    expect(refusal).toMatchObject({ status: 422 })
    expect(String((refusal as Error).message)).toContain(path)
    expect(asked[target]).toEqual([])
  })

  it('is asked of the next target that can be asked it', async () => {
    await ask.chat('either', false, { seed: 1 })
    expect([asked.converse, asked.chat]).toMatchObject([[], [{ seed: 1 }]])
    const name = 'bedrock eu-central-1 nova'
    expect((await end()).via?.passed).toEqual([{ target: name, code: 'model.unsupported' }])
  })
})
