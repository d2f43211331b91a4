import type { StoredEntry } from '@muster/protocol'
import type { JournalRedis } from './commands.ts'
import type { Keys } from './keys.ts'
import { decodeRecord } from './record.ts'
import type { Replication } from './replication.ts'

interface Watcher {
  run: string
  after: number
  push: (entries: StoredEntry[]) => void
  /** Whether its reader is so far behind that it is given nothing more for now. */
  full: () => boolean
  /** The journal is no longer in Redis. */
  gone: () => void
}

/** Batches that wait for a slow reader before its journal is read no further. */
const BACKLOG_MAX = 16

/** How long one blocking read lasts, and how soon it is noticed that a journal has left Redis. */
const BLOCK_MS = 500
/** The same in a Redis Cluster, where it cannot be told from outside that a read is to end: a new reader waits so long. */
const CLUSTER_BLOCK_MS = 50

/**
 * Follows the journals of many runs over one Redis connection: one blocking XREAD names every watched
 * stream, and is started anew when the set changes.
 */
export class Tail {
  readonly #redis: JournalRedis
  readonly #control: JournalRedis
  readonly #keys: Keys
  readonly #replication: Replication
  readonly #first: (run: string) => Promise<StoredEntry | undefined>
  readonly #watchers = new Map<string, Set<Watcher>>()
  #clientId: number | undefined
  #running = false
  #closed = false

  /** `first` gives the first entry of a run that has no journal yet: it lies in the backlog. */
  constructor(
    blocking: JournalRedis,
    control: JournalRedis,
    keys: Keys,
    replication: Replication,
    first: (run: string) => Promise<StoredEntry | undefined>,
  ) {
    this.#redis = blocking
    this.#control = control
    this.#keys = keys
    this.#replication = replication
    this.#first = first
    blocking.on('close', () => {
      this.#clientId = undefined
    })
  }

  /**
   * Entries after `after` in order, as they become durable. Ends when the signal aborts, and when the
   * journal has left Redis: the rest is in the archive then.
   */
  async *follow(run: string, after: number, signal: AbortSignal): AsyncGenerator<StoredEntry> {
    const queue: StoredEntry[][] = []
    let wake: () => void = () => {}
    let gone = false
    // Without one the run was taken already, or is not there: what there is stands in the stream.
    const queued = after === 0 ? await this.#first(run) : undefined
    if (queued) queue.push([queued])
    const watcher: Watcher = {
      run,
      after: queued?.seq ?? after,
      full: () => queue.length >= BACKLOG_MAX,
      gone: () => {
        gone = true
        wake()
      },
      push: (entries) => {
        queue.push(entries)
        wake()
      },
    }
    const key = this.#keys.log(run)
    const watchers = this.#watchers.get(key) ?? new Set()
    this.#watchers.set(key, watchers.add(watcher))
    const aborted = () => wake()
    signal.addEventListener('abort', aborted)
    this.#nudge()
    try {
      while (!signal.aborted) {
        const wasFull = watcher.full()
        const entries = queue.shift()
        if (wasFull) this.#nudge()
        if (entries) yield* entries
        else if (gone) return
        else await new Promise<void>((resolve) => (wake = resolve))
      }
    } finally {
      signal.removeEventListener('abort', aborted)
      watchers.delete(watcher)
      if (watchers.size === 0) this.#watchers.delete(key)
    }
  }

  close(): void {
    this.#closed = true
    this.#redis.disconnect()
  }

  /** The blocked read does not know of a new watcher: end it, so that the next one does. */
  #nudge(): void {
    if (!this.#running) void this.#loop()
    else if (this.#clientId !== undefined) this.#control.client('UNBLOCK', this.#clientId).catch(() => {})
  }

  async #loop(): Promise<void> {
    this.#running = true
    while (!this.#closed && this.#watchers.size > 0) {
      try {
        if (!this.#redis.isCluster) this.#clientId ??= await this.#redis.client('ID')
        // While that was awaited, the last watcher may have left.
        if (this.#watchers.size > 0) await this.#read()
      } catch {
        // The connection is gone; ioredis reconnects, and what was missed is read from `after` on.
        if (!this.#closed) await new Promise((resolve) => setTimeout(resolve, 200))
      }
    }
    this.#running = false
  }

  async #read(): Promise<void> {
    const keys: string[] = []
    const ids: string[] = []
    const from = new Map<string, number>()
    for (const [key, watchers] of this.#watchers) {
      const after = Math.min(...[...watchers].flatMap((watcher) => (watcher.full() ? [] : [watcher.after])))
      if (after === Number.POSITIVE_INFINITY) continue
      keys.push(key)
      ids.push(`${after}-0`)
      from.set(key, after)
    }
    if (keys.length === 0) {
      await new Promise((resolve) => setTimeout(resolve, 10))
      return
    }
    const blockMs = this.#redis.isCluster ? CLUSTER_BLOCK_MS : BLOCK_MS
    const reply = await this.#redis.xread('COUNT', 100, 'BLOCK', blockMs, 'STREAMS', ...keys, ...ids)
    if (!reply) {
      for (const key of keys) {
        const watchers = this.#watchers.get(key) ?? []
        const [one] = watchers
        if (one && (await this.#redis.exists(key, this.#keys.queued(one.run))) === 0)
          for (const watcher of watchers) watcher.gone()
      }
    }
    // A reader is not told what a failover could take back: without replicas this fails, and it is read again.
    if (reply) await this.#replication.after(Promise.resolve())
    for (const [key, records] of reply ?? []) {
      for (const watcher of this.#watchers.get(key) ?? []) {
        // One that came, or caught up, while this was read may need earlier entries: its turn is the next read.
        if (watcher.full() || watcher.after < (from.get(key) ?? 0)) continue
        const entries = records.flatMap(([id, fields]) => decodeRecord(id, fields, watcher.after))
        const last = entries.at(-1)
        if (!last) continue
        watcher.after = last.seq
        watcher.push(entries)
      }
    }
  }
}
