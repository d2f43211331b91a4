import { MusterError } from '@muster/protocol'

/**
 * Places for requests that are under way. A tenant may hold as many as are free: half of all where it is alone, and each that
 * takes what it can get leaves half of what was free to others.
 */
export class Places {
  readonly #all: number
  readonly #held = new Map<string, number>()
  #taken = 0

  constructor(all: number) {
    this.#all = all
  }

  /** @throws MusterError `rate.limited` where the tenant may not have another */
  check(tenant: string): void {
    const held = this.#held.get(tenant) ?? 0
    const free = this.#all - this.#taken
    if (held < free) return
    const message = `${held} requests of "${tenant}" are under way, and ${free} places are left for all others`
    throw new MusterError('rate.limited', message, { retryAfterMs: 1000 })
  }

  /** @throws as `check` does */
  take(tenant: string): void {
    this.check(tenant)
    this.#taken++
    this.#held.set(tenant, (this.#held.get(tenant) ?? 0) + 1)
  }

  leave(tenant: string): void {
    this.#taken--
    const held = (this.#held.get(tenant) ?? 0) - 1
    if (held > 0) this.#held.set(tenant, held)
    else this.#held.delete(tenant)
  }
}
