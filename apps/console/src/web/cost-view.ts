import type { Costs, CostsBy } from '@muster/protocol'
import { linkTo } from './route.ts'

type Period = Costs['period']

/** What costs are told by, and what a name is then called. */
export const columns: Record<CostsBy, string> = {
  model: 'Model',
  provider: 'Provider',
  agent: 'Agent or plan',
  user: 'User',
  team: 'Team',
  key: 'Key',
}

/** Which costs are looked at: those of this day or month where no date is given. All of UTC. */
export interface CostView {
  /** As the address has it: the server says what is wrong with another. */
  by: string
  period: Period
  date: string | undefined
}

export function viewOf(query: URLSearchParams): CostView {
  return {
    by: query.get('by') ?? 'model',
    period: query.get('period') === 'day' ? 'day' : 'month',
    date: query.get('date') ?? undefined,
  }
}

/** What a view is asked for by, in the address and of the server. */
export function queryOf({ by, period, date }: CostView): URLSearchParams {
  return new URLSearchParams({ by, period, ...(date === undefined ? {} : { date }) })
}

export function linkToView(view: CostView): string {
  return `${linkTo('costs')}?${queryOf(view)}`
}

/** The day or month so many later; none where the address has no date. */
export function later(period: Period, date: string, by: number): string | undefined {
  if (!isDate(period, date)) return undefined
  const at = new Date(date)
  if (period === 'day') at.setUTCDate(at.getUTCDate() + by)
  else at.setUTCMonth(at.getUTCMonth() + by)
  const moved = dateAt(period, at.getTime())
  return isDate(period, moved) ? moved : undefined
}

/** The same time by day or by month: of this month today, of others their first day. */
export function byPeriod({ by, date }: CostView, period: Period, now: number): CostView {
  if (date === undefined) return { by, period, date }
  if (period === 'month') return { by, period, date: date.slice(0, 7) }
  return { by, period, date: date === dateAt('month', now) ? dateAt('day', now) : `${date}-01` }
}

export function dateAt(period: Period, at: number): string {
  return new Date(at).toISOString().slice(0, period === 'day' ? 10 : 7)
}

export function isDate(period: Period, date: string): boolean {
  const form = period === 'day' ? /^\d{4}-\d\d-\d\d$/ : /^\d{4}-\d\d$/
  return form.test(date) && !Number.isNaN(Date.parse(date))
}
