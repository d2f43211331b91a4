import type { Json } from '@muster/protocol'
import { isObject, type JsonObject } from './json.ts'

/** By which a vendor is let in at an MCP server, in OpenAI's words and in Anthropic's. */
const CREDENTIALS = ['authorization', 'headers', 'authorization_token'] as const
const HIDDEN = '[hidden]'

/**
 * A request, or an answer that repeats it, without what lets the vendor in at MCP servers: it alone is told that. The same
 * object where there is none.
 */
export function withoutCredentials(body: JsonObject): JsonObject {
  let hidden = body
  const hide = (name: string, hiddenOf: (one: JsonObject) => JsonObject) => {
    const list = hiddenIn(body[name], hiddenOf)
    if (list !== undefined && list !== body[name]) hidden = { ...hidden, [name]: list }
  }
  hide('tools', ofTool)
  hide('mcp_servers', ofTool)
  // Some items of a conversation bring tools.
  hide('input', withTools)
  return hidden
}

function hiddenIn(list: Json | undefined, hiddenOf: (one: JsonObject) => JsonObject): Json | undefined {
  if (!Array.isArray(list)) return list
  let hidden: Json[] | undefined
  for (const [at, one] of list.entries()) {
    if (!isObject(one)) continue
    const is = hiddenOf(one)
    if (is === one) continue
    hidden ??= [...list]
    hidden[at] = is
  }
  return hidden ?? list
}

function withTools(one: JsonObject): JsonObject {
  const tools = hiddenIn(one.tools, ofTool)
  return tools === undefined || tools === one.tools ? one : { ...one, tools }
}

function ofTool(tool: JsonObject): JsonObject {
  let hidden = withTools(tool)
  for (const name of CREDENTIALS)
    if (tool[name] !== undefined && tool[name] !== null) hidden = { ...hidden, [name]: HIDDEN }
  return hidden
}
