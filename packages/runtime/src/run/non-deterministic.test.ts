import { describe, expect, it } from 'vitest'
import { changed, changedInput } from './non-deterministic.ts'

describe('the error of a plan that changed', () => {
  it('shows where an input differs, and no value: an error outlives erased content', () => {
    const recorded = { to: 'a/b', amount: 10, note: 'gone', kept: [1, { deep: true }] }
    const input = { to: 'a/b', amount: 12, kept: [1, { deep: false }, 2], 'odd/name': null }
    expect(changedInput('pay', JSON.stringify(recorded), input).message.split('\n').sort()).toEqual([
      '+ /input/amount (another value)',
      '+ /input/kept/1/deep (another value)',
      '+ /input/kept/2',
      '+ /input/odd~1name',
      '- /input/note',
      'step "pay" is given another input than before (- in the journal, + in the plan as it is now)',
    ])
    expect(changedInput('pay', '"one"', 'two').message).toContain('+ /input (another value)')
  })

  it('counts what it does not show', () => {
    const lines = Array.from({ length: 7 }, (_, i) => `step ${i}`)
    expect(changed('it changed', lines).message.split('\n').at(-1)).toBe('- and 2 more')
  })
})
