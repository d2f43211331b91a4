import { COSTS_BY, type CostLine, type CostsBy } from '@muster/protocol'
import type { Partition } from './partition.ts'

/** What model calls came to: billionths of a US dollar, tokens, and how many there were. All integers. */
export type CostAmounts = Omit<CostLine, 'day' | 'names'>

export const NO_COSTS: CostAmounts = { nanoUsd: 0, calls: 0, inputTokens: 0, outputTokens: 0, cachedTokens: 0 }

const DAY_MS = 86_400_000
const DAY_S = 86_400
/** How long it is known that a run was counted, unless it is said that it was archived. */
const COUNTED_S = 30 * DAY_S
export const KEPT_DAYS = 1200
/** Books that are being made anew for longer are left as they are. */
export const MAKING_MS = 30 * DAY_MS

const letters = { nanoUsd: 'n', calls: 'k', inputTokens: 'i', outputTokens: 'o', cachedTokens: 'c' } as const
const AMOUNTS = Object.keys(letters) as (keyof CostAmounts)[] // its own keys
const amountOf = new Map(AMOUNTS.map((amount) => [letters[amount] as string, amount]))

export function addCosts(sum: CostAmounts, more: CostAmounts): void {
  for (const amount of AMOUNTS) sum[amount] += more[amount]
}

/** Tells of a run. False where its place in the archive is one that another has gone on from. */
export async function countCosts(
  { keys, redis, clock, replication }: Partition,
  { tenant, run, lines }: { tenant: string; run: string; lines: readonly CostLine[] },
  told: { by: '' | 'found' } | { by: string; next: string } = { by: '' },
): Promise<boolean> {
  const args = [...fieldsOf(lines)].flatMap(([day, fields]) =>
    [...fields].flatMap(([field, amount]) => [day, field, String(amount)]),
  )
  const counted = redis.musterCosts(
    ...[keys.books(tenant), keys.counted(tenant, run), keys.booked(tenant), keys.tag, tenant, run],
    ...[COUNTED_S, KEPT_DAYS * DAY_S, clock() - MAKING_MS, told.by, 'next' in told ? told.next : '', ...args],
  )
  return (await replication.after(counted)) === 1
}

/** By day the fields of its hash, and what each is raised by. */
export function fieldsOf(lines: readonly CostLine[]): Map<string, Map<string, number>> {
  const byDay = new Map<string, Map<string, number>>()
  for (const line of lines) {
    const fields = byDay.get(line.day) ?? new Map<string, number>()
    byDay.set(line.day, fields)
    for (const by of COSTS_BY)
      for (const amount of AMOUNTS) {
        const value = line[amount]
        const field = fieldOf(amount, by, line.names[by])
        if (value > 0) fields.set(field, (fields.get(field) ?? 0) + value)
      }
  }
  return byDay
}

export function fieldOf(amount: keyof CostAmounts, by: CostsBy, name: string): string {
  return `${letters[amount]}${by}:${name}`
}

/** What a field is of: the name after `<by>:`, and which amount. */
export function readField(field: string, by: CostsBy): { name: string; amount: keyof CostAmounts } | undefined {
  const amount = amountOf.get(field[0] ?? '')
  if (amount === undefined || !field.startsWith(`${by}:`, 1)) return undefined
  return { name: field.slice(by.length + 2), amount }
}
