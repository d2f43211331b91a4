import type { Config } from '@muster/protocol'
import { readModels } from '@muster/worker'
import pc from 'picocolors'
import { plain, print, tableOf } from '../output.ts'

/** `muster models`: where routes lead as this environment has them, and what a million tokens cost there now. */
export function modelsCommand(config: Config, json: boolean): void {
  const routes = readModels(config).routes()
  if (json) {
    print({ routes: routes.map(({ facts: _, ...route }) => route) })
    return
  }
  const rows = tableOf(['route', 'target', 'speaks', 'paid', 'in', 'cached', 'out', 'since', 'source'])
  for (const { name, order, targets } of routes)
    for (const [i, { name: target, dialect, provider, region, price, free }] of targets.entries()) {
      const route = i > 0 ? '' : plain(order === 'listed' ? name : `${name} (${order})`)
      const where = plain(region === undefined ? target : `${target} (${region})`)
      const costs = price
        ? [
            `$${price.inputUsd}`,
            `$${price.cachedUsd}`,
            `$${price.outputUsd}`,
            price.since ?? '',
            price.source ?? 'target',
          ]
        : [free ? 'free' : pc.yellow('no price'), '', '', '', '']
      rows.push([route, where, dialect, plain(provider), ...costs.map(plain)])
    }
  console.log(rows.toString())
  if (routes.some(({ targets }) => targets.some(({ price, free }) => !price && !free)))
    console.log(
      pc.yellow(
        'no price: calls cost nothing in the totals, and are refused where money is limited; see MUSTER_PRICES, or give the target a `price`',
      ),
    )
}
