import { type Limit, limit } from '@muster/protocol'
import type { Muster } from '@muster/sdk'
import { dateOf, plain, print, tableOf } from '../output.ts'
import { valid } from '../read-valid.ts'

/** `muster limits`: what was set while servers and workers run. */
export async function limitsCommand(muster: Muster, json: boolean): Promise<number> {
  const limits = await muster.limits.list()
  if (json) {
    print({ limits })
    return 0
  }
  const rows = tableOf(['limit', 'lets through', 'by', 'since'])
  for (const { name, limit, by, at } of limits) rows.push([plain(name), limitText(limit), plain(by), dateOf(at)])
  console.log(limits.length === 0 ? 'no limit was set: see MUSTER_LIMITS for those of the deployment' : rows.toString())
  return 0
}

/** `muster limit set <name> <limit>`. */
export async function setLimitCommand(muster: Muster, name: string, value: unknown, json: boolean): Promise<number> {
  const set = await muster.limits.set(name, valid(value, limit))
  if (json) print(set)
  else console.log(`set the limit of ${plain(name)}: ${limitText(set.limit)}`)
  return 0
}

/** Such as `60 requests and 400000 tokens a minute, 4 at once`. */
export function limitText({ concurrency, requestsPerMinute, tokensPerMinute, burstMs }: Limit): string {
  const rates = [
    ...(requestsPerMinute === undefined ? [] : [`${requestsPerMinute} requests`]),
    ...(tokensPerMinute === undefined ? [] : [`${tokensPerMinute} tokens`]),
  ]
  return [
    ...(rates.length === 0 ? [] : [`${rates.join(' and ')} a minute`]),
    ...(concurrency === undefined ? [] : [`${concurrency} at once`]),
    ...(burstMs === undefined ? [] : [`bursts of ${burstMs} ms`]),
  ].join(', ')
}
