import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type RedisService, startRedis } from '@muster/stack'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Journal } from './journal.ts'
import { leaseSlices, releaseSlices, type Slice } from './slices.ts'

const dir = mkdtempSync(join(tmpdir(), 'muster-slices-'))
let redis: RedisService
let journal: Journal
let limits = 0

beforeAll(async () => {
  redis = await startRedis({ dir })
  journal = await Journal.open({ url: redis.url, namespace: 'slices' })
})
afterAll(async () => {
  await journal.close()
  await redis.stop()
  rmSync(dir, { recursive: true })
})

interface Total {
  places: number
  shares: number
  turnMs?: number
  burstMs?: number
}

/** A worker that goes by what it was told, as it is told. */
class Leaser {
  held = { places: 0, shares: 0 }
  used = 0
  readonly limit: string
  readonly name: string
  total: Total

  constructor(limit: string, name: string, total: Total) {
    this.limit = limit
    this.name = name
    this.total = total
  }

  async ask(wants: boolean, leaseMs = 60_000): Promise<Slice> {
    const { limit, used, held } = this
    const { turnMs = 1e9, ...total } = this.total
    const turns = { placeTurnMs: turnMs, shareTurnMs: turnMs }
    const request = { limit, ...turns, burstMs: 1000, ...total, used, wants, held }
    const [slice] = await leaseSlices(journal, this.name, leaseMs, [request])
    if (!slice) throw new Error('no answer')
    this.held = { places: slice.places, shares: slice.shares }
    return slice
  }

  async leave(full = false): Promise<void> {
    this.held = { places: 0, shares: 0 }
    this.used = 0
    await releaseSlices(journal, this.name, [{ limit: this.limit, full, burstMs: this.total.burstMs ?? 1000 }])
  }
}

function leasers(total: Total, count = 3): Leaser[] {
  const limit = `tool:${limits++}`
  return Array.from({ length: count }, (_, i) => new Leaser(limit, `w${i}`, total))
}

const round = async (all: readonly Leaser[], wants: boolean) => {
  for (const leaser of all) await leaser.ask(wants)
}

describe('slices of a limit', () => {
  it('are never more than the limit, whoever asks, uses, gives up and leaves when', async () => {
    const act = fc.record({
      worker: fc.nat(3),
      what: fc.constantFrom('ask', 'want', 'use', 'leave'),
      used: fc.double({ min: 0, max: 1, noNaN: true }),
    })
    await fc.assert(
      fc.asyncProperty(fc.nat(12), fc.nat(12), fc.array(act, { maxLength: 60 }), async (places, shares, acts) => {
        const all = leasers({ places, shares }, 4)
        for (const { worker, what, used } of acts) {
          const leaser = all[worker]
          if (!leaser) continue
          if (what === 'leave') await leaser.leave()
          // Steps begin while there are places, and end when they like.
          else if (what === 'use') leaser.used = Math.round(used * Math.max(leaser.used, leaser.held.places))
          else await leaser.ask(what === 'want')
          expect(sum(all, (one) => Math.max(one.held.places, one.used))).toBeLessThanOrEqual(places)
          expect(sum(all, (one) => one.held.shares)).toBeLessThanOrEqual(shares)
        }
        // Nothing stays with those who do not use it, nor is anything lost.
        for (const leaser of all) leaser.used = 0
        for (let i = 0; i < 6; i++) await round(all, true)
        expect(sum(all, (one) => one.held.places)).toBe(places)
        expect(sum(all, (one) => one.held.shares)).toBe(shares)
        for (const { held } of all) {
          expect(held.places).toBeGreaterThanOrEqual(Math.floor(places / 4))
          expect(held.shares).toBeGreaterThanOrEqual(Math.floor(shares / 4))
        }
      }),
      { numRuns: 60 },
    )
  })

  it('go to who wants them: all to one alone, and from the idle to the busy', async () => {
    const [a, b] = leasers({ places: 10, shares: 7 }, 2) as [Leaser, Leaser]
    expect(await a.ask(false)).toEqual({ places: 10, shares: 7, fresh: true })
    expect(await b.ask(true)).toEqual({ places: 0, shares: 0, fresh: false })
    await a.ask(false)
    await a.ask(false)
    expect(await b.ask(true)).toEqual({ places: 10, shares: 7, fresh: false })
    a.used = 0
    expect(await a.ask(true)).toMatchObject({ places: 0, shares: 0 })
  })

  it('leave a worker what it uses', async () => {
    const [a, b] = leasers({ places: 4, shares: 0 }, 2) as [Leaser, Leaser]
    await a.ask(true)
    a.used = 3
    await b.ask(true)
    await a.ask(false)
    await a.ask(false)
    // Three are in use, though only two are a's to go on with.
    expect(await b.ask(true)).toMatchObject({ places: 1 })
    a.used = 2
    await round([a, b, a, b], true)
    expect([a.held.places, b.held.places]).toEqual([2, 2])
  })

  it('that cannot be divided go round by turns', async () => {
    const all = leasers({ places: 1, shares: 1, turnMs: 20 })
    const had = new Set<string>()
    for (let i = 0; i < 2000 && had.size < 3; i++) {
      await round(all, true)
      for (const { name, held } of all) if (held.places === 1 && held.shares === 1) had.add(name)
    }
    expect(had.size).toBe(3)
  })

  it('of a worker that died come back when its lease is over, and not before', async () => {
    const [dead, heir] = leasers({ places: 5, shares: 5 }, 2) as [Leaser, Leaser]
    expect(await dead.ask(true, 400)).toMatchObject({ places: 5, shares: 5 })
    expect(await heir.ask(true)).toMatchObject({ places: 0, shares: 0 })
    await new Promise((resolve) => setTimeout(resolve, 450))
    // What the dead one has used of its burst nobody knows.
    expect(await heir.ask(true)).toEqual({ places: 5, shares: 5, fresh: false })
  })

  it('are full when nobody has used the limit, and not when one who did has just left', async () => {
    const [a, b] = leasers({ places: 0, shares: 5 }, 2) as [Leaser, Leaser]
    expect((await a.ask(true)).fresh).toBe(true)
    expect((await a.ask(true)).fresh).toBe(false)
    await a.leave()
    expect((await b.ask(true)).fresh).toBe(false)
    // It has its own part whole, and knows nothing of what the other has used.
    await b.leave(true)
    expect((await a.ask(true)).fresh).toBe(false)
    const [c, d] = leasers({ places: 0, shares: 5 }, 2) as [Leaser, Leaser]
    await round([c, d], true)
    await c.leave(true)
    await d.leave(true)
    expect((await c.ask(true)).fresh).toBe(true)
  })

  it('of a limit that changes are never more than all of it, whoever hears of it when', async () => {
    const act = fc.record({ worker: fc.nat(3), what: fc.constantFrom('ask', 'want', 'leave', 'change') })
    const want = (worker: number) => ({ worker, what: 'want' as const })
    const three = [want(0), want(1), want(2)]
    const thirds = [...three, ...three, ...three, { worker: 1, what: 'change' as const }, want(1)]
    await fc.assert(
      fc.asyncProperty(fc.nat(12), fc.nat(12), fc.array(act, { maxLength: 60 }), async (before, after, acts) => {
        const all = leasers({ places: before, shares: before }, 4)
        const part = ({ held, total }: Leaser) => (total.shares === 0 ? 0 : held.shares / total.shares)
        for (const { worker, what } of acts) {
          const leaser = all[worker]
          if (!leaser) continue
          if (what === 'leave') await leaser.leave()
          else if (what === 'change') {
            // It goes by no greater part of the new limit than it had of the old one.
            const shares = Math.floor(part(leaser) * after + 1e-9)
            leaser.held = { places: Math.min(leaser.held.places, after), shares }
            leaser.total = { places: after, shares: after }
          } else await leaser.ask(what === 'want')
          expect(sum(all, part)).toBeLessThanOrEqual(1 + 1e-9)
        }
      }),
      { numRuns: 60, examples: [[12, 2, thirds]] },
    )
  })
})

function sum(all: readonly Leaser[], of: (one: Leaser) => number): number {
  return all.reduce((total, one) => total + of(one), 0)
}

it('leases of more limits than a call takes arguments come, and others need not wait for all', async () => {
  const many = Array.from({ length: 15_000 }, (_, i) => ({
    ...{ limit: `many-${i}`, places: i % 2, shares: 10, burstMs: 1000, used: 0, wants: true },
    ...{ placeTurnMs: 1e9, shareTurnMs: 1e9, held: { places: 0, shares: 0 } },
  }))
  const leased = leaseSlices(journal, 'one', 60_000, many).then((slices) => ({ slices, at: performance.now() }))
  await journal.redis.ping()
  const answeredAt = performance.now()
  const { slices, at } = await leased
  expect(slices).toHaveLength(many.length)
  expect(slices.slice(-2)).toMatchObject([
    { places: 0, shares: 10 },
    { places: 1, shares: 10 },
  ])
  expect(answeredAt).toBeLessThan(at)
})
