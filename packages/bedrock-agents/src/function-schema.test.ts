import { tool } from '@muster/sdk'
import { expect, it } from 'vitest'
import { z } from 'zod'
import { functionOf } from './function-schema.ts'

const named = (input: z.ZodType<object>) =>
  tool({ name: 'ledger.pay', effect: 'read', input, output: z.string(), run: async () => 'x' })

it('has the fields of an object, each with its type', () => {
  const fields = z.object({ amount: z.number().describe('in US dollars'), note: z.string().optional() })
  expect(functionOf(named(fields))).toEqual({
    name: 'ledger_pay',
    parameters: {
      amount: { type: 'number', required: true, description: 'in US dollars' },
      note: { type: 'string', required: false },
    },
  })
  expect(functionOf(named(z.object({}))).parameters).toEqual({})
})

it.each([
  ['an object within', z.object({ to: z.object({ iban: z.string() }) }), '/tools/ledger.pay/input/to'],
  ['a choice', z.union([z.object({ iban: z.string() }), z.object({ card: z.string() })]), '/tools/ledger.pay/input'],
  ['a record', z.record(z.string(), z.string()), '/tools/ledger.pay/input'],
])('is refused for %s, by its place', (_, input, path) => {
  expect(() => functionOf(named(input))).toThrow(
    expect.objectContaining({ code: 'definition.invalid', issues: [expect.objectContaining({ path })] }),
  )
})
