import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Places, type Share } from './places.ts'

const settled = () => new Promise((resolve) => setImmediate(resolve))

describe('places', () => {
  it('are never more than there are, nor lost, whatever is taken, asked for and given back', async () => {
    const step = fc.tuple(fc.constantFrom('take', 'next', 'leave'), fc.nat(2))
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 5 }), fc.array(step, { maxLength: 60 }), async (count, steps) => {
        const places = new Places(count)
        const shares = [places.share(), places.share(), places.share()]
        const held = () => shares.reduce((sum, share) => sum + share.held, 0)
        let asked = 0
        let given = 0
        for (const [what, i] of steps) {
          const share = shares[i] as Share
          if (what === 'take' && places.free > 0) share.take()
          if (what === 'leave' && share.held > 0) share.leave()
          if (what === 'next' && places.free === 0) {
            asked++
            void share.next().then(() => given++)
          }
          await settled()
          expect(held() + places.free).toBe(count)
          // No place stays empty while someone waits for one.
          expect(places.free === 0 || given === asked).toBe(true)
        }
      }),
      { numRuns: 200 },
    )
  })

  it('come out even between partitions that all have more to do, however they began', async () => {
    const places = new Places(10)
    const shares = [places.share(), places.share(), places.share()]
    const [first] = shares as [Share]
    while (places.free > 0) first.take()
    for (const share of shares) {
      const ask = async (): Promise<void> => {
        await share.next()
        void ask()
      }
      void ask()
    }
    // Runs end one after the other; a place is used again unless another partition should have it.
    for (let i = 0; i < 60; i++) {
      const share = shares[i % 3] as Share
      if (share.held > 0 && share.owed) share.leave()
      await settled()
    }
    expect(shares.map(({ held }) => held).sort()).toEqual([3, 3, 4])
  })

  it('go round where there are fewer than partitions', async () => {
    const places = new Places(1)
    const shares = [places.share(), places.share(), places.share()]
    const turns: number[] = []
    for (const [i, share] of shares.entries()) {
      const run = async (): Promise<void> => {
        await share.next()
        turns.push(i)
        await settled()
        void run()
        if (share.owed) share.leave()
      }
      void run()
    }
    const [first] = shares as [Share]
    first.take()
    first.leave()
    while (turns.length < 9) await settled()
    for (const i of [0, 1, 2]) expect(turns.slice(0, 9).filter((turn) => turn === i)).toHaveLength(3)
  })

  it('are given to nobody who has stopped waiting', async () => {
    const places = new Places(1)
    const [one, other] = [places.share(), places.share()]
    one.take()
    const waiting = other.next()
    other.stopWaiting()
    expect(await waiting).toBe(false)
    one.leave()
    expect([places.free, other.held]).toEqual([1, 0])
    await one.idle()
  })
})
