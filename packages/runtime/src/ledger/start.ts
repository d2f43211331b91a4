import type { Signer } from '@muster/audit'
import { Heads, type Journal } from '@muster/journal'
import type { Ledgers, Memory } from '@muster/memory'
import type { Logger } from 'pino'
import type { RecordBook } from '../archive/record-book.ts'
import { Sealer } from './sealer.ts'
import { type Witness, Witnesses } from './witness.ts'

export interface LedgerOptions {
  /** Where the ledgers are; in the memory's own table unless given. */
  ledgers?: Ledgers | undefined
  /** How often heads of running runs are sent, ms. */
  headsMs: number
  /** Without it this worker leaves heads for others to seal. */
  seal?:
    | {
        signers: readonly Signer[]
        /** What the ledgers' names begin with. */
        origin: string
        /** How long heads wait at most until they are sealed, ms; 5000 unless given. */
        waitMsMax?: number | undefined
        witnesses?: readonly Witness[] | undefined
      }
    | undefined
}

/** Sends the heads of the runs that a worker holds, and seals, in the background; gives how to stop. */
export function startLedger(options: {
  journal: Journal
  memory: Memory
  book: RecordBook
  worker: string
  log: Logger
  clock: () => number
  runs: () => { run: string; tenant: string }[]
  ledger: LedgerOptions
}): { close(): Promise<void> } {
  const { journal, memory, book, worker, log, clock, runs, ledger } = options
  const heads = new Heads(journal)
  const ledgers = ledger.ledgers ?? memory.ledgers
  const sending = setInterval(() => {
    heads.send(runs(), clock()).catch((error) => log.warn({ err: error }, 'heads not sent to the ledger yet'))
  }, ledger.headsMs)
  const witnesses = ledger.seal?.witnesses?.length
    ? new Witnesses({ heads, ledgers, witnesses: ledger.seal.witnesses, log })
    : undefined
  const sealer =
    ledger.seal &&
    new Sealer({
      ...{ heads, ledgers, book, worker, log, clock, signers: ledger.seal.signers, origin: ledger.seal.origin },
      waitMsMax: ledger.seal.waitMsMax,
      witnesses,
    })
  sealer?.start()
  witnesses?.start()
  return {
    async close() {
      clearInterval(sending)
      await sealer?.close()
      await witnesses?.close()
    },
  }
}
