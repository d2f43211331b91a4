import type { Usage, Via } from '@muster/protocol'
import { joinUsage } from './price.ts'

/** What an answer has used as far as it has come: as its vendor has told, or estimated. */
export interface Used {
  usage: Usage
  /** As the provider names the model that answers. */
  model: string
  /** How it says that it is served, see `tierOf`. */
  tier?: string
}

/** Told once a server has begun to answer, from when on it bills: `used` may be asked at any time. Undefined: it has refused. */
export type Begins = (used: () => Used | undefined) => void

export interface Spent extends Omit<Used, 'tier'> {
  costUsd: number
  via?: Via
}

interface Begun {
  used: Parameters<Begins>[0]
  costOf(used: Used): number
  target: string | undefined
}

/**
 * What a call uses at all targets that have begun to answer it. It is asked and not told, since an answer that is cut off
 * has no end that could tell.
 */
export class Meter {
  readonly #begun: Begun[] = []

  /** For one target; `name` is its own, where the route has several. */
  at(costOf: Begun['costOf'], name?: string): Begins {
    return (used) => {
      this.#begun.push({ used, costOf, target: name })
    }
  }

  /** Until now; undefined where nobody has begun. The model and target are those that began last. */
  get spent(): Spent | undefined {
    let spent: Spent | undefined
    for (const { used, costOf, target } of this.#begun) {
      const one = used()
      if (!one) continue
      const costUsd = costOf(one)
      spent = {
        usage: spent ? joinUsage(spent.usage, one.usage) : one.usage,
        model: one.model,
        costUsd: spent ? spent.costUsd + costUsd : costUsd,
        ...(target === undefined ? {} : { via: { target } }),
      }
    }
    return spent
  }
}
