import { type Json, type JsonSchema, MusterError } from '@muster/protocol'
import { describe, expect, expectTypeOf, it } from 'vitest'
import { z } from 'zod'
import {
  checked,
  type InputOf,
  type OutputOf,
  type Tool,
  type ToolContext,
  type ToolOptions,
  toJsonSchema,
  tool,
} from './tool.ts'

const context: ToolContext = {
  callback: () => Promise.reject(new Error('not here')),
  spent: () => {},
  progress: () => {},
  signal: new AbortController().signal,
  idempotencyKey: 'k',
  fencingToken: 1,
  run: 'r',
  step: 's',
  tenant: 't',
}
const pay = tool({
  name: 'ledger.pay',
  effect: 'once',
  input: z.object({ payee: z.string(), amount: z.number().positive(), currency: z.string().default('EUR') }),
  output: z.object({ receipt: z.string() }),
  run: ({ payee, currency }) => ({ receipt: `${payee} ${currency}` }),
  reconcile: ({ idempotencyKey }) => Promise.resolve(idempotencyKey === 'k' ? { receipt: 'found' } : undefined),
})

function code(act: () => unknown): string {
  try {
    act()
    return 'none'
  } catch (error) {
    return error instanceof MusterError ? error.code : String(error)
  }
}

describe('tool', () => {
  const open = z.looseObject({})
  const valid = { name: 't', effect: 'read' as const, input: open, output: open, run: (): z.input<typeof open> => ({}) }

  it.each<[string, Partial<ToolOptions<string, typeof open, typeof open>>]>([
    ['an empty name', { name: '' }],
    ['a name with a space', { name: 'pay out' }],
    ['a name with a slash', { name: 'a/b' }],
    ['a name that begins with a dot', { name: '.a' }],
    ['an effect that is none', { effect: 'twice' as 'once' }],
    [
      'retries of an error that there is not',
      { retries: { 'tool.broke': {} } as ToolOptions<string, typeof open, typeof open>['retries'] },
    ],
    ['retries without a pause', { retries: { 'tool.failed': { baseMs: 0 } } }],
    ['reconcile where a repeat is harmless', { reconcile: async () => undefined }],
  ])('refuses %s when it is defined, naming the tool', (_, change) => {
    const define = () => tool({ ...valid, ...change })
    expect(code(define)).toBe('definition.invalid')
    expect(define).toThrow(`tool "${change.name ?? 't'}"`)
  })

  it('tries a tool whose effect must not repeat once, others three times, each for five minutes, unless told otherwise', () => {
    expect(pay).toMatchObject({ attempts: 1, timeoutMs: 300_000 })
    expect(tool(valid)).toMatchObject({ attempts: 3, timeoutMs: 300_000 })
    const own = { attempts: 7, timeoutMs: 50, deadlineMs: 90, retries: { 'step.timeout': false } } as const
    expect(tool({ ...valid, ...own })).toMatchObject(own)
  })

  it('publishes what it is, with a hash that changes with its code and with its schema', () => {
    expect(pay.manifest).toMatchObject({
      name: 'ledger.pay',
      effect: 'once',
      description: '',
      labels: [],
      declassifies: [],
    })
    expect(tool(valid).manifest.hash).toBe(tool(valid).manifest.hash)
    const others = [
      tool({ ...valid, run: () => ({ a: 1 }) }),
      tool({ ...valid, input: z.object({ a: z.string() }) }),
      tool({ ...valid, labels: ['pii'] }),
    ]
    for (const other of others) expect(other.manifest.hash).not.toBe(tool(valid).manifest.hash)
  })

  it('runs on checked input, defaults filled in, and gives checked output', async () => {
    expect(await pay.call({ payee: 'ACME', amount: 1, more: true }, context)).toEqual({ receipt: 'ACME EUR' })
  })

  it('does not run on input that does not match', async () => {
    let ran = 0
    const strict = tool({ ...valid, input: z.object({ n: z.number() }), run: () => ({ ran: ++ran }) })
    await expect(strict.call({ n: 'x' }, context)).rejects.toMatchObject({
      code: 'input.invalid',
      issues: [{ path: '/n' }],
    })
    expect(code(() => strict.prepare({ n: 'x' }))).toBe('input.invalid')
    expect(code(() => strict.prepare({ n: 1 }))).toBe('none')
    expect(ran).toBe(0)
  })

  it('does not let output pass that does not match', async () => {
    const liar = tool({
      ...valid,
      output: z.object({ n: z.number() }),
      run: () => ({ n: 'x' }) as unknown as { n: number },
    })
    await expect(liar.call({}, context)).rejects.toMatchObject({ code: 'output.invalid', issues: [{ path: '/n' }] })
  })

  it('gives `run` what the schema makes of the input, and the journal JSON', async () => {
    const later = tool({
      ...valid,
      input: z.object({ at: z.coerce.date() }),
      output: z.object({ next: z.date(), gone: z.string().optional() }),
      run: ({ at }) => ({ next: new Date(at.getTime() + 1000), gone: undefined }),
    })
    const output = await later.call({ at: '2026-01-01T00:00:00.000Z' }, context)
    expect(output).toStrictEqual({ next: '2026-01-01T00:00:01.000Z' })
  })

  it('gives `run` a copy, so that it cannot change what another step gave', async () => {
    const vandal = tool({
      ...valid,
      input: z.object({ list: z.any() }),
      run: ({ list }) => {
        list.push('mine')
        return {}
      },
    })
    const input = { list: ['theirs'] }
    await vandal.call(input, context)
    expect(input).toEqual({ list: ['theirs'] })
  })

  it('reconciles with checked output, or says that it did not happen', async () => {
    expect(await pay.reconcile?.(context)).toEqual({ receipt: 'found' })
    expect(await pay.reconcile?.({ ...context, idempotencyKey: 'other' })).toBeUndefined()
    expect(tool(valid).reconcile).toBeUndefined()
  })

  it('passes on what `run` throws, as it is', async () => {
    const error = new Error('bank closed')
    const broken = tool({
      ...valid,
      run: () => {
        throw error
      },
    })
    await expect(broken.call({}, context)).rejects.toBe(error)
  })
})

describe('checked', () => {
  it('names the place of every mistake as a JSON Pointer, with / and ~ in keys escaped', () => {
    const schema = z.object({ list: z.array(z.object({ 'a/b': z.number(), '~': z.string() })) })
    try {
      checked(
        schema,
        {
          list: [
            { 'a/b': 1, '~': '' },
            { 'a/b': 'x', '~': 1 },
          ],
        },
        'output.invalid',
        'it',
      )
      expect.unreachable()
    } catch (error) {
      expect(error).toMatchObject({
        code: 'output.invalid',
        issues: [{ path: '/list/1/a~1b' }, { path: '/list/1/~0' }],
      })
      expect(error).toHaveProperty('message', expect.stringContaining('it does not match its schema: /list/1/a~1b '))
    }
  })

  it('gives null for nothing, and JSON for the rest', () => {
    expect(checked(z.void(), undefined, 'output.invalid', 'it')).toBeNull()
    expect(checked(z.any(), { a: undefined, b: new Date(0) }, 'output.invalid', 'it')).toStrictEqual({
      b: '1970-01-01T00:00:00.000Z',
    })
  })

  it('refuses what is too large for a journal', () => {
    expect(code(() => checked(z.string(), 'x'.repeat(4 * 1024 * 1024), 'output.invalid', 'it'))).toBe('output.invalid')
  })
})

describe('toJsonSchema', () => {
  it('describes what goes in and what comes out', () => {
    const schema = z.object({ at: z.string(), limit: z.number().int().default(10) })
    expect(toJsonSchema(schema, 'input')).toMatchObject({
      type: 'object',
      required: ['at'],
      properties: { limit: { type: 'integer' } },
    })
    expect(toJsonSchema(schema, 'output')).toMatchObject({ required: ['at', 'limit'] })
  })

  it('leaves open what JSON Schema cannot express', () => {
    expect(toJsonSchema(z.object({ at: z.date() }), 'output')).toMatchObject({ properties: { at: {} } })
    expect(toJsonSchema(z.string().transform(Number), 'output')).not.toHaveProperty('type')
  })
})

describe('types', () => {
  it('follow from the schemas', () => {
    expectTypeOf(pay.name).toEqualTypeOf<'ledger.pay'>()
    expectTypeOf<InputOf<typeof pay>>().toEqualTypeOf<{
      payee: string
      amount: number
      currency?: string | undefined
    }>()
    expectTypeOf<OutputOf<typeof pay>>().toEqualTypeOf<{ receipt: string }>()
    expectTypeOf(pay).toExtend<Tool>()
    expectTypeOf(pay.call).returns.resolves.toEqualTypeOf<Json>()
    expectTypeOf(toJsonSchema).returns.toEqualTypeOf<JsonSchema>()
  })

  it('make a wrong definition an error in the editor', () => {
    const of = {
      name: 't',
      effect: 'read' as const,
      input: z.object({ a: z.string() }),
      output: z.object({ n: z.number() }),
    }
    tool({ ...of, run: ({ a }) => ({ n: a.length }) })
    // @ts-expect-error the output has no n
    tool({ ...of, run: () => ({}) })
    // @ts-expect-error n is a number
    tool({ ...of, run: () => ({ n: 'x' }) })
    // @ts-expect-error the input has no b
    tool({ ...of, run: ({ b }) => ({ n: b }) })
    // @ts-expect-error an effect is always said
    const open = () => tool({ name: 't', input: of.input, output: of.output, run: () => ({ n: 1 }) })
    expect(code(open)).toBe('definition.invalid')
  })
})
