import { connect, type JournalRedis } from './commands.ts'
import type { Journal } from './journal.ts'
import type { Partition } from './partition.ts'

const BLOCK_MS = 2000
/** A run that a consumer took and did not finish within this time goes to another. */
const IDLE_MS = 30_000

/**
 * Gives every ended run to a handler, at least once, off the hot path: a consumer group on the stream
 * that the append script writes. A run whose handler fails is given again.
 */
export class EndedRuns {
  readonly #journal: Journal
  readonly #group: string
  readonly #consumer: string
  /** One for each partition: it blocks. */
  readonly #connections: JournalRedis[]
  #closed = false
  #loops: Promise<void>[] = []

  constructor(journal: Journal, group: string, consumer: string) {
    this.#journal = journal
    this.#group = group
    this.#consumer = consumer
    this.#connections = journal.partitions.map(() => connect(journal.url))
  }

  start(handle: (run: string) => Promise<void>, onError: (error: unknown, run?: string) => void): void {
    this.#loops = this.#journal.partitions.flatMap((partition, i) => {
      const connection = this.#connections[i]
      return connection ? [this.#run(partition, connection, handle, onError)] : []
    })
  }

  async close(): Promise<void> {
    this.#closed = true
    for (const connection of this.#connections) connection.disconnect()
    await Promise.all(this.#loops)
  }

  async #run(
    { keys: { ended }, redis }: Partition,
    blocking: JournalRedis,
    handle: (run: string) => Promise<void>,
    onError: (error: unknown, run?: string) => void,
  ): Promise<void> {
    let own = '0' // first what this consumer took before and did not finish
    while (!this.#closed) {
      try {
        await blocking.xgroup('CREATE', ended, this.#group, '0', 'MKSTREAM').catch(ignoreExisting)
        const [, claimed] = (await blocking.xautoclaim(
          ended,
          this.#group,
          this.#consumer,
          IDLE_MS,
          '0',
          'COUNT',
          16,
        )) as [string, unknown[]]
        if (claimed.length > 0) own = '0'
        // Types of a reply that depends on its arguments: a list of streams, or nothing.
        const reply = (await blocking.xreadgroup(
          'GROUP',
          this.#group,
          this.#consumer,
          'COUNT',
          16,
          'BLOCK',
          BLOCK_MS,
          'STREAMS',
          ended,
          own,
        )) as [string, [string, string[]][]][] | null
        const records = reply?.[0]?.[1] ?? []
        let failed = false
        for (const [id, fields] of records) {
          const run = fields[fields.indexOf('run') + 1] ?? ''
          try {
            await handle(run)
            // The archiver is the only group: once it is done the record has no reader left.
            await redis.multi().xack(ended, this.#group, id).xdel(ended, id).exec()
          } catch (error) {
            failed = true
            onError(error, run)
          }
          if (this.#closed) return
        }
        own = failed || (own === '0' && records.length > 0) ? '0' : '>'
        if (failed) await pause(1000)
      } catch (error) {
        if (this.#closed) return
        onError(error)
        await pause(500)
      }
    }
  }
}

function ignoreExisting(error: Error): void {
  if (!error.message.startsWith('BUSYGROUP')) throw error
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
