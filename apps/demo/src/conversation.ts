import { z } from 'zod'

const content = z
  .union([z.string(), z.null(), z.array(z.object({ text: z.string().default('') }))])
  .optional()
  .transform((given) => (typeof given === 'string' ? given : (given ?? []).map((part) => part.text).join('')))

/** Messages and tools of a request in the Chat Completions format, as far as the script reads them. */
const chatRequest = z.object({
  messages: z.array(
    z.object({
      role: z.string(),
      content,
      tool_calls: z
        .array(z.object({ id: z.string(), function: z.object({ name: z.string(), arguments: z.string() }) }))
        .nullish(),
      tool_call_id: z.string().optional(),
    }),
  ),
  tools: z.array(z.object({ function: z.object({ name: z.string() }).optional() })).nullish(),
  response_format: z.unknown().optional(),
})
export type ChatRequest = z.input<typeof chatRequest>

/** What a tool gave to the model: its output and the reference to it, or the error. */
const result = z.union([
  z.object({ ref: z.string(), output: z.unknown() }),
  z.object({ error: z.object({ code: z.string(), message: z.string() }) }),
])

export interface Called {
  name: string
  /** Reference to the output, to which a field may be added. */
  ref: string
  output: unknown
  error: { code: string; message: string } | undefined
}

export interface Conversation {
  /** The run's input, as the first user message holds it. */
  input: string
  /** Calls that have been answered, in order. */
  calls: Called[]
  tools: ReadonlySet<string>
}

export function readConversation(request: ChatRequest): Conversation {
  const { messages, tools } = chatRequest.parse(request)
  const asked = new Map<string, string>()
  const calls: Called[] = []
  for (const message of messages) {
    for (const call of message.tool_calls ?? []) asked.set(call.id, call.function.name)
    const name = message.role === 'tool' ? asked.get(message.tool_call_id ?? '') : undefined
    if (name !== undefined) calls.push({ name, ...readResult(message.content) })
  }
  return {
    input: messages.find((message) => message.role === 'user')?.content ?? '',
    calls,
    tools: new Set((tools ?? []).flatMap((tool) => tool.function?.name ?? [])),
  }
}

function readResult(text: string): Omit<Called, 'name'> {
  const unreadable = { code: 'output.invalid', message: 'the result of the tool cannot be read' }
  try {
    const found = result.safeParse(JSON.parse(text)).data
    if (found === undefined) return { ref: '', output: undefined, error: unreadable }
    if ('error' in found) return { ref: '', output: undefined, error: found.error }
    return { ...found, error: undefined }
  } catch {
    return { ref: '', output: undefined, error: unreadable }
  }
}
