import { within } from '@muster/protocol'
import { Redis } from 'ioredis'

/** What a Redis server says of itself. */
export interface RedisFacts {
  version: string
  /** It still reads its data from disk and refuses commands. */
  loading: boolean
  /** Its process, as it sees it: 1 in a container. */
  pid: number | undefined
  /** Its data folder; undefined where CONFIG is not allowed, as on most managed services. */
  dir: string | undefined
  /** Undefined where neither INFO nor CONFIG tells it. */
  evictionPolicy: string | undefined
}

/**
 * Asks a server who it is, within a time limit.
 *
 * Rejects with a plain Error that holds no credentials. The error of ioredis is never its cause, because that one carries
 * the command that failed, which may be AUTH with the password.
 */
export async function readRedisFacts(url: string, timeoutMs: number): Promise<RedisFacts> {
  return await withRedis(url, timeoutMs, async (redis) => {
    // A user that may not ask INFO can still use the server; one that may not do anything fails at PING.
    const info = parseInfo(await redis.info().catch(() => ''))
    const loading = info.get('loading') === '1'
    if (!loading) await redis.ping()
    const pid = Number(info.get('process_id'))
    return {
      version: info.get('valkey_version') ?? info.get('redis_version') ?? 'unknown',
      loading,
      pid: Number.isInteger(pid) && pid > 0 ? pid : undefined,
      dir: await readSetting(redis, 'dir'),
      evictionPolicy: (await readSetting(redis, 'maxmemory-policy')) ?? info.get('maxmemory_policy'),
    }
  })
}

/** Changes a setting of a running server. */
export async function writeRedisSetting(url: string, name: string, value: string): Promise<void> {
  await withRedis(url, 3000, async (redis) => await redis.config('SET', name, value))
}

async function withRedis<T>(url: string, timeoutMs: number, ask: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis(url, {
    lazyConnect: true,
    connectTimeout: timeoutMs,
    enableReadyCheck: false,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
  })
  // connect() rejects with "Connection is closed"; why it was closed comes as an event, which throws when nobody listens.
  let reason: unknown
  redis.on('error', (error) => {
    reason ??= error
  })
  try {
    return await within(
      timeoutMs,
      redis.connect().then(() => ask(redis)),
    )
  } catch (error) {
    const cause = reason ?? error
    throw new Error(withoutSecrets(cause instanceof Error ? cause.message : String(cause), redis))
  } finally {
    // On a connection that has ended already it would leave a timer that keeps our process from exiting for two seconds.
    if (redis.status !== 'end') redis.disconnect()
  }
}

function withoutSecrets(message: string, redis: Redis): string {
  const { password } = redis.options
  return password ? message.replaceAll(password, '***') : message
}

async function readSetting(redis: Redis, name: string): Promise<string | undefined> {
  const reply: unknown = await redis.config('GET', name).catch(() => undefined)
  // RESP2 answers with a list of names and values, RESP3 with a map, which ioredis may give as an object.
  const value: unknown = Array.isArray(reply) ? reply[1] : asRecord(reply)[name]
  return typeof value === 'string' ? value : undefined
}

function asRecord(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? { ...value } : {}
}

function parseInfo(text: string): Map<string, string> {
  const lines = text.split('\r\n').map((line): [string, string] => {
    const colon = line.indexOf(':')
    return [line.slice(0, colon), line.slice(colon + 1)]
  })
  return new Map(lines)
}
