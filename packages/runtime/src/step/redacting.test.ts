import { type Json, redactRules } from '@muster/protocol'
import { createRedaction } from '@muster/redaction'
import { describe, expect, it } from 'vitest'
import { redactWords } from './redacting.ts'

const redactor = createRedaction(redactRules.parse({ kinds: { email: 'mask' } }), undefined)?.of('acme')
if (!redactor) throw new Error('there is a rule')

describe("a client's words", () => {
  it('are redacted but for what others go by', () => {
    const words: { model: string; input: Json[] } = {
      model: 'ann@example.com',
      input: [
        { type: 'message', id: 'ann@example.com', content: [{ type: 'input_text', text: 'from ann@example.com' }] },
        { type: 'reasoning', encrypted_content: 'ann@example.com', summary: [] },
        { type: 'function_call_output', call_id: 'ann@example.com', output: 'to bob@example.com' },
      ],
    }
    const { value, found } = redactWords(redactor, words)
    expect(found).toEqual({ email: 2 })
    const text = JSON.stringify(value)
    expect(text).not.toContain('from ann@example.com')
    expect(text).not.toContain('bob@example.com')
    expect(value).toMatchObject({
      model: 'ann@example.com',
      input: [{ id: 'ann@example.com' }, words.input[1] ?? null, { call_id: 'ann@example.com' }],
    })
    expect(redactWords(redactor, { text: 'nobody' })).toEqual({ value: { text: 'nobody' }, found: undefined })
  })
})
