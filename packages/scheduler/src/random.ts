/** Numbers that look random and are the same for the same seed (mulberry32), for simulations in tests. */
export function seeded(seed: number): { int(below: number): number; pick<T>(from: readonly T[]): T } {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  const int = (below: number) => Math.floor(next() * below)
  return { int, pick: (from) => from[int(from.length)] }
}
