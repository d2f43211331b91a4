import { MusterError } from '@muster/protocol'
import { ACCESS_KEY, bedrockServer, frame, SECRET_KEY, stream } from '@muster/stack/bedrock-server'
import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { type Answer, failure, hang, says, status, vendors } from './fixture.ts'
import type { ModelReply } from './message.ts'
import { createModels } from './models.ts'
import type { Route } from './route/rule.ts'
import type { Target } from './target.ts'

const price = { inputUsd: 1, cachedUsd: 1, outputUsd: 1 }
const servers = vendors([1, 2, 3])
const calls = () => servers.map((one) => one.calls)
const host = (at: number) => servers[at]?.name ?? ''
const route = (more: Partial<Target> = {}) =>
  createModels({ routes: { default: servers.map(({ target }) => ({ ...target, ...more })) as unknown as Route } })
const behave = (...answers: Answer[]) => {
  for (const [i, answer] of answers.entries()) {
    const one = servers[i]
    if (one) one.answer = answer
  }
}
const messages = [{ role: 'user' as const, content: 'hello' }]

const reset: Answer = (response) => response.socket?.resetAndDestroy()
const chunk = (content: string, finish_reason: string | null = null) =>
  `data: ${JSON.stringify({ id: 'c', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{ index: 0, delta: { role: 'assistant', content }, finish_reason }] })}\n\n`
const writes =
  (text: string, end: 'whole' | 'cut' | 'reset' = 'whole'): Answer =>
  (response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    for (const char of text) response.write(chunk(char))
    if (end === 'reset') response.write(': \n\n', () => response.socket?.resetAndDestroy())
    else if (end === 'cut') response.end()
    else {
      const counted = { prompt_tokens: 10, completion_tokens: 5, total_tokens: 15 }
      response.end(
        `${chunk('', 'stop')}data: ${JSON.stringify({ id: 'c', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [], usage: counted })}\n\ndata: [DONE]\n\n`,
      )
    }
  }
describe('a route of several targets', () => {
  it('asks the first alone while that answers, and says so', async () => {
    behave(says, says, says)
    expect(await route().invoke('default', { messages })).toMatchObject({ costUsd: 15e-6, via: { target: host(0) } })
    expect(calls()).toEqual([1, 0, 0])
  })

  it.each([
    ['500', status(500), 'model.unavailable'],
    ['429', status(429), 'rate.limited'],
    ['a quota that is used up', status(429, {}, { message: 'pay', code: 'insufficient_quota' }), 'model.failed'],
    ['a balance', status(429, {}, { code: 'credit_balance_exhausted', type: 'insufficient_quota' }), 'model.failed'],
    [
      'a limit of money',
      status(429, {}, { type: 'rate_limit_error', details: { error_code: 'enforced_spend_limit_reached' } }),
      'model.failed',
    ],
    ['a bill', status(402), 'model.failed'],
    ['a reset', reset, 'model.unavailable'],
  ])('asks the next after %s, within the same call, and counts what that costs', async (_, answer, code) => {
    behave(answer, reset, says)
    const reply = await route().invoke('default', { messages })
    const passed = [
      { target: host(0), code },
      { target: host(1), code: 'model.unavailable' },
    ]
    expect(reply).toMatchObject({ text: 'Good day.', costUsd: 45e-6, via: { target: host(2), passed } })
    expect(calls()).toEqual([1, 1, 1])
  })

  it('asks the next where one hangs, before its headers or after', async () => {
    behave(
      hang,
      (response) => response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders(),
      writes('x'),
    )
    const written: string[] = []
    const reply = await route({ timeoutMs: 300 }).invoke('default', { messages, onDelta: (text) => written.push(text) })
    expect([reply.text, written, calls()]).toEqual(['x', ['x'], [1, 1, 1]])
  })

  it.each([400, 401, 404])('does not hide an HTTP %i', async (code) => {
    behave(status(code), says)
    expect((await failure(route().invoke('default', { messages }))).code).toBe('model.failed')
    expect(calls()).toEqual([1, 0, 0])
  })

  it.each([
    [429, 'rate.limited'],
    [503, 'model.unavailable'],
  ])(
    'leaves a target alone for as long as its %i asked to wait, and says when the first is back',
    async (busy, code) => {
      behave(status(busy, { 'retry-after': '60' }), status(busy, { 'retry-after': '30' }), says)
      const models = route()
      for (let i = 0; i < 3; i++) await models.invoke('default', { messages })
      expect(calls()).toEqual([1, 1, 3])
      behave(hang, hang, status(busy, { 'retry-after': '45' }))
      const error = await failure(models.invoke('default', { messages }))
      expect(error.code).toBe(code)
      expect(error.retryAfterMs).toBeGreaterThan(20_000)
      expect(error.retryAfterMs).toBeLessThanOrEqual(30_000)
      expect((await failure(models.invoke('default', { messages }))).code).toBe('rate.limited')
      expect(calls()).toEqual([1, 1, 4])
      vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 61_000 })
      behave(says)
      expect((await models.invoke('default', { messages })).via).toEqual({ target: host(0) })
      vi.useRealTimers()
    },
  )

  it('tells of all where none answers, and of no key', async () => {
    behave(status(500, {}, { message: 'no key-of-0' }), status(429, { 'retry-after': '1' }), reset)
    const error = await failure(route().invoke('default', { messages }))
    expect(error).toMatchObject({ code: 'model.unavailable', retryAfterMs: undefined })
    expect(error.message).toContain(`${host(0)}: m0: 500 no ***; then ${host(1)}: m1: 429 no; then ${host(2)}: m2: `)
  })

  it('shows no byte twice and none of two answers, however its streams break', async () => {
    const kind = fc.oneof(
      fc.constantFrom(status(500), status(429), reset).map((answer) => ({ answer, text: '', fails: true })),
      fc
        .tuple(fc.string({ maxLength: 5 }), fc.constantFrom('cut' as const, 'reset' as const))
        .map(([text, end]) => ({ answer: writes(text, end), text, fails: true })),
      fc.string({ minLength: 1, maxLength: 5 }).map((text) => ({ answer: writes(text), text, fails: false })),
    )
    await fc.assert(
      fc.asyncProperty(fc.tuple(kind, kind, kind), async (kinds) => {
        behave(...kinds.map(({ answer }) => answer))
        for (const one of servers) one.calls = 0
        let written = ''
        const asked = route().invoke('default', {
          messages,
          onDelta: (text) => {
            written += text
          },
        })
        const reply: ModelReply | undefined = await asked.catch((error) => {
          expect(error).toBeInstanceOf(MusterError)
          return undefined
        })
        // Whoever has begun to write is the last who is asked.
        const last = calls().findLastIndex((count) => count > 0)
        const { text, fails } = kinds[last] ?? { text: '', fails: true }
        expect(reply === undefined).toBe(fails)
        if (reply) expect([reply.text, written]).toEqual([text, text])
        else expect(text.startsWith(written)).toBe(true)
        if (fails && last < 2) expect(written).not.toBe('')
        expect(calls().every((count, i) => count > 0 === i <= last)).toBe(true)
      }),
      { numRuns: 150 },
    )
  }, 90_000)

  it('goes from one vendor to another, with the conversation as that wants it', async () => {
    vi.stubEnv('AWS_ACCESS_KEY_ID', ACCESS_KEY)
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', SECRET_KEY)
    const aws = await bedrockServer((response) =>
      stream(response, [
        frame('contentBlockDelta', { contentBlockIndex: 0, delta: { text: 'Good day.' } }),
        frame('messageStop', { stopReason: 'end_turn' }),
        frame('metadata', { usage: { inputTokens: 1, outputTokens: 1, totalTokens: 2 } }),
      ]),
    )
    try {
      behave(status(503))
      const claude = { bedrock: { model: 'claude', region: 'eu-central-1', endpoint: aws.endpoint }, price }
      const models = createModels({ routes: { default: [servers[0]?.target as Target, claude] } })
      const reasoning = { by: 'openai x', items: [{ type: 'reasoning', encrypted_content: 'sealed' }] }
      const reply = await models.invoke('default', {
        messages: [...messages, { role: 'assistant', content: 'Yes?', reasoning }, ...messages],
        onDelta: () => {},
      })
      expect(reply).toMatchObject({
        ...{ text: 'Good day.', model: 'claude', costUsd: 2e-6 },
        via: { target: 'bedrock eu-central-1 claude', passed: [{ target: host(0), code: 'model.unavailable' }] },
      })
      expect(JSON.stringify(aws.seen)).not.toContain('sealed')
    } finally {
      aws.close()
      vi.unstubAllEnvs()
    }
  })

  it('an abort is not passed on to the next', async () => {
    const abort = new AbortController()
    behave(() => abort.abort(), says)
    await expect(route().invoke('default', { messages, signal: abort.signal })).rejects.not.toBeInstanceOf(MusterError)
    expect(calls()).toEqual([1, 0, 0])
  })

  it('reserves what its dearest target costs, and nothing where one has no price', () => {
    const cheap = createModels({ routes: { default: servers[0]?.target as Target } })
    expect(route().reserveUsd('default', { messages })).toBeCloseTo(3 * cheap.reserveUsd('default', { messages }), 12)
    const unknown = { model: 'm', apiKey: 'none' }
    const models = createModels({ routes: { default: [servers[0]?.target as Target, unknown] } })
    expect(() => models.reserveUsd('default', { messages })).toThrow('no price for m')
  })
})
