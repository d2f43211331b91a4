import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Places, type Share } from './places.ts'

const settled = () => new Promise((resolve) => setImmediate(resolve))

describe('places', () => {
  it('are never lost nor made, whatever is taken, asked for and given back', async () => {
    const step = fc.tuple(fc.constantFrom('take', 'next', 'leave'), fc.nat(2), fc.integer({ min: 1, max: 3 }))
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 5 }), fc.array(step, { maxLength: 60 }), async (count, steps) => {
        const places = new Places(count)
        const shares = [places.share(), places.share(), places.share()]
        let asked = 0
        let given = 0
        for (const [what, i, size] of steps) {
          const share = shares[i] as Share
          if (what === 'take' && places.free > 0) share.take(size)
          if (what === 'leave' && share.held > 0) share.leave(Math.min(size, share.held))
          if (what === 'next' && places.free <= 0) {
            asked++
            void share.next(size).then(() => given++)
          }
          await settled()
          expect(shares.reduce((sum, { held }) => sum + held, 0) + places.free).toBe(count)
          // The last one may go to a few runs that are not parted, and to no more.
          expect(places.free).toBeGreaterThan(-3)
          // None stays empty while someone waits for one.
          expect(places.free <= 0 || given === asked).toBe(true)
        }
      }),
      { numRuns: 200 },
    )
  })

  it('come out even between partitions that all have more to do, however they began', async () => {
    const places = new Places(10)
    const shares = [places.share(), places.share(), places.share()]
    const [first] = shares as [Share]
    while (places.free > 0) first.take(1)
    const ask = async (share: Share): Promise<void> => {
      await share.next(1)
      void ask(share)
    }
    for (const share of shares) void ask(share)
    // Runs end one after the other, in whatever partition.
    for (let i = 0; i < 60; i++) {
      const share = shares[i % 3] as Share
      if (share.held > 0) share.leave(1)
      await settled()
    }
    expect(shares.map(({ held }) => held).sort()).toEqual([3, 3, 4])
  })

  it('go round where there are fewer than partitions', async () => {
    const places = new Places(1)
    const shares = [places.share(), places.share(), places.share()]
    const turns: number[] = []
    const run = async (i: number, share: Share): Promise<void> => {
      await share.next(1)
      turns.push(i)
      await settled()
      void run(i, share)
      share.leave(1)
    }
    const [first] = shares as [Share]
    first.take(1)
    for (const [i, share] of shares.entries()) void run(i, share)
    first.leave(1)
    while (turns.length < 9) await settled()
    expect(turns.slice(0, 9)).toEqual([0, 1, 2, 0, 1, 2, 0, 1, 2])
  })

  it('are given to nobody who has stopped waiting', async () => {
    const places = new Places(1)
    const [one, other] = [places.share(), places.share()]
    one.take(1)
    const waiting = other.next(1)
    other.stopWaiting()
    expect(await waiting).toBe(false)
    one.leave(1)
    expect([places.free, other.held]).toEqual([1, 0])
    await one.idle()
  })
})
