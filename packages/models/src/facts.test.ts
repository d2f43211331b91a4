import { describe, expect, it } from 'vitest'
import { factsOf } from './facts.ts'

const at = (model: string, about?: object) => ({ model, apiKey: 'none', ...(about ? { about } : {}) })

describe('what a route can do', () => {
  it('is what is known of its model, and of a dated one what is known of its family', () => {
    const facts = { contextWindow: 400_000, tools: true, inputs: ['text', 'image'] }
    expect(factsOf([at('gpt-5-2025-08-07')])).toMatchObject(facts)
  })

  it('is what holds of each of its targets', () => {
    expect(factsOf([at('gpt-5'), at('gpt-4o-mini')])).toEqual({
      ...{ contextWindow: 128_000, maxOutputTokens: 16_384 },
      ...{ inputs: ['text', 'image'], tools: true, efforts: [] },
    })
    expect(factsOf([at('gpt-5'), at('own', { contextWindow: 8192, inputs: ['text'] })])).toEqual({
      ...{ contextWindow: 8192, inputs: ['text'] },
    })
    expect(factsOf([at('own', { tools: false }), at('other')])).toEqual({ tools: false })
  })

  it('is nothing where nothing is known, whichever target that is', () => {
    expect(factsOf([at('own')])).toEqual({})
    expect(factsOf([at('own'), at('gpt-5')])).toEqual({})
    expect(factsOf([at('gpt-5', { contextWindow: 1000 })])).toMatchObject({ contextWindow: 1000, tools: true })
  })
})
