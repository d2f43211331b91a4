import fc from 'fast-check'
import { expect, test } from 'vitest'
import { escapePart, partition, sort } from './key.ts'

const letters = ['#', '%', '0', '2', '3', 'a', '\ud800', '\udc00', '\ufffd']
const short = ['', ...letters, ...letters.flatMap((a) => letters.map((b) => a + b))]
const text = fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom(...short))

test('different names make different keys, as the bytes that are sent', () => {
  const bytes = (key: string) => Buffer.from(key).toString('hex')
  const pairs = short.flatMap((a) => short.map((b) => [a, b] as const))
  expect(new Set(pairs.map(([a, b]) => bytes(partition(a, 'K', b)))).size).toBe(pairs.length)
  expect(new Set(pairs.map(([a, b]) => bytes(sort('K', a, b)))).size).toBe(pairs.length)
})

test('every key begins with its tenant, and with no other', () => {
  fc.assert(
    fc.property(text, text, text, (tenant, other, part) => {
      const key = partition(tenant, 'K', part)
      expect(key.startsWith(`T#${escapePart(other)}#`)).toBe(tenant === other)
    }),
  )
})

test('numbers sort as keys, and what is no position is refused', () => {
  fc.assert(
    fc.property(fc.nat(), fc.nat(), (a, b) => {
      expect(sort('K', a) < sort('K', b)).toBe(a < b)
    }),
  )
  for (const wrong of [-1, 0.5, Number.NaN, 1e10]) expect(() => sort('K', wrong)).toThrow(RangeError)
})

test('plain names stay readable', () => {
  expect(partition('acme', 'SESSION', 'chat-1')).toBe('T#acme#SESSION#chat-1')
  expect(partition('a#b', 'SESSION', '50%')).toBe('T#a%0023b#SESSION#50%0025')
})
