import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { firstFiring, nextFiring, nextFirings, passMissed } from './firings.ts'
import type { Timetable } from './schedule.ts'

const iso = (times: number[]) => times.map((time) => new Date(time).toISOString())
const at = Date.parse
const start = at('2026-01-01T00:00:00Z')
const zones = ['UTC', 'Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe', 'Asia/Kathmandu']

const tables: fc.Arbitrary<Timetable> = fc.oneof(
  fc.record({ everyS: fc.integer({ min: 1, max: 100_000 }) }),
  fc.record({ at: fc.integer({ min: start, max: start + 4e10 }) }),
  fc.record({
    cron: fc.constantFrom('*/7 * * * *', '30 2 * * *', '0 0 * * 1', '15 3 1 * *', '@daily'),
    timeZone: fc.constantFrom(...zones),
  }),
)
const times = fc.integer({ min: start, max: start + 3e10 })

describe('firings', () => {
  it('are after the time given, in order, and none lies between', () => {
    fc.assert(
      fc.property(tables, times, fc.double({ min: 0, max: 1, noNaN: true }), (when, after, part) => {
        const next = nextFiring(when, start, after)
        if (next === undefined) return when.at !== undefined && when.at <= after
        // From anywhere before it, it is the next.
        const between = after + Math.floor((next - 1 - after) * part)
        return next > after && nextFiring(when, start, between) === next
      }),
    )
  })

  it('that were missed and those that are left are all there are', () => {
    fc.assert(
      fc.property(tables, times, fc.integer({ min: 1, max: 3e6 }), (when, after, outage) => {
        const first = nextFiring(when, start, after)
        if (first === undefined) return
        const { next, missed } = passMissed(when, start, first, first + outage)
        expect(next).toBe(nextFiring(when, start, first + outage - 1))
        if (missed < 1000 && next !== undefined)
          expect(nextFirings(when, start, first - 1, missed + 1).at(-1)).toBe(next)
      }),
    )
  })

  it('keep the wall clock when the clocks change', () => {
    const when = { cron: '30 9 * * *', timeZone: 'Europe/Berlin' }
    expect(iso(nextFirings(when, start, at('2026-03-28T00:00:00Z'), 2))).toEqual([
      '2026-03-28T08:30:00.000Z',
      '2026-03-29T07:30:00.000Z',
    ])
    // 2:30 comes twice on 25 October.
    const repeated = nextFirings({ ...when, cron: '30 2 * * *' }, start, at('2026-10-24T12:00:00Z'), 2)
    expect(repeated.map((time) => new Date(time).getUTCDate())).toEqual([25, 26])
  })

  it('end at `until`', () => {
    const when = { everyS: 10, until: start + 20_000 }
    expect(nextFirings(when, start, start, 5)).toEqual([start + 10_000, start + 20_000])
  })

  it.each<[string, Timetable]>([
    ['/when/cron', { cron: '0 0 30 2 *' }],
    ['/when/cron', { cron: 'every day' }],
    ['/when/cron', { cron: '* * * * * *' }],
    ['/when/timeZone', { cron: '@daily', timeZone: 'Europe/Atlantis' }],
    ['/when/timeZone', { everyS: 5, timeZone: 'UTC' }],
    ['/when/at', { at: start - 1 }],
    ['/when/everyS', { everyS: 60, until: start + 1 }],
    ['/when', {}],
    ['/when', { everyS: 5, at: start + 1 }],
  ])('names %s in %j', (path, when) => {
    expect(() => firstFiring(when, start)).toThrow(
      expect.objectContaining({ code: 'schedule.invalid', issues: [expect.objectContaining({ path })] }),
    )
  })
})
