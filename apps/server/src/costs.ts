import { addCosts, type CostAmounts, type Journal, NO_COSTS, RunCosts } from '@muster/journal'
import type { Memory } from '@muster/memory'
import type { CommitmentState, Commitments, Costs, CostsRebuild } from '@muster/protocol'
import { type ProviderOf, rebuildCosts } from '@muster/runtime'
import { dayOf, daysOf, drawn, lastOf } from './forecast.ts'
import { RunningCosts } from './running-costs.ts'

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
