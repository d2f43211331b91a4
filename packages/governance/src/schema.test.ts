import { describe, expect, it } from 'vitest'
import { appOf } from './fixture.ts'
import { cedarSchema } from './schema.ts'

const types = (...args: Parameters<typeof appOf>) => Object.fromEntries(cedarSchema(appOf(...args)).inputTypes)

describe('cedarSchema', () => {
  it('gives each kind of JSON value that Cedar has its type, arrays and their members too', () => {
    expect(
      types({
        t: {
          text: { type: 'string', enum: ['a', 'b'] },
          yes: { type: 'boolean' },
          count: { type: 'integer' },
          amount: { type: 'number' },
          tags: { type: 'array', items: { type: 'string' } },
          matrix: { type: 'array', items: { type: 'array', items: { type: 'integer' } } },
        },
      }),
    ).toEqual({
      text: { type: 'String' },
      yes: { type: 'Boolean' },
      count: { type: 'Long' },
      amount: { type: 'Extension', name: 'decimal' },
      tags: { type: 'Set', element: { type: 'String' } },
      matrix: { type: 'Set', element: { type: 'Set', element: { type: 'Long' } } },
    })
  })

  it('leaves out what Cedar has no type for', () => {
    const none = { anyOf: [{ type: 'string' }, { type: 'null' }] }
    expect(
      types({
        t: {
          none,
          object: { type: 'object' },
          open: {},
          list: { type: 'array' },
          list2: { type: 'array', items: none },
        },
      }),
    ).toEqual({})
  })

  it('joins the fields of all tools, and leaves out one whose type differs, whichever tool comes first', () => {
    const pay = { amount: { type: 'number' }, payee: { type: 'string' } }
    const refund = { amount: { type: 'string' }, payee: { type: 'string' }, reason: { type: 'string' } }
    const both = { payee: { type: 'String' }, reason: { type: 'String' } }
    expect(types({ pay, refund })).toEqual(both)
    expect(types({ refund, pay })).toEqual(both)
  })

  it('does not take back a field that differed, however many tools agree later', () => {
    const number = { amount: { type: 'number' } }
    expect(types({ a: number, b: { amount: { type: 'object' } }, c: number, d: number })).toEqual({})
    expect(types({ b: { amount: { type: 'object' } }, c: number, d: number })).toEqual({})
  })

  it('gives no input to actions other than calls of tools', () => {
    const { schema } = cedarSchema(appOf({ t: { amount: { type: 'number' } } }))
    const actions = Object.entries(schema['']?.actions ?? {})
    const withInput = actions.filter(([, action]) => JSON.stringify(action.appliesTo?.context).includes('"input"'))
    expect(withInput.map(([name]) => name)).toEqual(['tool:call', 'gateway:tool'])
    expect(actions).toHaveLength(7)
  })
})
