import { once } from 'node:events'
import {
  type AppManifest,
  type DefinitionManifest,
  inPartition,
  type Json,
  MusterError,
  type OutboxLag,
  PARTITIONS_MAX,
  type PolicySetSummary,
  type PublishedPolicies,
  partitionOf,
  type StoredEntry,
  type ToolManifest,
  WEIGHT_MAX,
  type WorkerInfo,
  within,
} from '@muster/protocol'
import { connect, type JournalRedis } from './commands.ts'
import type { Created, CreateOptions } from './creation.ts'
import { checkEviction, type Durability, readDurability } from './durability.ts'
import { type NewRun, shortDigest } from './first-entry.ts'
import type { Hold } from './hold.ts'
import { lags } from './lags.ts'
import * as manifests from './manifests.ts'
import type { Offload } from './offload.ts'
import { type Message, Partition, type Snapshot } from './partition.ts'
import * as policySets from './policy-sets.ts'
import type { ReplicationOptions } from './replication.ts'
import type { RunRecord } from './run-record.ts'
import * as workers from './workers.ts'

export interface JournalOptions {
  /** Address of Redis; of nodes of a Redis Cluster, separated by commas. */
  url: string
  namespace: string
  /** Parts that the runs are spread over; 1 unless given. It is the same for ever. */
  partitions?: number | undefined
  clock?: () => number
  /** Commands fail at once while Redis is away, and after 5 s without an answer; otherwise they wait. For servers, whose clients can try again. */
  failFast?: boolean
  /** Nothing counts as durable before so many replicas have it; without it Redis's own disk decides. */
  replication?: ReplicationOptions | undefined
}

/**
 * The journals of all runs. A run is in one partition for ever, with its child runs, and its id tells which; so
 * does an idempotency key. Nothing is ever looked for in two of them but what is of all runs: lists and manifests.
 */
export class Journal {
  readonly redis: JournalRedis
  readonly url: string
  readonly partitions: readonly [Partition, ...Partition[]]
  readonly #definitions: manifests.KnownDefinitions = new Map()

  private constructor(options: JournalOptions) {
    const { url, namespace, failFast, partitions = 1, clock = Date.now } = options
    if (!(Number.isInteger(partitions) && partitions >= 1 && partitions <= PARTITIONS_MAX))
      throw new MusterError('config.invalid', `there are 1 to ${PARTITIONS_MAX} partitions`)
    this.url = url
    this.redis = connect(
      url,
      failFast ? { enableOfflineQueue: false, autoResendUnfulfilledCommands: false, commandTimeout: 5000 } : {},
    )
    const replication = options.replication ?? { replicas: 0, timeoutMs: 0 }
    const open = (index: number) => new Partition({ redis: this.redis, url, namespace, index, clock, replication })
    this.partitions = [open(0), ...Array.from({ length: partitions - 1 }, (_, i) => open(i + 1))]
  }

  /**
   * Opens the journals. When it throws it leaves no connection behind.
   *
   * @throws MusterError `redis.unavailable`, `redis.unsafe` when Redis may evict data, or `journal.partitions` when they
   * were made with another number of partitions
   */
  static async open(options: JournalOptions): Promise<Journal> {
    const journal = new Journal(options)
    try {
      await journal.ping(5000)
      await journal.checkSafe()
      await journal.#claim()
      return journal
    } catch (error) {
      await journal.abandon()
      throw refusal(error) ?? error
    }
  }

  /** With another number of partitions runs would be looked for where they are not. */
  async #claim(): Promise<void> {
    const { length } = this.partitions
    const { count, manifest } = this.partitions[0].keys
    // Whoever was here before the number was written had one.
    await this.redis.setnx(count, (await this.redis.exists(manifest)) === 1 ? 1 : length)
    const before = await this.redis.get(count)
    if (before === String(length)) return
    throw new MusterError(
      'journal.partitions',
      `This namespace has ${before} partitions, and MUSTER_PARTITIONS asks for ${length}`,
    )
  }

  /** Throws `redis.unavailable` when Redis does not answer within `timeoutMs`. */
  async ping(timeoutMs = 2000): Promise<void> {
    try {
      await within(
        timeoutMs,
        this.#ready().then(() => this.redis.ping()),
      )
    } catch (error) {
      throw new MusterError(
        'redis.unavailable',
        `Redis does not answer: ${error instanceof Error ? error.message : error}`,
        { cause: error },
      )
    }
  }

  /** Throws `redis.unsafe` when Redis would delete data for want of memory. */
  async checkSafe(): Promise<void> {
    await checkEviction(this.redis)
  }

  /**
   * Makes known again what a Redis that has lost its data does not know: the number of partitions, and what the worker
   * carries. Says whether that was needed.
   */
  async restore(app: AppManifest): Promise<boolean> {
    if ((await this.redis.exists(this.partitions[0].keys.manifest)) === 1) return false
    await this.#claim()
    await this.publish(app)
    return true
  }

  /** Without an offline queue a command before the first connection fails, so that is waited for. */
  async #ready(): Promise<void> {
    if (this.redis.status !== 'ready') await once(this.redis, 'ready')
  }

  /** What an acknowledgement is worth, as Redis is set up. */
  durability(): Promise<Durability> {
    return readDurability(this.redis, this.partitions[0].replication.replicas)
  }

  /** The partition that a run is in. */
  of(run: string): Partition {
    return this.partitions[partitionOf(run, this.partitions.length)] ?? this.partitions[0]
  }

  /**
   * Puts a run with its first entry into its tenant's backlog: durable as the server's `appendfsync` says, and on
   * as many replicas as are asked for, when this resolves. Creating again under the same key or id gives the first
   * run. A key says in which partition its run is: the run's id may be another than the one given. Calls of one
   * tick share a round trip.
   *
   * @throws MusterError `idempotency.conflict` when the key came with another request, `journal.not_replicated`
   * when replicas are missing: it may yet run, and asking again under the same key tells when it is safe
   */
  create(run: NewRun, content: Json, options: CreateOptions): Promise<Created> {
    const { idempotencyKey: key } = options
    const { length } = this.partitions
    // One script tells a parent of its child's end.
    if (run.parent && this.of(run.parent.run) !== this.of(run.run))
      return Promise.reject(new MusterError('internal', `run ${run.run} lies in another partition than its parent`))
    if (key === undefined || length === 1) return this.of(run.run).create(run, content, options)
    const partition = Number.parseInt(shortDigest(`${run.tenant}\n${key}`).slice(0, 8), 16) % length
    const id = inPartition(run.run, partition, length)
    return this.of(id).create({ ...run, run: id }, content, options)
  }

  /** Creates many runs; each has its own result, in their order, as from `create`. */
  createMany(
    requests: readonly { run: NewRun; content: Json; idempotencyKey?: string | undefined }[],
    { offload }: { offload: Offload },
  ): Promise<PromiseSettledResult<Created>[]> {
    return Promise.allSettled(
      requests.map(({ run, content, idempotencyKey }) => this.create(run, content, { idempotencyKey, offload })),
    )
  }

  /** Sets the weights of all tenants, above 0: how many runs each gets for one of a tenant that is not named. */
  async setWeights(weights: Readonly<Record<string, number>>): Promise<void> {
    for (const weight of Object.values(weights)) {
      if (!(weight > 0 && weight <= WEIGHT_MAX))
        throw new MusterError('config.invalid', `a weight is above 0 and at most ${WEIGHT_MAX}`)
    }
    await Promise.all(this.partitions.map((partition) => partition.setWeights(weights)))
  }

  /** Enqueues the activation that is recorded for a run. */
  wake(run: string): Promise<void> {
    return this.of(run).feeder.wake([run])
  }

  /**
   * Leaves a message for a run, wherever it is. One in the backlog is taken out of it, to heed it at once.
   *
   * @throws MusterError `run.not_found`, `run.ended` or `journal.not_replicated`
   */
  post(run: string, message: Message, idempotencyKey?: string): Promise<void> {
    return this.of(run).post(run, message, idempotencyKey)
  }

  notifyMail(run: string): Promise<void> {
    return this.of(run).notifyMail(run)
  }

  messages(run: string): Promise<Message[]> {
    return this.of(run).messages(run)
  }

  /**
   * Takes a run under a new epoch; undefined when there is nothing to do for it, or when it is held for another job than
   * the one named. Calls of one tick share a round trip.
   */
  activate(run: string, job = ''): Promise<Hold | undefined> {
    return this.of(run).activate(run, job)
  }

  get(run: string): Promise<RunRecord | undefined> {
    return this.of(run).get(run)
  }

  /** Where a run's replay may begin: at its last checkpoint, of which this says that it is durable. */
  setSnapshot(run: string, at: Snapshot): Promise<void> {
    return this.of(run).setSnapshot(run, at)
  }

  snapshot(run: string): Promise<Snapshot | undefined> {
    return this.of(run).snapshot(run)
  }

  /** The fencing token of who holds the run, or held it last; undefined where it was never taken or is gone. */
  epoch(run: string): Promise<number | undefined> {
    return this.of(run).epoch(run)
  }

  /** A tenant's runs that are still in Redis, newest first. */
  async list(tenant: string, limit: number, before?: string): Promise<RunRecord[]> {
    const lists = await Promise.all(this.partitions.map((partition) => partition.list(tenant, limit, before)))
    return lists
      .flat()
      .sort((a, b) => (a.id < b.id ? 1 : -1))
      .slice(0, limit)
  }

  /** A tenant's runs that ask people something, or did until a moment ago: those after `after`, the oldest first. */
  async asking(tenant: string, limit: number, after?: string): Promise<string[]> {
    const lists = await Promise.all(this.partitions.map((partition) => partition.asking(tenant, limit, after)))
    return lists.flat().sort().slice(0, limit)
  }

  /** A run's entries after `after`, page by page. */
  read(run: string, after = 0): AsyncGenerator<StoredEntry> {
    return this.of(run).read(run, after)
  }

  /** A run's entries after `after` as they become durable, until the signal aborts. */
  follow(run: string, after: number, signal: AbortSignal): AsyncGenerator<StoredEntry> {
    return this.of(run).follow(run, after, signal)
  }

  /** Forgets an archived run after `ttlS` seconds (at once with 0). Its place in the list goes with it now. */
  expire(run: string, tenant: string, ttlS: number): Promise<void> {
    return this.of(run).expire(run, tenant, ttlS)
  }

  /**
   * Has Redis write its append-only file anew, without what was deleted. False where it may not be asked, or has several
   * nodes, of which each has its own.
   */
  async rewriteLog(): Promise<boolean> {
    if (this.url.includes(',')) return false
    try {
      await this.redis.call('BGREWRITEAOF')
      return true
    } catch {
      return false
    }
  }

  /** Makes a worker's agents, plans and tools known to the servers. */
  publish(app: AppManifest): Promise<void> {
    const { keys, replication } = this.partitions[0]
    return replication.after(manifests.publish(this.redis, keys, app))
  }

  /** A published definition: of the version given, else the one published last. */
  definition(kind: 'agent' | 'plan', name: string, version?: string): Promise<DefinitionManifest | undefined> {
    return manifests.definition(this.redis, this.partitions[0].keys, this.#definitions, { kind, name, version })
  }

  /** Everything published, the latest of each. */
  manifest(): Promise<{ definitions: DefinitionManifest[]; tools: ToolManifest[] }> {
    return manifests.manifest(this.redis, this.partitions[0].keys)
  }

  /** Keeps a policy set that a worker is about to decide by. */
  publishPolicies(set: Omit<PublishedPolicies, 'firstSeen'>): Promise<void> {
    const { keys, replication, clock } = this.partitions[0]
    return replication.after(policySets.publishPolicies(this.redis, keys, { ...set, firstSeen: clock() }))
  }

  /** Every policy set that was published, the newest first. */
  policySets(): Promise<PolicySetSummary[]> {
    return policySets.policySets(this.redis, this.partitions[0].keys)
  }

  /** @throws MusterError `policy.not_found` */
  policySet(hash: string): Promise<PublishedPolicies> {
    return policySets.policySet(this.redis, this.partitions[0].keys, hash)
  }

  /** Says that a worker lives; to be said again within `ANNOUNCE_MS`. */
  announce(worker: WorkerInfo): Promise<void> {
    return workers.announce(this.redis, this.partitions[0].keys, worker)
  }

  /** Says that a worker has ended. */
  leave(worker: string): Promise<void> {
    return workers.leave(this.redis, this.partitions[0].keys, worker)
  }

  /** How many runs of each tenant wait for a worker, where any does. */
  async backlog(): Promise<Map<string, number>> {
    const backlog = new Map<string, number>()
    const waiting = await Promise.all(this.partitions.map((partition) => partition.backlog()))
    for (const { tenant, runs } of waiting.flat()) if (runs > 0) backlog.set(tenant, (backlog.get(tenant) ?? 0) + runs)
    return backlog
  }

  /** How far what goes on behind the runs is behind them, over all tenants. */
  lags(): Promise<OutboxLag[]> {
    return lags(this.partitions)
  }

  /** The workers that live. */
  workers(): Promise<WorkerInfo[]> {
    const { clock, keys } = this.partitions[0]
    return workers.workers(this.redis, keys, clock())
  }

  /** Closes though Redis may not answer: the queues would wait for a connection that never comes. */
  async abandon(): Promise<void> {
    this.redis.disconnect()
    await this.close()
  }

  async close(): Promise<void> {
    await Promise.all(this.partitions.map((partition) => partition.close()))
    this.redis.disconnect()
  }
}

/** What Redis answers while it will take commands later. */
const LATER = /^(LOADING|BUSY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|READONLY|ERR max number of clients)/

/** Where Redis is there and refuses who asks, which no waiting mends. */
function refusal(error: unknown): MusterError | undefined {
  const { cause } = error instanceof MusterError ? error : {}
  // ioredis wraps what the last node of a cluster said.
  const last = cause instanceof Error && 'lastNodeError' in cause ? cause.lastNodeError : cause
  if (!(last instanceof Error) || last.name !== 'ReplyError' || LATER.test(last.message)) return undefined
  return new MusterError('config.invalid', `REDIS_URL: Redis refuses: ${last.message}`, { cause: error })
}
