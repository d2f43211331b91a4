import type { ServerResponse } from 'node:http'
import { fileURLToPath } from 'node:url'
import { ACCESS_KEY, bedrockServer, frame, refuse, SECRET_KEY, type Seen, stream } from '@muster/stack/bedrock-server'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { advise, settle } from './fixtures/bedrock-agents-app.ts'
import { type Harness, startHarness } from './harness.ts'

let harness: Harness
let answer: (response: ServerResponse, seen: Seen) => void
let bedrock: Awaited<ReturnType<typeof bedrockServer>>

beforeAll(async () => {
  bedrock = await bedrockServer((response, seen) => answer(response, seen))
  harness = await startHarness()
  await harness.worker({
    MUSTER_APP: fileURLToPath(new URL('./fixtures/bedrock-agents-app.ts', import.meta.url)),
    MUSTER_POLICY: fileURLToPath(new URL('./fixtures/bedrock-agents.cedar', import.meta.url)),
    BEDROCK_AGENTS: bedrock.endpoint,
    AWS_ACCESS_KEY_ID: ACCESS_KEY,
    AWS_SECRET_ACCESS_KEY: SECRET_KEY,
  })
})
beforeEach(() => {
  bedrock.seen.length = 0
})
afterAll(async () => {
  await harness.close()
  bedrock.close()
})

const chunk = (text: string, more: object = {}) =>
  frame('chunk', { bytes: Buffer.from(text).toString('base64'), ...more })
const model = (inputTokens: number, outputTokens: number) =>
  frame('trace', {
    sessionId: 's',
    trace: {
      orchestrationTrace: {
        modelInvocationOutput: { traceId: 't-1', metadata: { usage: { inputTokens, outputTokens } } },
      },
    },
  })
const wants = (...calls: [name: string, parameters: Record<string, string>][]) =>
  frame('returnControl', {
    invocationId: 'inv-1',
    invocationInputs: calls.map(([name, parameters]) => ({
      functionInvocationInput: {
        actionGroup: 'muster',
        function: name,
        parameters: Object.entries(parameters).map(([name, value]) => ({ name, type: 'string', value })),
      },
    })),
  })

describe('an inline agent', () => {
  it('has our tools called as steps that are decided on, and is told what they gave or were refused for', async () => {
    answer = (response, { body }) => {
      if (!body.inlineSessionState)
        stream(response, [
          model(100, 10),
          wants(['claims_find', { id: 'C-12', year: '2026' }], ['claims_close', { id: 'C-12' }], ['claims_burn', {}]),
        ])
      else stream(response, [model(200, 20), chunk('It is '), chunk('2030.')])
    }
    const run = await harness.muster.runs.start(settle, { text: 'What of claim C-12?' })
    expect(await run.result()).toMatchObject({
      text: 'It is 2030.',
      usage: { inputTokens: 300, outputTokens: 30 },
      trace: [
        { what: 'model', id: 't-1' },
        { what: 'model', id: 't-1' },
      ],
    })
    const [first, second] = bedrock.seen.map(({ body }) => body)
    expect(first).toMatchObject({
      inputText: 'What of claim C-12?',
      foundationModel: 'eu.amazon.nova-pro-v1:0',
      enableTrace: true,
      actionGroups: [
        {
          actionGroupExecutor: { customControl: 'RETURN_CONTROL' },
          functionSchema: {
            functions: [
              {
                name: 'claims_find',
                description: 'Finds a claim.',
                parameters: {
                  id: { type: 'string', description: 'of the claim', required: true },
                  year: { type: 'integer', required: false },
                },
              },
              { name: 'claims_close' },
            ],
          },
        },
      ],
    })
    const told = (second as { inlineSessionState: { returnControlInvocationResults: unknown[] } }).inlineSessionState
    const result = (name: string, body: unknown) => ({
      functionResult: { actionGroup: 'muster', function: name, responseBody: { TEXT: { body } } },
    })
    expect(told).toEqual({
      invocationId: 'inv-1',
      returnControlInvocationResults: [
        result('claims_find', '{"amount":2030}'),
        result('claims_close', expect.stringMatching(/^policy\.denied: .*nobody-closes/)),
        result('claims_burn', 'there is no tool "claims_burn"'),
      ],
    })
    // The same conversation, under a name that no other run has.
    const sessions = bedrock.seen.map(({ path }) => path)
    expect(new Set(sessions).size).toBe(1)
    expect(sessions[0]).toMatch(/^\/agents\/[0-9a-f]{64}$/)
    const intents: string[] = []
    for await (const { entry } of run.events())
      if (entry.type === 'step.intent') intents.push(`${entry.kind} ${entry.target} ${entry.decision.effect}`)
    expect(intents.filter((one) => one.startsWith('tool'))).toEqual(['tool claims.find allow'])
    // Its tokens are the run's, whose limits hold for them.
    expect((await run.get()).usage).toMatchObject({ inputTokens: 300, outputTokens: 30 })
  })
})

describe('an agent and a knowledge base of Bedrock', () => {
  it('are tools: asked, asked again where that may help, and told with what they rest on', async () => {
    const passage = {
      content: { text: 'Two years.' },
      location: { type: 'S3', s3Location: { uri: 's3://rules/terms.pdf' } },
    }
    let tries = 0
    answer = (response, { path }) => {
      const json = (value: object) => response.end(JSON.stringify(value))
      if (path === '/knowledgebases/KB00000001/retrieve') json({ retrievalResults: [{ ...passage, score: 0.5 }] })
      else if (path === '/retrieveAndGenerate')
        json({
          sessionId: 's',
          output: { text: 'It is two years.' },
          citations: [
            { generatedResponsePart: { textResponsePart: { text: 'two years' } }, retrievedReferences: [passage] },
          ],
        })
      else if (++tries === 1) refuse(response, 429, 'ThrottlingException', 'Too many requests')
      // A stream that is cut short is no answer.
      else if (tries === 2) stream(response, [model(5, 5)])
      else stream(response, [model(7, 3), chunk('Claim now.')])
    }
    const run = await harness.muster.runs.start(advise, { text: 'How long?' })
    const sources = [{ text: 'Two years.', at: 's3://rules/terms.pdf' }]
    expect(await run.result()).toEqual({
      results: [{ ...sources[0], score: 0.5 }],
      citations: [{ text: 'two years', sources }],
      advice: 'Claim now.',
      usage: { inputTokens: 7, outputTokens: 3 },
    })
    expect((await run.get()).usage).toMatchObject({ inputTokens: 7, outputTokens: 3 })
    expect(tries).toBe(3)
    expect(bedrock.seen.at(-1)).toMatchObject({
      path: expect.stringMatching(/^\/agents\/AGENT00001\/agentAliases\/ALIAS00001\/sessions\/[0-9a-f]{64}\/text$/),
      body: { inputText: 'How long? It is two years.', enableTrace: true },
    })
    expect((await run.get()).labels).toEqual(['untrusted'])
  })

  it('fails plainly where it is refused, and where it wants what only a plan can do', async () => {
    answer = (response, { path }) => {
      if (path.includes('/text')) stream(response, [wants(['claims_find', { id: 'C-1' }])])
      else if (path === '/retrieveAndGenerate') response.end(JSON.stringify({ output: { text: '' } }))
      else response.end(JSON.stringify({ retrievalResults: [] }))
    }
    const run = await harness.muster.runs.start(advise, { text: 'And now?' })
    await expect(run.result()).rejects.toMatchObject({
      message: expect.stringContaining('it wants claims_find called, which only a plan can: use ask()'),
    })
    answer = (response) => refuse(response, 403, 'AccessDeniedException', 'You may not')
    const refused = await harness.muster.runs.start(advise, { text: 'And now?' })
    await expect(refused.result()).rejects.toMatchObject({
      code: 'model.failed',
      message: expect.stringContaining('You may not'),
    })
  })
})
