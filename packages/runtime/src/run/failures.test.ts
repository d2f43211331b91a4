import { MusterError } from '@muster/protocol'
import { expect, it } from 'vitest'
import { Failures } from './failures.ts'

it('a run that fails again and again is left alone for longer, up to a bound, and is told of until it is gone on with', () => {
  let now = 0
  let chance = 0
  const failures = new Failures(
    () => now,
    () => chance,
  )
  const away = new MusterError('memory.unavailable', 'DynamoDB is away')
  const pauses = Array.from({ length: 8 }, () => failures.note('a', away).pauseMs)
  expect(pauses).toEqual([1000, 2000, 4000, 8000, 15_000, 15_000, 15_000, 15_000])
  chance = 0.999
  expect(failures.note('a', away)).toEqual({ count: 9, pauseMs: 29_985 })
  expect(failures.pauseMs('a')).toBe(29_985)
  expect(failures.pauseMs('b')).toBe(1000)
  expect(failures.told()).toEqual([
    {
      run: 'a',
      error: {
        code: 'memory.unavailable',
        message: 'it could not be gone on with, 9 times by now: DynamoDB is away. It is tried again within 30 s',
      },
    },
  ])
  // Another worker may have it since.
  now = 120_000
  expect(failures.told()).toEqual([])
  expect(failures.note('a', away).count).toBe(1)
  failures.clear('a')
  expect(failures.told()).toEqual([])
})
