import { describe, expect, it } from 'vitest'
import { createModels } from './models.ts'
import { costOf, joinUsage, type Price, priceOf, pricesWith } from './price.ts'
import prices from './prices.json' with { type: 'json' }

const price: Price = { model: 'm', inputUsd: 2, cachedUsd: 0.5, outputUsd: 8, since: '2026-01-01', source: 'test' }

describe('priceOf', () => {
  it('finds a model, and a dated snapshot by its family', () => {
    expect(priceOf('gpt-5')?.model).toBe('gpt-5')
    expect(priceOf('gpt-5-2025-08-07')?.model).toBe('gpt-5')
    expect(priceOf('gpt-5-mini-2025-08-07')?.model).toBe('gpt-5-mini')
    const claude = { ...price, model: 'claude-sonnet-4-5' }
    expect(priceOf('claude-sonnet-4-5-20250929', [claude])).toBe(claude)
  })

  it('prefers a price of the snapshot itself', () => {
    const own = { ...price, model: 'm-2026-05-01', inputUsd: 3 }
    expect(priceOf('m-2026-05-01', [price, own])).toBe(own)
  })

  it.each(['gpt-5-codex', 'gpt', 'gpt-5-2025', 'gpt-5-2025-08-07-x', ''])(
    'gives no price of another model: %j',
    (model) => {
      expect(priceOf(model)).toBeUndefined()
    },
  )
})

describe('prices with days', () => {
  const since = (day: string, inputUsd: number): Price => ({ ...price, since: day, inputUsd })
  const table = [since('2026-06-01', 3), since('2026-01-01', 2), since('2027-01-01', 5)]

  it('hold from their day on, at the time of the call', () => {
    const at = (time: string) => priceOf('m', table, Date.parse(time))?.inputUsd
    const times = ['2025-12-31T23:59:59Z', '2026-01-01T00:00:00Z', '2026-05-31T23:59:59Z', '2026-06-01T00:00:00Z']
    expect(times.map(at)).toEqual([undefined, 2, 2, 3])
    // A snapshot's own price, where that does not hold yet, is no price.
    const own = { ...price, model: 'm-2026-05-01', since: '2026-09-01', inputUsd: 9 }
    const snapshot = (time: string) => priceOf('m-2026-05-01', [...table, own], Date.parse(time))?.inputUsd
    expect(['2026-08-31', '2026-09-01'].map(snapshot)).toEqual([3, 9])
  })

  it('replace those that come with Muster, model by model', () => {
    const own = [{ ...since('2025-09-01', 7), model: 'gpt-5' }]
    expect(priceOf('gpt-5', pricesWith(own))?.inputUsd).toBe(7)
    expect(priceOf('gpt-5', pricesWith(own), Date.parse('2025-08-31'))).toBeUndefined()
    expect(priceOf('gpt-5-mini', pricesWith(own))).toEqual(priceOf('gpt-5-mini'))
  })
})

describe('costOf', () => {
  it('counts cached tokens as part of the input, at their own price', () => {
    expect(costOf(price, { inputTokens: 1_000_000, cachedTokens: 400_000, outputTokens: 500_000 })).toBeCloseTo(
      0.6 * 2 + 0.4 * 0.5 + 0.5 * 8,
      10,
    )
    expect(costOf(price, { inputTokens: 0, cachedTokens: 0, outputTokens: 0 })).toBe(0)
  })

  it('is as dear as how the answer says that it was served', () => {
    const tiers = { priority: { inputUsd: 4, cachedUsd: 1, outputUsd: 16 } }
    const usage = { inputTokens: 1_000_000, cachedTokens: 0, outputTokens: 0 }
    const at = (tier?: string) => costOf({ ...price, tiers }, usage, tier)
    expect([at(), at('priority'), at('flex'), at('constructor')]).toEqual([2, 4, 2, 2])
  })

  it('is never negative, whatever a server counts', () => {
    expect(costOf(price, { inputTokens: 10, cachedTokens: 1000, outputTokens: 0 })).toBeGreaterThan(0)
  })
})

describe('the price table', () => {
  it('has each model once, with a day, a source, and cached input no dearer than fresh', () => {
    expect(new Set(prices.map(({ model }) => model)).size).toBe(prices.length)
    for (const { model, inputUsd, cachedUsd, outputUsd, since, source } of prices) {
      expect(source, model).not.toBe('')
      expect(since, model).toMatch(/^\d{4}-\d{2}-\d{2}$/)
      expect(cachedUsd, model).toBeLessThanOrEqual(inputUsd)
      expect(outputUsd, model).toBeGreaterThan(0)
    }
  })
})

describe('what is written to a cache', () => {
  const written = {
    inputTokens: 100,
    cachedTokens: 20,
    outputTokens: 0,
    cacheWriteTokens: 50,
    longCacheWriteTokens: 30,
  }
  const priced = (more: Partial<Price>) => costOf({ ...price, ...more }, written) * 1e6

  it('costs what the price says of it, and else as other input', () => {
    const rest = 30 * 2 + 20 * 0.5
    expect(priced({})).toBeCloseTo(rest + 50 * 2, 9)
    expect(priced({ cacheWriteUsd: 3 })).toBeCloseTo(rest + 50 * 3, 9)
    expect(priced({ cacheWriteUsd: 3, longCacheWriteUsd: 4 })).toBeCloseTo(rest + 20 * 3 + 30 * 4, 9)
    expect(priced({ longCacheWriteUsd: 4 })).toBeCloseTo(rest + 20 * 2 + 30 * 4, 9)
  })

  it('is counted together, and set aside for', () => {
    expect(joinUsage(written, { ...written, longCacheWriteTokens: 0 })).toMatchObject({
      ...{ cacheWriteTokens: 100, longCacheWriteTokens: 30 },
    })
    const models = (more: Partial<Price>) =>
      createModels({ routes: { default: { model: 'm', apiKey: 'k', price: { ...price, ...more } } } })
    const request = { messages: [{ role: 'user' as const, content: 'x'.repeat(3000) }] }
    const plain = models({ outputUsd: 0 }).reserveUsd('default', request)
    expect(models({ outputUsd: 0, cacheWriteUsd: 3 }).reserveUsd('default', request)).toBeCloseTo(plain * 1.5, 9)
    const kept = (text: string) =>
      models({ outputUsd: 0, cacheWriteUsd: 3, longCacheWriteUsd: 4 }).relayReserve('default', 'chat', {}, text).usd
    expect(kept('{"ttl": "1h" }') / kept('{"ttl": "5m" }')).toBeCloseTo(4 / 3, 9)
  })
})
