import { describe, expect, it } from 'vitest'
import { daysOf, drawn, lastOf } from './forecast.ts'

const days = daysOf('2026-01-01', '2026-12-31')
/** So much on each day before today, and today so far. */
const spentBy = (today: string, perDay: (day: string) => number, sofar = 0) =>
  days.map((day) => (day < today ? perDay(day) : day === today ? sofar : 0))

describe('a commitment', () => {
  it('goes on as its last 28 whole days did', () => {
    const today = '2026-06-30'
    const spent = spentBy(today, (day) => (day < '2026-06-02' ? 1 : 10), 4)
    const state = drawn(5000, days, spent, today)
    expect(state).toEqual({ spentUsd: 152 + 280 + 4, leftUsd: 4564, usdPerDay: 10, forecastUsd: 436 + 184 * 10 })
    expect(drawn(1000, days, spent, today).usedUpOn).toBe('2026-08-26')
  })

  it('that is new goes by the days that it has, and by none on its first', () => {
    expect(
      drawn(
        100,
        days,
        spentBy('2026-01-03', () => 2),
        '2026-01-03',
      ),
    ).toMatchObject({ usdPerDay: 2, spentUsd: 4 })
    expect(
      drawn(
        100,
        days,
        spentBy('2026-01-01', () => 2, 7),
        '2026-01-01',
      ),
    ).toEqual({
      ...{ spentUsd: 7, leftUsd: 93, usdPerDay: 0, forecastUsd: 7 },
    })
    expect(drawn(100, days, [], '2025-12-01')).toEqual({ spentUsd: 0, leftUsd: 100, usdPerDay: 0, forecastUsd: 0 })
  })

  it('that is over or used up says what it came to', () => {
    const spent = days.map(() => 1)
    expect(drawn(400, days, spent, '2027-02-01')).toMatchObject({ spentUsd: 365, forecastUsd: 365, leftUsd: 35 })
    expect(drawn(31, days, spent, '2027-02-01')).toMatchObject({ leftUsd: -334, usedUpOn: '2026-01-31' })
  })

  it('counts months of their own length', () => {
    expect(['2026-02', '2028-02', '2026-12'].map(lastOf)).toEqual(['2026-02-28', '2028-02-29', '2026-12-31'])
  })
})
