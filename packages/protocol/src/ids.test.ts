import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { validate, version } from 'uuid'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { childRunId, inPartition, isId, newId, PARTITIONS_MAX, partitionOf } from './ids.ts'

const digest = fc.string().map((text) => createHash('sha256').update(text).digest('hex'))

describe('newId', () => {
  it('is a UUIDv7, new each time, and sorts by the time of creation', () => {
    const ids = Array.from({ length: 1000 }, newId)
    expect(new Set(ids).size).toBe(1000)
    expect(ids.toSorted()).toEqual(ids)
    for (const id of ids) expect(isId(id) && validate(id) && version(id) === 7).toBe(true)
  })
})

describe('ids of one process', () => {
  afterEach(() => void vi.useRealTimers())

  it('are unique and sort in the order in which they were made, whatever the clock does and wherever they are put', () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    const steps = fc.array(fc.oneof(fc.constant(0), fc.integer({ min: -1000, max: 1000 })), { maxLength: 200 })
    const place = fc.integer({ min: 1, max: PARTITIONS_MAX })
    fc.assert(
      fc.property(steps, place, (steps, count) => {
        const ids = steps.map((ms, i) => {
          vi.setSystemTime(Date.now() + ms)
          return inPartition(newId(), i % count, count)
        })
        expect(new Set(ids).size).toBe(ids.length)
        expect(ids.toSorted()).toEqual(ids)
        // Children of runs that differ in little more than their place in one millisecond.
        const alike = ids.map((id) => `${id.slice(0, -4)}0000`)
        const children = alike.map((id) => childRunId(id, createHash('sha256').update(`${id}/step`).digest('hex')))
        expect(new Set(children).size).toBe(children.length)
      }),
      { seed: 1, numRuns: 100 },
    )
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
        for (const count of [1, 3, 64]) expect(partitionOf(child, count)).toBe(partitionOf(parent, count))
      }),
      { seed: 1, numRuns: 500 },
    )
  })

  it('stays the same in later versions: runs under way depend on it', () => {
    expect(childRunId('01980000-0000-7000-8000-000000000001', 'abcdef0123456789abcdef'.padEnd(64, '0'))).toBe(
      '01980000-0000-7abc-9ef0-123456780001',
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

describe('partitions', () => {
  const place = fc
    .integer({ min: 1, max: PARTITIONS_MAX })
    .chain((count) => fc.tuple(fc.nat(count - 1), fc.constant(count)))
  const tail = fc.integer({ min: 0, max: 0xffff }).map((tail) => tail.toString(16).padStart(4, '0'))

  it('are where an id was put, which stays an id of its time', () => {
    fc.assert(
      fc.property(place, tail, ([partition, count], tail) => {
        const id = newId().slice(0, -4) + tail
        const placed = inPartition(id, partition, count)
        expect(isId(placed)).toBe(true)
        expect(placed.slice(0, -4)).toBe(id.slice(0, -4))
        expect(partitionOf(placed, count)).toBe(partition)
      }),
      { seed: 1, numRuns: 2000 },
    )
  })

  it('get even shares of new ids', () => {
    const counts = [0, 0, 0]
    for (let i = 0; i < 3000; i++) {
      const partition = partitionOf(newId(), 3)
      counts[partition] = (counts[partition] ?? 0) + 1
    }
    for (const count of counts) expect(count).toBeGreaterThan(800)
  })
})
