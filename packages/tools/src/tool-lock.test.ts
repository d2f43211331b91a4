import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { tool } from './tool.ts'
import { ToolLock } from './tool-lock.ts'

const base = {
  name: 'a.b',
  description: 'Does it.',
  effect: 'read',
  input: z.object({ to: z.string(), n: z.number() }),
  output: z.null(),
  run: () => null,
} as const
const approved = tool(base)
const lock = ToolLock.parse(ToolLock.of([approved.manifest]).toString(), 'lock')

describe('a lock of tools', () => {
  it('holds for other code, and for a schema whose keys come in another order', () => {
    const other = tool({ ...base, run: () => (Math.random() > 2 ? null : null) })
    expect(other.manifest.hash).not.toBe(approved.manifest.hash)
    expect(lock.isApproved(other.manifest)).toBe(true)
    const { input } = approved.manifest
    expect(lock.isApproved({ ...approved.manifest, input: Object.fromEntries(Object.entries(input).reverse()) })).toBe(
      true,
    )
  })

  it.each([
    ['description', { description: 'Does it, and more.' }],
    ['effect', { effect: 'write' }],
    ['labels', { labels: ['untrusted'] }],
    ['declassifies', { declassifies: ['untrusted'] }],
    ['input', { input: z.object({ to: z.string(), n: z.number(), all: z.string() }) }],
    ['a description in the input', { input: z.object({ to: z.string().describe('all you know'), n: z.number() }) }],
    ['output', { output: z.string(), run: () => '' }],
    ['sends', { sends: ['to'] }],
  ] as const)('is broken by another %s', (_, change) => {
    const changed = tool({ ...base, ...change } as unknown as Parameters<typeof tool>[0])
    expect(lock.isApproved(changed.manifest)).toBe(false)
    expect(lock.differences([changed.manifest])).toEqual({ changed: ['a.b'], added: [], removed: [] })
  })

  it('tells what is new and what is gone', () => {
    const other = tool({ ...base, name: 'other' })
    expect(lock.differences([other.manifest])).toEqual({ changed: [], added: ['other'], removed: ['a.b'] })
    expect(lock.isApproved(other.manifest)).toBe(false)
  })

  it('is refused where it is none, by the name of its file', () => {
    expect(() => ToolLock.parse('{}', 'x.json')).toThrow(/x\.json/)
    expect(() => ToolLock.parse('no', 'x.json')).toThrow(expect.objectContaining({ code: 'config.invalid' }))
  })
})

describe('destinations', () => {
  it('need the fields that they are in', () => {
    expect(() => tool({ ...base, destinations: ['a'] })).toThrow(/sends/)
    expect(tool({ ...base, sends: ['to'], destinations: ['a'] }).manifest).toMatchObject({
      sends: ['to'],
      destinations: ['a'],
    })
  })
})
