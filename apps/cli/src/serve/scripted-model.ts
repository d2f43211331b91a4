import { LLMock } from '@copilotkit/aimock'
import { answer, type ChatRequest } from '@muster/demo'

/** Name that the price table has a nominal price for. */
export const SCRIPTED = 'scripted'

/** A local server with scripted answers, over real HTTP in the OpenAI wire format, for machines without a model key. */
export async function startScriptedModel(): Promise<{ baseUrl: string; stop(): Promise<void> }> {
  const server = new LLMock({ port: 0, host: '127.0.0.1', logLevel: 'silent' })
  server.on({}, (request) => {
    // Both follow the wire format of Chat Completions.
    const reply = answer(request as ChatRequest)
    if ('content' in reply) return reply
    if ('error' in reply) return { error: { message: reply.error, type: 'invalid_request_error' }, status: 400 }
    return {
      toolCalls: reply.toolCalls.map((call) => ({ name: call.name, arguments: JSON.stringify(call.arguments) })),
    }
  })
  const url = await server.start()
  return { baseUrl: `${url}/v1`, stop: () => server.stop() }
}
