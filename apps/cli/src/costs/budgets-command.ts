import { budget } from '@muster/protocol'
import type { Muster } from '@muster/sdk'
import pc from 'picocolors'
import { dateOf, plain, print, tableOf } from '../output.ts'
import { valid } from '../read-valid.ts'
import { warnIfUnknown } from '../unknown-name.ts'

const amounts = { usd: 'money', tokens: 'tokens', steps: 'steps', wallTimeMs: 'time', runs: 'runs' } as const

/** `muster budgets`: what may be used in this day and month, and what was. */
export async function budgetsCommand(muster: Muster, json: boolean): Promise<number> {
  const budgets = await muster.budgets.list()
  if (json) {
    print({ budgets })
    return 0
  }
  const rows = tableOf(['budget', 'of', 'used', 'set aside', 'limit', 'until'])
  for (const { name, period, limits, spent, held, endsAt } of budgets)
    for (const [amount, what] of Object.entries(amounts)) {
      const limit = limits[amount as keyof typeof amounts] // one of its keys
      if (limit === undefined) continue
      const shown = (value = 0) => (amount === 'usd' ? `$${value.toFixed(4)}` : String(value))
      const used = shown(spent[amount])
      const isOut = (spent[amount] ?? 0) >= limit
      rows.push([
        plain(name),
        what,
        isOut ? pc.red(used) : used,
        shown(held[amount]),
        `${shown(limit)} a ${period}`,
        dateOf(endsAt),
      ])
    }
  console.log(rows.length === 0 ? 'there is no budget' : rows.toString())
  return 0
}

/** `muster budget set <name> <budget>`. */
export async function setBudgetCommand(muster: Muster, name: string, value: unknown, json: boolean): Promise<number> {
  const made = valid(value, budget)
  const budgets = await muster.budgets.set(name, made)
  if (json) print({ budgets })
  else {
    console.log(`set the budget of ${plain(name)}: see \`muster budgets\``)
    await warnIfUnknown(muster, name)
  }
  return 0
}
