import type { CommitmentState } from '@muster/protocol'
import { describe, expect, it } from 'vitest'
import { courseOf } from './commitment-course.ts'

const year = { name: 'a', provider: 'p', usd: 1000, from: '2026-01-01', until: '2026-12-31' }

/** It on a day of which nothing is over yet. */
function on(day: string, spentUsd: number, forecastUsd: number, usedUpOn?: string) {
  const about = { spentUsd, leftUsd: year.usd - spentUsd, forecastUsd, usdPerDay: 1 }
  const state: CommitmentState = { ...year, ...about, ...(usedUpOn === undefined ? {} : { usedUpOn }) }
  return courseOf(state, Date.parse(day))
}

describe('the course of a commitment', () => {
  it('is an over-run where it is used up before its end, and says by how much', () => {
    const { state, text, time } = on('2026-07-02', 600, 1200.5, '2026-10-31')
    expect(state).toBe('over-run')
    expect(text).toBe(
      'If it goes on so, it is used up on 2026-10-31, 61 days before its end. $200.50 more than was promised are used by its end.',
    )
    expect(time).toBeCloseTo(182 / 365, 12)
    expect(on('2026-07-02', 600, 1001, '2026-12-30').text).toContain('2026-12-30, a day before its end.')
  })

  it('is under-use where something of it is left at its end', () => {
    expect(on('2026-07-02', 100, 400)).toMatchObject({
      state: 'under-use',
      text: 'If it goes on so, $600.00 of it are not used by its end.',
    })
    expect(on('2026-07-02', 0, 0).text).toMatch(/^Nothing of it was used yet\. .*\$1,000\.00/)
  })

  it('is as promised where next to nothing is left, or it is used up on the last day', () => {
    expect(on('2026-07-02', 500, 995).state).toBe('on course')
    expect(on('2026-07-02', 500, 1000, '2026-12-31')).toMatchObject({
      state: 'on course',
      text: 'If it goes on so, it is used up on its last day.',
    })
  })

  it('says when all of it is used, and how much more since', () => {
    expect(on('2026-07-02', 1000, 1000, '2026-06-01').text).toBe('All of it was used up on 2026-06-01.')
    expect(on('2026-07-02', 1100, 1500, '2026-06-01')).toMatchObject({
      state: 'used up',
      text: 'All of it was used up on 2026-06-01, and $100.00 more by now. If it goes on so, $500.00 more than was promised are used by its end.',
    })
    expect(on('2027-01-01', 1100, 1100, '2026-06-01').text).toBe(
      'All of it was used up on 2026-06-01, and $100.00 more by now.',
    )
  })

  it('forecasts nothing before it begins, on its first day, and after its end', () => {
    expect(on('2025-12-31', 0, 0)).toEqual({ state: 'not begun', text: 'It begins on 2026-01-01.', time: 0 })
    expect(on('2026-01-01', 5, 5)).toMatchObject({ state: 'just begun', time: 0 })
    expect(on('2026-12-31', 900, 900).state).toBe('under-use')
    expect(on('2027-01-01', 900, 900)).toEqual({
      state: 'over',
      text: 'It ended on 2026-12-31, and $100.00 of it were not used.',
      time: 1,
    })
  })
})
