import { COSTS_BY, type CostsBy, costs, MusterError } from '@muster/protocol'
import type { Muster } from '@muster/sdk'
import pc from 'picocolors'
import { plain, print, tableOf } from '../output.ts'

const money = (usd: number) => `${usd < 0 ? '-' : ''}$${Math.abs(usd).toFixed(4)}`

/** `muster costs`: what model calls cost. */
export async function costsCommand(
  muster: Muster,
  asked: { by: string; day?: string | true; month?: string },
  json: boolean,
): Promise<number> {
  const by = costs.shape.by.safeParse(asked.by)
  if (!by.success) {
    const message = `is one of ${COSTS_BY.join(', ')}`
    throw new MusterError('request.invalid', `--by ${message}`, { issues: [{ path: '/by', message }] })
  }
  const { day, month } = asked
  const date = day === undefined ? month : day === true ? undefined : day
  const found = await muster.costs.list({
    by: by.data satisfies CostsBy,
    period: day === undefined ? 'month' : 'day',
    ...(date === undefined ? {} : { date }),
  })
  if (json) {
    print(found)
    return 0
  }
  const rows = tableOf([found.by, 'cost', 'calls', 'tokens in', 'of these cached', 'tokens out'])
  for (const { name, usd, calls, inputTokens, cachedTokens, outputTokens } of [
    ...found.costs,
    { name: 'all', ...found.total },
  ])
    rows.push([plain(name) || '(none)', money(usd), calls, inputTokens, cachedTokens, outputTokens])
  console.log(found.costs.length === 0 ? `no run used a model in ${found.date}` : rows.toString())
  return 0
}

/** `muster costs rebuild`: makes the totals anew from the journals. */
export async function rebuildCostsCommand(muster: Muster, json: boolean): Promise<number> {
  for await (const state of muster.costs.rebuild()) {
    if (!state.done) console.error(`${state.runs} archived runs so far`)
    else if (json) print(state)
    else console.log(`made anew from ${state.runs} archived runs and those in Redis`)
  }
  return 0
}

/** `muster commitments`: how far each is drawn down, and where that leads. */
export async function commitmentsCommand(muster: Muster, json: boolean): Promise<number> {
  const commitments = await muster.costs.commitments()
  if (json) {
    print({ commitments })
    return 0
  }
  const rows = tableOf(['commitment', 'provider', 'used', 'of', 'a day', 'at its end', 'used up', 'until'])
  for (const { name, provider, usd, until, spentUsd, usdPerDay, forecastUsd, usedUpOn } of commitments) {
    const forecast = money(forecastUsd)
    rows.push([
      plain(name),
      plain(provider),
      money(spentUsd),
      money(usd),
      money(usdPerDay),
      forecastUsd > usd ? pc.red(forecast) : forecast,
      usedUpOn ?? '',
      until,
    ])
  }
  console.log(commitments.length === 0 ? 'there is no commitment: see MUSTER_COMMITMENTS' : rows.toString())
  return 0
}
