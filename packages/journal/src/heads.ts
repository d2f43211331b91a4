import { RECORD_BOOK } from '@muster/protocol'
import type { StreamRecord } from './commands.ts'
import type { Journal } from './journal.ts'
import type { Partition } from './partition.ts'

/** What a run's journal had come to when its head was sent to the ledger. */
export interface Head {
  run: string
  /** Its last entry, and that entry's hash. */
  seq: number
  head: string
  at: number
  state: 'running' | 'parked' | 'ended'
}

/** Heads on their way to a tenant's ledger. */
export interface TakenHeads {
  heads: Head[]
  /** Up to where they were taken, by partition: what the next call goes on from. */
  cursors: Record<string, string>
}

/** Records that are read with one call: each has up to 200 heads. */
const RECORDS_MAX = 20
/** Runs that are asked for with one call. */
const RUNS_MAX = 500

/**
 * What the append script leaves of runs that end or park, and workers of runs that they hold: each partition has a stream
 * for each tenant, which is read from a place that the ledger itself keeps. So a head is taken once, whoever takes it.
 */
export class Heads {
  readonly #journal: Journal

  constructor(journal: Journal) {
    this.#journal = journal
  }

  /** Sends the heads of running runs that have moved since they were last sent; gives how many. */
  async send(runs: readonly { run: string; tenant: string }[], now: number): Promise<number> {
    const { partitions } = this.#journal
    const parts = partitions.map((partition) => runs.filter(({ run }) => this.#journal.of(run) === partition))
    const sent = await Promise.all(parts.map((part, i) => this.#send(partitions[i] ?? partitions[0], part, now)))
    return sent.reduce((sum, one) => sum + one, 0)
  }

  async #send({ keys, redis }: Partition, runs: readonly { run: string; tenant: string }[], now: number) {
    let sent = 0
    for (let from = 0; from < runs.length; from += RUNS_MAX) {
      const some = runs.slice(from, from + RUNS_MAX)
      const names = some.map(({ run }) => keys.run(run))
      const args = some.flatMap(({ run, tenant }) => [run, tenant])
      sent += await redis.musterHeads(names.length, ...names, now, keys.tag, ...args)
    }
    return sent
  }

  /** A record is about to be written into a tenant's book: its head is to be sent, whoever dies before it is. */
  async willRecord(tenant: string, now: number): Promise<void> {
    const { redis, keys, replication } = this.#journal.partitions[0]
    await replication.after(redis.zadd(keys.recording, 'GT', String(now), tenant))
  }

  /** Tenants whose record books may have grown. */
  recording(): Promise<string[]> {
    const { redis, keys } = this.#journal.partitions[0]
    return redis.zrangebyscore(keys.recording, '-inf', '+inf')
  }

  /** Sends the head of a tenant's record book where it has grown since it was last sent. */
  async record(tenant: string, { seq, head }: { seq: number; head: string }, now: number): Promise<void> {
    const { redis, keys } = this.#journal.partitions[0]
    await redis.musterRecorded(keys.recorded, now, keys.tag, tenant, RECORD_BOOK, seq, head)
  }

  /** What was to be written before this time is, or never will be. */
  async recordedBefore(time: number): Promise<void> {
    const { redis, keys } = this.#journal.partitions[0]
    await redis.zremrangebyscore(keys.recording, '-inf', time)
  }

  /** Tenants that have heads waiting. */
  async tenants(): Promise<string[]> {
    const lists = await Promise.all(
      this.#journal.partitions.map(({ redis, keys }) => redis.zrangebyscore(keys.unsealed, '-inf', '+inf')),
    )
    return [...new Set(lists.flat())]
  }

  /** About `max` heads, the oldest of each partition first. They stay until `forget`. */
  async take(tenant: string, cursors: Readonly<Record<string, string>>, max: number): Promise<TakenHeads> {
    const taken: TakenHeads = { heads: [], cursors: { ...cursors } }
    for (const [i, { redis, keys, replication }] of this.#journal.partitions.entries()) {
      let records: StreamRecord[]
      do {
        const from = taken.cursors[i] ?? '0-0'
        // What replicas do not have yet may be undone.
        records = await replication.after(redis.xrange(keys.heads(tenant), `(${from}`, '+', 'COUNT', RECORDS_MAX))
        for (const [id, fields] of records) {
          if (taken.heads.length >= max) return taken
          taken.heads.push(...parseHeads(fields))
          taken.cursors[i] = id
        }
      } while (records.length === RECORDS_MAX)
    }
    return taken
  }

  /** Forgets the heads up to these places: the ledger has them. `done`: nothing else is to be done for the tenant. */
  async forget(tenant: string, cursors: Readonly<Record<string, string>>, done: boolean): Promise<void> {
    await Promise.all(
      this.#journal.partitions.map(({ redis, keys }, i) => {
        const last = cursors[i]
        if (last === undefined) return undefined
        const [ms = '', n = ''] = last.split('-')
        const next = `${ms}-${BigInt(n) + 1n}`
        return redis.musterSealed(keys.heads(tenant), keys.unsealed, tenant, next, done ? 1 : 0)
      }),
    )
  }

  /** Takes, or keeps, the right to append to a tenant's ledger for `forMs`; 0 gives it back. */
  async hold(tenant: string, worker: string, forMs: number): Promise<boolean> {
    const { redis, keys } = this.#journal.partitions[0]
    return (await redis.musterSealer(keys.sealer(tenant), worker, forMs)) === 1
  }

  /** Witnesses are to see the checkpoint of so many leaves, which is about to be made. */
  async toWitness(tenant: string, size: number): Promise<void> {
    const { redis, keys } = this.#journal.partitions[0]
    await redis.zadd(keys.unwitnessed, 'GT', size, tenant)
  }

  /** All of them have seen it. */
  async witnessed(tenant: string, size: number): Promise<void> {
    const { redis, keys } = this.#journal.partitions[0]
    await redis.musterWitnessed(keys.unwitnessed, tenant, size)
  }

  /** Tenants with a checkpoint that witnesses are to see. */
  unwitnessed(): Promise<string[]> {
    const { redis, keys } = this.#journal.partitions[0]
    return redis.zrangebyscore(keys.unwitnessed, '-inf', '+inf')
  }
}

function parseHeads(fields: readonly string[]): Head[] {
  const at = Number(fields[fields.indexOf('at') + 1])
  const lines = (fields[fields.indexOf('heads') + 1] ?? '').split('\n')
  return lines.map((line) => {
    // Only `heads_out.lua` writes here.
    const [run = '', seq = '', head = '', state] = line.split(' ') as [string, string, string, Head['state']]
    return { run, seq: Number(seq), head, at, state }
  })
}
