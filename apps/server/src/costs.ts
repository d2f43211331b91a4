import { addCosts, type CostAmounts, type Journal, NO_COSTS, RunCosts } from '@muster/journal'
import type { Memory } from '@muster/memory'
import {
  COSTS_BY,
  type CommitmentState,
  type Commitments,
  type Costs,
  type CostsRebuild,
  commitmentState,
  costs,
  costsRebuild,
  MusterError,
  PERIODS,
} from '@muster/protocol'
import { type ProviderOf, rebuildCosts } from '@muster/runtime'
import { z } from 'zod'
import type { Context, Server } from './context.ts'
import { dayOf, daysOf, drawn, lastOf } from './forecast.ts'
import { problemsOf } from './problems.ts'
import { RunningCosts } from './running-costs.ts'

const tags = ['costs']
const security = [{ key: [] }]

/** So long one request makes costs anew, ms. */
const REBUILD_MS = 3000

export interface CostBookOptions {
  journal: Journal
  memory: Memory
  commitments: Commitments
  /** Tenants that this server serves. */
  tenants: Iterable<string>
  providerOf: ProviderOf
}

/** What tenants' runs have cost, and how far commitments are drawn down. */
export class CostBook {
  readonly #options: CostBookOptions
  readonly #costs: RunCosts
  readonly #running: RunningCosts

  constructor(options: CostBookOptions) {
    this.#options = options
    this.#costs = new RunCosts(options.journal)
    this.#running = new RunningCosts(options.journal, options.providerOf)
  }

  /** `date`: `2026-11-28`, or `2026-11` for a month. */
  async of(tenant: string, { by, period, date }: Pick<Costs, 'by' | 'period' | 'date'>): Promise<Costs> {
    const days = period === 'day' ? [date] : daysOf(`${date}-01`, lastOf(date))
    const found = await this.#costs.by(by, tenant, days, await this.#running.of(tenant))
    const sums = new Map<string, CostAmounts>()
    const total = { ...NO_COSTS }
    const each = found.map((named, at) => {
      const ofDay = { ...NO_COSTS }
      for (const [name, amounts] of named) {
        const sum = sums.get(name) ?? { ...NO_COSTS }
        addCosts(sum, amounts)
        sums.set(name, sum)
        addCosts(ofDay, amounts)
      }
      addCosts(total, ofDay)
      return { date: days[at] ?? '', ...shown(ofDay) }
    })
    const dearest = [...sums].sort(([a, one], [b, other]) => other.nanoUsd - one.nanoUsd || (a < b ? -1 : 1))
    const parts = dearest.map(([name, sum]) => ({ name, ...shown(sum) }))
    return { by, period, date, costs: parts, total: shown(total), days: each }
  }

  /** Those of the tenant, and those of all tenants together. */
  async commitments(tenant: string, now: number): Promise<CommitmentState[]> {
    const { commitments } = this.#options
    const own = Object.entries(commitments).filter(([, one]) => one.tenant === undefined || one.tenant === tenant)
    const tenants = own.some(([, one]) => one.tenant === undefined) ? await this.#tenants() : [tenant]
    const states = own.map(([name, one]) => {
      const days = daysOf(one.from, one.until)
      return { name, one, days, nanoUsd: days.map(() => 0) }
    })
    for (const of of tenants) {
      const running = await this.#running.of(of, tenants.length)
      for (const { one, days, nanoUsd } of states) {
        if (one.tenant !== undefined && one.tenant !== of) continue
        const spent = await this.#costs.ofProvider(one.provider, of, days, running)
        for (const [day, amount] of spent.entries()) nanoUsd[day] = (nanoUsd[day] ?? 0) + amount
      }
    }
    return states.map(({ name, one: { provider, usd, from, until }, days, nanoUsd }) => {
      const spent = nanoUsd.map((amount) => amount / 1e9)
      return { name, provider, usd, from, until, ...drawn(usd, days, spent, dayOf(now)) }
    })
  }

  /** Those that may have cost anything: who has a key, and who has runs in the archive. */
  async #tenants(): Promise<string[]> {
    const found = new Set(this.#options.tenants)
    for await (const tenant of this.#options.memory.archive.tenants()) found.add(tenant)
    return [...found]
  }

  /** Makes the totals of a tenant anew, for some seconds; `id` names what goes on. */
  rebuild(tenant: string, id: string | undefined): Promise<CostsRebuild> {
    const end = Date.now() + REBUILD_MS
    return rebuildCosts(this.#options, tenant, { name: id, until: () => Date.now() >= end })
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
export function costRoutes(server: Server, { costBook, records, keyOf }: Context): void {
  server.get(
    '/v1/costs',
    {
      config: { access: ['operator', 'auditor'] },
      schema: {
        tags,
        security,
        summary: 'What model calls cost in a day or month, of runs that have ended and of those that go on',
        querystring: query,
        response: { 200: costs, ...problemsOf(400, 401, 403, 503) },
      },
    },
    async (request) => {
      const { tenant } = keyOf(request)
      const { by, period, date = dayOf(Date.now()).slice(0, period === 'day' ? 10 : 7) } = request.query
      if (!DATES[period].safeParse(date).success) {
        const message = period === 'day' ? 'is a day such as 2026-11-28' : 'is a month such as 2026-11'
        throw new MusterError('request.invalid', `date ${message}`, { issues: [{ path: '/date', message }] })
      }
      return costBook.of(tenant, { by, period, date })
    },
  )
  server.post(
    '/v1/costs/rebuild',
    {
      config: { access: ['operator'] },
      schema: {
        tags,
        security,
        summary:
          'Make the totals of costs anew from the journals of all runs: for some seconds, to be asked again until done',
        body: z.strictObject({
          id: z.uuid().optional().describe('of what was begun; without it one begins, or goes on'),
        }),
        response: { 200: costsRebuild, ...problemsOf(400, 401, 403, 503) },
      },
    },
    async (request) => {
      const who = keyOf(request)
      const { id } = request.body
      if (id === undefined) await records.add(who, 'costs.rebuilt', {})
      return costBook.rebuild(who.tenant, id)
    },
  )
  server.get(
    '/v1/commitments',
    {
      config: { access: ['operator', 'auditor'] },
      schema: {
        tags,
        security,
        summary: 'Amounts that are promised to providers, what was used of them, and where that leads',
        response: { 200: z.object({ commitments: z.array(commitmentState) }), ...problemsOf(401, 403, 503) },
      },
    },
    async (request) => {
      const { tenant } = keyOf(request)
      return { commitments: await costBook.commitments(tenant, Date.now()) }
    },
  )
}
