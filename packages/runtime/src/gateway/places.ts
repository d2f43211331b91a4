import { ShortLived } from '@muster/journal'
import { MusterError } from '@muster/protocol'

/**
 * Places for requests that are under way, or for the bytes of their bodies. A tenant may hold as many as are free: half of
 * all where it is alone, and each that takes what it can get leaves half of what was free to others.
 */
export class Places {
  readonly #all: number
  readonly #unit: string
  readonly #held = new ShortLived<string, number>()
  #taken = 0

  constructor(all: number, unit = 'requests') {
    this.#all = all
    this.#unit = unit
  }

  /** @throws MusterError `rate.limited` where the tenant may not have so many more */
  check(tenant: string, size = 1): void {
    const held = this.#held.get(tenant) ?? 0
    const free = this.#all - this.#taken
    if (held + size <= free) return
    const message = `${held} ${this.#unit} of "${tenant}" are under way, and room for ${free} is left to all others`
    throw new MusterError('rate.limited', message, { retryAfterMs: 1000 })
  }

  /** @throws as `check` does */
  take(tenant: string, size = 1): void {
    this.check(tenant, size)
    this.#taken += size
    this.#held.set(tenant, (this.#held.get(tenant) ?? 0) + size)
  }

  leave(tenant: string, size = 1): void {
    this.#taken -= size
    const held = (this.#held.get(tenant) ?? 0) - size
    if (held > 0) this.#held.set(tenant, held)
    else this.#held.delete(tenant)
  }
}
