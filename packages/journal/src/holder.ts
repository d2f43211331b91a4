import type { Journal } from './journal.ts'

/** So often runs that are over are told of, ms. */
const TELL_MS = 100

export interface HolderOptions {
  /** Unique among those that live. */
  name: string
  /** Who has not said for this long that it lives has lost its runs, ms. */
  leaseMs: number
  onError: (error: Error) => void
}

/**
 * The name under which a process holds runs that it creates itself, which no queue knows of. While it says that it lives,
 * nobody else takes them; when it does not, the sweeper of any worker gives them to the queue.
 */
export class Holder {
  readonly name: string
  readonly #journal: Journal
  readonly #options: HolderOptions
  readonly #beating: NodeJS.Timeout
  readonly #telling: NodeJS.Timeout
  #over: string[] = []
  #left: string[] = []

  constructor(journal: Journal, options: HolderOptions) {
    this.name = options.name
    this.#journal = journal
    this.#options = options
    this.#beating = setInterval(() => void this.beat().catch(options.onError), options.leaseMs / 3)
    this.#telling = setInterval(() => void this.#tell().catch(options.onError), TELL_MS)
  }

  /** Says that it lives; to be done once before any run is held. */
  async beat(): Promise<void> {
    const { redis, partitions } = this.#journal
    await Promise.all(
      partitions.map(({ keys, clock }) => redis.zadd(keys.holders, clock() + this.#options.leaseMs, this.name)),
    )
  }

  /** The run has ended or parked, or is another's. */
  over(run: string): void {
    this.#over.push(run)
  }

  /** The run has not ended, and nobody goes on with it here. */
  leave(run: string): void {
    this.#left.push(run)
  }

  async #tell(): Promise<void> {
    const [over, left] = [this.#over, this.#left]
    if (over.length === 0 && left.length === 0) return
    this.#over = []
    this.#left = []
    const { redis } = this.#journal
    try {
      for (const { keys, clock } of this.#journal.partitions) {
        const isHere = (run: string) => this.#journal.of(run).keys === keys
        const orphans = left.filter(isHere)
        const gone = [...over.filter(isHere), ...orphans]
        // In this order: one that is in neither would be lost.
        if (orphans.length > 0) await redis.zadd(keys.pending, ...orphans.flatMap((run) => [clock(), run]))
        if (gone.length > 0) await redis.srem(keys.holding(this.name), ...gone)
      }
    } catch (error) {
      // Twice does no harm.
      this.#over.push(...over)
      this.#left.push(...left)
      throw error
    }
  }

  /** Whatever it still holds goes to the workers. */
  async close(): Promise<void> {
    clearInterval(this.#beating)
    clearInterval(this.#telling)
    await this.#tell()
    const { redis, partitions } = this.#journal
    await Promise.all(partitions.map(({ keys }) => redis.zadd(keys.holders, 0, this.name)))
  }
}
