import {
  type Actor,
  type Json,
  type Label,
  MusterError,
  type RedactCounts,
  type StepError,
  type StoredEntry,
  timeOf,
} from '@muster/protocol'
import { Queue } from 'bullmq'
import { connect, type JournalRedis, type StreamRecord } from './commands.ts'
import { type Created, type CreateOptions, Creation, IDEMPOTENCY_TTL_S } from './creation.ts'
import { type Activation, Feeder, QUEUE } from './feeder.ts'
import { type NewRun, shortDigest } from './first-entry.ts'
import type { Hold } from './hold.ts'
import { askingMember, Keys } from './keys.ts'
import { decodeRecord } from './record.ts'
import { Replication, type ReplicationOptions } from './replication.ts'
import { parseCreated, peek, queuedRunRecord, type RunRecord, toRecord } from './run-record.ts'
import { SharedCalls } from './shared-calls.ts'
import { Tail } from './tail.ts'

/** What comes to a run from outside while it runs or waits. */
export type Message =
  /** `now`: without undoing what was done. */
  | { type: 'cancel'; by: Actor; now?: boolean }
  | { type: 'pause'; by: Actor }
  | { type: 'resume'; by: Actor }
  /** What it waits for may be lifted. */
  | { type: 'lifted' }
  | ({
      type: 'approval'
      step: string
      verdict: 'approve' | 'deny'
      /** Digest of what was shown. */
      shown: string
      by: Actor
      /** The role that was asked, and the one that answers in its place. */
      role: string
      as?: string | undefined
      reason?: string | undefined
      /** What to call the tool with instead. */
      input?: Json | undefined
    } & WasRedacted)
  | { type: 'child'; step: string; run: string }
  | ({ type: 'callback'; step: string; output?: Json; error?: StepError } & WasRedacted)
  | ({
      type: 'signal'
      name: string
      payload: Json
      by: Actor
      labels: Label[]
      interrupt?: boolean | undefined
    } & WasRedacted)

/** What the server has taken out of it before it was written. */
interface WasRedacted {
  redacted?: RedactCounts | undefined
}

export interface PartitionOptions {
  /** For commands; shared between partitions. */
  redis: JournalRedis
  url: string
  namespace: string
  index: number
  clock: () => number
  replication: ReplicationOptions
}

/** The place of a run's last checkpoint, and the hash of the entry before it. */
export interface Snapshot {
  seq: number
  previous: string
}

/** A page of a long journal: enough to be quick, small enough to hold. */
const PAGE = 200

/** Messages that may wait for a run. */
const INBOX_MAX = 10_000

/** Runs that are woken with one call. */
const WAKE_MAX = 200
const PRIORITIES = [0, 1, 2] as const

/** A journal of so many entries comes along with the activation. */
const WHOLE_MAX = 32
/** Runs that are taken up together at least, where so many are to be: fewer cost Redis more for each. */
const ACTIVATIONS_MIN = 25

/**
 * The journals of one partition, as everyone but their holder sees them: create a run, read and
 * follow its entries, leave it a message. Appending is the `Writer`'s, under an epoch.
 */
export class Partition {
  readonly redis: JournalRedis
  readonly keys: Keys
  readonly queue: Queue<Activation>
  readonly feeder: Feeder
  readonly clock: () => number
  readonly replication: Replication
  readonly #tail: Tail
  readonly #creation: Creation
  readonly #activations: SharedCalls<{ run: string; job: string }, Hold | undefined>

  constructor({ redis, url, namespace, index, clock, replication }: PartitionOptions) {
    this.redis = redis
    this.clock = clock
    this.keys = new Keys(namespace, index)
    this.replication = new Replication(redis, this.keys, replication)
    // A connection of its own, once it is needed: it blocks.
    const blocking = connect(url, { lazyConnect: true })
    this.#tail = new Tail(blocking, redis, this.keys, this.replication, (run) => this.#first(run))
    // Workers feed as they take; this is for one that has nothing to take.
    const fed = () => this.feeder.feed(0).catch(() => {})
    this.#creation = new Creation(redis, this.keys, this.replication, clock, fed)
    const together = { sizeMax: 100, inFlightMax: 8, partFrom: ACTIVATIONS_MIN }
    this.#activations = new SharedCalls((calls) => this.#activate(calls), together)
    this.queue = new Queue(QUEUE, {
      prefix: this.keys.tag,
      connection: redis,
      skipVersionCheck: true,
      skipMetasUpdate: true,
    })
    this.queue.on('error', () => {})
    this.feeder = new Feeder(redis, this.keys, this.queue, clock)
  }

  /** See `Journal.create`; the run's id must be one of this partition. */
  create(run: NewRun, content: Json, options: CreateOptions): Promise<Created> {
    return this.#creation.create(run, content, options)
  }

  /** Sets the weights of all tenants: one that is not named has weight 1 again. */
  async setWeights(weights: Readonly<Record<string, number>>): Promise<void> {
    const change = this.redis.multi().del(this.keys.weights)
    if (Object.keys(weights).length > 0) change.hset(this.keys.weights, weights)
    await change.exec()
  }

  /** Takes up parked runs whose time has come, and gives when the next one's comes: Infinity for never. */
  async wake(): Promise<number> {
    const { keys } = this
    for (;;) {
      const [runs, next] = await this.redis.musterWake(keys.pending, keys.wake, keys.tag, this.clock(), WAKE_MAX)
      await this.feeder.wake(runs)
      if (runs.length < WAKE_MAX) return next === '' ? Number.POSITIVE_INFINITY : Number(next)
    }
  }

  /**
   * Enqueues activations that were recorded before `olderThanMs` and whose enqueuer died, and those of runs whose holder
   * did. Gives how many.
   */
  async sweep(olderThanMs: number): Promise<number> {
    const { keys } = this
    const orphans = await this.redis.musterOrphans(keys.holders, keys.pending, keys.tag, this.clock(), WAKE_MAX)
    await this.feeder.wake(orphans)
    return orphans.length + (await this.feeder.sweep(olderThanMs))
  }

  /**
   * Leaves a message for a run, wherever it is. One in the backlog is taken out of it, to heed it at once.
   *
   * @param idempotencyKey the same message under the same key is left once
   * @throws MusterError `run.not_found`, `run.ended`, `run.inbox_full` or `journal.not_replicated`
   */
  async post(run: string, message: Message, idempotencyKey?: string): Promise<void> {
    const { keys } = this
    const activation = await this.redis.musterPost(
      ...[keys.run(run), keys.inbox(run), keys.pending, keys.queued(run)],
      keys.told(run, idempotencyKey === undefined ? '' : shortDigest(idempotencyKey)),
      ...[run, this.clock(), JSON.stringify(message), keys.tag, timeOf(run)],
      ...[idempotencyKey === undefined ? 0 : IDEMPOTENCY_TTL_S, INBOX_MAX],
    )
    if (activation === -1) throw new MusterError('run.not_found', `There is no run ${run}`)
    if (activation === -2) throw new MusterError('run.ended', `Run ${run} has ended`)
    if (activation === -3) throw new MusterError('run.inbox_full', `${INBOX_MAX} messages wait for run ${run} already`)
    if (activation > 0) await this.feeder.wake([run])
    else await this.notifyMail(run)
    // Last: it is heeded even if it is not safe yet.
    await this.replication.after(Promise.resolve())
  }

  async notifyMail(run: string): Promise<void> {
    await this.redis.publish(this.keys.mail, run)
  }

  async messages(run: string): Promise<Message[]> {
    const messages = await this.redis.lrange(this.keys.inbox(run), 0, -1)
    // Only `post` and `append` write here, and both write a Message.
    return messages.map((message) => JSON.parse(message) as Message)
  }

  /** See `Journal.activate`. */
  activate(run: string, job: string): Promise<Hold | undefined> {
    return this.#activations.add({ run, job })
  }

  async #activate(calls: readonly { run: string; job: string }[]): Promise<(Hold | undefined)[]> {
    const { keys } = this
    const names = calls.flatMap(({ run }) => [keys.queued(run), keys.run(run), keys.log(run), keys.inbox(run)])
    // What its last holder wrote may not be on replicas yet, and this one goes on from it.
    const replies = await this.replication.after(
      this.redis.musterActivate(
        ...[names.length + 2, keys.pending, keys.wake, ...names],
        ...[keys.tag, WHOLE_MAX, ...calls.flatMap(({ run, job }) => [run, job])],
      ),
    )
    return replies.map(([epoch, seq, head, first, records, mail = 0]) => {
      if (epoch === undefined || seq === undefined || head === undefined) return undefined
      const entries = decodeAll(records ?? [], 0)
      const created = parseCreated(first || (entries[0]?.bytes ?? ''))
      return { epoch, seq, head, created, mail, ...(entries.length > 0 ? { entries } : {}) }
    })
  }

  /** The first entry of a run that nobody has taken yet. */
  async #first(run: string): Promise<StoredEntry | undefined> {
    const [first] = await peek(this.redis, this.keys, [run])
    const [hash, bytes, content] = first ?? []
    if (hash === undefined || bytes === undefined) return undefined
    return { seq: 1, hash, bytes, ...(content ? { content } : {}) }
  }

  async get(run: string): Promise<RunRecord | undefined> {
    const [record] = await this.#records([run])
    return record
  }

  async setSnapshot(run: string, { seq, previous }: Snapshot): Promise<void> {
    await this.redis.hset(this.keys.run(run), 'snapshot', `${seq} ${previous}`)
  }

  async snapshot(run: string): Promise<Snapshot | undefined> {
    const text = await this.redis.hget(this.keys.run(run), 'snapshot')
    if (text === null) return undefined
    const [seq = '', previous = ''] = text.split(' ')
    return { seq: Number(seq), previous }
  }

  async epoch(run: string): Promise<number | undefined> {
    const epoch = await this.redis.hget(this.keys.run(run), 'epoch')
    return epoch === null ? undefined : Number(epoch)
  }

  async #records(runs: readonly string[]): Promise<(RunRecord | undefined)[]> {
    if (runs.length === 0) return []
    const { keys, redis } = this
    // In this order: a run that is taken in between is found by the second.
    const queued = peek(redis, keys, runs)
    const held = Promise.all(runs.map((run) => redis.hgetall(keys.run(run))))
    const [firsts, hashes] = await this.replication.after(Promise.all([queued, held]))
    return runs.map((run, i) => {
      const first = firsts[i]
      return toRecord(run, hashes[i] ?? {}) ?? (first?.length ? queuedRunRecord(run, first) : undefined)
    })
  }

  /** How many runs of each tenant wait for a worker; of those that have had their turn, none. */
  async backlog(): Promise<{ tenant: string; runs: number }[]> {
    const { keys, redis } = this
    const classes = await Promise.all(PRIORITIES.map((priority) => redis.zrange(keys.turns(priority), '0', '-1')))
    const waiting = PRIORITIES.flatMap((priority, i) =>
      (classes[i] ?? []).map(async (tenant) => ({ tenant, runs: await redis.zcard(keys.backlog(priority, tenant)) })),
    )
    return Promise.all(waiting)
  }

  /** A tenant's runs that are still in Redis, newest first. */
  async list(tenant: string, limit: number, before?: string): Promise<RunRecord[]> {
    const { keys, redis } = this
    // All are scored by the time in the id, and members of one score sort by id.
    const max = before === undefined ? '+inf' : timeOf(before)
    const newest = (key: string) => redis.zrevrangebyscore(key, max, '-inf', 'LIMIT', 0, limit + 100)
    // The index comes last: a run moves from the backlog to it.
    const pages = [keys.backlog(0, tenant), keys.backlog(1, tenant), keys.backlog(2, tenant), keys.index(tenant)]
    const ids = new Set((await Promise.all(pages.map(newest))).flat())
    const wanted = [...ids]
      .filter((id) => before === undefined || id < before)
      .sort((a, b) => (a < b ? 1 : -1))
      .slice(0, limit)
    return (await this.#records(wanted)).filter((record) => record !== undefined)
  }

  /** A tenant's runs that ask people something, or did until a moment ago: those after `after`, the oldest first. */
  async asking(tenant: string, limit: number, after = ''): Promise<string[]> {
    const first = askingMember(tenant, after)
    const members = await this.redis.zrangebylex(
      this.keys.asking,
      `(${first}`,
      `[${askingMember(tenant, '\xff')}`,
      'LIMIT',
      0,
      limit,
    )
    return members.map((member) => member.slice(tenant.length + 1))
  }

  /** A run's entries after `after`, page by page. */
  async *read(run: string, after = 0): AsyncGenerator<StoredEntry> {
    let seen = after
    const page = () =>
      this.replication.after(this.redis.xrange(this.keys.log(run), `${seen + 1}-0`, '+', 'COUNT', PAGE))
    let records = await page()
    if (records.length === 0 && seen === 0) {
      const queued = await this.#first(run)
      if (queued) {
        yield queued
        return
      }
      // It may have been taken in between.
      records = await page()
    }
    for (;;) {
      for (const entry of decodeAll(records, seen)) {
        yield entry
        seen = entry.seq
      }
      if (records.length < PAGE) return
      records = await page()
    }
  }

  /** A run's entries after `after` as they become durable, until the signal aborts. */
  follow(run: string, after: number, signal: AbortSignal): AsyncGenerator<StoredEntry> {
    return this.#tail.follow(run, after, signal)
  }

  /** Forgets an archived run after `ttlS` seconds (at once with 0). Its place in the list goes with it now. */
  async expire(run: string, tenant: string, ttlS: number): Promise<void> {
    const { keys, redis } = this
    const own = [keys.run(run), keys.log(run), keys.inbox(run)]
    await Promise.all([
      ...(ttlS === 0 ? [redis.del(own)] : own.map((key) => redis.expire(key, ttlS))),
      redis.zrem(keys.index(tenant), run),
    ])
  }

  async close(): Promise<void> {
    this.#tail.close()
    await this.queue.close()
  }
}

function decodeAll(records: readonly StreamRecord[], after: number): StoredEntry[] {
  return records.flatMap(([id, fields]) => decodeRecord(id, fields, after))
}
