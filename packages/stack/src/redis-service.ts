export interface RedisOptions {
  /** A server of the user's own, as in REDIS_URL. Without it one is found or started. */
  url?: string
  /** Data folder of a started server; created. Holds its log, `redis.log`, too. */
  dir: string
  /** Port of a started server; default: a free one. A server found running on `dir` keeps its own. */
  port?: number
  /** When a started server syncs its log to disk; default: `always`, before it acknowledges. */
  fsync?: 'always' | 'everysec'
  /** A started server is a node of a Redis Cluster, whose nodes talk to it on this port. See `startRedisCluster`. */
  clusterPort?: number
  /** Where packages are unpacked; default: `muster` in the user's cache folder. */
  cacheDir?: string
  /** Hears of what takes long or is worth knowing. */
  log?: (line: string) => void
}

export interface RedisService {
  /** With the credentials of `options.url`, if any. */
  url: string
  /**
   * `external`: the user's own, never stopped by us. `running`: an earlier start on the same folder left it.
   * Else what it was started from: a program on PATH, the distribution's packages, or Docker.
   */
  source: 'external' | 'path' | 'package' | 'docker' | 'running'
  /** Version of Redis, or of Valkey if it is one. */
  version: string
  /** Process of a server of ours, unless it is in a container. */
  pid?: number
  /** Whether a server of ours still runs; true of an external one, of which we know nothing. */
  isAlive(): Promise<boolean>
  /** Stops a server of ours with all data on disk; does nothing to an external one. May be called again. */
  stop(): Promise<void>
}
