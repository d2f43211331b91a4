import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { EntryOf } from '@muster/protocol'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { actor } from './fixtures/app.ts'
import { type Harness, runCli, startHarness } from './harness.ts'

const reasoning = { type: 'reasoning', id: 'rs_1', summary: [], encrypted_content: 'c2VhbGVk' }
const secret = 'sk-of-the-first-target'

let harness: Harness
let first: Server
const bodies: { input: unknown[] }[] = []
/** Calls that it answers before it is overloaded. */
const answers = 1

beforeAll(async () => {
  // Speaks OpenAI Responses.
  first = createServer(async (request, response) => {
    let text = ''
    for await (const part of request) text += part
    bodies.push(JSON.parse(text))
    if (bodies.length > answers) {
      response.writeHead(503, { 'content-type': 'application/json' })
      response.end(JSON.stringify({ error: { message: `overloaded, ${request.headers.authorization}` } }))
      return
    }
    const call = { type: 'function_call', call_id: 'c1', name: 'math_add', arguments: '{"a":1,"b":2}' }
    const usage = {
      ...{ input_tokens: 100, output_tokens: 50, total_tokens: 150 },
      ...{ input_tokens_details: { cached_tokens: 0 }, output_tokens_details: { reasoning_tokens: 40 } },
    }
    const whole = { id: 'r', model: 'thinker', status: 'completed', output: [reasoning, call], usage }
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.end(
      `event: response.completed\ndata: ${JSON.stringify({ type: 'response.completed', response: whole })}\n\n`,
    )
  })
  await new Promise<void>((resolve) => first.listen(0, '127.0.0.1', resolve))
  harness = await startHarness()
  const price = { inputUsd: 10, cachedUsd: 1, outputUsd: 20 }
  const baseUrl = `http://127.0.0.1:${(first.address() as AddressInfo).port}/v1`
  await harness.worker({
    FIRST_KEY: secret,
    MUSTER_MODELS: JSON.stringify({
      default: [
        { openai: { model: 'thinker', baseUrl, api: 'responses' }, key: 'FIRST_KEY', price },
        {
          openai: { model: 'scripted', baseUrl: `${harness.modelUrl}/v1` },
          price: { inputUsd: 0, cachedUsd: 0, outputUsd: 0 },
        },
      ],
    }),
  })
})
afterAll(async () => {
  await harness.close()
  first.closeAllConnections()
  first.close()
})

describe('a route of two targets', () => {
  it('goes over to the second within a step, and the journal and the trace say which answered and why', async () => {
    const turns = [{ calls: [] }, { answer: 3 }]
    const run = await harness.muster.runs.start(actor, { turns })
    expect(await run.result()).toEqual({ answer: 3 })
    const [one, two] = bodies
    expect(one?.input.map((item) => (item as { role: string }).role)).toEqual(['system', 'user'])
    // What was thought went through the journal, and came back to who had thought it.
    expect(two?.input[2]).toEqual(reasoning)
    const steps: EntryOf<'step.ended'>[] = []
    for await (const { entry } of run.events())
      if (entry.type === 'step.ended' && entry.kind === 'model') steps.push(entry)
    const host = `127.0.0.1:${(first.address() as AddressInfo).port} thinker`
    const scripted = `${new URL(harness.modelUrl).host} scripted`
    expect(steps).toMatchObject([
      { v: 3, model: 'thinker', via: { target: host }, usage: { reasoningTokens: 40 } },
      {
        v: 3,
        via: { target: scripted, passed: [{ target: host, code: 'model.unavailable' }] },
        costUsd: 0,
      },
    ])
    expect(steps[0]?.costUsd).toBeCloseTo((100 * 10 + 50 * 20) / 1e6, 12)
    expect((await run.get()).costUsd).toBeCloseTo(steps[0]?.costUsd ?? 0, 12)
    const cli = { MUSTER_URL: harness.url, MUSTER_KEY: harness.key }
    const { out } = await runCli(['trace', run.id], cli)
    expect(out).toContain(`via ${scripted}, not ${host} (model.unavailable)`)
    expect(await runCli(['verify', run.id], cli)).toMatchObject({ code: 0 })
    const { out: json } = await runCli(['trace', run.id, '--json'], cli)
    expect(json).toContain('"passed"')
    expect(json).not.toContain(secret)
  })

  it('is refused before it starts where a variable with a key is missing', async () => {
    const MUSTER_MODELS = JSON.stringify({ default: [{ openai: { model: 'm' }, key: 'NO_SUCH_KEY' }] })
    await expect(harness.worker({ MUSTER_MODELS })).rejects.toThrow(
      'MUSTER_MODELS/default/0/key: there is no variable NO_SUCH_KEY with the key',
    )
  })
})
