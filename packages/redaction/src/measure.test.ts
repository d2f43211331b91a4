import { describe, expect, it } from 'vitest'
import { corpus } from './corpus.ts'
import { score } from './score.ts'

const samples = corpus(2500, 2)

describe('the corpus', () => {
  it('is the same for the same seed, and says exactly where each value stands', () => {
    expect(corpus(200, 2)).toEqual(samples.slice(0, 200))
    expect(corpus(200, 3)).not.toEqual(samples.slice(0, 200))
    for (const { text, spans } of samples) {
      expect(text).not.toMatch(/[\ue000-\uf8ff]/)
      for (const { start, end } of spans) expect(end - start).toBeGreaterThan(6)
    }
    const emails = samples.flatMap(({ text, spans }) =>
      spans.flatMap(({ kind, start, end }) => (kind === 'email' ? [text.slice(start, end)] : [])),
    )
    expect(emails.filter((value) => !/@|%40| \(at\) /.test(value))).toEqual([])
  })
})

/** A little below what `pnpm measure` prints: what falls below has become worse. */
const floors: Record<string, [precision: number, usual: number]> = {
  secret: [0.98, 0.98],
  iban: [0.98, 0.99],
  'credit-card': [0.95, 0.99],
  'us-ssn': [0.98, 0.98],
  email: [0.98, 0.98],
  'ip-address': [0.8, 0.98],
  phone: [0.9, 0.94],
}

describe('on the corpus', () => {
  it.each(score(samples).scores)('$kind is found as well as before', ({ kind, values, precision, usual }) => {
    expect(values).toBeGreaterThan(300)
    expect(precision).toBeGreaterThanOrEqual(floors[kind]?.[0] ?? 1)
    expect(usual).toBeGreaterThanOrEqual(floors[kind]?.[1] ?? 1)
  })
})
