import { parseCheckpoint, parseNote, parseTilePath, TileLog, tileWidth } from '@muster/audit'
import type { LedgerState, LedgerStore, Ledgers } from '@muster/memory'
import {
  isId,
  type LedgerConsistency,
  type LedgerHead,
  type LedgerReceipt,
  MusterError,
  RECORD_BOOK,
} from '@muster/protocol'

/** Reads tenants' ledgers, as far as their checkpoints say. */
export class LedgerReader {
  readonly #ledgers: Ledgers

  constructor(ledgers: Ledgers) {
    this.#ledgers = ledgers
  }

  /** @throws MusterError `ledger.off` */
  async head(tenant: string): Promise<LedgerHead> {
    return (await this.#open(tenant)).head
  }

  /**
   * The bytes of a tile or entry bundle.
   *
   * @throws MusterError `ledger.off`, or `request.not_found` where the ledger has no such tile
   */
  async tile(tenant: string, path: string): Promise<Uint8Array> {
    const tile = parseTilePath(path)
    const { head, log } = await this.#open(tenant)
    // None that a later checkpoint will make, so that what was served never changes.
    if (!tile || tile.width > tileWidth(tile.level, tile.index, head.size))
      throw new MusterError('request.not_found', `The ledger of ${head.size} leaves has no ${path}`)
    return log.tile(tile)
  }

  /**
   * The newest leaf of a run, or of the record book, and the proof that it is in the ledger.
   *
   * @throws MusterError `ledger.off` or `ledger.not_sealed`
   */
  async receipt(tenant: string, run: string): Promise<LedgerReceipt> {
    const { head, log, store } = await this.#open(tenant)
    const index = isId(run) || run === RECORD_BOOK ? await store.place(run, head.size) : undefined
    const leaf = index === undefined ? undefined : await log.entry(index, head.size)
    if (index === undefined || leaf === undefined)
      throw new MusterError('ledger.not_sealed', `The ledger does not have run ${run}`)
    return {
      run,
      leaf: Buffer.from(leaf).toString(),
      index,
      inclusion: (await log.inclusion(index, head.size)).map(text64),
      checkpoint: head.checkpoint,
      origin: head.origin,
      keys: head.keys,
    }
  }

  /**
   * The proof that the ledger of `to` leaves, now by default, begins with that of `from`.
   *
   * @throws MusterError `ledger.off`, or `request.invalid`
   */
  async consistency(tenant: string, from: number, to?: number): Promise<LedgerConsistency> {
    const { head, log } = await this.#open(tenant)
    const end = to ?? head.size
    if (end > head.size || from > end)
      throw new MusterError('request.invalid', `The ledger has ${head.size} leaves`, {
        issues: [{ path: end > head.size ? '/to' : '/from', message: `at most ${Math.min(end, head.size)}` }],
      })
    return { from, to: end, proof: (await log.consistency(from, end, head.size)).map(text64) }
  }

  async #open(tenant: string): Promise<{ head: LedgerHead; log: TileLog; store: LedgerStore }> {
    const store = this.#ledgers(tenant)
    const { state } = await store.state()
    const head = state && headOf(state)
    if (!head) throw new MusterError('ledger.off', 'The tenant has no ledger')
    return { head, log: new TileLog(store), store }
  }
}

function headOf({ checkpoint, keys }: LedgerState): LedgerHead | undefined {
  const parsed = parseCheckpoint(parseNote(checkpoint)?.text ?? '')
  return parsed && { origin: parsed.origin, size: parsed.size, root: text64(parsed.root), checkpoint, keys }
}

function text64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64')
}
