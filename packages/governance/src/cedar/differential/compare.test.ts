import { describe, expect, it } from 'vitest'
import { compare } from './compare.ts'

describe('Compiled policies', () => {
  // A million, and other seeds: `pnpm --filter @muster/governance differential`.
  it('decide as cedar-wasm does, 60,000 times: decision, reasons, and which policies erred', {
    timeout: 600_000,
  }, () => {
    const seen = compare(2026, 60_000)
    expect(seen.differences).toEqual([])
    expect(seen.pairs).toBeGreaterThanOrEqual(60_000)
    // The family is no good when most policies neither hold nor err, or requests are refused.
    expect(seen.satisfied).toBeGreaterThan(3_000)
    expect(seen.erred).toBeGreaterThan(3_000)
    expect(seen.allowed).toBeGreaterThan(120)
    expect(seen.refused / seen.calls).toBeLessThan(0.25)
    expect(seen.refused).toBeGreaterThan(60)
  })
})
