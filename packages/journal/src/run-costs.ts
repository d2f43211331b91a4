import { hash } from 'node:crypto'
import { COSTS_BY, type CostsBy } from '@muster/protocol'
import type { Journal } from './journal.ts'
import type { Partition } from './partition.ts'

/** What model calls came to: billionths of a US dollar, tokens, and how many there were. All integers. */
export interface CostAmounts {
  nanoUsd: number
  calls: number
  inputTokens: number
  outputTokens: number
  cachedTokens: number
}

/** What a run's calls of one day (`2026-11-28`, UTC) have cost that have all names in common. */
export interface CostLine extends CostAmounts {
  day: string
  names: Record<CostsBy, string>
}

export const NO_COSTS: CostAmounts = { nanoUsd: 0, calls: 0, inputTokens: 0, outputTokens: 0, cachedTokens: 0 }

const DAY_S = 86_400
/** How long it is known that a run was counted, unless it is said that it was archived, and after that. */
const COUNTED_S = 30 * DAY_S
const GRACE_S = 3600
const KEPT_S = 1200 * DAY_S
/** Of all tenants together; no name of a tenant is empty. */
const ALL = ''

const letters = { nanoUsd: 'n', calls: 'k', inputTokens: 'i', outputTokens: 'o', cachedTokens: 'c' } as const
const amountOf = new Map(Object.entries(letters).map(([amount, letter]) => [letter as string, amount]))

/** What tenants' runs have cost, by day. Each run is counted once, when it has ended. */
export class RunCosts {
  readonly #journal: Journal

  constructor(journal: Journal) {
    this.#journal = journal
  }

  /** Counts a run of which nothing more is to come. The same again changes nothing. */
  async add(tenant: string, run: string, lines: readonly CostLine[]): Promise<void> {
    if (lines.length === 0) return
    await Promise.all([this.#count(tenant, run, lines), this.#count(ALL, run, lines)])
  }

  /** The run is archived, and its journal stays for `ttlS` at most: after that it is not told of any more. */
  async forget(tenant: string, run: string, ttlS: number): Promise<void> {
    const forgotten = [tenant, ALL].map((name) => {
      const { keys, redis } = this.#partitionOf(name)
      return redis.expire(keys.counted(name, run), ttlS + GRACE_S)
    })
    await Promise.all(forgotten)
  }

  async #count(tenant: string, run: string, lines: readonly CostLine[]): Promise<void> {
    const { keys, redis, replication } = this.#partitionOf(tenant)
    const days = [...new Set(lines.map(({ day }) => day))]
    const names = [keys.counted(tenant, run), ...days.map((day) => keys.costs(tenant, day))]
    const args = [...fieldsOf(lines)].flatMap(([day, fields]) =>
      [...fields].flatMap(([field, amount]) => [days.indexOf(day) + 2, field, String(amount)]),
    )
    await replication.after(redis.musterCosts(names.length, ...names, COUNTED_S, KEPT_S, ...args))
  }

  /** What was used on these days together, by name. `running`: what runs have come to that may not be counted yet. */
  async by(
    by: CostsBy,
    tenant: string,
    days: readonly string[],
    running: readonly { run: string; lines: readonly CostLine[] }[] = [],
  ): Promise<Map<string, CostAmounts>> {
    const { keys, redis } = this.#partitionOf(tenant)
    // At one moment: a run that ends meanwhile is in one of both.
    const asked = redis.multi()
    for (const { run } of running) asked.exists(keys.counted(tenant, run))
    for (const day of days) asked.hgetall(keys.costs(tenant, day))
    const answers = (await asked.exec()) ?? []
    const values = answers.map(([error, value]) => {
      if (error) throw error
      return value
    })
    const open = running.filter((_, at) => values[at] === 0).flatMap(({ lines }) => lines)
    const hashes: Iterable<readonly [field: string, value: unknown]>[] = [
      ...values.slice(running.length).map((hash) => Object.entries(hash as Record<string, string>)), // as HGETALL gives it
      ...[...fieldsOf(open.filter(({ day }) => days.includes(day)))].map(([, fields]) => fields),
    ]
    const sums = new Map<string, CostAmounts>()
    for (const hash of hashes)
      for (const [field, value] of hash) {
        const amount = amountOf.get(field[0] ?? '')
        if (amount === undefined || !field.startsWith(`${by}:`, 1)) continue
        const name = field.slice(by.length + 2)
        const sum = sums.get(name) ?? { ...NO_COSTS }
        sum[amount as keyof CostAmounts] += Number(value) // one of the letters' names
        sums.set(name, sum)
      }
    return sums
  }

  /** What was used of a provider on each of these days, billionths of a US dollar; of all tenants where none is named. */
  async ofProvider(provider: string, days: readonly string[], tenant: string = ALL): Promise<number[]> {
    const { keys, redis } = this.#partitionOf(tenant)
    const field = `${letters.nanoUsd}provider:${provider}`
    const values = await Promise.all(days.map((day) => redis.hget(keys.costs(tenant, day), field)))
    return values.map(Number)
  }

  #partitionOf(tenant: string): Partition {
    const { partitions } = this.#journal
    if (partitions.length === 1 || tenant === ALL) return partitions[0]
    const index = hash('sha256', tenant, 'buffer').readUInt32BE() % partitions.length
    return partitions[index] as Partition // within their number
  }
}

/** By day the fields of its hash, and what each is raised by. */
function fieldsOf(lines: readonly CostLine[]): Map<string, Map<string, number>> {
  const byDay = new Map<string, Map<string, number>>()
  for (const line of lines) {
    const fields = byDay.get(line.day) ?? new Map<string, number>()
    byDay.set(line.day, fields)
    for (const by of COSTS_BY)
      for (const [amount, letter] of Object.entries(letters)) {
        const value = line[amount as keyof CostAmounts] // one of its keys
        const field = `${letter}${by}:${line.names[by]}`
        if (value > 0) fields.set(field, (fields.get(field) ?? 0) + value)
      }
  }
  return byDay
}
