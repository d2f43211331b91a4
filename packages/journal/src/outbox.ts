import { setTimeout as sleep } from 'node:timers/promises'
import { connect, type JournalRedis } from './commands.ts'
import type { Journal } from './journal.ts'
import type { Partition } from './partition.ts'

const BLOCK_MS = 2000
/** Records that a handler is given at once. */
const BATCH_MAX = 32
/** A record that a consumer took and did not finish within this time goes to another. */
const IDLE_MS = 30_000
/** How often it is looked for such records. */
const CLAIM_MS = IDLE_MS / 4
/** How soon a record that could not be handled is given again: longer each time that none of them could be, ms. */
const AGAIN_MS = { first: 1000, longest: 30_000 }

/** A record's fields. */
export type OutboxRecord = { run: string } & Record<string, string>

/** Handles records, and says of each whether it is done: in their order, as `Promise.allSettled` does. */
export type HandleRecords = (records: readonly OutboxRecord[]) => Promise<readonly PromiseSettledResult<unknown>[]>

type StreamRecord = [id: string, fields: string[] | null]

/**
 * Gives every record of a stream that the append script writes to a handler, many at once and each at least once, off the
 * hot path: ended runs, or events for webhooks. A record that could not be handled is given again, and others go on
 * meanwhile.
 */
export class Outbox {
  readonly #stream: 'ended' | 'events'
  readonly #journal: Journal
  readonly #group: string
  readonly #consumer: string
  /** One for each partition: it blocks. */
  readonly #connections: JournalRedis[]
  readonly #closing = new AbortController()
  #loops: Promise<void>[] = []

  constructor(journal: Journal, stream: 'ended' | 'events', group: string, consumer: string) {
    this.#journal = journal
    this.#stream = stream
    this.#group = group
    this.#consumer = consumer
    this.#connections = journal.partitions.map(() => connect(journal.url))
  }

  /** `onError` hears of each record that could not be handled, and of what else went wrong. */
  start(handle: HandleRecords, onError: (error: unknown, run?: string) => void): void {
    this.#loops = this.#journal.partitions.flatMap((partition, i) => {
      const connection = this.#connections[i]
      return connection ? [this.#run(partition, connection, handle, onError)] : []
    })
  }

  async close(): Promise<void> {
    this.#closing.abort()
    for (const connection of this.#connections) connection.disconnect()
    await Promise.all(this.#loops)
  }

  async #run(
    { keys, redis }: Partition,
    blocking: JournalRedis,
    handle: HandleRecords,
    onError: (error: unknown, run?: string) => void,
  ): Promise<void> {
    const stream = keys[this.#stream]
    const { signal } = this.#closing
    /** Of what this consumer took and did not finish, which is next; undefined once all of it was given again. */
    let own: string | undefined = '0'
    /** When that is done the next time. */
    let againAt = Number.POSITIVE_INFINITY
    let pause = AGAIN_MS.first
    let claimAt = 0
    while (!signal.aborted) {
      try {
        await blocking.xgroup('CREATE', stream, this.#group, '0', 'MKSTREAM').catch(ignoreExisting)
        const now = performance.now()
        if (now >= claimAt) {
          claimAt = now + CLAIM_MS
          if (await this.#claim(blocking, stream)) own = '0'
        }
        if (now >= againAt) {
          againAt = Number.POSITIVE_INFINITY
          own = '0'
        }
        const from = own ?? '>'
        const records = await this.#read(blocking, stream, from, Math.min(BLOCK_MS, againAt - now))
        const isOwn = from !== '>'
        if (isOwn) own = records.length < BATCH_MAX ? undefined : records.at(-1)?.[0]
        const { done, failed } = await this.#handle(records, handle, onError)
        // A stream has one group: once that is done a record has no reader left.
        if (done.length > 0)
          await redis
            .multi()
            .xack(stream, this.#group, ...done)
            .xdel(stream, ...done)
            .exec()
        if (failed === 0) {
          if (isOwn) pause = AGAIN_MS.first
          continue
        }
        // Where nothing new can be handled, what else waits would fail as well.
        if (!isOwn && done.length === 0) await this.#rest(pause)
        againAt = Math.min(againAt, performance.now() + pause)
        if (isOwn || done.length === 0) pause = Math.min(2 * pause, AGAIN_MS.longest)
      } catch (error) {
        if (signal.aborted) return
        onError(error)
        // What was at hand is not done, or not said to be.
        own = '0'
        await this.#rest(500)
      }
    }
  }

  /** Takes over what others took and did not finish; whether there was any. */
  async #claim(blocking: JournalRedis, stream: string): Promise<boolean> {
    const claim = [stream, this.#group, this.#consumer, IDLE_MS, '0', 'COUNT', BATCH_MAX] as const
    const [, claimed] = (await blocking.xautoclaim(...claim)) as [string, unknown[]] // its reply without JUSTID
    return claimed.length > 0
  }

  async #read(blocking: JournalRedis, stream: string, from: string, blockMs: number): Promise<StreamRecord[]> {
    const count = ['GROUP', this.#group, this.#consumer, 'COUNT', BATCH_MAX] as const
    const block = ['BLOCK', Math.max(1, Math.round(blockMs)), 'STREAMS', stream, from] as const
    // Types of a reply that depends on its arguments: a list of streams, or nothing.
    const reply = (await blocking.xreadgroup(...count, ...block)) as [string, StreamRecord[]][] | null
    return reply?.[0]?.[1] ?? []
  }

  async #handle(
    records: readonly StreamRecord[],
    handle: HandleRecords,
    onError: (error: unknown, run?: string) => void,
  ) {
    // What was taken and is gone has nothing that could be handled.
    const done = records.flatMap(([id, fields]) => (fields ? [] : [id]))
    const given = records.flatMap(([id, fields]) => (fields ? [{ id, record: recordOf(fields) }] : []))
    const handled = given.length === 0 ? [] : handle(given.map(({ record }) => record))
    const results = await Promise.resolve(handled).catch((reason) =>
      given.map(() => ({ status: 'rejected' as const, reason })),
    )
    let failed = 0
    for (const [i, { id, record }] of given.entries()) {
      const result = results[i]
      if (result?.status === 'fulfilled') done.push(id)
      else {
        failed++
        onError(result?.reason, record.run)
      }
    }
    return { done, failed }
  }

  /** Shorter where it is closed meanwhile. */
  async #rest(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#closing.signal }).catch(() => {})
  }
}

function recordOf(fields: readonly string[]): OutboxRecord {
  const record: OutboxRecord = { run: '' }
  for (let i = 0; i < fields.length; i += 2) record[fields[i] ?? ''] = fields[i + 1] ?? ''
  return record
}

function ignoreExisting(error: Error): void {
  if (!error.message.startsWith('BUSYGROUP')) throw error
}
