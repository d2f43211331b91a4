import type { Json, JsonSchema } from '@muster/protocol'
import type { ModelMessage, ModelRequest, ModelSettings, Part } from '../message.ts'
import { readDataUrl } from '../parts.ts'
import { isObject, type JsonObject, objectOf, textOf } from './json.ts'
import { eventText } from './sse.ts'
import {
  effortOf,
  newId,
  type Said,
  settingsOf,
  type Teller,
  type TellerOptions,
  type Translation,
  type Unsaid,
} from './translation.ts'

/** Chat Completions, spoken by a client whose model is asked otherwise. */
export const chatTranslation: Translation = {
  said: '/messages',
  paths: {
    ...{
      maxTokens: '/max_completion_tokens',
      temperature: '/temperature',
      topP: '/top_p',
      stop: '/stop',
      seed: '/seed',
    },
    ...{ toolChoice: '/tool_choice', parallelToolCalls: '/parallel_tool_calls', effort: '/reasoning_effort' },
  },
  read,
  teller,
}

/** Said of the account, of caches and of what is kept: the answer is the same without. */
export const BESIDE = ['user', 'metadata', 'store', 'safety_identifier', 'service_tier', 'prompt_cache_key'].concat([
  'prompt_cache_retention',
  'prompt_cache_options',
  'stream',
  'stream_options',
  'model',
])

const KNOWN = new Set([
  ...BESIDE,
  ...['messages', 'tools', 'tool_choice', 'parallel_tool_calls', 'response_format', 'max_tokens'],
  ...['max_completion_tokens', 'temperature', 'top_p', 'stop', 'seed', 'reasoning_effort', 'n', 'modalities'],
])

function read(body: JsonObject, unsaid: Unsaid): ModelRequest {
  unsaid.only(body, '', KNOWN)
  if (body.n !== 1 && body.n !== undefined && body.n !== null) unsaid.refuse('/n', 'must be 1')
  if (unsaid.list(body.modalities, '/modalities').some((one) => one !== 'text'))
    unsaid.refuse('/modalities', 'must be text')
  const tools = unsaid.list(body.tools, '/tools').flatMap((tool, at) => toolOf(tool, `/tools/${at}`, unsaid))
  return {
    messages: unsaid.list(body.messages, '/messages').flatMap((one, at) => messageOf(one, `/messages/${at}`, unsaid)),
    ...(tools.length > 0 ? { tools } : {}),
    ...outputOf(body.response_format, unsaid),
    ...settingsOf(
      {
        maxTokens: unsaid.number(body, 'max_completion_tokens') ?? unsaid.number(body, 'max_tokens'),
        temperature: unsaid.number(body, 'temperature'),
        topP: unsaid.number(body, 'top_p'),
        seed: unsaid.number(body, 'seed'),
        stop: stopOf(body.stop, unsaid),
        toolChoice: choiceOf(body.tool_choice, unsaid),
        parallelToolCalls: body.parallel_tool_calls === false ? false : undefined,
        ...effortOf(body.reasoning_effort, '/reasoning_effort', unsaid),
      },
      tools,
    ),
  }
}

const SAID = new Set(['role', 'content', 'tool_calls', 'tool_call_id', 'refusal', 'reasoning_content'])

function messageOf(given: Json, path: string, unsaid: Unsaid): ModelMessage[] {
  const message = objectOf(given)
  unsaid.only(message, path, SAID)
  if (message.role === 'user') {
    const content = unsaid.content(message.content, `${path}/content`, { types: ['text'], partOf })
    return [{ role: 'user', content }]
  }
  const content = unsaid.text(message.content, `${path}/content`, ['text'])
  switch (message.role) {
    case 'system':
    case 'developer':
      return [{ role: 'system', content }]
    case 'tool':
      return [{ role: 'tool', callId: textOf(message.tool_call_id), content }]
    case 'assistant': {
      const calls = unsaid.list(message.tool_calls, `${path}/tool_calls`)
      const toolCalls = calls.flatMap((call, at) => {
        const { id, function: called } = objectOf(call)
        const { name, arguments: args } = objectOf(called)
        if (typeof name === 'string') return [{ id: textOf(id), name, arguments: textOf(args) }]
        unsaid.refuse(`${path}/tool_calls/${at}`, 'only functions can be called at this target')
        return []
      })
      const text = content || textOf(message.refusal) || null
      return [{ role: 'assistant', content: text, ...(toolCalls.length > 0 ? { toolCalls } : {}) }]
    }
    default:
      unsaid.refuse(`${path}/role`, 'must be system, developer, user, assistant or tool')
      return []
  }
}

/** How closely an image is to be looked at (`detail`) is left to the model. */
function partOf({ type, image_url, file }: JsonObject): Part | undefined {
  if (type === 'image_url') return imageOf(objectOf(image_url).url)
  return type === 'file' ? fileOf(objectOf(file)) : undefined
}

/** By its address or with its data, as both of OpenAI's dialects have it. */
export function imageOf(url: Json | undefined): Part | undefined {
  if (typeof url !== 'string') return undefined
  if (!url.startsWith('data:')) return { type: 'image', url }
  const read = readDataUrl(url)
  return read && { type: 'image', ...read }
}

/** One that is not kept at the vendor. */
export function fileOf({ filename, file_data }: JsonObject): Part | undefined {
  const read = readDataUrl(textOf(file_data))
  return read && { type: 'file', name: textOf(filename) || 'file', ...read }
}

function toolOf(tool: Json, path: string, unsaid: Unsaid): NonNullable<ModelRequest['tools']> {
  const { type, function: given, ...rest } = objectOf(tool)
  if (type !== 'function' || !isObject(given)) {
    unsaid.refuse(path, 'only functions can be offered to this target')
    return []
  }
  unsaid.only(rest, path, new Set())
  return [functionOf(given, `${path}/function`, unsaid)]
}

const OF_FUNCTION = new Set(['name', 'description', 'parameters', 'strict'])

/** Of a function, as both of OpenAI's dialects describe it. */
export function functionOf(given: JsonObject, path: string, unsaid: Unsaid): NonNullable<ModelRequest['tools']>[0] {
  unsaid.only(given, path, OF_FUNCTION)
  const { name, description, parameters, strict } = given
  return {
    name: textOf(name),
    description: textOf(description),
    // A function without parameters takes an empty object.
    parameters: schemaOf(parameters) ?? { type: 'object', properties: {} },
    ...(typeof strict === 'boolean' ? { strict } : {}),
  }
}

export function schemaOf(value: Json | undefined): JsonSchema | undefined {
  return isObject(value) ? value : undefined
}

function outputOf(format: Json | undefined, unsaid: Unsaid): Pick<ModelRequest, 'output'> {
  const { type = 'text', json_schema: given } = objectOf(format)
  return schemaOutput(textOf(type), objectOf(given), '/response_format', unsaid)
}

/** The format of an answer, as both of OpenAI's dialects have it. */
export function schemaOutput(
  type: string,
  { name, description, schema, strict }: JsonObject,
  path: string,
  unsaid: Unsaid,
): Pick<ModelRequest, 'output'> {
  if (type === 'text') return {}
  if (type === 'json_object') return { output: { name: 'answer', schema: { type: 'object' } } }
  const given = schemaOf(schema)
  if (type !== 'json_schema' || !given) {
    unsaid.refuse(path, 'must be text, json_object, or json_schema with its schema')
    return {}
  }
  const described = typeof description === 'string' ? { description, ...given } : given
  return {
    output: { name: textOf(name) || 'answer', schema: described, ...(typeof strict === 'boolean' ? { strict } : {}) },
  }
}

function stopOf(stop: Json | undefined, unsaid: Unsaid): string[] | undefined {
  return stopsOf(typeof stop === 'string' ? [stop] : stop, '/stop', unsaid)
}

/** Texts at which an answer ends; a list of none says nothing. */
export function stopsOf(given: Json | undefined, path: string, unsaid: Unsaid): string[] | undefined {
  const stops = unsaid.list(given, path).map((stop, at) => {
    if (typeof stop !== 'string') unsaid.refuse(`${path}/${at}`, 'must be a text')
    return textOf(stop)
  })
  return stops.length > 0 ? stops : undefined
}

function choiceOf(choice: Json | undefined, unsaid: Unsaid): ModelSettings['toolChoice'] {
  if (choice === undefined || choice === null) return undefined
  if (choice === 'auto' || choice === 'none' || choice === 'required') return choice
  const { type, function: named } = objectOf(choice)
  const { name } = objectOf(named)
  if (type === 'function' && typeof name === 'string') return { name }
  unsaid.refuse('/tool_choice', 'must be auto, none, required or a function')
  return undefined
}

function teller({ body, model, responseId }: TellerOptions): Teller {
  const base = { id: responseId ?? newId('chatcmpl-'), created: Math.floor(Date.now() / 1000), model }
  const isUsageAsked = objectOf(body.stream_options).include_usage === true
  const chunk = (delta: JsonObject, finish_reason: string | null = null) =>
    eventText('', {
      ...{ ...base, object: 'chat.completion.chunk' },
      choices: [{ index: 0, delta, logprobs: null, finish_reason }],
    })

  return {
    begins: () => chunk({ role: 'assistant', content: '' }),
    delta: (content) => chunk({ content }),
    ends(said) {
      const calls = callsOf(said).map((call, index) => ({ index, ...call }))
      const usage = eventText('', { ...base, object: 'chat.completion.chunk', choices: [], usage: usageOf(said) })
      return [
        ...(calls.length > 0 ? [chunk({ tool_calls: calls })] : []),
        ...[chunk({}, endOf(said)), ...(isUsageAsked ? [usage] : []), 'data: [DONE]\n\n'],
      ].join('')
    },
    whole(said) {
      const calls = callsOf(said)
      const message: JsonObject = {
        ...{ role: 'assistant', content: said.text, refusal: null },
        ...(calls.length > 0 ? { tool_calls: calls } : {}),
      }
      const choices = [{ index: 0, message, logprobs: null, finish_reason: endOf(said) }]
      return { ...base, object: 'chat.completion', choices, usage: usageOf(said) }
    },
    broken: (message) => eventText('', { error: { message, type: 'server_error', param: null, code: null } }),
  }
}

function callsOf({ toolCalls }: Said): JsonObject[] {
  return toolCalls.map(({ id, name, arguments: args }) => ({
    ...{ id, type: 'function' },
    function: { name, arguments: args },
  }))
}

function endOf({ toolCalls, cut }: Said): string {
  if (cut) return cut === 'length' ? 'length' : 'content_filter'
  return toolCalls.length > 0 ? 'tool_calls' : 'stop'
}

function usageOf({ usage: { inputTokens, outputTokens, cachedTokens, reasoningTokens } }: Said): JsonObject {
  return {
    prompt_tokens: inputTokens,
    completion_tokens: outputTokens,
    total_tokens: inputTokens + outputTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
    ...(reasoningTokens === undefined ? {} : { completion_tokens_details: { reasoning_tokens: reasoningTokens } }),
  }
}
