import { expect, it } from 'vitest'
import { exactJson, mayBeChanged } from './exact-json.ts'

it.each([
  '9007199254740993',
  '-12345678901234567890',
  '0.12345678901234567891',
  '0.000000000000000000000000000000000000000000000000000000123456789012345678',
  '1e400',
  '-1E-400',
  '1e99999999999999999999',
  `1.${'0'.repeat(1_000_000)}1`,
])('%.40s stays as it was written', (number) => {
  const text = `{"a":[${number}, ${number}],"b":{"c": ${number}},"d":${JSON.stringify(number)}}`
  expect(JSON.stringify(exactJson(text))).toBe(text.replaceAll(' ', ''))
  expect(JSON.stringify(exactJson(number))).toBe(number)
})

it('numbers that a double has are numbers, however they are written', () => {
  const text = '[1, -0, 1.50, 9007199254740992, 0.1000000000000000, 1e3, 1.5E+2, 0e400, 0.30000000000000004]'
  expect(exactJson(text)).toEqual(JSON.parse(text))
})

it('finds where texts end, whatever is escaped in them', () => {
  const text = String.raw`{"a\\":9007199254740993,"b\"":["\" ,9007199254740993", 9007199254740993],"c":"\\\" ,1e400"}`
  const [a, b, c] = Object.values(exactJson(text) as object)
  expect(JSON.stringify([a, b, c])).toBe(
    String.raw`[9007199254740993,["\" ,9007199254740993",9007199254740993],"\\\" ,1e400"]`,
  )
})

it('gives what is asked for in their place', () => {
  expect(exactJson('{"a":[9007199254740993, 1]}', BigInt)).toEqual({ a: [9007199254740993n, 1] })
})

it('looks twice at no text that has no such number', () => {
  const id = '3e0b5ee4-1e16-4f4e-8e1e-123456789012345678'
  const usual = {
    id,
    of: `${id}4e`,
    at: '2026-11-29T19:50:58.123Z',
    data: 'iVBORw0KGgo4e5E6e',
    n: [1.5, -20, 123456789],
  }
  expect(mayBeChanged(JSON.stringify(usual))).toBe(false)
})

it('is no JSON where it is none', () => {
  expect(() => exactJson('{"a":9007199254740993')).toThrow(SyntaxError)
  expect(() => exactJson('')).toThrow(SyntaxError)
})
