import { atPointer, parseReference } from '@muster/protocol'
import { describe, expect, it } from 'vitest'
import { markOutput, ref } from './ref.ts'

describe('ref', () => {
  const output = { payee: 'ACME', lines: [{ 'a/b': 1 }] }
  markOutput(output, 'map/3/match~x')

  it('names the step and the place, so that the runtime finds exactly that value', () => {
    const { $ref } = ref(output, '/lines/0/a~1b') as unknown as { $ref: string }
    const { step, pointer } = parseReference($ref)
    expect(step).toBe('map/3/match~x')
    expect(atPointer(output, pointer)).toBe(1)
  })

  it('names the whole output without a pointer', () => {
    expect(ref(output)).toEqual({ $ref: '#/steps/map~13~1match~0x/output' })
  })

  it('takes an output as a step gave it, no copy and no part, since their origin is not known', () => {
    for (const other of [{ ...output }, output.lines, {}])
      expect(() => ref(other)).toThrow(expect.objectContaining({ code: 'plan.unknown_reference' }))
  })

  it('takes the outputs of several steps for different ones, though they are equal', () => {
    const twin = { ...output }
    markOutput(twin, 'other')
    expect(ref(twin)).toEqual({ $ref: '#/steps/other/output' })
  })

  it('knows nothing of outputs that are no objects', () => {
    for (const value of [null, 1, 'text', undefined]) expect(() => markOutput(value, 's')).not.toThrow()
  })
})
