import { hash } from 'node:crypto'
import { once } from 'node:events'
import { contentDigest, genesis, link, saltContent } from '@muster/audit'
import {
  type Actor,
  type AppManifest,
  type DefinitionManifest,
  definitionManifest,
  type Entry,
  type EntryOf,
  type Json,
  MusterError,
  type RunStatus,
  type StoredEntry,
  type ToolManifest,
  toolManifest,
} from '@muster/protocol'
import { Queue } from 'bullmq'
import { connect, type JournalRedis } from './commands.ts'
import { Keys } from './keys.ts'
import { decodeRecord } from './record.ts'
import { Tail } from './tail.ts'
import { CONTENT_INLINE_MAX, OFFLOADED, type Offload } from './writer.ts'

/** BullMQ queue of activations: one job is one activation of one run. */
export const QUEUE = 'activations'

/** How long an idempotency key is remembered, in seconds: a week. */
const IDEMPOTENCY_TTL_S = 7 * 24 * 3600

/** What comes to a run from outside while it runs or waits. */
export type Message =
  | { type: 'cancel'; by: Actor }
  | { type: 'approval'; step: string; verdict: 'approve' | 'deny'; shown: string; by: Actor; role: string }
  | { type: 'child'; step: string; run: string }

/** What is known of a run without reading its journal. */
export interface RunRecord {
  id: string
  status: RunStatus
  epoch: number
  seq: number
  head: string
  created: EntryOf<'run.created'>
  summary: Json | undefined
}

export interface JournalOptions {
  url: string
  namespace: string
  clock?: () => number
  /** Commands fail at once while Redis is away, and after 5 s without an answer; otherwise they wait. For servers, whose clients can try again. */
  failFast?: boolean
}

/** A page of a long journal: enough to be quick, small enough to hold. */
const PAGE = 200

/**
 * The journals of one partition, as everyone but their holder sees them: create a run, read and
 * follow its entries, leave it a message. Appending is the `Writer`'s, under an epoch.
 */
export class Journal {
  readonly redis: JournalRedis
  readonly keys: Keys
  readonly queue: Queue
  readonly url: string
  readonly clock: () => number
  readonly #blocking: JournalRedis
  readonly #tail: Tail

  private constructor(options: JournalOptions) {
    this.url = options.url
    this.clock = options.clock ?? Date.now
    this.keys = new Keys(options.namespace)
    this.redis = connect(
      options.url,
      options.failFast ? { enableOfflineQueue: false, autoResendUnfulfilledCommands: false, commandTimeout: 5000 } : {},
    )
    this.#blocking = connect(options.url)
    this.#tail = new Tail(this.#blocking, this.redis, this.keys)
    this.queue = new Queue(QUEUE, {
      prefix: this.keys.tag,
      connection: this.redis,
      skipVersionCheck: true,
      skipMetasUpdate: true,
    })
    this.queue.on('error', () => {})
  }

  /** Opens the journals, or throws `redis.unavailable` and leaves no connection behind. */
  static async open(options: JournalOptions): Promise<Journal> {
    const journal = new Journal(options)
    try {
      await journal.ping(5000)
      return journal
    } catch (error) {
      // In this order: the queue would wait for a connection that never comes.
      journal.redis.disconnect()
      await journal.close()
      throw error
    }
  }

  /** Throws `redis.unavailable` when Redis does not answer within `timeoutMs`. */
  async ping(timeoutMs = 2000): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs)
    })
    try {
      await Promise.race([this.#ready().then(() => this.redis.ping()), late])
    } catch (error) {
      throw new MusterError(
        'redis.unavailable',
        `Redis does not answer: ${error instanceof Error ? error.message : error}`,
        { cause: error },
      )
    } finally {
      clearTimeout(timer)
    }
  }

  /** Without an offline queue a command before the first connection fails, so that is waited for. */
  async #ready(): Promise<void> {
    if (this.redis.status !== 'ready') await once(this.redis, 'ready')
  }

  /**
   * Writes a run and its first entry, then its BullMQ job; both are durable as the server's
   * `appendfsync` says when this resolves. Creating again under the same key or id gives the first run.
   *
   * @throws MusterError `idempotency.conflict` when the key came with another request
   */
  async create(
    run: Omit<EntryOf<'run.created'>, 'v' | 'seq' | 'content' | 'type' | 'at'>,
    content: Json,
    options: { idempotencyKey?: string | undefined; offload: Offload },
  ): Promise<{ id: string; created: boolean }> {
    const at = this.clock()
    let salted = saltContent(JSON.stringify(content))
    const digest = contentDigest(salted)
    const entry: EntryOf<'run.created'> = { v: 1, seq: 1, at, type: 'run.created', ...run, content: digest }
    const bytes = JSON.stringify(entry)
    const head = link(genesis(run.run), bytes)
    if (salted.length > CONTENT_INLINE_MAX) {
      await options.offload(run.tenant, digest, salted)
      salted = OFFLOADED
    }
    const { idempotencyKey } = options
    const requestHash =
      idempotencyKey === undefined
        ? ''
        : hash('sha256', JSON.stringify([run.definition.name, run.session, content]), 'hex')
    const [result, existing, usedFor] = await this.redis.musterCreate(
      this.keys.run(run.run),
      this.keys.log(run.run),
      this.keys.index(run.tenant),
      this.keys.pending,
      this.keys.idempotency(run.tenant, hash('sha256', idempotencyKey ?? '', 'hex')),
      ...[run.run, at, bytes, head, `${head} ${bytes}`, salted, requestHash, IDEMPOTENCY_TTL_S, timeOf(run.run)],
    )
    if (result === 0) {
      if (usedFor !== requestHash)
        throw new MusterError('idempotency.conflict', 'This idempotency key came before with another request')
      return { id: existing ?? '', created: false }
    }
    if (result === 2) return { id: run.run, created: false }
    await this.enqueue(run.run, 1, definitionOf(entry))
    return { id: run.run, created: true }
  }

  /** Adds the BullMQ job of an activation. Its id is made of run and activation, so a repeat adds nothing. */
  async enqueue(run: string, activation: number, definition: string): Promise<void> {
    await this.queue.add(
      'run',
      { run, definition },
      {
        jobId: `${run}-${activation}`,
        removeOnComplete: true,
        // An activation is tried again until the run has ended or parked; the run's own limits end a run.
        attempts: Number.MAX_SAFE_INTEGER,
        backoff: { type: 'fixed', delay: 1000 },
      },
    )
    await this.redis.zrem(this.keys.pending, run)
  }

  /** Enqueues the activation that is recorded for a run. */
  async wake(run: string): Promise<void> {
    const [activation, meta] = await this.redis.hmget(this.keys.run(run), 'activation', 'meta')
    if (activation && meta) await this.enqueue(run, Number(activation), definitionOf(parseCreated(meta)))
    else await this.redis.zrem(this.keys.pending, run)
  }

  /** Enqueues activations that were recorded before `olderThanMs` and whose enqueuer died. Gives how many. */
  async sweep(olderThanMs: number): Promise<number> {
    const runs = await this.redis.zrangebyscore(this.keys.pending, '-inf', this.clock() - olderThanMs, 'LIMIT', 0, 100)
    for (const run of runs) {
      await this.wake(run)
    }
    return runs.length
  }

  /**
   * Leaves a message for a run, wherever it is.
   *
   * @throws MusterError `run.not_found` or `run.ended`
   */
  async post(run: string, message: Message): Promise<void> {
    const activation = await this.redis.musterPost(
      this.keys.run(run),
      this.keys.inbox(run),
      this.keys.pending,
      run,
      this.clock(),
      JSON.stringify(message),
    )
    if (activation === -1) throw new MusterError('run.not_found', `There is no run ${run}`)
    if (activation === -2) throw new MusterError('run.ended', `Run ${run} has ended`)
    if (activation > 0) await this.wake(run)
    else await this.notifyMail(run)
  }

  async notifyMail(run: string): Promise<void> {
    await this.redis.publish(this.keys.mail, run)
  }

  async messages(run: string): Promise<Message[]> {
    const messages = await this.redis.lrange(this.keys.inbox(run), 0, -1)
    // Only `post` and `append` write here, and both write a Message.
    return messages.map((message) => JSON.parse(message) as Message)
  }

  /** Takes a run under a new epoch; undefined when there is nothing to do for it. */
  async activate(
    run: string,
  ): Promise<{ epoch: number; seq: number; head: string; created: EntryOf<'run.created'> } | undefined> {
    const [epoch, seq, head, meta] = await this.redis.musterActivate(
      this.keys.run(run),
      this.keys.inbox(run),
      this.keys.pending,
      run,
    )
    if (epoch === undefined || seq === undefined || head === undefined || meta === undefined) return undefined
    return { epoch, seq, head, created: parseCreated(meta) }
  }

  async get(run: string): Promise<RunRecord | undefined> {
    const fields = await this.redis.hgetall(this.keys.run(run))
    return fields.meta ? toRecord(run, fields) : undefined
  }

  /** A tenant's runs that are still in Redis, newest first. */
  async list(tenant: string, limit: number, before?: string): Promise<RunRecord[]> {
    // The index scores a run by the time in its id, and members of one score sort by id.
    const max = before === undefined ? '+inf' : timeOf(before)
    const ids = await this.redis.zrevrangebyscore(this.keys.index(tenant), max, '-inf', 'LIMIT', 0, limit + 100)
    const wanted = ids.filter((id) => before === undefined || id < before).slice(0, limit)
    const pipeline = this.redis.pipeline()
    for (const id of wanted) pipeline.hgetall(this.keys.run(id))
    const rows = (await pipeline.exec()) ?? []
    const records: RunRecord[] = []
    for (const [i, id] of wanted.entries()) {
      // `exec` types every reply as unknown; HGETALL gives a string map.
      const fields = (rows[i]?.[1] ?? {}) as Record<string, string>
      if (fields.meta) records.push(toRecord(id, fields))
    }
    return records
  }

  /** A run's entries after `after`, page by page. */
  async *read(run: string, after = 0): AsyncGenerator<StoredEntry> {
    for (let seen = after; ; ) {
      const records = await this.redis.xrange(this.keys.log(run), `${seen + 1}-0`, '+', 'COUNT', PAGE)
      for (const [id, fields] of records) {
        for (const entry of decodeRecord(id, fields, seen)) {
          yield entry
          seen = entry.seq
        }
      }
      if (records.length < PAGE) return
    }
  }

  /** A run's entries after `after` as they become durable, until the signal aborts. */
  follow(run: string, after: number, signal: AbortSignal): AsyncGenerator<StoredEntry> {
    return this.#tail.follow(run, after, signal)
  }

  /** Forgets an archived run after `ttlS` seconds (at once with 0). Its place in the list goes with it now. */
  async expire(run: string, tenant: string, ttlS: number): Promise<void> {
    const pipeline = this.redis.pipeline()
    for (const key of [this.keys.run(run), this.keys.log(run), this.keys.inbox(run)]) {
      if (ttlS === 0) pipeline.del(key)
      else pipeline.expire(key, ttlS)
    }
    pipeline.zrem(this.keys.index(tenant), run)
    await pipeline.exec()
  }

  /** Makes a worker's agents, plans and tools known to the servers. */
  async publish(app: AppManifest): Promise<void> {
    const fields: Record<string, string> = {}
    for (const definition of app.definitions) {
      const text = JSON.stringify(definition)
      fields[`${definition.kind}:${definition.name}@${definition.version}`] = text
      fields[`${definition.kind}:${definition.name}`] = text
    }
    for (const tool of app.tools) fields[`tool:${tool.name}`] = JSON.stringify(tool)
    if (Object.keys(fields).length > 0) await this.redis.hset(this.keys.manifest, fields)
  }

  /** A published definition: of the version given, else the one published last. */
  async definition(kind: 'agent' | 'plan', name: string, version?: string): Promise<DefinitionManifest | undefined> {
    const text = await this.redis.hget(
      this.keys.manifest,
      version === undefined ? `${kind}:${name}` : `${kind}:${name}@${version}`,
    )
    return text === null ? undefined : definitionManifest.parse(JSON.parse(text))
  }

  /** Everything published, the latest of each. */
  async manifest(): Promise<{ definitions: DefinitionManifest[]; tools: ToolManifest[] }> {
    const fields = await this.redis.hgetall(this.keys.manifest)
    const definitions: DefinitionManifest[] = []
    const tools: ToolManifest[] = []
    for (const [field, text] of Object.entries(fields)) {
      if (field.startsWith('tool:')) tools.push(toolManifest.parse(JSON.parse(text)))
      else if (!field.includes('@')) definitions.push(definitionManifest.parse(JSON.parse(text)))
    }
    return { definitions, tools }
  }

  async close(): Promise<void> {
    this.#tail.close()
    await this.queue.close()
    this.redis.disconnect()
  }
}

/** Milliseconds since the Unix epoch, with which a UUIDv7 begins (RFC 9562, section 5.7). */
function timeOf(id: string): number {
  return Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16)
}

/** Name and version of what a run executes: a worker that does not carry it leaves the run to others. */
function definitionOf({ definition }: EntryOf<'run.created'>): string {
  return `${definition.name}@${definition.version}`
}

function parseCreated(meta: string): EntryOf<'run.created'> {
  const created: Entry = JSON.parse(meta)
  if (created.type !== 'run.created')
    throw new MusterError('journal.corrupt', 'the run record does not begin with its creation')
  return created
}

function toRecord(id: string, fields: Record<string, string>): RunRecord {
  return {
    id,
    // `status` is written by our scripts alone.
    status: (fields.status ?? 'queued') as RunStatus,
    epoch: Number(fields.epoch),
    seq: Number(fields.seq),
    head: fields.head ?? '',
    created: parseCreated(fields.meta ?? '{}'),
    summary: fields.summary ? JSON.parse(fields.summary) : undefined,
  }
}
