import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { type DynamoService, type RedisService, startDynamo, startRedis } from '@muster/stack'
import { Redis } from 'ioredis'
import { Pool } from 'undici'
import { Child, type OptionsOf, type SubjectName } from './child.ts'
import { type Measured, rate } from './row.ts'
import type { Place, Sample, Task } from './subject.ts'

export interface BenchOptions {
  quick: boolean
  /** Whether other systems are measured beside. */
  peers: boolean
  /** Factor on the length of samples and of backlogs. */
  size: number
  /** Folder for CPU profiles of the worker. */
  prof: string | undefined
  log: (line: string) => void
}

type Fsync = 'everysec' | 'always'

/** One of those that are measured together. */
export interface Contender {
  name: string
  child: Child
  /** Redis to empty after each sample; undefined where the subject keeps its data. */
  empty?: Redis
}

/** The machinery of one run of the benchmark: real servers in a folder of its own, subjects in processes of theirs. */
export class Bench {
  readonly options: BenchOptions
  readonly #dir = mkdtempSync(join(tmpdir(), 'muster-bench-'))
  readonly #redis = new Map<Fsync, Promise<{ service: RedisService; admin: Redis }>>()
  readonly #children = new Set<Child>()
  readonly #delaying: { server: Server; pool: Pool }[] = []
  #dynamo: Promise<DynamoService> | undefined
  #onDisk: Promise<DynamoService> | undefined
  redisVersion: string | undefined

  constructor(options: BenchOptions) {
    this.options = options
  }

  /** How long what all do in turns goes on before each sample; see `Task`. */
  get leadMs(): number {
    return this.options.quick ? 0 : 500
  }

  get sampleMs(): number {
    return (this.options.quick ? 250 : 3000) * this.options.size
  }

  /** Redis with its log synced as named, and the DynamoDB that workers hold. */
  async place(fsync: Fsync = 'everysec'): Promise<{ place: Place; admin: Redis }> {
    let starting = this.#redis.get(fsync)
    if (!starting) {
      starting = this.#startRedis(fsync)
      this.#redis.set(fsync, starting)
    }
    const { service, admin } = await starting
    this.#dynamo ??= startDynamo({})
    return { place: { redisUrl: service.url, dynamo: (await this.#dynamo).endpoint ?? '' }, admin }
  }

  /** A DynamoDB with its data on disk, for more than fits into memory. `fill` puts it there. */
  async dynamoOnDisk(fill: (dir: string) => Promise<void>): Promise<string> {
    const dir = join(this.#dir, 'dynamo')
    this.#onDisk ??= fill(dir).then(() => startDynamo({ dir }))
    return (await this.#onDisk).endpoint ?? ''
  }

  /** The same server, as it is from afar: what is asked reaches it `ms` later. Gives its address. */
  async delayed(origin: string, ms: number): Promise<string> {
    const pool = new Pool(origin)
    const server = createServer(async (incoming, response) => {
      const { method, url = '/', headers } = incoming
      const body = await buffer(incoming)
      await sleep(ms)
      const answer = await pool.request({ method: method === 'GET' ? 'GET' : 'POST', path: url, headers, body })
      response.writeHead(answer.statusCode, answer.headers)
      answer.body.pipe(response)
    })
    this.#delaying.push({ server, pool })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}` // it listens on a port
  }

  async #startRedis(fsync: Fsync) {
    const service = await startRedis({ dir: join(this.#dir, fsync), fsync, log: this.options.log })
    this.redisVersion = service.version
    const admin = new Redis(service.url)
    // The log is rewritten between samples, where it does not disturb one and spare another.
    await admin.config('SET', 'auto-aof-rewrite-percentage', '0')
    return { service, admin }
  }

  /** Starts a subject in a process of its own. */
  async start<N extends SubjectName>(
    subject: N,
    options: OptionsOf<N>,
    execArgv: readonly string[] = [],
  ): Promise<Child> {
    const child = await Child.start(subject, options, execArgv)
    this.#children.add(child)
    return child
  }

  /** Other systems doing the same, where they are asked for and can be had here. */
  async peers(plan: 'chain' | 'fan', inFlight: number): Promise<Contender[]> {
    if (!this.options.peers) return []
    const names = { restate: 'Restate, one server', dbos: 'DBOS, PostgreSQL' } as const
    const found: Contender[] = []
    for (const subject of ['restate', 'dbos'] as const) {
      try {
        found.push({ name: names[subject], child: await this.start(subject, { plan, inFlight }) })
      } catch (error) {
        this.options.log(`${subject} is left out: ${error instanceof Error ? error.message.split('\n')[0] : error}`)
      }
    }
    return found
  }

  /**
   * Measures contenders in turns (A B C, A B C, …), so that a drift of the machine hits all alike, after turns that do
   * not count: until then Node compiles what is used most.
   */
  async rounds(
    title: string,
    contenders: readonly Contender[],
    { warmUps = 3, ...task }: Partial<Task> & { warmUps?: number } = {},
  ): Promise<Measured[]> {
    const measured = contenders.map(({ name }) => ({ name, samples: [] as Sample[] }))
    const rounds = 5
    const first = 1 - (this.options.quick ? 1 : warmUps)
    for (let round = first; round <= rounds; round++) {
      for (const [i, { name, child, empty }] of contenders.entries()) {
        const sample = await child.sample({ ms: this.sampleMs, ...task })
        const label = round < 1 ? 'warm-up' : `${round}/${rounds}`
        this.options.log(`${title} ${label} ${name}: ${Math.round(rate(sample)).toLocaleString('en')}/s`)
        if (round > 0) measured[i]?.samples.push(sample)
        if (empty) await this.clear(empty)
      }
    }
    return measured
  }

  /** Empties a Redis and its log. */
  async clear(redis: Redis): Promise<void> {
    await redis.flushall('SYNC')
    await redis.bgrewriteaof()
    const busy = /^aof_rewrite_(?:in_progress|scheduled):1/m
    while (busy.test(await redis.info('persistence'))) await new Promise((resolve) => setTimeout(resolve, 5))
  }

  async stop(children: Iterable<Child> = this.#children): Promise<void> {
    for (const child of [...children]) {
      this.#children.delete(child)
      await child.stop()
    }
  }

  async close(): Promise<void> {
    await this.stop()
    for (const starting of this.#redis.values()) {
      const { service, admin } = await starting
      admin.disconnect()
      await service.stop()
    }
    for (const { server, pool } of this.#delaying) {
      server.close()
      server.closeAllConnections()
      await pool.destroy()
    }
    await (await this.#dynamo)?.stop()
    await (await this.#onDisk)?.stop()
    rmSync(this.#dir, { recursive: true, force: true })
  }
}
