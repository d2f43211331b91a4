import type { PolicySetSummary, PublishedPolicies } from '@muster/protocol'
import type { Request } from './request.ts'

export interface PoliciesClient {
  /** The sets that workers have decided by, newest first. */
  list(): Promise<PolicySetSummary[]>
  /** The set that a decision names, with its texts. */
  get(hash: string): Promise<PublishedPolicies>
}

export function policiesClient(request: Request): PoliciesClient {
  return {
    list: async () => (await request<{ sets: PolicySetSummary[] }>('GET', '/v1/policies')).sets,
    get: (hash) => request('GET', `/v1/policies/${encodeURIComponent(hash)}`),
  }
}
