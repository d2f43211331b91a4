import { transformJSONSchema } from '@anthropic-ai/sdk/lib/transform-json-schema'
import { type JsonSchema, MusterError } from '@muster/protocol'
import { describe, expect, it } from 'vitest'
import { plainSchema } from './plain-schema.ts'

const invoice: JsonSchema = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  type: 'object',
  properties: {
    count: { type: 'integer', minimum: 1, maximum: 9 },
    mail: { type: 'string', format: 'email', pattern: '^(?!x).*$' },
    site: { type: 'string', format: 'uri-template' },
    code: { type: 'string', minLength: 2, description: 'of the country' },
    kind: { type: 'string', enum: ['a', 'b'] },
    lines: { type: 'array', items: { $ref: '#/$defs/line' }, minItems: 2 },
    paid: { anyOf: [{ type: 'boolean' }, { type: 'null' }] },
    by: {
      oneOf: [{ type: 'object', properties: { way: { type: 'string', const: 'card' } }, required: ['way'] }],
    },
    none: { type: 'object', properties: {}, additionalProperties: false },
  },
  required: ['count'],
  additionalProperties: {},
  $defs: { line: { type: 'object', properties: { usd: { type: 'number', exclusiveMinimum: 0 } } } },
}

describe('the schema of an answer, for Claude', () => {
  it('is what Anthropic says by its own client, but for what is told in words', () => {
    const structure = (schema: unknown) =>
      JSON.parse(JSON.stringify(schema, (name, value) => (name === 'description' ? undefined : value)))
    expect(structure(plainSchema(invoice, ''))).toEqual(structure(transformJSONSchema(invoice)))
  })

  it('tells in words what it cannot be held to', () => {
    expect(plainSchema(invoice, '').properties).toMatchObject({
      count: { type: 'integer', description: '{"minimum":1,"maximum":9}' },
      mail: { type: 'string', format: 'email', description: '{"pattern":"^(?!x).*$"}' },
      site: { type: 'string', description: '{"format":"uri-template"}' },
      code: { type: 'string', description: 'of the country\n{"minLength":2}' },
      lines: { description: '{"minItems":2}' },
    })
    const parent = { type: ['object', 'null'], properties: { id: { type: ['string', 'null'] } }, description: 'if any' }
    expect(plainSchema(parent, '')).toEqual({
      description: 'if any',
      anyOf: [
        { type: 'object', properties: { id: { type: ['string', 'null'] } }, additionalProperties: false },
        { type: 'null' },
      ],
    })
    const pair = { type: 'array', prefixItems: [{ type: 'string' }, { type: 'number' }] }
    expect(plainSchema(pair, '')).toMatchObject({ items: { anyOf: [{ type: 'string' }, { type: 'number' }] } })
  })

  it.each<[what: string, schema: JsonSchema, path: string]>([
    [
      'a record',
      { type: 'object', properties: { of: { type: 'object', additionalProperties: { type: 'number' } } } },
      '/output/properties/of',
    ],
    ['anything', { type: 'array', items: {} }, '/output/items'],
    [
      'a tree',
      {
        $ref: '#/$defs/node',
        $defs: {
          node: { type: 'object', properties: { children: { type: 'array', items: { $ref: '#/$defs/node' } } } },
        },
      },
      '/output',
    ],
    ['itself', { type: 'object', properties: { next: { $ref: '#' } } }, '/output'],
  ])('refuses %s, by its place', (_, schema, path) => {
    expect(() => plainSchema(schema, '/output')).toThrow(MusterError)
    try {
      plainSchema(schema, '/output')
    } catch (error) {
      expect(error).toMatchObject({ code: 'model.unsupported', issues: [{ path }] })
    }
  })

  it('is read once, however often its parts refer to one another', () => {
    const line = (at: number) => ({ anyOf: [{ $ref: `#/$defs/d${at + 1}` }, { $ref: `#/$defs/d${at + 1}` }] })
    const $defs: JsonSchema = { d40: { type: 'null' } }
    for (let at = 0; at < 40; at++) $defs[`d${at}`] = line(at)
    expect(plainSchema({ $ref: '#/$defs/d0', $defs }, '').$defs).toEqual($defs)
  })
})
