import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Place } from '../failover.ts'
import { ordered } from './order.ts'

const place = (name: string, weight?: number): Place => ({
  target: { model: name, apiKey: 'none', ...(weight === undefined ? {} : { weight }) },
  model: name,
})
const namesOf = (places: readonly Place[]) => places.map(({ model }) => model)
const none = { costAt: () => undefined, paceOf: () => undefined, random: () => 0, stickyKey: undefined }

/** Mulberry32. */
function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

const weights = fc.array(fc.integer({ min: 1, max: 100 }), { minLength: 2, maxLength: 6 })
const DRAWS = 4000

/** Each share is within five standard deviations of its weight's. */
function expectShares(weights: readonly number[], counts: ReadonlyMap<string, number>): void {
  const sum = weights.reduce((all, weight) => all + weight, 0)
  for (const [i, weight] of weights.entries()) {
    const share = weight / sum
    const bound = 5 * Math.sqrt(DRAWS * share * (1 - share))
    expect(Math.abs((counts.get(`m${i}`) ?? 0) - DRAWS * share)).toBeLessThanOrEqual(bound)
  }
}

describe('the order of targets', () => {
  it('is by weight at random, and then by weight', () => {
    fc.assert(
      fc.property(weights, fc.integer(), (weights, seed) => {
        const places = weights.map((weight, i) => place(`m${i}`, weight))
        const random = seeded(seed)
        const counts = new Map<string, number>()
        for (let i = 0; i < DRAWS; i++) {
          const [first, ...others] = ordered(places, { ...none, order: 'weighted', random })
          counts.set(first?.model ?? '', (counts.get(first?.model ?? '') ?? 0) + 1)
          const rest = others.map(({ target }) => target.weight ?? 1)
          if (i < 10) expect(rest).toEqual(rest.toSorted((a, b) => b - a))
          if (i < 10) expect(namesOf([...others, ...(first ? [first] : [])]).sort()).toEqual(namesOf(places).sort())
        }
        expectShares(weights, counts)
      }),
      { numRuns: 20 },
    )
  })

  it('is the same for a key, by weight over keys; without a target only its keys go elsewhere', () => {
    fc.assert(
      fc.property(weights, fc.string(), (weights, salt) => {
        const places = weights.map((weight, i) => place(`m${i}`, weight))
        const by = (among: readonly Place[], stickyKey: string) =>
          namesOf(ordered(among, { ...none, order: 'weighted', stickyKey, random: Math.random }))
        const counts = new Map<string, number>()
        for (let i = 0; i < DRAWS; i++) {
          const key = `${salt}${i}`
          const [first = ''] = by(places, key)
          counts.set(first, (counts.get(first) ?? 0) + 1)
          if (i % 100 > 0) continue
          const [gone, ...rest] = by(places.toReversed(), key)
          expect(gone).toBe(first)
          expect(
            by(
              places.filter(({ model }) => model !== gone),
              key,
            ),
          ).toEqual(rest)
        }
        expectShares(weights, counts)
      }),
      { numRuns: 5 },
    )
  })

  it('is by cost, the unknown last, and a key keeps to one of those that cost the same', () => {
    const costs: Record<string, number | undefined> = { a: 3, b: undefined, c: 1, d: 1, e: 0 }
    const places = Object.keys(costs).map((name) => place(name))
    const by = (stickyKey?: string) =>
      namesOf(ordered(places, { ...none, order: 'cheapest', stickyKey, costAt: ({ model }) => costs[model] })).join('')
    expect(by()).toBe('ecdab')
    const byKey = new Set(Array.from({ length: 20 }, (_, i) => by(String(i))))
    expect([...byKey].sort()).toEqual(['ecdab', 'edcab'])
    expect(by('1')).toBe(by('1'))
  })

  it('is by time, the unknown first', () => {
    const paces: Record<string, number | undefined> = { a: 30, b: undefined, c: 10 }
    const places = Object.keys(paces).map((name) => place(name))
    const by = { ...none, order: 'fastest', paceOf: ({ model }: Place) => paces[model] } as const
    expect(namesOf(ordered(places, by))).toEqual(['b', 'c', 'a'])
  })
})
