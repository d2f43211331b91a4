import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { validate, version } from 'uuid'
import { describe, expect, it } from 'vitest'
import { childRunId, isId, newId } from './ids.ts'

const digest = fc.string().map((text) => createHash('sha256').update(text).digest('hex'))

describe('newId', () => {
  it('is a UUIDv7, new each time, and sorts by the time of creation', () => {
    const ids = Array.from({ length: 1000 }, newId)
    expect(new Set(ids).size).toBe(1000)
    expect(ids.toSorted()).toEqual(ids)
    for (const id of ids) expect(isId(id) && validate(id) && version(id) === 7).toBe(true)
  })
})

describe('isId', () => {
  it.each([
    '',
    'x',
    '01980000-0000-4000-8000-000000000001',
    '01980000-0000-7000-c000-000000000001',
    '01980000-0000-7000-8000-00000000000G',
    ' 01980000-0000-7000-8000-000000000001',
    '01980000-0000-7000-8000-000000000001\n',
    '../01980000-0000-7000-8000-000000000001',
  ])('refuses %j', (text) => expect(isId(text)).toBe(false))
})

describe('childRunId', () => {
  it('is a UUIDv7 with the parent’s time, the same for the same step', () => {
    fc.assert(
      fc.property(digest, (digest) => {
        const parent = newId()
        const child = childRunId(parent, digest)
        expect(isId(child) && validate(child) && version(child) === 7).toBe(true)
        expect(child.slice(0, 13)).toBe(parent.slice(0, 13))
        expect(childRunId(parent, digest)).toBe(child)
      }),
      { seed: 1, numRuns: 500 },
    )
  })

  it('stays the same in later versions: runs under way depend on it', () => {
    expect(childRunId('01980000-0000-7000-8000-000000000001', 'abcdef0123456789abcdef'.padEnd(64, '0'))).toBe(
      '01980000-0000-7abc-9ef0-123456789abc',
    )
  })

  it('differs for different steps', () => {
    const parent = newId()
    const ids = Array.from({ length: 5000 }, (_, i) =>
      childRunId(parent, createHash('sha256').update(`${parent}/${i}`).digest('hex')),
    )
    expect(new Set(ids).size).toBe(5000)
  })
})
