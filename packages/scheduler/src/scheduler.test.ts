import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { poll } from './fixture.ts'
import type { Join } from './graph.ts'
import { Scheduler, type StepHandle } from './scheduler.ts'

describe('Scheduler', () => {
  it('starts no step before all that it comes after have ended', () => {
    const scheduler = new Scheduler({ concurrency: 10 })
    const run = scheduler.openRun('a')
    const left = scheduler.addStep(run)
    const right = scheduler.addStep(run)
    const join = scheduler.addStep(run, [left, right, left])
    expect(poll(scheduler)).toEqual([left, right])
    scheduler.settle(left)
    expect(poll(scheduler)).toEqual([])
    scheduler.settle(right)
    expect(poll(scheduler)).toEqual([join])
  })

  it('counts a dependency that has ended as met', () => {
    const scheduler = new Scheduler({ concurrency: 1 })
    const run = scheduler.openRun('a')
    const first = scheduler.addStep(run)
    poll(scheduler)
    scheduler.settle(first)
    const second = scheduler.addStep(run, [first])
    expect(poll(scheduler)).toEqual([second])
  })

  it('refuses what the state of a step does not allow, and changes nothing then', () => {
    const scheduler = new Scheduler({ concurrency: 1 })
    const run = scheduler.openRun('a')
    const first = scheduler.addStep(run)
    const second = scheduler.addStep(run, [first])
    expect(scheduler.settle(second)).toBe('refused')
    for (const step of [first, second]) {
      expect(scheduler.wait(step)).toBe('refused')
      expect(scheduler.resume(step)).toBe('refused')
      expect(scheduler.retry(step, 0)).toBe('refused')
    }
    expect(poll(scheduler)).toEqual([first])
    expect(scheduler.resume(first)).toBe('refused')
    expect(scheduler.running).toBe(1)
  })

  it.each([-1, 0, 1, 63, 64, 2 ** 26, 2 ** 52, 0.5, Number.NaN])(
    'answers "stale" to %d, which names no step',
    (handle) => {
      const scheduler = new Scheduler({ concurrency: 1 })
      for (const act of ['settle', 'wait', 'resume'] as const) expect(scheduler[act](handle)).toBe('stale')
      expect(scheduler.retry(handle, 0)).toBe('stale')
    },
  )

  it('tells an old handle from the step that has its slot now', () => {
    const scheduler = new Scheduler({ concurrency: 1 })
    const run = scheduler.openRun('a')
    const old = scheduler.addStep(run)
    poll(scheduler)
    scheduler.settle(old)
    const fresh = scheduler.addStep(run)
    expect(fresh).not.toBe(old)
    expect(scheduler.settle(old)).toBe('stale')
    expect(poll(scheduler)).toEqual([fresh])
  })

  it('frees the places of a closed run and never starts what it had queued', () => {
    const scheduler = new Scheduler({ concurrency: 2 })
    const closed = scheduler.openRun('a')
    for (let i = 0; i < 10; i++) scheduler.addStep(closed)
    poll(scheduler)
    const other = scheduler.openRun('a')
    const step = scheduler.addStep(other)
    scheduler.closeRun(closed)
    scheduler.closeRun(closed)
    expect(scheduler.running).toBe(0)
    expect(poll(scheduler)).toEqual([step])
  })

  it('holds a retried step until its time, and says when that is', () => {
    const scheduler = new Scheduler({ concurrency: 1 })
    const step = scheduler.addStep(scheduler.openRun('a'))
    expect(scheduler.nextTimer).toBe(Number.POSITIVE_INFINITY)
    poll(scheduler)
    scheduler.retry(step, 100)
    expect(scheduler.nextTimer).toBe(100)
    expect(poll(scheduler, 99)).toEqual([])
    expect(poll(scheduler, 100)).toEqual([step])
  })

  it('lets a waiting step hold no place, and start again when it is resumed', () => {
    const scheduler = new Scheduler({ concurrency: 1 })
    const run = scheduler.openRun('a')
    const waiting = scheduler.addStep(run)
    const other = scheduler.addStep(run)
    poll(scheduler)
    scheduler.wait(waiting)
    expect(poll(scheduler)).toEqual([other])
    scheduler.settle(other)
    scheduler.resume(waiting)
    expect(poll(scheduler)).toEqual([waiting])
  })

  it('gives delayed steps back in order of their times, and those of one time in order of the calls', () => {
    const scheduler = new Scheduler({ concurrency: 10 })
    const run = scheduler.openRun('a')
    const [a, b, c, d] = Array.from({ length: 4 }, () => scheduler.addStep(run))
    poll(scheduler)
    for (const [step, at] of [
      [c, 20],
      [a, 10],
      [d, 10],
      [b, 20],
    ] as const)
      scheduler.retry(step, at)
    expect(poll(scheduler, 30)).toEqual([a, d, c, b])
  })

  it('tells each deadline that passes of a living step once, in order, and lets the step go on', () => {
    const scheduler = new Scheduler({ concurrency: 1 })
    const run = scheduler.openRun('a')
    const [running, blocked, ended] = [scheduler.addStep(run), scheduler.addStep(run), scheduler.addStep(run)]
    for (const [step, at] of [
      [blocked, 5],
      [running, 5],
      [running, 3],
      [ended, 1],
      [blocked, 9],
    ] as const)
      expect(scheduler.expire(step, at)).toBe('settled')
    scheduler.cancel(ended)
    expect(scheduler.nextTimer).toBe(3)
    const out: StepHandle[] = []
    expect(scheduler.expired(8, out)).toBe(3)
    expect(out).toEqual([running, blocked, running])
    expect(scheduler.nextTimer).toBe(9)
    expect(scheduler.expire(ended, 20)).toBe('stale')
    expect(poll(scheduler)).toEqual([running])
  })

  it('tells an old handle of a run from the run that has its slot now', () => {
    const scheduler = new Scheduler({ concurrency: 1 })
    const old = scheduler.openRun('a')
    expect(scheduler.closeRun(old)).toBe('settled')
    const run = scheduler.openRun('a')
    expect(scheduler.closeRun(old)).toBe('stale')
    expect(scheduler.addStep(old)).toBe(-1)
    expect(poll(scheduler)).toEqual([])
    const step = scheduler.addStep(run)
    expect(poll(scheduler)).toEqual([step])
  })

  it('refuses a dependency of another run and what does not exist, before anything has changed', () => {
    const scheduler = new Scheduler({ concurrency: 10 })
    const [run, other] = [scheduler.openRun('a'), scheduler.openRun('a')]
    const step = scheduler.addStep(run)
    expect(() => scheduler.addStep(other, [step])).toThrow(RangeError)
    expect(() => scheduler.addStep(run, [], 1)).toThrow(RangeError)
    expect(() => scheduler.kind({ needs: [1] })).toThrow(RangeError)
    expect(() => scheduler.openRun('a', 1, [1])).toThrow(RangeError)
    expect(poll(scheduler)).toEqual([step])
  })

  it('uses slots again: 300,000 short steps and their runs take no more memory than the first', () => {
    const scheduler = new Scheduler({ concurrency: 8 })
    const out: StepHandle[] = []
    let now = 0
    let slotMax = 0
    const live = (steps: number) => {
      for (let i = 0; i < steps; i += 10) {
        const run = scheduler.openRun('a')
        let last = scheduler.addStep(run)
        for (let j = 1; j < 10; j++) last = scheduler.addStep(run, [last])
        for (let left = 9; left > 0; ) {
          out.length = 0
          scheduler.poll(++now, out)
          for (const step of out) {
            slotMax = Math.max(slotMax, step % 2 ** 26)
            if (now % 7 === 0) scheduler.retry(step, now + 1)
            else if (scheduler.settle(step) === 'settled') left--
          }
        }
        scheduler.closeRun(run)
      }
    }
    live(1000)
    const before = process.memoryUsage().arrayBuffers
    live(300_000)
    expect(slotMax).toBeLessThan(64)
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(100_000)
  })
})

describe('A join', () => {
  /** Ends of the steps before it, in order; then whether it is `blocked`, `ready` or `dropped`. */
  it.each<[Join, string, 'blocked' | 'ready' | 'dropped']>([
    ['all', '++', 'blocked'],
    ['all', '+++', 'ready'],
    ['all', '-', 'dropped'],
    ['any', '', 'blocked'],
    ['any', '--', 'blocked'],
    ['any', '--+', 'ready'],
    ['any', '---', 'dropped'],
    ['settled', '-+', 'blocked'],
    ['settled', '-+-', 'ready'],
    [2, '+-', 'blocked'],
    [2, '+-+', 'ready'],
    [2, '--', 'dropped'],
    [0, '', 'ready'],
    [-1, '', 'ready'],
    [9, '+++', 'ready'],
    [9, '-', 'dropped'],
  ])('%s of three is, after the ends "%s", %s', (join, ends, verdict) => {
    const scheduler = new Scheduler({ concurrency: 4 })
    const run = scheduler.openRun('a')
    const before = Array.from({ length: 3 }, () => scheduler.addStep(run))
    const step = scheduler.addStep(run, before, 0, join)
    const after = scheduler.addStep(run, [step])
    const started = poll(scheduler)
    const dropped: StepHandle[] = []
    for (const [i, end] of [...ends].entries()) scheduler.settle(before[i] ?? -1, end === '+', dropped)
    expect(dropped).toEqual(verdict === 'dropped' ? [step, after] : [])
    started.push(...poll(scheduler))
    expect(started.includes(step)).toBe(verdict === 'ready')
    expect(scheduler.settle(step)).toBe({ ready: 'settled', dropped: 'stale', blocked: 'refused' }[verdict])
  })

  it('counts what has ended before as ended well, and a step named twice as two', () => {
    const scheduler = new Scheduler({ concurrency: 3 })
    const run = scheduler.openRun('a')
    const gone = scheduler.addStep(run)
    scheduler.cancel(gone)
    const one = scheduler.addStep(run)
    const met = scheduler.addStep(run, [gone, one], 0, 1)
    const twice = scheduler.addStep(run, [one, one, one], 0, 2)
    expect(poll(scheduler)).toEqual([one, met])
    scheduler.settle(one)
    expect(poll(scheduler)).toEqual([twice])
  })

  it('drops all that can start no more: what comes after one step newest first, then what comes after those', () => {
    const scheduler = new Scheduler({ concurrency: 3 })
    const run = scheduler.openRun('a')
    const root = scheduler.addStep(run)
    const [a, b, c] = Array.from({ length: 3 }, () => scheduler.addStep(run, [root]))
    const [ofA, ofC, ofBoth] = [[a], [c], [a, b]].map((after) => scheduler.addStep(run, after))
    const rescue = scheduler.addStep(run, [root, ofA], 0, 'settled')
    const dropped: StepHandle[] = []
    expect(scheduler.settle(root, false, dropped)).toBe('settled')
    expect(dropped).toEqual([c, b, a, ofC, ofBoth, ofA])
    expect(poll(scheduler)).toEqual([rescue])
  })

  it('drops a chain of 100,000 without a deep stack', () => {
    const scheduler = new Scheduler({ concurrency: 1 })
    const run = scheduler.openRun('a')
    const first = scheduler.addStep(run)
    for (let i = 0, last = first; i < 100_000; i++) last = scheduler.addStep(run, [last])
    const dropped: StepHandle[] = []
    scheduler.cancel(first, dropped)
    expect(dropped).toHaveLength(100_000)
  })

  it('takes nothing from a step that may already go', () => {
    const scheduler = new Scheduler({ concurrency: 3 })
    const run = scheduler.openRun('a')
    const [a, b] = [scheduler.addStep(run), scheduler.addStep(run)]
    const any = scheduler.addStep(run, [a, b], 0, 'any')
    poll(scheduler)
    scheduler.settle(a)
    const dropped: StepHandle[] = []
    scheduler.settle(b, false, dropped)
    expect(dropped).toEqual([])
    expect(poll(scheduler)).toEqual([any])
  })
})

describe('Ranks', () => {
  it('let the branch with the longest way to the end go first', () => {
    const scheduler = new Scheduler({ concurrency: 3 })
    const [slow, quick] = [scheduler.kind({ ms: 1000 }), scheduler.kind({ ms: 10 })]
    const run = scheduler.openRun('a')
    const short = scheduler.addStep(run, [], quick)
    const long = scheduler.addStep(run, [], quick)
    const middle = scheduler.addStep(run, [], quick)
    scheduler.addStep(run, [scheduler.addStep(run, [long], slow)], slow)
    scheduler.addStep(run, [middle], slow)
    expect(poll(scheduler)).toEqual([long, middle, short])
  })

  it('follow what was learned, an eighth at a time after the first', () => {
    const scheduler = new Scheduler({ concurrency: 1 })
    const [a, b] = [scheduler.kind({ ms: 10 }), scheduler.kind({ ms: 100 })]
    const fork = () => {
      const run = scheduler.openRun('a')
      const [ofA, ofB] = [scheduler.addStep(run, [], a), scheduler.addStep(run, [], b)]
      const first = inTurn(scheduler, 2)[0]
      return first === ofA ? 'a' : first === ofB && 'b'
    }
    expect(fork()).toBe('b')
    scheduler.learn(a, 1000)
    expect(fork()).toBe('a')
    scheduler.learn(a, 0)
    expect(fork()).toBe('a')
    for (let i = 0; i < 24; i++) scheduler.learn(a, 0)
    expect(fork()).toBe('b')
  })

  it('do not let a short step wait for ever: every 16th of a tenant is of the next lower rank', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.integer({ min: 0, max: 14 }), { minLength: 1 }), (halvings) => {
        const scheduler = new Scheduler({ concurrency: 1 })
        const run = scheduler.openRun('a')
        const long = scheduler.kind({ ms: 40_000 })
        const low = halvings.map((n) => scheduler.addStep(run, [], scheduler.kind({ ms: 20_000 / 2 ** n })))
        for (let i = 0; i < 2000; i++) scheduler.addStep(run, [], long)
        const started = inTurn(scheduler, 16 * (low.length + 1))
        expect(started.filter((step) => low.includes(step))).toHaveLength(low.length)
      }),
      { seed: 3, numRuns: 50 },
    )
  })
})

/** Lets so many steps go one after the other. */
function inTurn(scheduler: Scheduler, count: number): StepHandle[] {
  return Array.from({ length: count }, () => {
    const [step] = poll(scheduler)
    scheduler.settle(step ?? -1)
    return step ?? -1
  })
}
