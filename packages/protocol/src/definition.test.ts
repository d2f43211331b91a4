import { expect, it } from 'vitest'
import { isCarried, pinOf } from './definition.ts'

it('a run goes on with a definition of its own kind only', () => {
  const run = { kind: 'plan', name: 'p', version: '1', hash: '0123456789abcdef' } as const
  const pinned = pinOf(run)
  for (const kind of ['plan', 'agent'] as const) {
    const sameKind = kind === 'plan'
    expect(isCarried(pinned, new Set([pinOf({ ...run, kind })]))).toBe(sameKind)
    // A definition that takes any content of its version, and a run that does.
    expect(isCarried(pinned, new Set([pinOf({ ...run, kind, hash: '' })]))).toBe(sameKind)
    expect(isCarried(pinOf({ ...run, hash: '' }), new Set([pinOf({ ...run, kind })]))).toBe(sameKind)
    // A job from before pins named their kind.
    expect(isCarried('p@1#0123456789ab', new Set([pinOf({ ...run, kind })]))).toBe(true)
  }
  expect(isCarried(pinned, new Set([pinOf({ ...run, hash: 'fedcba9876543210' })]))).toBe(false)
})
