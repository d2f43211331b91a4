import type {
  Budget,
  BudgetState,
  CommitmentState,
  Costs,
  CostsBy,
  CostsRebuild,
  Limit,
  SetLimit,
  Stop,
} from '@muster/protocol'
import type { Request } from './request.ts'

export interface BudgetsClient {
  /** What may be used in this day and month, and what was. */
  list(): Promise<BudgetState[]>
  /** `name`: `tenant`, `agent:<name>` or `plan:<name>`. */
  set(name: string, budget: Budget): Promise<BudgetState[]>
  /** Takes back what was set. */
  remove(name: string): Promise<void>
}

/** Needs the role "operator" or, but for `rebuild`, "auditor". */
export interface CostsClient {
  /** What model calls cost, in this month unless said otherwise. */
  list(options?: { by?: CostsBy; period?: Costs['period']; date?: string }): Promise<Costs>
  /** How far commitments to providers are drawn down. */
  commitments(): Promise<CommitmentState[]>
  /** Makes the totals of costs anew from the journals of all runs; tells now and then how far it is. */
  rebuild(): AsyncGenerator<CostsRebuild, void, undefined>
}

export interface StopsClient {
  list(): Promise<Stop[]>
  /** `name`: `tenant`, or `agent:`, `plan:`, `tool:` or `model:` and which. Within a second nothing of it begins anywhere. */
  set(name: string, options?: { reason?: string }): Promise<Stop>
  /** What waits for it goes on. */
  lift(name: string): Promise<void>
}

export interface LimitsClient {
  /** Those that were set; not those of the deployment. */
  list(): Promise<SetLimit[]>
  /**
   * How many model calls at once and per minute, on all servers and workers within a second. `name`: `user:<user>`,
   * `team:<team>`, `key:<id>`, one of these with `*` for every other one, or `tenant` for all steps.
   */
  set(name: string, limit: Limit): Promise<SetLimit>
  /** Takes back what was set: what the deployment has holds again. */
  remove(name: string): Promise<void>
}

export function budgetsClient(request: Request): BudgetsClient {
  const path = (name: string) => `/v1/budgets/${encodeURIComponent(name)}`
  return {
    list: async () => (await request<{ budgets: BudgetState[] }>('GET', '/v1/budgets')).budgets,
    set: async (name, budget) => (await request<{ budgets: BudgetState[] }>('PUT', path(name), budget)).budgets,
    remove: (name) => request('DELETE', path(name)),
  }
}

export function limitsClient(request: Request): LimitsClient {
  const path = (name: string) => `/v1/limits/${encodeURIComponent(name)}`
  return {
    list: async () => (await request<{ limits: SetLimit[] }>('GET', '/v1/limits')).limits,
    set: (name, limit) => request('PUT', path(name), limit),
    remove: (name) => request('DELETE', path(name)),
  }
}

export function costsClient(request: Request): CostsClient {
  return {
    list: (options = {}) => request('GET', `/v1/costs?${new URLSearchParams(options)}`),
    commitments: async () => (await request<{ commitments: CommitmentState[] }>('GET', '/v1/commitments')).commitments,
    async *rebuild() {
      for (let id: string | undefined; ; ) {
        const state: CostsRebuild = await request('POST', '/v1/costs/rebuild', id === undefined ? {} : { id })
        yield state
        if (state.done) return
        id = state.id
      }
    },
  }
}

export function stopsClient(request: Request): StopsClient {
  const path = (name: string) => `/v1/stops/${encodeURIComponent(name)}`
  return {
    list: async () => (await request<{ stops: Stop[] }>('GET', '/v1/stops')).stops,
    set: (name, options = {}) => request('PUT', path(name), options),
    lift: (name) => request('DELETE', path(name)),
  }
}
