import type { Journal } from '@muster/journal'
import type { Memory } from '@muster/memory'
import type { Logger } from 'pino'
import { auditHitsOf } from './audit-hits.ts'
import { toEvents, withBlobs } from './content.ts'

/** Runs that wait to be looked at. With more, those that end soon are found when they have. */
const WAITING_MAX = 1000

/**
 * Lets audit search find what runs did that have not ended: those that have parked, and those that go on for long. Off the
 * path of runs, one after the other; what is missed is found when the run has ended.
 */
export class Indexer {
  readonly #options: { journal: Journal; memory: Memory; log: Logger }
  /** Runs to be looked at, by their tenants. */
  readonly #waiting = new Map<string, string>()
  /** How far journals of runs that are held had come when they were looked at. */
  readonly #seen = new Map<string, number>()
  #working: Promise<void> | undefined

  constructor(options: { journal: Journal; memory: Memory; log: Logger }) {
    this.#options = options
  }

  /** A run has come to something. */
  note(run: string, tenant: string): void {
    if (this.#waiting.size >= WAITING_MAX) return
    this.#waiting.set(run, tenant)
    this.#working ??= this.#work().finally(() => {
      this.#working = undefined
    })
  }

  /** These go on; looks at those that did so the last time as well, and have come further since. */
  goOn(runs: readonly { run: string; tenant: string; seq: number }[]): void {
    const seen = new Map(this.#seen)
    this.#seen.clear()
    for (const { run, tenant, seq } of runs) {
      this.#seen.set(run, seq)
      const before = seen.get(run)
      if (before !== undefined && before < seq) this.note(run, tenant)
    }
  }

  async close(): Promise<void> {
    this.#waiting.clear()
    await this.#working
  }

  async #work(): Promise<void> {
    const { journal, memory, log } = this.#options
    for (const [run, tenant] of this.#waiting) {
      this.#waiting.delete(run)
      try {
        const events = await Array.fromAsync(toEvents(withBlobs(journal.read(run), { tenant, run }, memory)))
        await memory.auditIndex.put(tenant, auditHitsOf(events))
      } catch (error) {
        log.warn({ run, err: error }, 'not found by audit search yet; it is when the run has ended')
      }
    }
  }
}
