import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { closeSync, openSync } from 'node:fs'
import { open, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { lastLines, runCommand } from './command.ts'
import type { RedisProgram } from './redis-program.ts'
import { containerHandle, processHandle, type ServerHandle } from './server-handle.ts'

/** Speaks the same protocol and file formats as Redis and is free software. */
const image = 'valkey/valkey:8.1'

export interface LaunchOptions {
  /** Data folder, an absolute path without symbolic links. */
  dir: string
  port: number
  fsync: 'always' | 'everysec'
  clusterPort?: number | undefined
}

/** Starts a server that keeps all it acknowledges; it may still be loading, or fail, when this returns. */
export async function launchRedis(program: RedisProgram, options: LaunchOptions): Promise<ServerHandle> {
  return program.source === 'docker'
    ? await launchContainer(program.docker, options)
    : launchProcess(program.command, program.env, options)
}

/** Name of the container for a data folder: the same at each start, so that a container left behind is found. */
export function containerName(dir: string): string {
  return `muster-redis-${createHash('sha256').update(dir).digest('hex').slice(0, 12)}`
}

function launchProcess(command: string, env: Record<string, string>, options: LaunchOptions): ServerHandle {
  const args = ['--bind', '127.0.0.1', ...serverArguments(options)]
  const log = openSync(logFile(options.dir), 'a')
  try {
    const child = spawn(command, args, {
      cwd: options.dir,
      // Redis 7 refuses to start under a locale that is not installed.
      env: { ...process.env, ...env, LC_ALL: 'C' },
      // A process group of its own, so that Ctrl-C in the terminal does not reach it before we have drained our work.
      detached: true,
      // Not --logfile: so what the dynamic linker and the argument parser say is in the log as well.
      stdio: ['ignore', log, log],
    })
    child.on('error', () => undefined)
    child.unref()
    if (child.pid === undefined) throw new Error(`${command} could not be started`)
    return processHandle(child.pid, () => child.exitCode !== null || child.signalCode !== null)
  } finally {
    closeSync(log)
  }
}

async function launchContainer(docker: string, options: LaunchOptions): Promise<ServerHandle> {
  const { dir, port } = options
  const name = containerName(dir)
  // One that we cannot reach any more may still write to the folder.
  await runCommand(docker, ['rm', '--force', name], { timeoutMs: 30_000 }).catch(() => undefined)
  const user = process.getuid && process.getgid ? ['--user', `${process.getuid()}:${process.getgid()}`] : []
  const args = [
    ...['run', '--detach', '--rm', '--name', name, ...user],
    // The same path inside as outside: a server is known again by the data folder that it reports.
    ...['--volume', `${dir}:${dir}`, '--publish', `127.0.0.1:${port}:${port}`, image, 'valkey-server'],
    // Reachable only through the port published above.
    ...['--bind', '0.0.0.0', '--protected-mode', 'no', '--logfile', logFile(dir)],
    ...serverArguments(options),
  ]
  // Long enough to pull the image.
  await runCommand(docker, args, { timeoutMs: 300_000 })
  return containerHandle(docker, name)
}

function serverArguments({ dir, port, fsync, clusterPort }: LaunchOptions): string[] {
  return [
    ...['--port', String(port), '--dir', dir, '--daemonize', 'no'],
    ...['--appendonly', 'yes', '--appendfsync', fsync, '--save', ''],
    ...['--maxmemory-policy', 'noeviction'],
    ...(clusterPort === undefined ? [] : ['--cluster-enabled', 'yes', '--cluster-port', String(clusterPort)]),
  ]
}

/** Length of the server's log, to tell later what a start has added to it. */
export async function logLength(dir: string): Promise<number> {
  return (await stat(logFile(dir)).catch(() => undefined))?.size ?? 0
}

/** The last lines of what the log gained since it was `from` bytes long. */
export async function logTail(dir: string, from: number): Promise<string> {
  const size = await logLength(dir)
  const start = Math.max(from, size - 4096)
  const file = await open(logFile(dir)).catch(() => undefined)
  if (file === undefined) return ''
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(Math.max(0, size - start)), { position: start })
    return lastLines(buffer.toString('utf8', 0, bytesRead), 8)
  } finally {
    await file.close()
  }
}

export function logFile(dir: string): string {
  return join(dir, 'redis.log')
}
