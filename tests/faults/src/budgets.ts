import type { Entry } from '@muster/protocol'
import type { Muster } from '@muster/sdk'

/** What one call may be thought to need at most, of the models that are asked here. */
const CALL = { tokens: 2 * 4096, usd: 0.2 }
/** For so many calls a process may have set something aside when it is killed. */
const HELD_CALLS = 64
/** Dollars are sums of fractions; budgets count billionths, and round each call up. */
const ROUNDED_USD = 1e-8

/** What was used of budgets, by the journals of all runs of the tenant. */
export class Used {
  usd = 0
  tokens = 0
  #calls = 0
  /** Calls of which a journal does not tell what they used: they may have counted in full. */
  #untold = 0

  add(entries: readonly Entry[]): void {
    for (const one of entries) {
      // What a child has used is told by its parent's step too, and counts once.
      if (!('kind' in one) || one.kind !== 'model') continue
      if (one.type === 'step.intent') this.#untold++
      if (one.type !== 'step.ended' || one.usage === undefined) continue
      this.#calls++
      this.#untold--
      this.usd += one.costUsd ?? 0
      this.tokens += one.usage.inputTokens + one.usage.outputTokens
    }
  }

  /**
   * What is wrong with what the tenant's budgets have counted: less than was used, more than that and what nobody could
   * tell, or more used than there was. `killed`: so many processes were.
   */
  async wrong(muster: Muster, killed: number): Promise<string[]> {
    const found: string[] = []
    const rounded = { usd: this.#calls * ROUNDED_USD, tokens: 0 }
    for (const { name, period, limits, spent, held } of await muster.budgets.list()) {
      // A campaign may go on past midnight.
      if (name !== 'tenant' || period === 'day') continue
      for (const amount of ['usd', 'tokens'] as const) {
        const used = this[amount]
        const about = `of ${used} ${amount} that were used the ${period}'s budget`
        const most = used + (Math.max(this.#untold, 0) + killed * HELD_CALLS) * CALL[amount] + rounded[amount]
        const counted = (spent[amount] ?? 0) + (held[amount] ?? 0)
        if (counted < used - ROUNDED_USD) found.push(`${about} has counted ${counted}`)
        if ((spent[amount] ?? 0) > most) found.push(`${about} has counted ${spent[amount]}, and at most ${most} may be`)
        const limit = limits[amount]
        // Of money nothing is overspent; of tokens by the calls that were under way.
        if (limit !== undefined && used > limit + (amount === 'usd' ? ROUNDED_USD : CALL.tokens))
          found.push(`${about} had ${limit}`)
      }
    }
    return found
  }
}
