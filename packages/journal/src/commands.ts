import { readFileSync } from 'node:fs'
import { Cluster, type ClusterOptions, Redis, type RedisOptions } from 'ioredis'
import { watchForDeadPeer } from './dead-peers.ts'
import { writeAtOnce } from './one-write.ts'

function script(name: string): string {
  const text = readFileSync(new URL(`./commands/${name}.lua`, import.meta.url), 'utf8')
  return text.replace(/^--@include (\w+)$/gm, (_, included: string) => script(included))
}

const scripts = {
  musterCreate: { lua: script('create') },
  musterOrphans: { lua: script('orphans'), numberOfKeys: 2 },
  musterPeek: { lua: script('peek') },
  musterFeed: { lua: script('feed'), numberOfKeys: 7 },
  musterActivate: { lua: script('activate') },
  musterAppend: { lua: script('append') },
  musterPost: { lua: script('post'), numberOfKeys: 5 },
  musterLease: { lua: script('lease') },
  musterLeave: { lua: script('leave') },
  musterSpend: { lua: script('spend') },
  musterCosts: { lua: script('costs'), numberOfKeys: 3 },
  musterBooks: { lua: script('books'), numberOfKeys: 2 },
  musterWake: { lua: script('wake'), numberOfKeys: 2 },
  musterSchedule: { lua: script('schedule'), numberOfKeys: 3 },
  musterHeads: { lua: script('heads') },
  musterRecorded: { lua: script('recorded'), numberOfKeys: 1 },
  musterSealed: { lua: script('sealed'), numberOfKeys: 2 },
  musterSealer: { lua: script('sealer'), numberOfKeys: 1 },
  musterWitnessed: { lua: script('witnessed'), numberOfKeys: 1 },
}

type Text = string | number | Buffer

/** A record of a stream: its id, and its fields and values in turns. */
export type StreamRecord = [id: string, fields: string[]]

/** A Redis connection with our Lua commands; each is documented at the top of its file in `commands/`. */
export interface JournalRedis extends Redis {
  musterCreate(keys: number, ...keysAndArgs: Text[]): Promise<[number, string?, string?][]>
  musterOrphans(...keysAndArgs: Text[]): Promise<string[]>
  musterPeek(keys: number, ...keysAndArgs: Text[]): Promise<([] | [hash: string, bytes: string, content: string])[]>
  musterFeed(...keysAndArgs: Text[]): Promise<[shapes: string[], runs: (string | number)[], window: number]>
  musterActivate(
    keys: number,
    ...keysAndArgs: Text[]
  ): Promise<([] | [epoch: number, seq: number, head: string, first: string, records: StreamRecord[], mail: number])[]>
  musterAppend(keys: number, ...keysAndArgs: Text[]): Promise<number[]>
  musterPost(...keysAndArgs: Text[]): Promise<number>
  musterWake(...keysAndArgs: Text[]): Promise<[runs: string[], next: string]>
  musterSchedule(...keysAndArgs: Text[]): Promise<number>
  musterHeads(keys: number, ...keysAndArgs: Text[]): Promise<number>
  musterRecorded(...keysAndArgs: Text[]): Promise<0 | 1>
  musterSealed(...keysAndArgs: Text[]): Promise<null>
  musterSealer(...keysAndArgs: Text[]): Promise<0 | 1>
  musterWitnessed(...keysAndArgs: Text[]): Promise<null>
  musterSpend(keys: number, ...keysAndArgs: Text[]): Promise<number[][]>
  musterCosts(...keysAndArgs: Text[]): Promise<0 | 1>
  musterBooks(...keysAndArgs: Text[]): Promise<string | null>
  musterLeave(keys: number, ...keysAndArgs: Text[]): Promise<null>
  musterLease(keys: number, ...keysAndArgs: Text[]): Promise<[places: number, shares: number, fresh: 0 | 1][]>
}

/** A connection to Redis; to a Redis Cluster where the address lists several nodes. */
export function connect(url: string, options: RedisOptions = {}): JournalRedis {
  const own: RedisOptions = {
    // A command waits for the connection to come back; who must not wait sets a time limit of its own.
    maxRetriesPerRequest: null,
    keepAlive: 5000,
    ...options,
  }
  const nodes = url.split(',').map((node) => node.trim())
  const redis =
    nodes.length === 1
      ? new Redis(url, { retryStrategy: (times) => Math.min(50 * times, 1000), scripts, ...own })
      : new Cluster(nodes, clusterOptions(nodes[0] ?? '', own))
  // Every command's failure reaches its caller; the connection's own events would only repeat it.
  redis.on('error', () => {})
  // Each partition listens.
  redis.setMaxListeners(0)
  watchForDeadPeer(redis)
  writeAtOnce(redis)
  // ioredis adds the methods named in `scripts` at run time, which its types cannot know. A Cluster has the commands
  // of a Redis; `client`, which names no key, must not be used on one.
  return redis as JournalRedis
}

function clusterOptions(
  first: string,
  { lazyConnect = false, enableOfflineQueue = true, ...own }: RedisOptions,
): ClusterOptions {
  // Nodes that are found are asked with the same user and password, and as safely, as the first that was named.
  const { protocol, username, password } = new URL(first)
  return {
    scripts,
    lazyConnect,
    enableOfflineQueue,
    clusterRetryStrategy: (times) => Math.min(50 * times, 1000),
    redisOptions: {
      ...own,
      ...(username === '' ? {} : { username: decodeURIComponent(username) }),
      ...(password === '' ? {} : { password: decodeURIComponent(password) }),
      ...(protocol === 'rediss:' ? { tls: {} } : {}),
    },
  }
}

/** The servers that take writes. */
export function primaries(redis: JournalRedis): Redis[] {
  const either: unknown = redis
  return either instanceof Cluster ? either.nodes('master') : [redis]
}
