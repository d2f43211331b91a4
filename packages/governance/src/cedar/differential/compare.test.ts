import { describe, expect, it } from 'vitest'
import { compare } from './compare.ts'

describe('Compiled policies', () => {
  it('decide as cedar-wasm does, a million times: decision, reasons, and which policies erred', {
    timeout: 600_000,
  }, () => {
    const seen = compare(2026, 1_000_000)
    expect(seen.differences).toEqual([])
    expect(seen.pairs).toBeGreaterThanOrEqual(1_000_000)
    // The family is no good when most policies neither hold nor err, or requests are refused.
    expect(seen.satisfied).toBeGreaterThan(50_000)
    expect(seen.erred).toBeGreaterThan(50_000)
    expect(seen.allowed).toBeGreaterThan(2_000)
    expect(seen.refused / seen.calls).toBeLessThan(0.25)
    expect(seen.refused).toBeGreaterThan(1_000)
  })
})
