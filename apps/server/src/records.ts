import type { Json, RecordAction, Run } from '@muster/protocol'
import type { RecordBook } from '@muster/runtime'
import { LRUCache } from 'lru-cache'
import { type ApiKey, actorOf } from './keys.ts'

/** What of a run's content is read. */
export type ReadContent = 'run' | 'events' | 'journal' | 'approval'

/** One who reads the same again within this time has one record of it. */
const READ_MS = 3_600_000
/** Reads that are remembered; of one that is forgotten there is one record more. */
const READS_MAX = 10_000

/** Records what people do besides runs, before they do it: what cannot be recorded does not happen. */
export class ServerRecords {
  readonly #book: RecordBook
  readonly #reads: boolean
  /** Reads that were recorded of late. */
  readonly #known = new LRUCache<string, true>({ max: READS_MAX, ttl: READ_MS })

  /** With `reads` also who reads content. */
  constructor(book: RecordBook, reads: boolean) {
    this.#book = book
    this.#reads = reads
  }

  /** @throws MusterError `memory.unavailable` */
  async add(who: ApiKey, action: RecordAction, about: Record<string, Json>): Promise<void> {
    await this.#book.append(who.tenant, { at: Date.now(), by: actorOf(who), action, about })
  }

  /**
   * That somebody reads a run's content: anybody but who began it.
   *
   * @throws MusterError `memory.unavailable`
   */
  async read(who: ApiKey, { id, by }: Pick<Run, 'id' | 'by'>, what: ReadContent): Promise<void> {
    if (!this.#reads || by.user === who.user) return
    const key = JSON.stringify([who.tenant, who.id, id, what])
    if (this.#known.has(key)) return
    await this.add(who, 'content.read', { run: id, what })
    this.#known.set(key, true)
  }
}
