import { readFileSync } from 'node:fs'
import { Redis, type RedisOptions } from 'ioredis'

function script(name: string): string {
  return readFileSync(new URL(`./commands/${name}.lua`, import.meta.url), 'utf8')
}

const scripts = {
  musterCreate: { lua: script('create'), numberOfKeys: 5 },
  musterActivate: { lua: script('activate'), numberOfKeys: 3 },
  musterAppend: { lua: script('append') },
  musterPost: { lua: script('post'), numberOfKeys: 3 },
}

type Text = string | number

/** A Redis connection with our Lua commands; each is documented at the top of its file in `commands/`. */
export interface JournalRedis extends Redis {
  musterCreate(
    run: string,
    log: string,
    index: string,
    pending: string,
    key: string,
    ...args: Text[]
  ): Promise<[number, string?, string?]>
  musterActivate(
    run: string,
    inbox: string,
    pending: string,
    id: string,
  ): Promise<[] | [epoch: number, seq: number, head: string, meta: string]>
  musterAppend(keys: number, ...keysAndArgs: Text[]): Promise<number[]>
  musterPost(run: string, inbox: string, pending: string, id: string, now: number, message: string): Promise<number>
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
