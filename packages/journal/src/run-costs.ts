import type { CostLine, CostsBy } from '@muster/protocol'
import { type CostAmounts, countCosts, fieldOf, fieldsOf, NO_COSTS, readField } from './cost-count.ts'
import type { Journal } from './journal.ts'
import { tenantPartition } from './tenant-partition.ts'

/** After that nobody tells any more of a run whose journal is gone. */
const GRACE_S = 3600
/** Books are changed for new ones now and then, and not again while they are read. */
const READS_MAX = 5

type Field = readonly [name: string, value: number]

/** What a run has come to, whether it is counted or not. */
export interface RunCost {
  run: string
  lines: readonly CostLine[]
}

/** What tenants' runs have cost, by day. Each run is counted once, when it has ended. */
export class RunCosts {
  readonly #journal: Journal

  constructor(journal: Journal) {
    this.#journal = journal
  }

  /** Counts a run of which nothing more is to come. The same again changes nothing. */
  async add(tenant: string, run: string, lines: readonly CostLine[]): Promise<void> {
    if (lines.length > 0) await countCosts(tenantPartition(this.#journal, tenant), { tenant, run, lines })
  }

  /** The run is archived, and its journal stays for `ttlS` at most: after that it is not told of any more. */
  async forget(tenant: string, run: string, ttlS: number): Promise<void> {
    const { keys, redis } = tenantPartition(this.#journal, tenant)
    await redis.expire(keys.counted(tenant, run), ttlS + GRACE_S)
  }

  /** What was used on each of these days, by name. */
  async by(
    by: CostsBy,
    tenant: string,
    days: readonly string[],
    running: readonly RunCost[] = [],
  ): Promise<Map<string, CostAmounts>[]> {
    const found = await this.#days(tenant, days, running)
    return found.map((fields) => {
      const sums = new Map<string, CostAmounts>()
      for (const [field, value] of fields) {
        const read = readField(field, by)
        if (!read) continue
        const sum = sums.get(read.name) ?? { ...NO_COSTS }
        sum[read.amount] += value
        sums.set(read.name, sum)
      }
      return sums
    })
  }

  /** What was used of a provider on each of these days, billionths of a US dollar. */
  async ofProvider(
    provider: string,
    tenant: string,
    days: readonly string[],
    running: readonly RunCost[] = [],
  ): Promise<number[]> {
    const field = fieldOf('nanoUsd', 'provider', provider)
    const found = await this.#days(tenant, days, running, field)
    return found.map((fields) => fields.reduce((sum, [name, value]) => sum + (name === field ? value : 0), 0))
  }

  /** Of each day its fields, or one of them, of runs that were counted and of those that were not, at one moment. */
  async #days(tenant: string, days: readonly string[], running: readonly RunCost[], field?: string) {
    const { keys, redis } = tenantPartition(this.#journal, tenant)
    for (let reads = 0; ; reads++) {
      const books = (await redis.hget(keys.books(tenant), 'live')) ?? ''
      const asked = redis.multi().hget(keys.books(tenant), 'live')
      for (const { run } of running) asked.exists(keys.counted(tenant, run))
      for (const day of days) {
        const key = keys.costs(tenant, day, books)
        if (field === undefined) asked.hgetall(key)
        else asked.hget(key, field)
      }
      const [live, ...values] = ((await asked.exec()) ?? []).map(([error, value]) => {
        if (error) throw error
        return value
      })
      if ((live ?? '') !== books && reads < READS_MAX) continue
      const open = fieldsOf(running.filter((_, at) => values[at] === 0).flatMap(({ lines }) => lines))
      return values.slice(running.length).map((value, at): Field[] => [
        ...(field === undefined
          ? Object.entries(value as Record<string, string>).map(([name, text]): Field => [name, Number(text)]) // as HGETALL gives it
          : [[field, Number(value ?? 0)] as const]),
        ...(open.get(days[at] ?? '') ?? []),
      ])
    }
  }
}
