import type { JsonSchema } from '@muster/protocol'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { watched } from './fixture.ts'
import { createModels } from './models.ts'
import { parametersOf, unwrapped, withReferences, wrapped } from './object-schema.ts'
import { says, vendor } from './relay/fixture.ts'

const byCard: JsonSchema = {
  type: 'object',
  properties: { way: { type: 'string', const: 'card' }, number: { type: 'string' } },
  required: ['way', 'number'],
  additionalProperties: false,
}
const byBank: JsonSchema = {
  type: 'object',
  properties: { way: { type: 'string', const: 'bank' }, iban: { type: 'string' } },
  required: ['way', 'iban'],
  additionalProperties: false,
}
const either: JsonSchema = {
  type: 'object',
  properties: {
    way: { anyOf: [byCard.properties, byBank.properties].map((fields) => (fields as { way: object }).way) },
    number: { type: 'string' },
    iban: { type: 'string' },
  },
  required: ['way'],
  description: 'One of these sets of fields: way, number | way, iban',
}

describe('parameters of a tool', () => {
  it('are an object that may have the fields of each, where there is a choice', () => {
    expect(parametersOf({ oneOf: [byCard, byBank] })).toEqual(either)
    const $defs = { card: byCard, bank: { allOf: [byBank] } }
    const refs = { anyOf: [{ $ref: '#/$defs/card' }, { $ref: '#/$defs/bank' }], $defs }
    expect(parametersOf(refs)).toEqual({ ...either, $defs })
    expect(parametersOf({ $ref: '#/$defs/card', $defs })).toEqual({ ...byCard, $defs })
  })

  it('keep what they are besides', () => {
    const properties = { route: { type: 'string' }, file: { type: 'string' }, depth: { type: 'number' } }
    const of = { type: 'object', description: 'Where.', properties, required: ['depth'] }
    expect(parametersOf({ ...of, anyOf: [{ required: ['route'] }, { required: ['file'] }] })).toEqual({
      ...of,
      description: 'Where.\nOne of these sets of fields: route | file',
    })
    expect(parametersOf({ allOf: [byCard, { properties: { note: { type: 'string' } }, required: ['note'] }] })).toEqual(
      {
        type: 'object',
        properties: { ...(byCard.properties as object), note: { type: 'string' } },
        required: ['way', 'number', 'note'],
      },
    )
    const record = { type: 'object', additionalProperties: { type: 'number' } }
    for (const same of [byCard, record, { type: 'string' }]) expect(parametersOf(same)).toBe(same)
    expect(parametersOf({})).toEqual({ type: 'object' })
  })

  it('are read once, and end where they refer to themselves', () => {
    const $defs = { one: { anyOf: [{ $ref: '#/$defs/one' }, byCard] } }
    expect(parametersOf({ $ref: '#/$defs/one', $defs }).properties).toEqual(byCard.properties)
    const deep: JsonSchema = { d40: byCard }
    for (let at = 0; at < 40; at++) deep[`d${at}`] = { anyOf: [1, 2].map(() => ({ $ref: `#/$defs/d${at + 1}` })) }
    expect(parametersOf({ $ref: '#/$defs/d0', $defs: deep }).properties).toEqual(byCard.properties)
  })

  it('may be given by a reference, each of them, and are else as they were', () => {
    const schema = { type: 'object', properties: { amount: { type: 'number' } }, required: ['amount'] }
    const reference = {
      type: 'object',
      properties: { $ref: { type: 'string' } },
      required: ['$ref'],
      additionalProperties: false,
    }
    expect(withReferences(schema)).toEqual({
      ...schema,
      properties: { amount: { anyOf: [{ type: 'number' }, reference] } },
    })
    expect(schema.properties.amount).toEqual({ type: 'number' })
    expect(withReferences({ oneOf: [byCard, byBank] }).properties).toMatchObject({
      iban: { anyOf: [{ type: 'string' }, reference] },
    })
    expect(withReferences({ type: 'string' })).toEqual({ type: 'string' })
  })
})

describe('an answer that is no object', () => {
  const list = { name: 'answer', schema: { type: 'array', items: { type: 'number' } } }
  let upstream: Awaited<ReturnType<typeof vendor>>
  beforeAll(async () => {
    upstream = await vendor()
  })
  afterAll(() => upstream.close())

  const answers = {
    chat: (content: string) => ({
      choices: [{ index: 0, finish_reason: 'stop', message: { role: 'assistant', content } }],
      usage: { prompt_tokens: 1, completion_tokens: 1 },
    }),
    responses: (text: string) => ({
      ...{ status: 'completed', usage: { input_tokens: 1, output_tokens: 1 } },
      output: [{ type: 'message', content: [{ type: 'output_text', text }] }],
    }),
    messages: (text: string) => ({
      ...{ stop_reason: 'end_turn', usage: { input_tokens: 1, output_tokens: 1 }, content: [{ type: 'text', text }] },
    }),
  }
  it.each(['chat', 'responses', 'messages'] as const)(
    'is asked of %s as the field of one, and shown whole',
    async (api) => {
      const target =
        api === 'messages'
          ? { anthropic: { model: 'm', baseUrl: upstream.url }, apiKey: 'k' }
          : { model: 'm', baseUrl: `${upstream.url}/v1`, apiKey: 'k', api }
      const models = createModels({ routes: { default: target } })
      upstream.behave = says(answers[api]('{"value":[1,2,9007199254740993]}'))
      const tools = [{ name: 'pay', description: 'Pays.', parameters: { oneOf: [byCard, byBank] } }]
      const asked = { messages: [{ role: 'user' as const, content: 'x' }], tools, output: list }
      const { reply, written } = await watched(models, asked)
      expect([reply.text, written]).toEqual(['[1,2,9007199254740993]', ''])
      const { body } = upstream.asked.at(-1) ?? {}
      const format = {
        chat: body?.response_format,
        responses: body?.text,
        messages: body?.output_config,
      }[api]
      expect(JSON.stringify(format)).toContain('"properties":{"value":{"type":"array","items":{"type":"number"}}}')
      expect(JSON.stringify(body?.tools)).toContain(JSON.stringify(either.properties))
      upstream.behave = says(answers[api]('[3]'))
      expect((await models.invoke('default', asked)).text).toBe('[3]')
    },
  )

  it('is wrapped with all that it refers to', () => {
    const tree = { anyOf: [{ type: 'string' }, { type: 'array', items: { $ref: '#' } }, { $ref: '#/$defs/leaf' }] }
    const $defs = { leaf: { type: 'null' } }
    expect(wrapped({ name: 'answer', schema: { ...tree, $defs } })?.schema).toMatchObject({
      properties: {
        value: { anyOf: [{ type: 'string' }, { items: { $ref: '#/properties/value' } }, { $ref: '#/$defs/leaf' }] },
      },
      $defs,
    })
    expect(wrapped({ name: 'answer', schema: { type: 'object' } })).toBeUndefined()
    expect(['{"value":1,"k":2}', '"x"', 'no JSON'].map(unwrapped)).toEqual(['{"value":1,"k":2}', '"x"', 'no JSON'])
  })
})
