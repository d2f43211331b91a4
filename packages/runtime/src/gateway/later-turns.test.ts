import { expect, it } from 'vitest'
import { LaterTurns } from './later-turns.ts'

it('those whom a limit holds back come again one after another, as it lets them through', () => {
  let now = 100_000
  const turns = new LaterTurns(() => now, 5000)
  const next = (opensAt: number, tenant = 'a', limits = { 'user:ann': 10_000 }) =>
    turns.next(tenant, new Map(Object.entries(limits)), opensAt)
  expect([next(102_000), next(102_000), next(102_000)]).toEqual([2000, 12_000, 22_000])
  expect(next(102_000, 'b')).toBe(2000)
  // Where this process has no part of the limit, one of all is as long away as it takes to earn.
  expect(next(Number.POSITIVE_INFINITY, 'c')).toBe(10_000)
  expect(next(Number.POSITIVE_INFINITY, 'd', { 'user:ann': 0 })).toBe(5000)
  now += 30_000
  turns.pass()
  expect(next(now)).toBe(1000)
  for (let i = 0; i < 9; i++) next(now)
  expect(next(now)).toBe(59_000)
})
