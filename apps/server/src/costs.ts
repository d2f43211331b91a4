import { type CostAmounts, type Journal, NO_COSTS, RunCosts } from '@muster/journal'
import {
  COSTS_BY,
  type CommitmentState,
  type Commitments,
  type Costs,
  commitmentState,
  costs,
  MusterError,
  PERIODS,
} from '@muster/protocol'
import type { ProviderOf } from '@muster/runtime'
import { z } from 'zod'
import type { Context, Server } from './context.ts'
import { dayOf, daysOf, drawn, lastOf } from './forecast.ts'
import { needOperator } from './keys.ts'
import { problemsOf } from './problems.ts'
import { RunningCosts } from './running-costs.ts'

const tags = ['costs']
const security = [{ key: [] }]

/** What tenants' runs have cost, and how far commitments are drawn down. */
export class CostBook {
  readonly #costs: RunCosts
  readonly #running: RunningCosts
  readonly #commitments: Commitments

  constructor(journal: Journal, commitments: Commitments, providerOf: ProviderOf) {
    this.#costs = new RunCosts(journal)
    this.#running = new RunningCosts(journal, providerOf)
    this.#commitments = commitments
  }

  /** `date`: `2026-11-28`, or `2026-11` for a month. */
  async of(tenant: string, { by, period, date }: Pick<Costs, 'by' | 'period' | 'date'>): Promise<Costs> {
    const days = period === 'day' ? [date] : daysOf(`${date}-01`, lastOf(date))
    const running = await this.#running.of(tenant)
    const sums = [...(await this.#costs.by(by, tenant, days, running))].sort(
      ([a, one], [b, other]) => other.nanoUsd - one.nanoUsd || (a < b ? -1 : 1),
    )
    const total = { ...NO_COSTS }
    for (const [, sum] of sums)
      for (const amount of Object.keys(total) as (keyof CostAmounts)[]) total[amount] += sum[amount] // its own keys
    return { by, period, date, costs: sums.map(([name, sum]) => ({ name, ...shown(sum) })), total: shown(total) }
  }

  /** Those of the tenant, and those of all tenants together. */
  async commitments(tenant: string, now: number): Promise<CommitmentState[]> {
    const own = Object.entries(this.#commitments).filter(([, one]) => one.tenant === undefined || one.tenant === tenant)
    return Promise.all(
      own.map(async ([name, { provider, usd, from, until, tenant: of }]) => {
        const days = daysOf(from, until)
        const spent = (await this.#costs.ofProvider(provider, days, of)).map((nanoUsd) => nanoUsd / 1e9)
        return { name, provider, usd, from, until, ...drawn(usd, days, spent, dayOf(now)) }
      }),
    )
  }
}

function shown({ nanoUsd, ...rest }: CostAmounts) {
  return { usd: nanoUsd / 1e9, ...rest }
}

const DATES = { day: z.iso.date(), month: z.string().regex(/^\d{4}-(0[1-9]|1[0-2])$/) }

const query = z.object({
  by: z.enum(COSTS_BY).default('model'),
  period: z.enum(PERIODS).default('month'),
  date: z.string().max(10).optional().describe('`2026-11-28`, or `2026-11` of a month; now unless given'),
})

/** Routes of what models have cost. */
export function costRoutes(server: Server, { costBook, keyOf }: Context): void {
  server.get(
    '/v1/costs',
    {
      schema: {
        tags,
        security,
        summary: 'What model calls cost in a day or month, of runs that have ended and of those that go on',
        querystring: query,
        response: { 200: costs, ...problemsOf(400, 401, 403, 503) },
      },
    },
    async (request) => {
      const { tenant } = needOperator(keyOf(request))
      const { by, period, date = dayOf(Date.now()).slice(0, period === 'day' ? 10 : 7) } = request.query
      if (!DATES[period].safeParse(date).success) {
        const message = period === 'day' ? 'is a day such as 2026-11-28' : 'is a month such as 2026-11'
        throw new MusterError('request.invalid', `date ${message}`, { issues: [{ path: '/date', message }] })
      }
      return costBook.of(tenant, { by, period, date })
    },
  )
  server.get(
    '/v1/commitments',
    {
      schema: {
        tags,
        security,
        summary: 'Amounts that are promised to providers, what was used of them, and where that leads',
        response: { 200: z.object({ commitments: z.array(commitmentState) }), ...problemsOf(401, 403, 503) },
      },
    },
    async (request) => {
      const { tenant } = needOperator(keyOf(request))
      return { commitments: await costBook.commitments(tenant, Date.now()) }
    },
  )
}
