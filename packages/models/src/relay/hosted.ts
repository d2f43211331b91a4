import type { ToolCall } from '../message.ts'
import { withoutCredentials } from './credentials.ts'
import { isObject, type JsonObject, objectsOf, textOf } from './json.ts'
import type { Dialect } from './request.ts'

/** Tools whose calls a client is given: they are decided on one by one. */
const OF_CLIENT: Record<'chat' | 'responses' | 'messages', ReadonlySet<string>> = {
  chat: new Set(['function', 'custom']),
  responses: new Set(['function', 'custom', 'namespace', 'local_shell', 'apply_patch', 'computer', 'computer_use']),
  messages: new Set(['custom', 'bash', 'text_editor', 'computer', 'memory', 'mcp_toolset']),
}
/** Looked for among those that the client has offered. */
const SEARCHED = 'tool_search'

/** What a client lets the vendor do by itself, so that nobody is asked about each call: each tool with its settings, once. */
export function hostedTools(dialect: Dialect, body: JsonObject): ToolCall[] {
  if (dialect === 'embeddings') return []
  const shown = withoutCredentials(body)
  const { tools, input, web_search_options, mcp_servers } = shown
  if (!(tools || web_search_options || mcp_servers || Array.isArray(input))) return []
  const ofClient = OF_CLIENT[dialect]
  const calls = offeredIn(shown).flatMap((tool) => {
    const name = nameOf(textOf(tool.type))
    const isClients = name === 'shell' ? !isContained(tool) : ofClient.has(name) || name.startsWith(SEARCHED)
    return isClients || name === '' ? [] : [callOf(name, tool)]
  })
  if (dialect === 'chat' && isObject(web_search_options)) calls.push(callOf('web_search', web_search_options))
  if (dialect === 'messages') calls.push(...objectsOf(mcp_servers).map((server) => callOf('mcp', server)))
  return [...new Map(calls.map((call) => [call.name + call.arguments, call])).values()]
}

/** Tools of a request, of the items of its conversation (`additional_tools`, `tool_search_output`), and of namespaces. */
function offeredIn({ tools, input }: JsonObject): JsonObject[] {
  const nested = objectsOf(tools).flatMap((tool) => (tool.tools ? [tool, ...offeredIn({ tools: tool.tools })] : [tool]))
  return [...nested, ...objectsOf(input).flatMap((item) => (item.tools ? offeredIn({ tools: item.tools }) : []))]
}

function callOf(name: string, settings: JsonObject): ToolCall {
  return { id: '', name, arguments: JSON.stringify(settings) }
}

/** One name for all versions, so that a policy holds for each: `web_search_preview_2025_03_11`, `web_search_20250305`. */
function nameOf(type: string): string {
  return type.replace(/_\d{4}_?\d{2}_?\d{2}$/, '').replace(/_preview$/, '')
}

/** A shell in a container of the vendor's. */
function isContained({ environment }: JsonObject): boolean {
  return isObject(environment) && textOf(environment.type).startsWith('container')
}
