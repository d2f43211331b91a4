import type { Json, Usage } from '@muster/protocol'
import type { ToolCall } from '../message.ts'
import type { JsonObject } from './request.ts'
import { type Gatekeeper, isObject, numberOf, objectOf, objectsOf, textOf } from './wire.ts'

/** OpenAI Chat Completions. */
export const chat = {
  path: '/chat/completions',

  bodyOf(body: JsonObject, model: string): JsonObject {
    return { ...body, model }
  },

  usageOf({ usage }: JsonObject): Usage | undefined {
    if (!isObject(usage)) return undefined
    const reasoningTokens = numberOf(objectOf(usage.completion_tokens_details).reasoning_tokens)
    return {
      inputTokens: numberOf(usage.prompt_tokens),
      outputTokens: numberOf(usage.completion_tokens),
      cachedTokens: numberOf(objectOf(usage.prompt_tokens_details).cached_tokens),
      ...(reasoningTokens ? { reasoningTokens } : {}),
    }
  },

  async judge({ choices }: JsonObject, gate: Gatekeeper): Promise<void> {
    for (const choice of objectsOf(choices)) {
      const message = objectOf(choice.message)
      if (!Array.isArray(message.tool_calls)) continue
      const kept: Json[] = []
      for (const call of objectsOf(message.tool_calls)) {
        const said = await gate.ask(toolCallOf(call))
        if (said === undefined) kept.push(call)
        else message.content = message.content ? `${textOf(message.content)}\n\n${said}` : said
      }
      if (kept.length > 0) message.tool_calls = kept
      else {
        delete message.tool_calls
        choice.finish_reason = 'stop'
      }
    }
  },
}

/** Of a function, or of a custom tool, whose input is free text. */
function toolCallOf({ id, function: called, custom }: JsonObject): ToolCall {
  const { name, arguments: args } = objectOf(called)
  const own = objectOf(custom)
  return { id: textOf(id), name: textOf(name ?? own.name), arguments: textOf(args ?? own.input) }
}
