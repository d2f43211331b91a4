import { expect, test } from 'vitest'
import { exactClock, exactTime, time } from './format.ts'
import { scaleOf } from './scale.ts'
import type { Span } from './spans.ts'

const span = (from: number, to: number | undefined, waits: Span['waits'] = []) => ({ from, to, waits }) as Span

test('is even where work follows work', () => {
  const scale = scaleOf([span(0, 400), span(400, 1000)], 0, 1000)
  expect([0, 250, 500, 1000].map(scale.at)).toEqual([0, 0.25, 0.5, 1])
  expect(scale.pauses).toEqual([])
})

test('draws an hour of waiting for a person short, and the work around it long', () => {
  const hour = 3_600_000
  const scale = scaleOf([span(0, 500), span(500, hour + 1000, [{ from: 600, to: hour + 600 }])], 0, hour + 1000)
  expect(scale.pauses).toEqual([{ from: 600, to: hour + 600 }])
  expect(scale.at(600)).toBeCloseTo(0.6 / 1.12)
  expect(scale.at(hour + 600)).toBeCloseTo(0.72 / 1.12)
  expect(scale.at(hour + 1000)).toBe(1)
  expect(scale.ticks.length).toBeLessThan(10)
})

test('a run that did nothing has a scale', () => {
  const scale = scaleOf([], 5, 5)
  expect(scale.at(5)).toBe(0)
  expect(scale.ticks).toEqual([{ time: 5, ms: 0 }])
})

test('an entry of any time can be shown', () => {
  const [from, to] = [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER]
  for (const at of [from, to]) expect([time(at), exactTime(at), exactClock(at)]).toEqual(Array(3).fill(`${at} ms`))
  const scale = scaleOf([span(from, to), span(0, -1)], 0, to)
  expect(scale.at(to)).toBe(1)
  expect(scale.ticks.length).toBeLessThan(10)
  expect(scaleOf([span(0, 5)], 10, 0).ticks).toEqual([])
})
