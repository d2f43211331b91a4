import { connect, type JournalRedis } from './commands.ts'
import type { Journal } from './journal.ts'
import type { Partition } from './partition.ts'

const BLOCK_MS = 2000
/** A record that a consumer took and did not finish within this time goes to another. */
const IDLE_MS = 30_000

/**
 * Gives every record of a stream that the append script writes to a handler, at least once, off the hot path: ended
 * runs, or events for webhooks. A record whose handler fails is given again.
 */
export class Outbox {
  readonly #stream: 'ended' | 'events'
  readonly #journal: Journal
  readonly #group: string
  readonly #consumer: string
  /** One for each partition: it blocks. */
  readonly #connections: JournalRedis[]
  #closed = false
  #loops: Promise<void>[] = []

  constructor(journal: Journal, stream: 'ended' | 'events', group: string, consumer: string) {
    this.#journal = journal
    this.#stream = stream
    this.#group = group
    this.#consumer = consumer
    this.#connections = journal.partitions.map(() => connect(journal.url))
  }

  start(handle: (record: OutboxRecord) => Promise<void>, onError: (error: unknown, run?: string) => void): void {
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
    { keys, redis }: Partition,
    blocking: JournalRedis,
    handle: (record: OutboxRecord) => Promise<void>,
    onError: (error: unknown, run?: string) => void,
  ): Promise<void> {
    const stream = keys[this.#stream]
    let own = '0' // first what this consumer took before and did not finish
    while (!this.#closed) {
      try {
        await blocking.xgroup('CREATE', stream, this.#group, '0', 'MKSTREAM').catch(ignoreExisting)
        const [, claimed] = (await blocking.xautoclaim(
          stream,
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
          stream,
          own,
        )) as [string, [string, string[]][]][] | null
        const records = reply?.[0]?.[1] ?? []
        let failed = false
        for (const [id, fields] of records) {
          const record: OutboxRecord = { run: '' }
          for (let i = 0; i < fields.length; i += 2) record[fields[i] ?? ''] = fields[i + 1] ?? ''
          const { run } = record
          try {
            await handle(record)
            // A stream has one group: once that is done the record has no reader left.
            await redis.multi().xack(stream, this.#group, id).xdel(stream, id).exec()
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

/** A record's fields. */
export type OutboxRecord = { run: string } & Record<string, string>

function ignoreExisting(error: Error): void {
  if (!error.message.startsWith('BUSYGROUP')) throw error
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
