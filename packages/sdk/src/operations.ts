import type { Budget, BudgetState, CommitmentState, Costs, CostsBy, Stop } from '@muster/protocol'
import type { Muster } from './client.ts'

export interface BudgetsClient {
  /** What may be used in this day and month, and what was. */
  list(): Promise<BudgetState[]>
  /** `name`: `tenant`, `agent:<name>` or `plan:<name>`. */
  set(name: string, budget: Budget): Promise<BudgetState[]>
  /** Takes back what was set. */
  remove(name: string): Promise<void>
}

export interface CostsClient {
  /** What model calls cost, in this month unless said otherwise. */
  list(options?: { by?: CostsBy; period?: Costs['period']; date?: string }): Promise<Costs>
  /** How far commitments to providers are drawn down. */
  commitments(): Promise<CommitmentState[]>
}

export interface StopsClient {
  list(): Promise<Stop[]>
  /** `name`: `tenant`, or `agent:`, `plan:`, `tool:` or `model:` and which. Within a second nothing of it begins anywhere. */
  set(name: string, options?: { reason?: string }): Promise<Stop>
  /** What waits for it goes on. */
  lift(name: string): Promise<void>
}

export function budgetsClient(request: Muster['request']): BudgetsClient {
  const path = (name: string) => `/v1/budgets/${encodeURIComponent(name)}`
  return {
    list: async () => (await request<{ budgets: BudgetState[] }>('GET', '/v1/budgets')).budgets,
    set: async (name, budget) => (await request<{ budgets: BudgetState[] }>('PUT', path(name), budget)).budgets,
    remove: (name) => request('DELETE', path(name)),
  }
}

export function costsClient(request: Muster['request']): CostsClient {
  return {
    list: (options = {}) => request('GET', `/v1/costs?${new URLSearchParams(options)}`),
    commitments: async () => (await request<{ commitments: CommitmentState[] }>('GET', '/v1/commitments')).commitments,
  }
}

export function stopsClient(request: Muster['request']): StopsClient {
  const path = (name: string) => `/v1/stops/${encodeURIComponent(name)}`
  return {
    list: async () => (await request<{ stops: Stop[] }>('GET', '/v1/stops')).stops,
    set: (name, options = {}) => request('PUT', path(name), options),
    lift: (name) => request('DELETE', path(name)),
  }
}
