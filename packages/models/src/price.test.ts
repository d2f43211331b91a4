import { modelPrices } from '@muster/protocol'
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

  it.each([
    ...['gpt-5-codex', 'gpt', 'gpt-5-2025', 'gpt-5-2025-08-07-x', 'my.claude-opus-5', 'mistral-large-latest', ''],
    // Bedrock's names are none of another server's.
    ...['eu.anthropic.claude-opus-5', 'arn:aws:bedrock:us-east-1::foundation-model/openai.gpt-5.5'],
  ])('gives no price of another model: %j', (model) => {
    expect(priceOf(model)).toBeUndefined()
  })
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

describe('priceOf at Bedrock', () => {
  const inputUsd = (model: string, region = 'eu-central-1') => priceOf(model, prices, Date.now(), region)?.inputUsd

  it('takes a geography for what it costs, which is least for the one of all the world', () => {
    const sonnet = 'anthropic.claude-sonnet-4-5-20250929-v1:0'
    expect(
      [sonnet, `eu.${sonnet}`, `us.${sonnet}`, `apac.${sonnet}`, `jp.${sonnet}`].map((id) => inputUsd(id)),
    ).toEqual([3.3, 3.3, 3.3, 3.3, 3.3])
    expect(inputUsd(`global.${sonnet}`)).toBe(3)
    const arn = 'arn:aws:bedrock:eu-central-1:123456789012:inference-profile/'
    expect([`${arn}eu.${sonnet}`, `${arn}global.${sonnet}`].map((id) => inputUsd(id))).toEqual([3.3, 3])
  })

  it('gives prices of the US there alone', () => {
    const nova = 'amazon.nova-pro-v1:0'
    const regions = ['us-east-1', 'us-east-2', 'us-west-2', 'us-west-1', 'eu-central-1', 'ca-central-1', '']
    expect(regions.map((region) => inputUsd(nova, region))).toEqual([0.8, 0.8, 0.8, ...Array(4).fill(undefined)])
    expect([`us.${nova}`, `eu.${nova}`, `apac.${nova}`].map((id) => inputUsd(id, 'us-east-1'))).toEqual([
      0.8,
      undefined,
      undefined,
    ])
  })

  it('gives none in GovCloud and China, where others hold', () => {
    const opus = 'anthropic.claude-opus-5'
    expect([inputUsd(opus, 'us-gov-west-1'), inputUsd(`us-gov.${opus}`), inputUsd(opus, 'cn-north-1')]).toEqual(
      Array(3).fill(undefined),
    )
    const own = { ...price, model: `us-gov.${opus}` }
    expect(priceOf(opus, [own], Date.now(), 'us-gov-west-1')).toBe(own)
  })

  it('gives none of what an ARN does not name', () => {
    const arn = 'arn:aws:bedrock:us-east-1:123456789012:'
    for (const id of ['application-inference-profile/a1b2', 'provisioned-model/x', 'custom-model/anthropic.claude/y'])
      expect(inputUsd(arn + id, 'us-east-1'), id).toBeUndefined()
  })

  it('is replaced in all geographies by a price that names none, and in its own by one that does', () => {
    const model = 'anthropic.claude-opus-5'
    const at = (own: Price[]) =>
      [model, `eu.${model}`, `global.${model}`].map(
        (id) => priceOf(id, pricesWith(own), Date.now(), 'us-east-1')?.inputUsd,
      )
    expect(at([{ ...price, model, inputUsd: 1 }])).toEqual([1, 1, 1])
    expect(at([{ ...price, model: `eu.${model}`, inputUsd: 1 }])).toEqual([5.5, 1, 5])
    const nova = 'amazon.nova-pro-v1:0'
    expect(priceOf(nova, pricesWith([{ ...price, model: nova }]), Date.now(), 'us-east-1')?.inputUsd).toBe(2)
  })
})

describe('the price table', () => {
  it('is of the form that a deployment gives its own in, and has no model twice since a day', () => {
    expect(modelPrices.parse(prices)).toEqual(prices)
  })

  it('has cached input no dearer than fresh, a long request no cheaper, and a day and source of each', () => {
    for (const { model, since, source, tiers, over, ...rates } of prices as Price[]) {
      expect(source, model).not.toBe('')
      expect(since, model).toMatch(/^20\d{2}-\d{2}-\d{2}$/)
      for (const sized of [{ ...rates, over }, ...Object.values(tiers ?? {})])
        for (const { inputUsd, cachedUsd, outputUsd, cacheWriteUsd = inputUsd, longCacheWriteUsd = cacheWriteUsd } of [
          ...(sized ? [sized] : []),
          ...(sized?.over ? [sized.over] : []),
        ]) {
          expect(inputUsd, model).toBeGreaterThan(0)
          expect(cachedUsd, model).toBeLessThanOrEqual(inputUsd)
          expect(inputUsd, model).toBeLessThanOrEqual(cacheWriteUsd)
          expect(cacheWriteUsd, model).toBeLessThanOrEqual(longCacheWriteUsd)
          if (/embed/.test(model)) expect(outputUsd, model).toBe(0)
          else expect(outputUsd, model).toBeGreaterThanOrEqual(inputUsd)
        }
      if (over) {
        expect(over.inputUsd, model).toBeGreaterThan(rates.inputUsd)
        expect(over.outputUsd, model).toBeGreaterThan(rates.outputUsd)
      }
    }
  })

  it('costs a tenth more at Bedrock in a geography than in all the world', () => {
    const worldwide = prices.filter(({ model }) => model.startsWith('global.'))
    expect(worldwide.length).toBeGreaterThan(10)
    for (const { model, since, ...world } of worldwide) {
      const there = prices.find((one) => one.model === model.slice('global.'.length) && one.since === since)
      for (const rate of ['inputUsd', 'cachedUsd', 'outputUsd'] as const)
        expect(there?.[rate], model).toBeCloseTo(world[rate] * 1.1, 9)
    }
  })

  it.each([
    // What people ask for, and what a million tokens in and out cost on a day of 2026.
    ['gpt-4o-2024-11-20', undefined, 2.5, 10],
    ['gpt-4o-2024-05-13', undefined, 5, 15],
    ['gpt-5.1-2025-11-13', undefined, 1.25, 10],
    ['gpt-5.4-mini', undefined, 0.75, 4.5],
    ['gpt-5.5', undefined, 5, 30],
    ['gpt-6.1-sol-2026-09-29', undefined, 2, 10],
    ['o4-mini-2025-04-16', undefined, 1.1, 4.4],
    ['text-embedding-3-small', undefined, 0.02, 0],
    ['claude-sonnet-4-5-20250929', undefined, 3, 15],
    ['claude-haiku-4-5', undefined, 1, 5],
    ['claude-opus-4-8', undefined, 5, 25],
    ['claude-opus-5-5', undefined, 4, 20],
    ['mistral-large-2512', undefined, 0.5, 1.5],
    ['codestral-2508', undefined, 0.3, 0.9],
    ['eu.anthropic.claude-haiku-4-5-20251001-v1:0', 'eu-central-1', 1.1, 5.5],
    ['global.anthropic.claude-sonnet-5', 'ap-southeast-2', 2, 10],
    ['anthropic.claude-opus-4-6-v1', 'eu-west-1', 5.5, 27.5],
    ['us.amazon.nova-lite-v1:0', 'us-east-1', 0.06, 0.24],
    ['eu.amazon.nova-2-lite-v1:0', 'eu-north-1', 0.33, 2.75],
    ['us.meta.llama4-maverick-17b-instruct-v1:0', 'us-west-2', 0.24, 0.97],
    ['meta.llama3-3-70b-instruct-v1:0', 'us-east-2', 0.72, 0.72],
    ['mistral.mistral-large-3-675b-instruct', 'us-east-1', 0.5, 1.5],
    ['openai.gpt-oss-120b-1:0', 'us-west-2', 0.15, 0.6],
    ['openai.gpt-oss-20b', 'us-east-1', 0.07, 0.3],
    ['openai.gpt-5.5', 'us-east-2', 5.5, 33],
    ['us.openai.gpt-5.6-terra', 'us-east-1', 2.2, 13.2],
    ['amazon.titan-embed-text-v2:0', 'us-east-1', 0.02, 0],
    ['us.cohere.embed-v4:0', 'us-east-1', 0.12, 0],
  ])('knows %s (%s)', (model, region, inputUsd, outputUsd) => {
    expect(priceOf(model, prices, Date.parse('2026-12-01'), region)).toMatchObject({ inputUsd, outputUsd })
  })
})

describe('what is asked with much input', () => {
  const over = { inputTokens: 1000, inputUsd: 4, cachedUsd: 1, outputUsd: 12 }
  const usage = { inputTokens: 1000, cachedTokens: 500, outputTokens: 1000 }

  it('costs more as a whole', () => {
    const at = (inputTokens: number, tier?: string) =>
      costOf(
        { ...price, over, tiers: { fast: { ...over, over: { ...over, inputUsd: 8 } }, flex: price } },
        {
          ...{ ...usage, inputTokens },
        },
        tier,
      ) * 1e6
    expect(at(1000)).toBeCloseTo(500 * 2 + 500 * 0.5 + 1000 * 8, 9)
    expect(at(1001)).toBeCloseTo(501 * 4 + 500 * 1 + 1000 * 12, 9)
    expect(at(1000, 'fast')).toBeCloseTo(500 * 4 + 500 * 1 + 1000 * 12, 9)
    expect(at(1001, 'fast')).toBeCloseTo(501 * 8 + 500 * 1 + 1000 * 12, 9)
    // A tier without a price of its own for it.
    expect(at(1001, 'flex')).toBeCloseTo(501 * 2 + 500 * 0.5 + 1000 * 8, 9)
  })

  it('is set aside for', () => {
    const models = createModels({
      routes: { default: { model: 'm', apiKey: 'k', price: { ...price, outputUsd: 0, over } } },
    })
    const usd = (bytes: number) => models.relayReserve('default', 'embeddings', {}, 'x'.repeat(bytes)).usd
    expect([usd(3000), usd(3003)]).toEqual([1000 * 2e-6, expect.closeTo(1001 * 4e-6, 12)])
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
