import { setImmediate } from 'node:timers/promises'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createModels } from '../models.ts'
import { chunk, chunkOfUsage, DONE, functionCall, message, messageEvents, responseEvents, vendor } from './fixture.ts'
import type { Dialect } from './request.ts'

const servers: Awaited<ReturnType<typeof vendor>>[] = []
beforeAll(async () => {
  for (let i = 0; i < 2; i++) servers.push(await vendor())
})
afterAll(() => {
  for (const server of servers) server.close()
})

/** A stream of each dialect; texts of the two targets have nothing in common. */
const streamOf = {
  chat: (text: string) => [
    ...[...text].map((char) => chunk({ content: char })),
    chunk({ tool_calls: [{ index: 0, id: text, type: 'function', function: { name: 'f', arguments: text } }] }),
    chunk({}, 'tool_calls'),
    ...[chunkOfUsage, DONE],
  ],
  responses: (text: string) => responseEvents([message(text), functionCall(text, 'f', JSON.stringify(text))]),
  messages: (text: string) =>
    messageEvents(
      [
        { type: 'text', text },
        { type: 'tool_use', id: text, name: 'f', input: { text } },
      ],
      'tool_use',
    ),
}
/** What ends a stream well. */
const ENDS = { chat: DONE, responses: 'event: response.completed', messages: 'event: message_stop' }
const FAILS = { chat: 'data: {"error"', responses: 'event: response.failed', messages: 'event: error' }

const how = fc.record({
  /** In bytes of the whole, where it breaks; above all of it: not at all. */
  at: fc.integer({ min: 0, max: 6500 }),
  end: fc.constantFrom('close', 'reset'),
  /** Bytes that are written at a time. */
  pieces: fc.oneof(fc.integer({ min: 3, max: 50 }), fc.integer({ min: 1, max: 2000 })),
  lines: fc.constantFrom('\n', '\r\n', '\r'),
})

describe('a stream that breaks at any byte', () => {
  it('is delivered as a prefix of one target, and never taken for whole', async () => {
    const models = (dialect: 'chat' | 'responses' | 'messages') =>
      createModels({
        routes: {
          default: {
            breaker: false,
            targets: servers.map(({ url }) => {
              const common = { apiKey: 'none', free: true }
              if (dialect === 'messages') return { anthropic: { model: 'm', baseUrl: url }, ...common }
              return { model: 'm', baseUrl: url, api: dialect, ...common }
            }) as never, // two of them
          },
        },
      })
    const by = { chat: models('chat'), responses: models('responses'), messages: models('messages') }
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom<keyof typeof by>('chat', 'responses', 'messages'),
        fc.tuple(how, how),
        fc.boolean(),
        async (dialect, breaks, isGated) => {
          const texts = ['«первая»€', 'second 🙂 '].map((text) => streamOf[dialect](text))
          for (const [i, { at, end, pieces, lines }] of breaks.entries()) {
            const server = servers[i]
            if (!server) continue
            server.behave = async (response) => {
              response.writeHead(200, { 'content-type': 'text/event-stream' })
              const bytes = Buffer.from((texts[i] ?? []).join('').replaceAll('\n', lines)).subarray(0, at)
              for (let from = 0; from < bytes.length; from += pieces) {
                response.write(bytes.subarray(from, from + pieces))
                // Read before the next is written.
                await setImmediate()
              }
              if (end === 'close') response.end()
              else response.socket?.resetAndDestroy()
            }
          }
          const asks = dialect as Dialect
          const body = { model: 'default', stream: true }
          const { signal } = new AbortController()
          const gate = isGated ? { gate: async () => ({ allow: true as const }) } : {}
          let got = ''
          let relayed: Awaited<ReturnType<(typeof by)['chat']['relay']>>
          try {
            relayed = await by[dialect].relay('default', { dialect: asks, body, signal, idempotencyKey: 'i', ...gate })
          } catch (error) {
            expect(error).toMatchObject({ code: 'model.unavailable' })
            return
          }
          if (!('stream' in relayed.answer)) throw new Error('no stream')
          for await (const events of relayed.answer.stream) {
            expect(events.endsWith('\n\n')).toBe(true)
            got += events
          }
          const failedAt = got.lastIndexOf(FAILS[dialect])
          const told = failedAt === -1 ? got : got.slice(0, failedAt)
          const whole = texts.map((events) => events.filter((event) => event !== chunkOfUsage).join(''))
          expect(whole.filter((text) => text.startsWith(told))).not.toEqual([])
          expect(told).not.toBe('')
          const ended = await relayed.done.then(
            () => true,
            () => false,
          )
          expect([ended, got.includes(ENDS[dialect]), whole.includes(got)]).toEqual(Array(3).fill(failedAt === -1))
        },
      ),
      // 10,000 by hand: `RELAY_CASES=10000 vitest run …/broken.test.ts`.
      { numRuns: Number(process.env.RELAY_CASES ?? 300) },
    )
  }, 600_000)
})
