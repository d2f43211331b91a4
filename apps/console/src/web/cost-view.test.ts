import { describe, expect, it } from 'vitest'
import { byPeriod, later, linkToView, viewOf } from './cost-view.ts'

const now = Date.parse('2026-11-28T23:59:59.999Z')

describe('a view of costs', () => {
  it('is what its address says', () => {
    const view = { by: 'team', period: 'day', date: '2026-11-28' } as const
    expect(linkToView(view)).toBe('#/costs?by=team&period=day&date=2026-11-28')
    expect(viewOf(new URLSearchParams('by=team&period=day&date=2026-11-28'))).toEqual(view)
    expect(viewOf(new URLSearchParams(''))).toEqual({ by: 'model', period: 'month', date: undefined })
  })

  it('steps over the ends of months and years, and from no date nowhere', () => {
    expect(later('day', '2028-02-28', 1)).toBe('2028-02-29')
    expect(later('day', '2027-01-01', -1)).toBe('2026-12-31')
    expect(later('month', '2026-12', 1)).toBe('2027-01')
    expect(later('month', '2026-01', -1)).toBe('2025-12')
    for (const date of ['', 'today', '2026-13', '2026-11-28', '0000-01'])
      expect(later('month', date, -1)).toBeUndefined()
  })

  it('goes from a month to a day of it, and back', () => {
    const of = (date?: string) => ({ by: 'model', period: 'month' as const, date })
    expect(byPeriod(of('2026-10'), 'day', now).date).toBe('2026-10-01')
    expect(byPeriod(of('2026-11'), 'day', now).date).toBe('2026-11-28')
    expect(byPeriod(of('2026-11-28'), 'month', now).date).toBe('2026-11')
    expect(byPeriod(of(), 'day', now)).toEqual({ by: 'model', period: 'day', date: undefined })
  })
})
