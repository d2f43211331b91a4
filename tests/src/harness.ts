import { type ChildProcess, execFile, fork } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { openMemory } from '@muster/memory'
import { type Run, readConfig } from '@muster/protocol'
import { openRedaction } from '@muster/redaction'
import { createMuster, type Muster } from '@muster/sdk'
import { type ApiKey, createServer, newApiKey } from '@muster/server'
import { startDynamo, startRedis } from '@muster/stack'
import { readContentKeys } from '@muster/worker/settings'
import { startModel } from '../faults/src/turns-model.ts'

const appFile = fileURLToPath(new URL('./fixtures/app.ts', import.meta.url))
const policyFile = fileURLToPath(new URL('./fixtures/policy.cedar', import.meta.url))
/** What `muster` is. */
export const cli = fileURLToPath(new URL('../../apps/cli/src/main.ts', import.meta.url))

const people = [
  { user: 'ann', roles: ['finance'] },
  { user: 'bob', roles: ['finance'] },
  { user: 'cid', roles: ['cfo'] },
  { user: 'robot', roles: ['*'], service: true },
] as const

/** Workers that lose no run because the machine is busy, where none is killed whose runs another is to take. */
export const unhurried = { MUSTER_LOCK_MS: '60000' }

/** An effect as a tool wrote it down: the tests' own record of what happened outside. */
export interface Effect {
  effect: string
  key: string
  pid: number
}

export interface Harness {
  redisUrl: string
  dynamoEndpoint: string
  namespace: string
  dir: string
  url: string
  key: string
  /** Keys that were asked for, by their ids. */
  keys: Readonly<Record<string, string>>
  /** What a server in a process of its own is configured by. */
  env: NodeJS.ProcessEnv
  /** Of the model server. */
  modelUrl: string
  muster: Muster
  /** A client of another tenant. */
  stranger: Muster
  /** Clients of others in the same tenant: three people, and a service whose key names every role. */
  people: Record<(typeof people)[number]['user'], Muster & { key: string }>
  effects(): Effect[]
  /** Starts a worker in a process of its own; resolves when it takes runs. */
  worker(env?: NodeJS.ProcessEnv): Promise<ChildProcess>
  /** Kills every worker, so that a test that failed half-way leaves none to the next. */
  killWorkers(): Promise<void>
  /** Restarts Redis on the same data and port, away for `awayMs`. */
  restartRedis(awayMs: number, whileAway?: () => Promise<void>): Promise<void>
  close(): Promise<void>
}

/** Everything real on free ports: Redis, DynamoDB, a model server and the HTTP API; workers as asked for. */
export async function startHarness(
  env: NodeJS.ProcessEnv = {},
  options: {
    redis?: (options: { dir: string }) => Promise<{ url: string; stop(): Promise<void> }>
    gateway?: Parameters<typeof createServer>[0]['gateway']
    keys?: readonly Omit<ApiKey, 'sha256'>[]
  } = {},
): Promise<Harness> {
  const dir = mkdtempSync(join(tmpdir(), 'muster-test-'))
  let redis: { url: string; stop(): Promise<void> } = await (options.redis ?? startRedis)({ dir: join(dir, 'redis') })
  const dynamo = await startDynamo({})
  const model = await startModel()
  const config = readConfig(env)
  const memory = await openMemory({
    ...{ table: 'muster', endpoint: dynamo.endpoint ?? '', keyCacheMs: config.MUSTER_CONTENT_KEY_CACHE_MS },
    ...(config.MUSTER_CONTENT_KEY_FILE === undefined
      ? {}
      : { master: readContentKeys(config.MUSTER_CONTENT_KEY_FILE) }),
  })
  const namespace = 'test'
  const keys: { key: string; stored: ApiKey }[] = ['acme', 'other'].map((tenant) =>
    // A stranger has a role that nothing asks for: what is refused them is so for the tenant.
    newApiKey({ id: `${tenant}-key`, tenant, user: `${tenant}-user`, roles: [tenant === 'acme' ? '*' : 'guest'] }),
  )
  const others = people.map(({ user, roles, ...rest }) =>
    newApiKey({ id: `${user}-key`, tenant: 'acme', user, roles: [...roles], ...rest }),
  )
  const asked = (options.keys ?? []).map(newApiKey)
  const keysFile = join(dir, 'keys.json')
  const stored = [...keys, ...others, ...asked].map((one) => one.stored)
  writeFileSync(keysFile, JSON.stringify(stored))
  const server = await createServer({
    redisUrl: redis.url,
    namespace,
    partitions: config.MUSTER_PARTITIONS,
    memory,
    keys: stored,
    gateway: options.gateway,
    replication: { replicas: config.MUSTER_REPLICAS, timeoutMs: config.MUSTER_REPLICA_TIMEOUT_MS },
    secret: config.MUSTER_SECRET,
    budgets: config.MUSTER_BUDGETS,
    commitments: config.MUSTER_COMMITMENTS,
    retention: config.MUSTER_RETENTION,
    redaction: openRedaction(config.MUSTER_REDACT, config.MUSTER_REDACT_SECRET),
    webhooksAnywhere: config.MUSTER_WEBHOOKS === 'anywhere',
  })
  const url = await server.listen('127.0.0.1', 0)
  const [{ key }, { key: strangersKey }] = keys as [(typeof keys)[0], (typeof keys)[0]]
  const effectsFile = join(dir, 'effects.jsonl')
  const workers: ChildProcess[] = []
  return {
    redisUrl: redis.url,
    dynamoEndpoint: dynamo.endpoint ?? '',
    namespace,
    dir,
    url,
    key,
    keys: Object.fromEntries(asked.map(({ key, stored }) => [stored.id, key])),
    env: {
      ...env,
      ...{ MUSTER_NAMESPACE: namespace, MUSTER_KEYS_FILE: keysFile, REDIS_URL: redis.url },
      DYNAMODB_ENDPOINT: dynamo.endpoint,
    },
    modelUrl: model.url,
    muster: createMuster({ url, key }),
    stranger: createMuster({ url, key: strangersKey }),
    people: Object.fromEntries(
      others.map(({ key, stored }) => [stored.user, { ...createMuster({ url, key }), key }]),
    ) as Harness['people'], // one for each of them
    effects() {
      if (!existsSync(effectsFile)) return []
      const lines = readFileSync(effectsFile, 'utf8').split('\n')
      // The last may be half written.
      return lines.slice(0, -1).map((line) => JSON.parse(line))
    },
    worker(extra = {}) {
      const child = fork(cli, ['worker'], {
        env: {
          ...process.env,
          MUSTER_APP: appFile,
          MUSTER_POLICY: policyFile,
          MUSTER_NAMESPACE: namespace,
          MUSTER_LOCK_MS: '1000',
          MUSTER_LOG: 'warn',
          MUSTER_LEDGER_WAIT_MS: '200',
          REDIS_URL: redis.url,
          DYNAMODB_ENDPOINT: dynamo.endpoint,
          MUSTER_MODEL_BASE_URL: `${model.url}/v1`,
          MUSTER_MODEL: 'scripted',
          EFFECTS: effectsFile,
          MUSTER_PUBLIC_URL: url,
          ...env,
          ...extra,
        },
        stdio: ['ignore', process.env.MUSTER_TEST_LOGS ? 'inherit' : 'pipe', 'inherit', 'ipc'],
      })
      child.stdout?.resume()
      workers.push(child)
      return new Promise((resolve, reject) => {
        child.once('message', (message: { ready?: boolean; detail?: string }) =>
          message.ready ? resolve(child) : reject(new Error(message.detail)),
        )
        child.once('exit', (code, signal) => reject(new Error(`worker ended: ${signal ?? code}`)))
      })
    },
    async killWorkers() {
      await Promise.all(workers.splice(0).map((worker) => stopProcess(worker, 'SIGKILL')))
    },
    async restartRedis(awayMs, whileAway) {
      await redis.stop()
      await whileAway?.()
      await new Promise((resolve) => setTimeout(resolve, awayMs))
      redis = await startRedis({ dir: join(dir, 'redis'), port: Number(new URL(redis.url).port) })
    },
    async close() {
      await Promise.all(workers.map((worker) => stopProcess(worker)))
      await server.close()
      memory.close()
      await model.stop()
      await dynamo.stop()
      await redis.stop()
      rmSync(dir, { recursive: true, force: true })
    },
  }
}

/** What a command printed, and its exit code. */
export interface Ran {
  code: number
  out: string
  err: string
}

/** Runs `muster` as a user would, with these settings besides those of the process. */
export function runCli(args: readonly string[], env: NodeJS.ProcessEnv, cwd?: string): Promise<Ran> {
  return runNode([cli, ...args], { ...process.env, NO_COLOR: '1', ...env }, cwd)
}

/** Runs Node in an environment that is given whole. */
export async function runNode(args: readonly string[], env: NodeJS.ProcessEnv, cwd?: string): Promise<Ran> {
  return promisify(execFile)(process.execPath, args, { env, cwd }).then(
    ({ stdout, stderr }) => ({ code: 0, out: stdout, err: stderr }),
    ({ code, stdout, stderr }) => ({ code, out: stdout, err: stderr }),
  )
}

/** Ends a process and waits for it; a polite signal first, unless told otherwise. */
export async function stopProcess(child: ChildProcess, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = new Promise((resolve) => child.once('exit', resolve))
  child.kill(signal)
  const late = setTimeout(() => child.kill('SIGKILL'), 15_000)
  await ended
  clearTimeout(late)
}

/** Waits until something holds; fails after `withinMs` with what it was. */
export async function until<T>(
  read: () => Promise<T> | T,
  holds: (value: T) => boolean,
  withinMs = 20_000,
): Promise<T> {
  const deadline = Date.now() + withinMs
  for (;;) {
    const value = await read()
    if (holds(value)) return value
    if (Date.now() > deadline) throw new Error(`still ${JSON.stringify(value)} after ${withinMs} ms`)
    await new Promise((resolve) => setTimeout(resolve, 25))
  }
}

export const ended = (run: Run): boolean =>
  run.status === 'succeeded' || run.status === 'failed' || run.status === 'cancelled'
