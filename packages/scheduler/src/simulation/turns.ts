import { check } from './event.ts'
import type { RunModel } from './model.ts'

/** Of so many starts one is a waiting lower priority's. */
const PATIENCE = 16

interface Waiting {
  count: number
  /** Steps of other tenants that went since it was its turn. */
  passed: Map<string, number>
}

/**
 * How long steps without needs, which wait for nothing but their turn, see others go: a bound for priorities, and one
 * for the tenants of a priority.
 */
export class Turns {
  readonly #tenants: [Map<string, Waiting>, Map<string, Waiting>, Map<string, Waiting>] = [
    new Map(),
    new Map(),
    new Map(),
  ]
  readonly #passed: [number, number, number] = [0, 0, 0]
  readonly #weights = new Map<string, { least: number; most: number }>()

  setWeight(tenant: string, weight: number): void {
    const { least, most } = this.#weight(tenant)
    const used = Math.max(weight, 0.01)
    this.#weights.set(tenant, { least: Math.min(least, used), most: Math.max(most, used) })
  }

  waits({ tenant, priority }: RunModel): void {
    if (this.#tenants[priority].size === 0) this.#passed[priority] = 0
    const waiting = this.#tenants[priority].get(tenant)
    if (waiting) waiting.count++
    else this.#tenants[priority].set(tenant, { count: 1, passed: new Map() })
  }

  leaves({ tenant, priority }: RunModel): void {
    const waiting = this.#tenants[priority].get(tenant)
    if (waiting && --waiting.count === 0) this.#tenants[priority].delete(tenant)
  }

  /** A step of this run started, whatever it needs. */
  started({ tenant, priority }: RunModel): void {
    this.#passed[priority] = 0
    for (let lower = priority + 1; lower < 3; lower++) {
      if (this.#tenants[lower].size === 0) continue
      this.#passed[lower]++
      check(this.#passed[lower] < PATIENCE, `priority ${lower} waits while ${this.#passed[lower]} higher ones start`)
    }
    for (const [other, { passed }] of this.#tenants[priority]) {
      if (other === tenant) {
        passed.clear()
        continue
      }
      const count = (passed.get(tenant) ?? 0) + 1
      passed.set(tenant, count)
      const visits = Math.ceil(1 / this.#weight(other).least) + 2
      const bound = visits * (Math.floor(this.#weight(tenant).most) + 1)
      check(count <= bound, `${other} waits while ${count} steps of ${tenant} start, of at most ${bound}`)
    }
  }

  #weight(tenant: string): { least: number; most: number } {
    return this.#weights.get(tenant) ?? { least: 1, most: 1 }
  }
}
