import { LLMock } from '@copilotkit/aimock'

/** One turn of the scripted model: calls of tools, or the answer. */
type Turn = { calls: { name: string; arguments: object }[] } | { answer: unknown }

/** A model server in the OpenAI wire format: in each run it plays the turns that the run's input lists. */
export async function startModel(): Promise<{ url: string; stop(): Promise<void> }> {
  const server = new LLMock({ port: 0, logLevel: 'silent' })
  server.on({}, (request) => {
    const from = request.messages.findLastIndex(
      (message) => message.role === 'user' && String(message.content).startsWith('{"turns"'),
    )
    const user = request.messages[from]
    if (!user) return { content: 'a plain answer' }
    const { turns }: { turns: Turn[] } = JSON.parse(String(user.content))
    const played = request.messages.slice(from).filter((message) => message.role === 'assistant').length
    const turn = turns[played] ?? { answer: 'out of turns' }
    if ('answer' in turn) {
      // An answer of '$messages' gives back what the model was shown, for tests of memory.
      const answer = turn.answer === '$messages' ? request.messages : turn.answer
      return { content: JSON.stringify({ answer }) }
    }
    return { toolCalls: turn.calls.map((call) => ({ name: call.name, arguments: JSON.stringify(call.arguments) })) }
  })
  const url = await server.start()
  return { url, stop: () => server.stop() }
}
