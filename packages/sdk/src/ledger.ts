import type { LedgerConsistency, LedgerHead, LedgerReceipt } from '@muster/protocol'
import type { Request } from './request.ts'

/** The ledger of the key's tenant: what the heads of its runs enter. */
export interface LedgerClient {
  head(): Promise<LedgerHead>
  /** The newest leaf of a run, and the proof that it is in the ledger. Nothing of it is verified here. */
  receipt(run: string): Promise<LedgerReceipt>
  /** The proof that the ledger of `to` leaves, now unless given, begins with that of `from`. */
  consistency(from: number, to?: number): Promise<LedgerConsistency>
}

export function ledgerClient(request: Request): LedgerClient {
  return {
    head: () => request('GET', '/v1/ledger'),
    receipt: (run) => request('GET', `/v1/runs/${encodeURIComponent(run)}/receipt`),
    consistency: (from, to) =>
      request('GET', `/v1/ledger/consistency?from=${from}${to === undefined ? '' : `&to=${to}`}`),
  }
}
