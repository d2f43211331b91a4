import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createMuster, type Muster } from '@muster/sdk'
import { newApiKey } from '@muster/server'
import { type DynamoService, freePort, type RedisService, startDynamo, startRedis } from '@muster/stack'
import { Redis } from 'ioredis'
import { z } from 'zod'
import { Child } from './child.ts'
import { DynamoProxy } from './dynamo-proxy.ts'
import type { GatewayClients } from './gateway-clients.ts'
import { newLedger } from './ledger.ts'
import { TcpProxy } from './tcp-proxy.ts'
import { startModel } from './turns-model.ts'

const file = (name: string) => fileURLToPath(new URL(name, import.meta.url))
const cli = file('../../../apps/cli/src/main.ts')

const TENANT = 'acme'

export interface DeploymentOptions {
  seed: number
  workers: number
  partitions: number
  /** Factor on how often the outside is slow or fails; 1 unless given. */
  unreliable?: number
  /** A lock that is not renewed for this long is lost, ms. */
  lockMs?: number
  /** Modules that workers load first, such as one that breaks the build. */
  imports?: readonly string[]
  /** More environment of the workers and the server. */
  env?: NodeJS.ProcessEnv
  /** Who asks the server as a gateway; none unless given. */
  clients?: GatewayClients
}

/** A process and the proxies between it and its stores. */
export interface Placed {
  readonly child: Child
  readonly redis: TcpProxy
}

/** All real, on this machine: Redis, DynamoDB, the outside, a server process and worker processes behind proxies. */
export class Deployment {
  readonly dir: string
  readonly namespace = 'faults'
  readonly partitions: number
  readonly lockMs: number
  readonly effectsFile: string
  /** Of the server and the workers, all that they say. */
  readonly logs: string
  /** What must stand in none of the files below `dir`, by what it is called. */
  readonly secrets: Record<string, string> = {
    MUSTER_SECRET: randomBytes(32).toString('base64url'),
    MUSTER_MODEL_API_KEY: randomBytes(32).toString('base64url'),
  }
  /** The key of the tenant's ledger. */
  readonly vkey: string
  url = ''
  key = ''
  /** What the command line is told of the server. */
  clientEnv: NodeJS.ProcessEnv = {}
  /** Ends of processes that nobody asked for: none may end by itself. */
  readonly deaths: string[] = []
  readonly #options: DeploymentOptions
  readonly #closers: (() => Promise<void>)[] = []
  #redis: RedisService | undefined
  #dynamo: DynamoService | undefined
  #dynamoProxy: DynamoProxy | undefined
  #recorder = ''
  readonly #ledger: NodeJS.ProcessEnv
  #muster: Muster | undefined
  #server: Placed | undefined
  readonly workers: Placed[] = []

  private constructor(options: DeploymentOptions) {
    this.#options = options
    this.partitions = options.partitions
    this.lockMs = options.lockMs ?? 1000
    this.dir = mkdtempSync(join(tmpdir(), 'muster-faults-'))
    this.effectsFile = join(this.dir, 'effects.jsonl')
    writeFileSync(this.effectsFile, '')
    this.logs = join(this.dir, 'logs')
    mkdirSync(this.logs)
    const { vkey, env } = newLedger(this.dir, TENANT)
    this.vkey = vkey
    this.#ledger = env
  }

  /** Starts everything; stops what there is when any of it fails. */
  static async start(options: DeploymentOptions): Promise<Deployment> {
    const deployment = new Deployment(options)
    try {
      await deployment.#start()
      return deployment
    } catch (error) {
      await deployment.close()
      throw error
    }
  }

  async #start(): Promise<void> {
    const { dir, namespace, partitions, lockMs } = this
    const { seed, unreliable = 1, imports = [], env = {}, clients } = this.#options
    this.#closers.push(async () => rmSync(dir, { recursive: true, force: true }))
    this.#closers.push(async () => this.#redis?.stop())
    this.#closers.push(async () => this.#dynamo?.stop())
    this.#redis = await startRedis({ dir: join(dir, 'redis') })
    this.#dynamo = await startDynamo({ dir: join(dir, 'dynamo') })
    const dynamoProxy = await DynamoProxy.open(Number(new URL(this.dynamoEndpoint).port))
    this.#dynamoProxy = dynamoProxy
    this.#closers.push(() => dynamoProxy.close())
    const model = await startModel()
    this.#closers.push(() => model.stop())
    const onExit = (why: string) => this.deaths.push(why)
    const recorder = new Child(file('./recorder-process.ts'), [], {
      env: {
        EFFECTS: this.effectsFile,
        REDIS_URL: this.redisUrl,
        NAMESPACE: namespace,
        PARTITIONS: String(partitions),
        SEED: String(seed),
        UNRELIABLE: String(unreliable),
      },
      onExit,
    })
    this.#closers.push(() => recorder.stop('SIGKILL'))
    const { port: recorderPort } = await recorder.start<{ port: number }>()
    this.#recorder = `http://127.0.0.1:${recorderPort}`
    const { key, stored } = newApiKey({ id: 'campaign', tenant: TENANT, user: 'campaign', roles: ['*'] })
    const keysFile = join(dir, 'keys.json')
    writeFileSync(keysFile, JSON.stringify([stored]))
    this.secrets['the API key'] = key
    const { MUSTER_SECRET, MUSTER_MODEL_API_KEY } = this.secrets
    const common = {
      ...{ MUSTER_SECRET, MUSTER_MODEL_API_KEY },
      MUSTER_NAMESPACE: namespace,
      MUSTER_PARTITIONS: String(partitions),
      MUSTER_LOG: 'debug',
      DYNAMODB_ENDPOINT: dynamoProxy.endpoint,
    }
    if (clients) this.#closers.push(async () => clients.close())
    const port = await freePort()
    this.#server = await this.#place(['server'], {
      env: {
        ...{ ...common, MUSTER_PORT: String(port), MUSTER_KEYS_FILE: keysFile, MUSTER_LOCK_MS: String(lockMs) },
        ...(clients
          ? { ...this.#ledger, ...env, ...(await clients.listen()), MUSTER_POLICY: file('./policy.cedar') }
          : {}),
      },
      imports: [],
      onExit,
    })
    for (let i = 0; i < this.#options.workers; i++) {
      const worker = await this.#place(['worker'], {
        env: {
          ...common,
          MUSTER_APP: file('./app.ts'),
          MUSTER_POLICY: file('./policy.cedar'),
          MUSTER_LOCK_MS: String(lockMs),
          MUSTER_MODEL_BASE_URL: `${model.url}/v1`,
          MUSTER_MODEL: 'scripted',
          RECORDER: this.#recorder,
          ...this.#ledger,
          ...env,
        },
        imports: [file('./clock.ts'), ...imports],
        onExit,
      })
      this.workers.push(worker)
    }
    await Promise.all([this.#server, ...this.workers].map(({ child }) => child.start()))
    const url = `http://127.0.0.1:${port}`
    this.#muster = createMuster({ url, key })
    this.url = url
    this.key = key
    this.clientEnv = { ...process.env, MUSTER_HOME: dir, MUSTER_URL: url, MUSTER_KEY: key }
  }

  async #place(args: readonly string[], options: ConstructorParameters<typeof Child>[2]): Promise<Placed> {
    const redis = await TcpProxy.open(Number(new URL(this.redisUrl).port))
    const env = { ...options.env, REDIS_URL: `redis://127.0.0.1:${redis.port}` }
    const child = new Child(cli, args, { ...options, env, log: join(this.logs, `${args[0]}.log`) })
    this.#closers.push(() => redis.close())
    this.#closers.push(() => child.stop('SIGKILL'))
    return { child, redis }
  }

  /** Asks the outside whether an effect happened, and has it refuse workers that held the run before this token. */
  readonly happened = async (key: string, token: number): Promise<boolean> => {
    const response = await fetch(`${this.#recorder}/done?${new URLSearchParams({ key, token: String(token) })}`)
    return z.object({ text: z.enum(['yes', 'no']) }).parse(await response.json()).text === 'yes'
  }

  get muster(): Muster {
    if (!this.#muster) throw new Error('the deployment has not started')
    return this.#muster
  }

  get server(): Placed {
    if (!this.#server) throw new Error('the deployment has not started')
    return this.#server
  }

  /** Redis itself, past the proxies. */
  get redisUrl(): string {
    return this.#redis?.url ?? ''
  }

  get dynamoEndpoint(): string {
    return this.#dynamo?.endpoint ?? ''
  }

  /** Ends Redis: by kill -9, or politely. It loses nothing that it has acknowledged. */
  async stopRedis(how: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    if (how === 'SIGKILL' && this.#redis?.pid !== undefined) process.kill(this.#redis.pid, how)
    await this.#redis?.stop()
  }

  /** Starts it again on the same data and port. */
  async startRedis(): Promise<void> {
    this.#redis = await startRedis({ dir: join(this.dir, 'redis'), port: Number(new URL(this.redisUrl).port) })
  }

  /** Takes the right to seal from who has it, as time does from one that stands still. */
  async forgetSealer(): Promise<void> {
    await this.#ask((redis) => redis.del(`{${this.namespace}0}:sealer:${TENANT}`))
  }

  /** Changes a setting of the Redis that runs. */
  async setRedis(name: string, value: string): Promise<void> {
    await this.#ask((redis) => redis.config('SET', name, value))
  }

  async #ask(question: (redis: Redis) => Promise<unknown>): Promise<void> {
    const redis = new Redis(this.redisUrl, { maxRetriesPerRequest: 0 })
    try {
      await question(redis)
    } finally {
      redis.disconnect()
    }
  }

  get dynamo(): DynamoProxy {
    if (!this.#dynamoProxy) throw new Error('the deployment has not started')
    return this.#dynamoProxy
  }

  async stopDynamo(): Promise<void> {
    await this.#dynamo?.stop()
  }

  async startDynamo(): Promise<void> {
    const port = Number(new URL(this.dynamoEndpoint).port)
    this.#dynamo = await startDynamo({ dir: join(this.dir, 'dynamo'), port })
  }

  /** Lets the workers end in peace, so that what they leave behind can be counted. */
  async drainWorkers(): Promise<void> {
    await Promise.all(this.workers.map(({ child }) => child.stop('SIGTERM')))
  }

  async close(): Promise<void> {
    for (const close of this.#closers.splice(0).reverse()) await close()
  }
}
