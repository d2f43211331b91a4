import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Scheduler, type StepHandle } from './scheduler.ts'

/** One resource, and how many of its steps start at once when a hundred wait. */
function meter(requestsPerMinute: number, burstMs = 10_000) {
  const scheduler = new Scheduler({ concurrency: 1000 })
  const resource = scheduler.resource({ requestsPerMinute, burstMs })
  const run = scheduler.openRun('t')
  const kind = scheduler.kind({ needs: [resource] })
  for (let i = 0; i < 200; i++) scheduler.addStep(run, [], kind)
  const set = (rate: number, now?: number) => scheduler.setLimits(resource, { requestsPerMinute: rate, burstMs }, now)
  const take = (now: number): number => {
    const out: StepHandle[] = []
    scheduler.poll(now, out)
    for (const step of out) scheduler.settle(step)
    return out.length
  }
  return { scheduler, resource, set, take }
}

describe('a rate that changes', () => {
  it('brings nothing at once where it is raised at a time: what was held stays, and earning is faster', () => {
    const { set, take } = meter(60)
    expect(take(0)).toBe(10)
    set(120, 0)
    expect(take(0)).toBe(0)
    expect(take(999)).toBe(1)
    expect(take(1000)).toBe(1)
  })

  it('tells how long those that it holds back have waited, and how long others waited for a place', () => {
    const { scheduler, take } = meter(60)
    expect(scheduler.waitedMs(500)).toEqual({ place: 0, limit: 0 })
    expect(take(1000)).toBe(10)
    expect(scheduler.waitedMs(1500)).toEqual({ place: 0, limit: 190 * 500 })
    expect(take(2000)).toBe(1)
    expect(scheduler.waitedMs(3000).limit).toBe(190 * 1000 + 189 * 1000)
    const full = new Scheduler({ concurrency: 1 })
    const run = full.openRun('t')
    for (let i = 0; i < 3; i++) full.addStep(run)
    full.poll(1000, [])
    full.poll(1200, [])
    expect(full.waitedMs(1300)).toEqual({ place: 2 * 300, limit: 0 })
    full.closeRun(run)
    full.poll(1400, [])
    expect(full.waitedMs(9000)).toEqual({ place: 2 * 400, limit: 0 })
  })

  it('keeps what was not used, in requests, when it is raised, and its part of a burst when it is lowered', () => {
    const { set, take } = meter(60)
    set(120, 0)
    expect(take(0)).toBe(10)
    set(120, 20_000)
    set(60, 20_000)
    expect(take(20_000)).toBe(10)
    expect(take(20_999)).toBe(0)
  })

  it('is as full as it was where no time is given', () => {
    const { set, take } = meter(60)
    set(120)
    expect(take(0)).toBe(20)
  })

  it('of 0 lets nothing through, and what follows begins empty', () => {
    const { set, take, scheduler, resource } = meter(0)
    expect(take(0)).toBe(0)
    scheduler.correct(resource, 5)
    set(60, 5000)
    expect(take(5000)).toBe(0)
    expect(take(5999)).toBe(0)
    expect(take(6000)).toBe(1)
  })

  it('that is divided and divided anew lets through no more than the whole would', () => {
    const change = fc.record({ after: fc.integer({ min: 0, max: 3000 }), part: fc.integer({ min: 0, max: 10 }) })
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 40 }), (changes) => {
        const a = meter(300)
        const b = meter(0)
        let now = 0
        let taken = a.take(0)
        for (const { after, part } of changes) {
          now += after
          taken += a.take(now) + b.take(now)
          // Who has less gives up before the other has more.
          for (const one of [a, b].toSorted(() => (part < 5 ? 1 : -1)))
            one.set(one === a ? 30 * part : 300 - 30 * part, now)
          taken += a.take(now) + b.take(now)
          expect(taken).toBeLessThanOrEqual(50 + (now / 60_000) * 300 + 1e-6)
        }
      }),
    )
  })
})
