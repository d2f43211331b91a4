import { setTimeout as sleep } from 'node:timers/promises'
import { MusterError } from '@muster/protocol'
import { freePort, isPortFree, portTaken, requireFreePort } from './port.ts'
import { findProgram } from './program.ts'
import { type RedisFacts, readRedisFacts, writeRedisSetting } from './redis-facts.ts'
import { containerName, launchRedis, logFile, logLength, logTail } from './redis-launch.ts'
import { findRedisProgram, type RedisProgram } from './redis-program.ts'
import { type RedisRecord, readRecord, writeRecord } from './redis-record.ts'
import type { RedisOptions, RedisService } from './redis-service.ts'
import { containerHandle, processHandle, type ServerHandle, stopAtExit, stopServer } from './server-handle.ts'

const answerLimitMs = 3000
const startLimitMs = 30_000
const stopGraceMs = 5000
const pollMs = 25

/** The server that an earlier start left running on `dir`, a path without symbolic links. */
export async function findRunningRedis(dir: string, options: RedisOptions): Promise<RedisService | undefined> {
  const record = await readRecord(dir)
  if (record === undefined) return undefined
  const url = localUrl(record.port)
  const found = await readRedisFacts(url, answerLimitMs).catch(() => undefined)
  if (found?.dir === undefined) return await refuseSilent(dir, record)
  // Another server may have the port by now; only one of ours reports this folder.
  if (found.dir !== dir) return undefined
  const server = await handleOf(record, found)
  options.log?.(`using the Redis server that already runs on ${dir}, port ${record.port}`)
  const facts = await untilReady(server, dir, url)
  // It may have been started with another promise than the one asked for now.
  await writeRedisSetting(url, 'appendfsync', options.fsync ?? 'always')
  return ownService({ source: 'running', url, facts, server, pid: record.container ? undefined : facts.pid })
}

/** A server that hangs still owns the files: a second one beside it would destroy them. */
async function refuseSilent(dir: string, { port, pid }: RedisRecord): Promise<undefined> {
  const gone = (await isPortFree(port)) || (pid !== undefined && !(await processHandle(pid).isAlive()))
  if (gone) return undefined
  const which = pid === undefined ? '' : `, process ${pid},`
  const detail = `The Redis server on ${dir}${which} holds port ${port} but does not answer; end it, then start again`
  throw new MusterError('redis.unavailable', detail)
}

async function handleOf({ port, container }: RedisRecord, facts: RedisFacts): Promise<ServerHandle> {
  if (container === undefined && facts.pid !== undefined) return processHandle(facts.pid)
  const docker = await findProgram(['docker'], process.env.PATH ?? '')
  if (container !== undefined && docker !== undefined) return containerHandle(docker, container)
  const which =
    container === undefined ? 'does not tell its process' : `is container ${container}, but docker is not on PATH`
  throw new MusterError('redis.unavailable', `The Redis server on port ${port} ${which}, so it could not be stopped`)
}

/** A new server on `dir`, on which none runs. */
export async function startNewRedis(dir: string, options: RedisOptions): Promise<RedisService> {
  if (options.port !== undefined) await requireFreePort(options.port, 'Redis')
  const program = await findRedisProgram(options)
  // A free port may be taken by another program before Redis binds it.
  for (let tries = 3; ; tries--) {
    const port = options.port ?? (await freePort())
    try {
      return await startOn({ dir, port, program, fsync: options.fsync ?? 'always', clusterPort: options.clusterPort })
    } catch (error) {
      const taken = error instanceof MusterError && error.code === 'port.taken'
      if (!taken || options.port !== undefined || tries === 1) throw error
    }
  }
}

interface StartOptions {
  dir: string
  port: number
  program: RedisProgram
  fsync: 'always' | 'everysec'
  clusterPort: number | undefined
}

async function startOn({ dir, port, program, fsync, clusterPort }: StartOptions): Promise<RedisService> {
  const container = program.source === 'docker' ? { container: containerName(dir) } : {}
  // Written before the start: whenever we are killed, the next start finds the server and does not start a second one on
  // the same files.
  await writeRecord(dir, { port, ...container })
  const url = localUrl(port)
  const logFrom = await logLength(dir)
  let server: ServerHandle | undefined
  try {
    server = await launchRedis(program, { dir, port, fsync, clusterPort })
    const facts = await untilReady(server, dir, url)
    const pid = program.source === 'docker' ? undefined : facts.pid
    await writeRecord(dir, { port, ...container, ...(pid === undefined ? {} : { pid }) })
    return ownService({ source: program.source, url, facts, server, pid })
  } catch (error) {
    if (server !== undefined) await stopServer(server, stopGraceMs)
    const why = error instanceof Error ? error.message : String(error)
    const tail = await logTail(dir, logFrom)
    // The words of Redis and of Docker.
    if (/address already in use|port is already allocated/i.test(why + tail)) throw portTaken(port, 'Redis', error)
    throw new MusterError('redis.unavailable', `Redis did not start: ${why}. Last lines of ${logFile(dir)}:\n${tail}`)
  }
}

/** Waits until our server answers with its data loaded. Loading takes as long as it takes; all else has a limit. */
async function untilReady(server: ServerHandle, dir: string, url: string): Promise<RedisFacts> {
  let end = performance.now() + startLimitMs
  while (true) {
    const facts = await readRedisFacts(url, answerLimitMs).catch(() => undefined)
    if (facts?.dir === dir && !facts.loading) return facts
    if (facts?.dir === dir) end = performance.now() + startLimitMs
    if (!(await server.isAlive())) throw new Error('it ended at once')
    if (performance.now() > end) throw new Error(`no answer within ${startLimitMs} ms`)
    await sleep(pollMs)
  }
}

interface ServiceParts {
  source: RedisService['source']
  url: string
  facts: RedisFacts
  server: ServerHandle
  pid: number | undefined
}

function ownService({ source, url, facts, server, pid }: ServiceParts): RedisService {
  const stopped = stopAtExit(server)
  let stopping: Promise<void> | undefined
  return {
    url,
    source,
    version: facts.version,
    ...(pid === undefined ? {} : { pid }),
    isAlive: () => server.isAlive(),
    stop() {
      stopping ??= stopServer(server, stopGraceMs).finally(stopped)
      return stopping
    },
  }
}

function localUrl(port: number): string {
  return `redis://127.0.0.1:${port}`
}
