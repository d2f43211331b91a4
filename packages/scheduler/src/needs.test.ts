import { describe, expect, it } from 'vitest'
import { poll } from './fixture.ts'
import { Scheduler } from './scheduler.ts'

const many = () => new Scheduler({ concurrency: 10 })

describe('What a run needs anew', () => {
  it('holds for what runs, and for what waits, which no other limit holds back any more', () => {
    const scheduler = many()
    const narrow = scheduler.resource({ concurrency: 1 })
    const shut = scheduler.resource({ requestsPerMinute: 0 })
    const call = scheduler.kind({ isCall: true })
    const run = scheduler.openRun('t', 1, [], [])
    const [first] = [scheduler.addStep(run, [], call)]
    expect(poll(scheduler)).toEqual([first])
    scheduler.setNeeds(run, [], [narrow])
    expect(scheduler.inUse(narrow)).toBe(1)
    const second = scheduler.addStep(run, [], call)
    expect(poll(scheduler)).toEqual([])
    scheduler.settle(first ?? -1)
    scheduler.setNeeds(run, [], [shut])
    scheduler.reconsider(narrow)
    expect(poll(scheduler)).toEqual([])
    scheduler.setNeeds(run, [], [])
    scheduler.reconsider(shut)
    expect(poll(scheduler)).toEqual([second])
    expect(scheduler.inUse(narrow)).toBe(0)
  })
})

describe('A resource that nothing needs any more', () => {
  it('gives its number to the next, which has nothing of it, and its list of a run that is over', () => {
    const scheduler = many()
    let before = 0
    let resource = 0
    for (let i = 0; i < 2000; i++) {
      const made = scheduler.resource({ requestsPerMinute: 60, burstMs: 1000 })
      expect(made === resource || i === 0).toBe(true)
      resource = made
      const run = scheduler.openRun('t', 1, [resource])
      scheduler.addStep(run)
      expect(poll(scheduler, 5)).toHaveLength(1)
      expect(scheduler.dropResource(resource)).toBe(false)
      scheduler.closeRun(run)
      expect(scheduler.dropResource(resource)).toBe(true)
      expect(scheduler.fullAt(resource)).toBe(0)
      before ||= scheduler.bytes
    }
    expect(scheduler.bytes).toBe(before)
    expect(() => scheduler.openRun('t', 1, [resource])).toThrow(RangeError)
  })

  it('stays where a step waits for it', () => {
    const scheduler = many()
    const shut = scheduler.resource({ requestsPerMinute: 0 })
    const run = scheduler.openRun('t', 1, [shut])
    scheduler.addStep(run)
    poll(scheduler)
    scheduler.setNeeds(run, [], [])
    expect(scheduler.dropResource(shut)).toBe(false)
    scheduler.reconsider(shut)
    expect(poll(scheduler)).toHaveLength(1)
    expect(scheduler.dropResource(shut)).toBe(true)
  })
})

describe('A clock that goes back', () => {
  it('holds back neither what waits for a rate or is tried again, nor what a model has asked for', () => {
    const hour = 3_600_000
    const scheduler = many()
    const rate = scheduler.resource({ requestsPerMinute: 60, burstMs: 1000 })
    const model = scheduler.resource({})
    const add = (resource: number) => scheduler.addStep(scheduler.openRun('t', 1, [resource]))
    const [first = -1, second, failed = -1, refused = -1] = [
      ...[add(rate), add(rate)],
      ...[scheduler.addStep(scheduler.openRun('t')), add(model)],
    ]
    expect(poll(scheduler, hour)).toEqual([first, failed, refused])
    scheduler.retry(failed, hour + 500)
    scheduler.retry(refused, hour + 500)
    scheduler.closeResource(model, hour + 2000)
    expect(poll(scheduler, 0)).toEqual([])
    expect(scheduler.nextTimer).toBe(500)
    expect(poll(scheduler, 999)).toEqual([failed])
    expect(poll(scheduler, 1000)).toEqual([second])
    expect(poll(scheduler, 1999)).toEqual([])
    expect(poll(scheduler, 2000)).toEqual([refused])
  })
})
