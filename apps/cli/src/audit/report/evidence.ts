import type { Verification } from '@muster/audit'
import type { LedgerLeaf, LedgerReceipt, Run, RunEvent } from '@muster/protocol'
import type { Attempt } from './attempts.ts'

/** What became of asking the ledger for a run. */
export type ReceiptFinding =
  | { state: 'none'; why: string }
  | {
      state: 'holds' | 'fails'
      /** Why it does not hold. */
      why?: string
      receipt: LedgerReceipt
      leaf: LedgerLeaf
      /** Leaves under the checkpoint, and who signed it when. */
      size: number
      signed: { vkey: string; at: number | undefined }[]
      /** Whether the keys were given by who asked, and not named by the server. */
      trusted: boolean
    }

/** All that a report is made of. */
export interface Evidence {
  /** When it was made, ms. */
  at: number
  muster: string
  run: Run
  created: Extract<RunEvent['entry'], { type: 'run.created' }>
  events: readonly RunEvent[]
  attempts: readonly Attempt[]
  verification: Verification
  receipt: ReceiptFinding
  /** Whether inputs and outputs are shown. */
  content: boolean
}
