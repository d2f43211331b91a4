import type { Heads } from '@muster/journal'
import { RECORDS_MAX, type Records } from '@muster/memory'
import type { Actor, NewRecord } from '@muster/protocol'

/** What takes longer to be written has failed. */
const RECORDING_MS = 60_000

/** What Muster does by itself is done by one of its workers. */
export function byWorker(worker: string): Actor {
  return { key: worker, user: 'muster', service: true }
}

/** What waits for the write before it. */
interface Batch {
  records: NewRecord[]
  written: Promise<void>
}

/** Writes what was done besides runs into tenants' record books. What comes while one write is under way shares the next. */
export class RecordBook {
  readonly #heads: Heads
  readonly #records: Records
  readonly #clock: () => number
  /** By tenant: what is not being written yet, and what is written last. */
  readonly #open = new Map<string, Batch>()
  readonly #last = new Map<string, Promise<void>>()

  constructor(heads: Heads, records: Records, clock: () => number = Date.now) {
    this.#heads = heads
    this.#records = records
    this.#clock = clock
  }

  /**
   * Ends when the record is durable; its ledger has it a little later.
   *
   * @throws MusterError `memory.unavailable`, or `memory.too_large`
   */
  append(tenant: string, record: NewRecord): Promise<void> {
    const open = this.#open.get(tenant)
    if (open && open.records.length < RECORDS_MAX) {
      open.records.push(record)
      return open.written
    }
    const batch: Batch = { records: [record], written: Promise.resolve() }
    const before = this.#last.get(tenant) ?? Promise.resolve()
    // Who wrote before has heard of its own failure.
    batch.written = before
      .catch(() => {})
      .then(() => this.#write(tenant, batch))
      .finally(() => {
        if (this.#last.get(tenant) === batch.written) this.#last.delete(tenant)
      })
    this.#open.set(tenant, batch)
    this.#last.set(tenant, batch.written)
    return batch.written
  }

  /** Heads of books that have grown join those of runs on their way to the ledgers, of these tenants in any case. */
  async sendHeads(tenants: readonly string[]): Promise<void> {
    const now = this.#clock()
    for (const tenant of new Set([...tenants, ...(await this.#heads.recording())])) {
      const head = await this.#records.head(tenant)
      if (head) await this.#heads.record(tenant, head, now)
    }
    await this.#heads.recordedBefore(now - RECORDING_MS)
  }

  async #write(tenant: string, batch: Batch): Promise<void> {
    if (this.#open.get(tenant) === batch) this.#open.delete(tenant)
    await this.#heads.willRecord(tenant, this.#clock())
    await this.#records.append(tenant, batch.records)
  }
}
