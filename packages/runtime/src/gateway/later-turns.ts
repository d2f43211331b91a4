/** After so long at least and at most a request is told to come again, ms: OpenAI's client heeds less than a minute. */
const PAUSE_MS = { least: 1000, most: 59_000 }

/**
 * When requests are to come again that limits hold back: each when one more is earned after those that were told before,
 * since of many who come at once all but one would be refused again.
 */
export class LaterTurns {
  readonly #clock: () => number
  readonly #unknownMs: number
  /** When the last is to come that was told so, ms since the epoch, by tenant and limit. */
  readonly #told = new Map<string, number>()

  /** @param unknownMs the pause where nobody can tell how long it takes */
  constructor(clock: () => number, unknownMs: number) {
    this.#clock = clock
    this.#unknownMs = unknownMs
  }

  /** Forgets those whose time has come. */
  pass(): void {
    const now = this.#clock()
    for (const [place, at] of this.#told) if (at <= now) this.#told.delete(place)
  }

  /**
   * The pause of a request, ms.
   *
   * @param limits what holds it back, by name, and how long each takes to earn one
   * @param opensAt when all of them let one through; Infinity where that cannot be told
   */
  next(tenant: string, limits: ReadonlyMap<string, number>, opensAt: number): number {
    const now = this.#clock()
    const earnsMs = Math.max(...limits.values())
    let at = Number.isFinite(opensAt) ? opensAt : now + (earnsMs > 0 ? earnsMs : this.#unknownMs)
    for (const [name, ms] of limits) at = Math.max(at, (this.#told.get(placeOf(tenant, name)) ?? 0) + ms)
    const pauseMs = Math.min(Math.max(at - now, PAUSE_MS.least), PAUSE_MS.most)
    for (const [name, ms] of limits) if (ms > 0) this.#told.set(placeOf(tenant, name), now + pauseMs)
    return pauseMs
  }
}

function placeOf(tenant: string, name: string): string {
  return JSON.stringify([tenant, name])
}
