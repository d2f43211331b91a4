import fc from 'fast-check'
import { encode } from 'gpt-tokenizer/encoding/o200k_base'
import { expect, it } from 'vitest'
import type { ModelRequest } from './message.ts'
import { createModels } from './models.ts'

const openai = { model: 'gpt-5-mini', apiKey: 'k' }
const models = createModels({
  routes: {
    default: openai,
    other: { model: 'qwen3', baseUrl: 'http://127.0.0.1:1/v1', apiKey: '' },
    both: [openai, { bedrock: { model: 'eu.openai.gpt-oss-120b-1:0', region: 'eu-central-1' } }],
    mixed: [openai, { bedrock: { model: 'eu.amazon.nova-pro-v1:0', region: 'eu-central-1' } }],
  },
})
const ask = (content: string): ModelRequest => ({ messages: [{ role: 'user', content }] })
const none = { disallowedSpecial: new Set<string>() }

it('are counted as the tokenizer does, a little high, whatever the text says', () => {
  const text = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 600 }),
    fc.string({ unit: 'grapheme', maxLength: 600 }),
    fc
      .array(fc.constantFrom('word ', '\n', '<|endoftext|>', '字', '{"a":1}'), { maxLength: 300 })
      .map((all) => all.join('')),
  )
  fc.assert(
    fc.property(text, (content) => {
      const exact = encode(content, none).length
      const pieces = Math.ceil(content.length / 256)
      const counted = models.inputTokens('default', ask(content)) - 4
      // Where a piece ends within a word or a character, a few tokens more.
      expect(counted).toBeGreaterThanOrEqual(exact - 4 * pieces)
      expect(counted).toBeLessThanOrEqual(exact + 8 * pieces)
    }),
    { numRuns: 200 },
  )
})

it('of a long text are worked out from parts of it, and of endless words in time', () => {
  const prose = 'The invoice of the third quarter is paid. '
  const exact = encode(prose.repeat(100)).length * 1000
  const counted = models.inputTokens('default', ask(prose.repeat(100_000)))
  expect(counted / exact).toBeGreaterThan(0.95)
  expect(counted / exact).toBeLessThan(1.2)
  // By the whole, these take minutes.
  for (const word of ['a', ' ', '字', 'ab'])
    expect(models.inputTokens('default', ask(word.repeat(1_000_000)))).toBeGreaterThan(1000)
})

it('are estimated for others, and a route has as many as where it has the most', () => {
  const request: ModelRequest = {
    ...ask('word '.repeat(3000)),
    tools: [{ name: 'look', description: 'Looks.', parameters: { type: 'object', properties: {} } }],
    output: { name: 'answer', schema: { type: 'object', properties: { a: { type: 'string' } } } },
  }
  request.messages.push(
    { role: 'assistant', content: null, toolCalls: [{ id: 'c', name: 'look', arguments: '{"a":"b"}' }] },
    { role: 'tool', callId: 'c', content: 'ok' },
  )
  const bytes = Buffer.byteLength(JSON.stringify([request.messages, request.tools, request.output]))
  expect(models.inputTokens('other', request)).toBe(Math.ceil(bytes / 3))
  expect(models.inputTokens('mixed', request)).toBe(Math.ceil(bytes / 3))
  expect(models.inputTokens('both', request)).toBe(models.inputTokens('default', request))
  expect(models.inputTokens('default', request)).toBeGreaterThan(3000)
  expect(models.inputTokens('default', request)).toBeLessThan(3200)
  expect(models.reserveTokens(request)).toBe(Math.ceil(bytes / 3) + 4096)
})
