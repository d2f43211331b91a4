import type { CommitmentState } from '@muster/protocol'

const DAY_MS = 86_400_000
/** It goes on as the last days did. */
const FORECAST_DAYS = 28

/** How far it is drawn down on a day, and where that leads. Today is not over, and tells of no whole day. */
export function drawn(
  usd: number,
  days: readonly string[],
  spent: readonly number[],
  today: string,
): Pick<CommitmentState, 'spentUsd' | 'leftUsd' | 'usdPerDay' | 'forecastUsd' | 'usedUpOn'> {
  // Sums of fractions have crumbs.
  const spentUsd = Math.round(spent.reduce((sum, day) => sum + day, 0) * 1e9) / 1e9
  const over = spent.slice(0, days.filter((day) => day < today).length)
  const last = over.slice(-FORECAST_DAYS)
  const usdPerDay = last.length === 0 ? 0 : last.reduce((sum, day) => sum + day, 0) / last.length
  const daysLeft = days.filter((day) => day > today).length
  const leftUsd = usd - spentUsd
  const state = { spentUsd, leftUsd, usdPerDay, forecastUsd: spentUsd + usdPerDay * daysLeft }
  if (leftUsd <= 0) {
    let sum = 0
    for (const [i, day] of days.entries()) {
      sum += spent[i] ?? 0
      if (sum >= usd) return { ...state, usedUpOn: day }
    }
  }
  const daysMore = usdPerDay === 0 ? Number.POSITIVE_INFINITY : Math.ceil(leftUsd / usdPerDay)
  if (daysMore > daysLeft) return state
  return { ...state, usedUpOn: dayOf(Date.parse(today) + daysMore * DAY_MS) }
}

/** Of UTC. */
export function dayOf(at: number): string {
  return new Date(at).toISOString().slice(0, 10)
}

export function daysOf(from: string, until: string): string[] {
  const days: string[] = []
  for (let at = Date.parse(from); at <= Date.parse(until); at += DAY_MS) days.push(dayOf(at))
  return days
}

/** The last day of a month such as 2026-11. */
export function lastOf(month: string): string {
  const [year = 0, number = 1] = month.split('-').map(Number)
  return dayOf(Date.UTC(year, number, 0))
}
