import { readFileSync } from 'node:fs'
import { Redis, type RedisOptions } from 'ioredis'

function script(name: string): string {
  const text = readFileSync(new URL(`./commands/${name}.lua`, import.meta.url), 'utf8')
  return text.replace(/^--@include (\w+)$/gm, (_, included: string) => script(included))
}

const scripts = {
  musterCreate: { lua: script('create') },
  musterPeek: { lua: script('peek') },
  musterFeed: { lua: script('feed'), numberOfKeys: 7 },
  musterActivate: { lua: script('activate') },
  musterAppend: { lua: script('append') },
  musterPost: { lua: script('post'), numberOfKeys: 4 },
  musterLease: { lua: script('lease') },
}

type Text = string | number | Buffer

/** A record of a stream: its id, and its fields and values in turns. */
export type StreamRecord = [id: string, fields: string[]]

/** A Redis connection with our Lua commands; each is documented at the top of its file in `commands/`. */
export interface JournalRedis extends Redis {
  musterCreate(keys: number, ...keysAndArgs: Text[]): Promise<[number, string?, string?][]>
  musterPeek(keys: number, ...keysAndArgs: Text[]): Promise<([] | [hash: string, bytes: string, content: string])[]>
  musterFeed(...keysAndArgs: Text[]): Promise<[shapes: string[], runs: (string | number)[], window: number]>
  musterActivate(
    keys: number,
    ...keysAndArgs: Text[]
  ): Promise<([] | [epoch: number, seq: number, head: string, first: string, records: StreamRecord[], mail: number])[]>
  musterAppend(keys: number, ...keysAndArgs: Text[]): Promise<number[]>
  musterPost(...keysAndArgs: Text[]): Promise<number>
  musterLease(keys: number, ...keysAndArgs: Text[]): Promise<[places: number, shares: number, fresh: 0 | 1][]>
}

export function connect(url: string, options: RedisOptions = {}): JournalRedis {
  const redis = new Redis(url, {
    // A command waits for the connection to come back; who must not wait sets a time limit of its own.
    maxRetriesPerRequest: null,
    retryStrategy: (times) => Math.min(50 * times, 1000),
    keepAlive: 5000,
    scripts,
    ...options,
  })
  // Every command's failure reaches its caller; the connection's own events would only repeat it.
  redis.on('error', () => {})
  // ioredis adds the methods named in `scripts` at run time, which its types cannot know.
  return redis as JournalRedis
}
